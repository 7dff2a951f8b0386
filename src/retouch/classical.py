"""Completion without a network: the baselines that every model has to beat, as Predictors.

- ``telea``: A. Telea, "An image inpainting technique based on the fast marching method", 2004 (OpenCV).
- ``navier-stokes``: M. Bertalmio, A. Bertozzi, G. Sapiro, "Navier-Stokes, fluid dynamics, and image and video
  inpainting", 2001 (OpenCV).
- ``fsr``: J. Seiler, M. Jonscher, M. Schöberl, A. Kaup, "Resampling images to a regular grid from a
  non-regular subset of pixel positions using frequency selective reconstruction", 2015 (OpenCV xphoto).
- ``patchmatch``: C. Barnes, E. Shechtman, A. Finkelstein, D. Goldman, "PatchMatch: a randomized correspondence
  algorithm for structural image editing", 2009 (`retouch.patchmatch`).
- ``biharmonic``: S. Damelin, N. Hoang, "On surface completion and image inpainting by biharmonic functions",
  2018 (scikit-image, in the extra ``report``).

OpenCV's three work on 8 bits per channel: also in the hole of a 16-bit photo. Only PatchMatch uses the seed, and has
several answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from retouch import patchmatch as patches
from retouch.boxes import Limits
from retouch.engine import Predictor
from retouch.errors import ModelError, needs

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

RADIUS = 3  # px: neighbourhood of a pixel, as in OpenCV's own examples
SMALLEST = 32  # px: of a window; a mirrored small picture would have its holes filled over and over


@dataclass(frozen=True, slots=True)
class Classical:
    """A function that fills one picture, as a Predictor; known pixels come back as they went in.

    Args:
        limits: sizes that give the method its context at a bounded cost; it would take others.
        fill: (h, w, 3) float32 RGB in [0, 1] and (h, w) bool hole -> (h, w, 3) in [0, 1], read in the hole.
    """

    limits: Limits
    fill: Callable[[Floats, Bools], Floats]

    def __call__(self, image: Floats, hole: Floats, *, seed: int) -> Floats:
        """(B, 3, h, w), (B, 1, h, w) -> (B, 3, h, w); a window in which nothing is known becomes mid-grey."""
        del seed  # nothing here is random
        answer = image.copy()
        for index, missing in enumerate(hole[:, 0] > 0.5):
            if missing.all():
                answer[index] = 0.5
            elif missing.any():
                picture = np.ascontiguousarray(image[index].transpose(1, 2, 0))
                picture[missing] = 0
                filled = self.fill(picture, missing)
                answer[index][:, missing] = np.clip(filled[missing], 0, 1).T
        return answer


@dataclass(frozen=True, slots=True)
class PatchMatch:
    """Objects and other large holes: made of what surrounds them, and as sharp as that.

    With each seed it has other answers; known pixels come back as they went in.
    """

    answer: int = 0
    threads: int | None = None  # None: as many as cores
    tell: Callable[[float], None] | None = None  # see `Watchable`
    limits: ClassVar[Limits] = Limits(1024, 1, 2048, SMALLEST)  # a window of 2048 px takes up to 670 MB

    def __call__(self, image: Floats, hole: Floats, *, seed: int) -> Floats:
        """(B, 3, h, w), (B, 1, h, w) -> (B, 3, h, w); a window in which nothing is known becomes mid-grey."""
        from retouch.workers import cores  # and with it multiprocessing, which the others do without

        fill = partial(
            patches.fill, seed=(seed, self.answer), threads=self.threads or cores(), tell=self.tell
        )
        return Classical(self.limits, fill)(image, hole, seed=seed)

    def on(self, threads: int | None) -> "PatchMatch":
        """The same on so many cores (None: all)."""
        return replace(self, threads=threads)

    def watched(self, tell: Callable[[float], None]) -> "PatchMatch":
        """As `Watchable` has it."""
        return replace(self, tell=tell)

    def variants(self, count: int) -> "list[PatchMatch]":
        """One predictor for each of so many answers, in no order."""
        return [replace(self, answer=answer) for answer in range(count)]


def telea() -> Predictor:
    """Thin scratches and small spots, at once: fast marching from the border inwards."""
    return Classical(Limits(256, 1, 1024, SMALLEST), partial(_inpaint, algorithm=cv2.INPAINT_TELEA))


def navier_stokes() -> Predictor:
    """Thin scratches and small spots: isophotes carried on into the hole like streamlines."""
    return Classical(Limits(256, 1, 1024, SMALLEST), partial(_inpaint, algorithm=cv2.INPAINT_NS))


def fsr() -> Predictor:
    """Textures and lost blocks: a sparse Fourier model of each block, in OpenCV's fast profile.

    The best profile took 15 to 30 times as long and came out no better on photographs with stroke masks.
    """
    return Classical(Limits(256, 1, 512, SMALLEST), _fsr)


def biharmonic() -> Predictor:
    """Skies and other smooth parts: the smoothest surface through the known pixels.

    Raises:
        MissingExtraError: where scikit-image is not installed.
    """
    with needs("report", "the model 'biharmonic'"):
        from skimage.restoration import inpaint_biharmonic
    return Classical(Limits(128, 1, 256), partial(_smooth, inpaint_biharmonic))


CLASSICAL: dict[str, Callable[[], Predictor]] = {
    "telea": telea,
    "navier-stokes": navier_stokes,
    "fsr": fsr,
    "patchmatch": PatchMatch,
    "biharmonic": biharmonic,
}


def summary(name: str) -> str:
    """What one of ``CLASSICAL`` is for, in one line."""
    return str(CLASSICAL[name].__doc__).splitlines()[0]


def _bytes(rgb: Floats) -> Bytes:
    return np.rint(np.multiply(rgb, np.float32(255), dtype=np.float32)).astype(np.uint8)


def _floats(rgb: npt.NDArray[Any]) -> Floats:
    values = np.empty(rgb.shape, np.float32)
    np.divide(rgb, np.float32(255), out=values)
    return values


def _inpaint(rgb: Floats, hole: Bools, algorithm: int) -> Floats:
    return _floats(cv2.inpaint(_bytes(rgb), hole.view(np.uint8), RADIUS, algorithm))


def _smooth(inpaint: Callable[..., Any], rgb: Floats, hole: Bools) -> Floats:
    smooth = np.empty(rgb.shape, np.float32)
    smooth[:] = inpaint(rgb, hole, channel_axis=-1)
    return smooth


def _fsr(rgb: Floats, hole: Bools) -> Floats:
    known = np.where(hole, np.uint8(0), np.uint8(255))  # OpenCV's xphoto has its mask inverted
    filled = np.zeros(rgb.shape, np.uint8)
    try:
        cv2.xphoto.inpaint(_bytes(rgb), known, filled, cv2.xphoto.INPAINT_FSR_FAST)
    except cv2.error as error:
        reason = " ".join(str(error).split())
        size = f"{hole.shape[1]} x {hole.shape[0]} px"
        raise ModelError(f"expected OpenCV to fill {size}, got: {reason}") from error
    return _floats(filled)
