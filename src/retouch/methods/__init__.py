"""The registry of methods: a literal dict, readable without PyTorch (an implementation loads when asked for)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retouch.boxes import Limits


def _dcgan_direct() -> tuple[type, type]:
    from retouch.methods import dcgan_direct

    return dcgan_direct.Config, dcgan_direct.DCGANDirect


def _dcgan_search() -> tuple[type, type]:
    from retouch.methods import dcgan_search

    return dcgan_search.Config, dcgan_search.DCGANSearch


def _glcic() -> tuple[type, type]:
    from retouch.methods import glcic

    return glcic.Config, glcic.GLCIC


def _recurrent() -> tuple[type, type]:
    from retouch.methods import recurrent

    return recurrent.Config, recurrent.Recurrent


def _wgan() -> tuple[type, type]:
    from retouch.methods import wgan

    return wgan.Config, wgan.WGAN


@dataclass(frozen=True, slots=True)
class Entry:
    """One paper.

    Args:
        citation: authors, title, place and year.
        summary: what it does, in one line.
        limits: the windows that a model of it accepts.
        load: imports and returns its settings (a frozen dataclass) and its class; needs PyTorch.
        searches: it completes by a search, which PyTorch runs: its models are safetensors, not ONNX.
    """

    citation: str
    summary: str
    limits: Limits
    load: Callable[[], tuple[Any, Any]]
    searches: bool = False


METHODS: dict[str, Entry] = {
    "dcgan_direct": Entry(
        citation='Ansaerjiang, Jiang, Song, Xie, "Image Semantic Inpainting with DCGAN"',
        summary="strided encoder/decoder on the damaged image; content, gradient and prior losses",
        limits=Limits(native=64, multiple=16, largest=256),
        load=_dcgan_direct,
    ),
    "dcgan_search": Entry(
        citation='Swaroop, Sanjith, Tushar, Koolagudi, Akhila, "Image Inpainting using Deep Learning"',
        summary="search over the z of a DCGAN, started by an inverter; three adversarial losses to compare",
        limits=Limits(native=64, multiple=64, largest=64),
        load=_dcgan_search,
        searches=True,
    ),
    "glcic": Entry(
        citation='Sisir Nalla, "Image Inpainting using GAN\'s", Shiv Nadar University',
        summary="dilated generator; a global and a local discriminator in one score; mean squared error",
        limits=Limits(native=256, multiple=4, largest=512),
        load=_glcic,
    ),
    "recurrent": Entry(
        citation='Jin Woo Baik, "Image Inpainting", Stanford University',
        summary="recurrent convolution, coarse to refine; Sobel edge discriminator; frequency-separation loss",
        limits=Limits(native=256, multiple=8, largest=256, smallest=128),
        load=_recurrent,
    ),
    "wgan": Entry(
        citation='Chandak, Saxena, Pattanaik, Kaushal, "Semantic Image Completion and Enhancement using Deep Learning"',
        summary="search over the z of a Wasserstein GAN, started by an inverter; residual enhancement",
        limits=Limits(native=64, multiple=64, largest=64),
        load=_wgan,
        searches=True,
    ),
}
