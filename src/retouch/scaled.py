"""A photograph at the size that a model of whole pictures knows (``Limits.whole``), and its completion at its own.

Such a model has seen heads, not noses: parts of a larger photograph, at their own size, tell it nothing.
"""

import cv2
import numpy as np
import numpy.typing as npt

from retouch import image
from retouch.boxes import Box
from retouch.image import Photo
from retouch.levels import to_words

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]

NEAR = 5  # px: what is averaged for a missing pixel, so that enlarging has something to interpolate


def scaled(photo: Photo, hole: Bools, side: int) -> tuple[Photo, Bools]:
    """The photograph and its hole, (H, W), at the size where the shorter side has ``side`` px.

    What is in the hole never enters. The photo is RGB of 16 bits, arbitrary in its hole.
    """
    size = tuple(round(length * side / min(photo.size)) for length in photo.size)
    pixels, left = (_enlarged if side > min(photo.size) else _reduced)(photo, hole, *size)
    return Photo(to_words(pixels), "RGB"), left


def _reduced(photo: Photo, hole: Bools, height: int, width: int) -> tuple[Floats, Bools]:
    """Each pixel is the mean of the known ones in its area, by their share of it, and missing if all of them are.

    So no known pixel is lost; a share below 0.001 px is left to the neighbour that has the rest of it. Read a row at
    a time: the photograph may be far larger than what becomes of it.
    """
    pixels, left = np.empty((height, width, 3), np.float32), np.empty((height, width), np.bool_)
    for row in range(height):
        first, last = row * photo.height, (row + 1) * photo.height  # in 1 / height px
        rows = slice(first // height, -(-last // height))
        edges = np.clip(np.arange(rows.start, rows.stop + 1) * height, first, last)
        share = np.diff(edges)[:, None] / np.float32(height) * ~hole[rows]
        known = (image.rgb(photo, rows, slice(None)) * share[..., None]).sum(axis=0)
        line = np.dstack([known[None], share.sum(axis=0)[None]]).astype(np.float32)
        line = cv2.resize(line, (width, 1), interpolation=cv2.INTER_AREA)[0]
        left[row] = line[:, 3] <= 0
        pixels[row] = line[:, :3] / np.where(left[row], 1, line[:, 3])[:, None]
    return pixels, left


def _enlarged(photo: Photo, hole: Bools, height: int, width: int) -> tuple[Floats, Bools]:
    """Cubic, with a mean of known pixels near by for those in the hole; missing is what lies on a missing pixel."""
    known = (~hole).astype(np.float32)[..., None]
    pixels = image.rgb(photo, slice(None), slice(None)) * known
    total, count = (cv2.boxFilter(part, -1, (NEAR, NEAR), normalize=False) for part in (pixels, known))
    pixels = np.where(hole[..., None], total / np.maximum(count, 1)[..., None], pixels)
    rows, columns = (  # those on which the middle of each new pixel lies
        (2 * np.arange(after) + 1) * before // (2 * after)
        for before, after in zip(photo.size, (height, width), strict=True)
    )
    large = resampled(pixels, Box(0, 0, height, width), photo.height / height, photo.width / width)
    return large, hole[rows][:, columns]


def resampled(pixels: Floats, box: Box, down: float, across: float) -> Floats:
    """A box of (H, W, C) at another size, by cubic convolution; where it is smaller, the kernel is as much wider.

    R. Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 15.

    Args:
        pixels: to be enlarged or reduced.
        box: in pixels of the result, which begins where ``pixels`` does.
        down: pixels from one pixel of the result to that below it.
        across: the same, to that at the right of it.
    """
    rows, vertical = _taps(box.top, box.bottom, pixels.shape[0], down)
    columns, horizontal = _taps(box.left, box.right, pixels.shape[1], across)
    left, right = columns.min(), columns.max() + 1
    result = np.einsum("ht,htwc->hwc", vertical, pixels[:, left:right][rows])
    result = np.einsum("wt,hwtc->hwc", horizontal, result[:, columns - left])
    return np.ascontiguousarray(result, np.float32)


def _taps(start: int, stop: int, length: int, step: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Which of ``length`` pixels make each of an axis from ``start`` to ``stop``, and their weights: (n, taps)."""
    wide = max(step, 1.0)
    place = (np.arange(start, stop) + 0.5) * step - 0.5
    taps = np.ceil(place - 2 * wide).astype(np.int64)[:, None] + np.arange(int(4 * wide) + 1)
    s = np.abs(place[:, None] - taps) / wide
    near, far = (1.5 * s - 2.5) * s * s + 1, ((-0.5 * s + 2.5) * s - 4) * s + 2
    weights = np.where(s < 1, near, np.where(s < 2, far, 0)) * ((taps >= 0) & (taps < length))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.clip(taps, 0, length - 1), weights.astype(np.float32)
