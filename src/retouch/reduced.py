"""A photograph at the size that a model of whole pictures knows (``Limits.whole``), and its completion enlarged.

Such a model has seen heads, not noses: parts of a larger photograph, at their own size, tell it nothing.
"""

import cv2
import numpy as np
import numpy.typing as npt

from retouch import image
from retouch.boxes import Box
from retouch.image import Photo

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


def reduce(photo: Photo, hole: Bools, side: int) -> tuple[Photo, Bools]:
    """Shrink a photograph until its shorter side is ``side`` px.

    Each pixel is the mean of the known ones in its area, by their share of it; it is missing only if all of
    them are. So what is in the hole never enters, and no known pixel is lost. Read a row at a time: the
    photograph may be far larger than what becomes of it.

    Args:
        photo: its shorter side longer than ``side``.
        hole: (H, W), True = missing.
        side: in px.

    Returns:
        RGB of 16 bits, arbitrary in the hole, and its hole.
    """
    height, width = (round(length * side / min(photo.size)) for length in photo.size)
    pixels, left = np.empty((height, width, 3), np.uint16), np.empty((height, width), np.bool_)
    for row in range(height):
        first, last = row * photo.height, (row + 1) * photo.height  # in 1 / height px
        rows = slice(first // height, -(-last // height))
        edges = np.clip(np.arange(rows.start, rows.stop + 1) * height, first, last)
        share = np.diff(edges)[:, None] / np.float32(height) * ~hole[rows]
        known = (image.rgb(photo, rows, slice(None)) * share[..., None]).sum(axis=0)
        line = np.dstack([known[None], share.sum(axis=0)[None]]).astype(np.float32)
        line = cv2.resize(line, (width, 1), interpolation=cv2.INTER_AREA)[0]
        left[row] = line[:, 3] <= 0
        mean = line[:, :3] / np.where(left[row], 1, line[:, 3])[:, None]
        pixels[row] = np.rint(np.clip(mean, 0, 1) * 65535)
    return Photo(pixels, "RGB"), left


def enlarged(photo: Photo, box: Box, down: float, across: float) -> Floats:
    """A box of the photograph enlarged: (h, w, 3) RGB, by cubic convolution.

    R. Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 15.

    Args:
        photo: to be enlarged.
        box: in pixels of the result.
        down: pixels of ``photo`` from one pixel of the result to that below it.
        across: the same, to that at the right of it.
    """
    rows, vertical = _taps(box.top, box.bottom, photo.height, down)
    columns, horizontal = _taps(box.left, box.right, photo.width, across)
    near = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    crop = image.rgb(photo, *near)
    crop = np.einsum("ht,htwc->hwc", vertical, crop[rows - near[0].start])
    crop = np.einsum("wt,hwtc->hwc", horizontal, crop[:, columns - near[1].start])
    return np.ascontiguousarray(crop, np.float32)


def _taps(start: int, stop: int, length: int, step: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Which four of ``length`` pixels make each of an axis from ``start`` to ``stop``, by which weights: (n, 4)."""
    place = (np.arange(start, stop) + 0.5) * step - 0.5
    taps = np.floor(place).astype(np.int64)[:, None] + np.arange(-1, 3)
    s = np.abs(place[:, None] - taps)
    near, far = (1.5 * s - 2.5) * s * s + 1, ((-0.5 * s + 2.5) * s - 4) * s + 2
    return np.clip(taps, 0, length - 1), np.where(s < 1, near, far).astype(np.float32)
