"""A photograph at the size that a model of whole pictures knows (``Limits.whole``), and its completion at its own.

Such a model was trained on whole pictures at one scale: crops of a larger photograph are unlike all it has seen.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from retouch import image
from retouch.boxes import Box
from retouch.image import Photo
from retouch.pyramid import to_words

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
    return resampled(pixels, Box(0, 0, height, width), height, width), hole[rows][:, columns]


def resampled(pixels: Floats, box: Box, height: float, width: float) -> Floats:
    """A box of (H, W, C) at another size, by cubic convolution; where it is smaller, the kernel is as much wider.

    R. Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 15, as in Pillow.

    Args:
        pixels: to be enlarged or reduced.
        box: in pixels of the result, which begins where ``pixels`` does. A level's size is rounded up: where the box
            ends beyond ``pixels``, their last row or column goes on.
        height: of all ``pixels`` in the result; of a level, not rounded.
        width: the same.

    Returns:
        (h, w, C) of the box's height and width.
    """
    top, bottom = (row * pixels.shape[0] / height for row in (box.top, box.bottom))
    left, right = (column * pixels.shape[1] / width for column in (box.left, box.right))
    below, beside = (max(0, math.ceil(end)) for end in (bottom - pixels.shape[0], right - pixels.shape[1]))
    planes = np.pad(pixels, ((0, below), (0, beside), (0, 0)), mode="edge").transpose(2, 0, 1)
    size, part = (box.width, box.height), (left, top, right, bottom)
    return np.dstack(
        [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC, part)) for plane in planes]
    )
