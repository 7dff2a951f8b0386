"""The registry of methods: a literal dict, readable without PyTorch (an implementation loads when asked for)."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from retouch.boxes import Limits


@dataclass(frozen=True, slots=True)
class Entry:
    """One paper.

    Args:
        citation: authors, title, place and year.
        summary: what it does, in one line.
        limits: the windows that a model of it accepts.
        code: the module here and its class.
        searches: it completes by a search, which PyTorch runs: its models are safetensors, not ONNX.
    """

    citation: str
    summary: str
    limits: Limits
    code: str
    searches: bool = False

    def load(self) -> tuple[Any, Any]:
        """Imports the method: its settings, a frozen dataclass, and its class. Needs PyTorch."""
        module, _, name = self.code.partition(".")
        found = import_module(f"retouch.methods.{module}")
        return found.Config, getattr(found, name)


METHODS: dict[str, Entry] = {
    "dcgan_direct": Entry(
        citation='Ansaerjiang, Jiang, Song, Xie, "Image Semantic Inpainting with DCGAN"',
        summary="strided encoder/decoder on the damaged image; content, gradient and prior losses",
        limits=Limits(native=64, multiple=16, largest=256),
        code="dcgan_direct.DCGANDirect",
    ),
    "dcgan_search": Entry(
        citation='Swaroop, Sanjith, Tushar, Koolagudi, Akhila, "Image Inpainting using Deep Learning"',
        summary="search over the z of a DCGAN, started by an inverter; three adversarial losses to compare",
        limits=Limits(native=64, multiple=64, largest=64),
        code="dcgan_search.DCGANSearch",
        searches=True,
    ),
    "glcic": Entry(
        citation='Sisir Nalla, "Image Inpainting using GAN\'s", Shiv Nadar University',
        summary="dilated generator; a global and a local discriminator in one score; mean squared error",
        limits=Limits(native=256, multiple=4, largest=512),
        code="glcic.GLCIC",
    ),
    "recurrent": Entry(
        citation='Jin Woo Baik, "Image Inpainting", Stanford University',
        summary="recurrent convolution, coarse to refine; Sobel edge discriminator; frequency-separation loss",
        limits=Limits(native=256, multiple=8, largest=256, smallest=128),
        code="recurrent.Recurrent",
    ),
    "wgan": Entry(
        citation='Chandak, Saxena, Pattanaik, Kaushal, "Semantic Image Completion and Enhancement using Deep Learning"',
        summary="search over the z of a Wasserstein GAN, started by an inverter; residual enhancement",
        limits=Limits(native=64, multiple=64, largest=64),
        code="wgan.WGAN",
        searches=True,
    ),
}
