"""Pictures: read and write them, read masks, take float crops, and put completed pixels into holes.

A `Photo` keeps the pixels as the file stores them (8 or 16 bits; grey, palette or RGB; alpha) beside what the
output has to keep. Pixels become floats in crops only (`rgb`), and known and completed pixels meet in one
function only (`composite`). Decoding and encoding stand in files of their own; their names are here too.
"""

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from retouch.decode import MAX_PIXELS, Source, read
from retouch.encode import as_file, check_holds, check_output, encode, format_of, to_pil, write
from retouch.errors import ImageError, MaskError
from retouch.photo import FORMATS, Photo

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Patch",
    "Photo",
    "Source",
    "as_file",
    "check_holds",
    "check_output",
    "composite",
    "encode",
    "format_of",
    "hole_of",
    "read",
    "read_mask",
    "rgb",
    "to_pil",
    "write",
]

NOISE = 32  # luma that compression may leave in a black JPEG
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as Pillow's and OpenCV's grey


class Patch(NamedTuple):
    """Completed pixels for one rectangle of a photo.

    Args:
        rows, cols: the rectangle, without steps.
        rgb: (h, w, 3) float32 in [0, 1]; values outside are clipped.
        weight: (h, w) float32 in [0, 1], how much of `rgb` to take inside the hole; None takes all of it.
    """

    rows: slice
    cols: slice
    rgb: np.ndarray
    weight: np.ndarray | None = None


def read_mask(source: Source, size: tuple[int, int], *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The hole that a mask shows: white, that is luma of at least half (128 of 255), is to be filled.

    Args:
        source: as for `read`, or an array of bool (True = fill). An alpha channel decides nothing.
        size: (height, width) of the image that the mask belongs to.

    Returns:
        (H, W) bool, True = missing.

    Raises:
        MaskError: the mask has another size than the image, 8-bit values in 16 bits, 0 and 1 in 8, something
            painted but nothing white, under an alpha channel that differs colours of one kind, white that is all
            transparent (what is to be filled seems to be in that), or greys as in a photograph.
        FileNotFoundError, ImageError: as for `read`.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.bool_:
        hole = np.array(source)
        hole = hole[..., 0] if hole.ndim == 3 and hole.shape[2] == 1 else hole
        if hole.ndim != 2:
            raise MaskError(f"expected a mask of bool (H, W), got shape {source.shape}")
    else:
        hole = hole_of(read(source, max_pixels=max_pixels))
    if hole.shape != tuple(size):
        known = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
        name = f": {os.fspath(known)}" if isinstance(known, str | os.PathLike) else ""
        raise MaskError(
            f"expected a mask of the image's size, {size[1]} x {size[0]}, "
            f"got one of {hole.shape[1]} x {hole.shape[0]}{name}"
        )
    return hole


def hole_of(photo: Photo) -> np.ndarray:
    """As `read_mask`, of a mask that was read and has no image beside it."""
    luma = _luma(photo)
    _check_range(photo, luma)
    hole: np.ndarray = luma >= (128 if photo.depth == 8 else 32768)
    alpha = _alpha(photo)
    if alpha is not None and alpha.min() != alpha.max():
        if hole.all() or not hole.any():
            raise MaskError(
                "expected a mask of white on black, got one whose transparency alone differs: flatten it"
            )
        if not alpha[hole].any():  # strokes of another colour, on a layer that is transparent white
            raise MaskError(
                "expected a mask of white on black, got one whose white is all transparent: flatten it"
            )
    if not hole.any():
        _check_dark(photo, luma)
    _check_greys(photo, luma)
    return hole


def _check_range(photo: Photo, luma: np.ndarray) -> None:
    """Refuses a mask that seems to have been meant in another range: 8 bits of 16, 1 of 8."""
    pixels = photo.pixels
    if photo.depth == 16 and 0 < (most := int(pixels.max())) <= 255:
        raise MaskError(
            f"expected a 16-bit mask with white at 65535, got none above {most}: as if it had 8 bits"
        )
    if photo.depth == 8 and photo.mode == "L" and int(pixels.max()) == 1:
        raise MaskError("expected a mask with white at 255, got one of 0 and 1 alone")


def _luma(photo: Photo) -> np.ndarray:
    """(H, W), in the photo's own depth."""
    pixels = photo.pixels
    if photo.palette is not None:
        return np.asarray(np.rint(photo.palette[:, :3] @ LUMA).astype(np.uint8)[pixels[..., 0]])
    if pixels.shape[2] < 3:
        return np.asarray(pixels[..., 0])
    code = cv2.COLOR_RGB2GRAY if pixels.shape[2] == 3 else cv2.COLOR_RGBA2GRAY
    return np.asarray(cv2.cvtColor(pixels, code))


def _check_dark(photo: Photo, luma: np.ndarray) -> None:
    """Refuses a mask in which something is painted but nothing white: a red one, one of labels."""
    if photo.palette is not None and luma.min() == luma.max() and photo.pixels.min() != photo.pixels.max():
        raise MaskError(
            "expected a mask with white (128 to 255), got a palette without colours for its labels"
        )
    least, most = (int(value) >> (photo.depth - 8) for value in (luma.min(), luma.max()))
    if most > max(least, 0 if photo.lossless else NOISE):
        raise MaskError(f"expected a mask with white (128 to 255), got none brighter than {most}")


def _check_greys(photo: Photo, luma: np.ndarray) -> None:
    """Refuses what is spread over many greys: arguments that were swapped, a photograph with its hole erased."""
    counts = cv2.calcHist([luma], [0], None, [16], [0, 1 << photo.depth]).ravel() / luma.size
    greys = counts[2:-2].sum()
    if greys > 0.5 and np.sort(counts)[-2:].sum() < 0.8:  # a mask of two greys is one
        raise MaskError(
            f"expected a mask of white on black, got a picture that is neither in {greys:.0%} of its pixels"
        )


def _alpha(photo: Photo) -> np.ndarray | None:
    """(H, W), or None where there is none."""
    if photo.palette is not None:
        return photo.palette[:, 3][photo.pixels[..., 0]] if photo.has_alpha else None
    return photo.pixels[..., -1] if photo.pixels.shape[2] in (2, 4) else None


def rgb(photo: Photo, rows: slice, cols: slice) -> np.ndarray:
    """One crop as (h, w, 3) float32 RGB in [0, 1]: grey replicated, palette looked up, alpha left out.

    Args:
        rows, cols: slices without a step, within the photo.
    """
    crop = photo.pixels[rows, cols]
    if photo.palette is not None:
        crop = photo.palette[crop[..., 0], :3]
    elif crop.shape[2] < 3:
        crop = np.broadcast_to(crop[..., :1], (*crop.shape[:2], 3))
    top = np.float32(np.iinfo(crop.dtype).max)
    return np.asarray(np.divide(crop[..., :3], top, dtype=np.float32, order="C"))


def composite(photo: Photo, hole: np.ndarray, patches: Iterable[Patch]) -> Photo:
    """The photo with its hole filled: the one place where known and completed pixels meet.

    Pixels outside the hole are bit-exact copies, even where a patch covers them; alpha is kept everywhere.
    A later patch goes over an earlier one, by its weight. Grey takes the luma (Rec. 601), 1 bit the nearer
    of black and white, a palette its nearest opaque colour; values round to the nearest, halves to even.

    Args:
        hole: (H, W) bool, True = missing.
        patches: see `Patch`; taken one at a time.

    Raises:
        MaskError: the hole is not bool of the photo's size.
        ImageError: a patch does not fit its rectangle, or is not finite.
    """
    if hole.shape != photo.size or hole.dtype != np.bool_:
        raise MaskError(f"expected a hole of bool {photo.size}, got {hole.dtype} {hole.shape}")
    pixels = photo.pixels.copy()
    for patch in patches:
        inside = hole[patch.rows, patch.cols]
        if patch.rgb.shape != (*inside.shape, 3):
            raise ImageError(f"expected a patch of shape {(*inside.shape, 3)}, got {patch.rgb.shape}")
        if patch.weight is not None and patch.weight.shape != inside.shape:
            raise ImageError(f"expected a weight of shape {inside.shape}, got {patch.weight.shape}")
        colour = patch.rgb[inside].astype(np.float32, copy=False)
        weight = None
        if patch.weight is not None:
            weight = patch.weight[inside].astype(np.float32, copy=False)[:, None]
        if not np.isfinite(colour).all() or not (weight is None or np.isfinite(weight).all()):
            raise ImageError("expected completed pixels and weights to be finite, got some that are not")
        target = pixels[patch.rows, patch.cols]
        target[inside] = _mixed(photo, target[inside], colour, weight)
    pixels.flags.writeable = False
    return replace(photo, pixels=pixels)


def _mixed(photo: Photo, stored: np.ndarray, colour: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """(n, C) stored pixels with (n, 3) colours laid over them by (n, 1) weights."""
    top = np.float32(np.iinfo(stored.dtype).max)
    grey = photo.palette is None and stored.shape[1] < 3
    value = np.clip(colour, 0, 1)
    value = (value @ LUMA)[:, None] if grey else value
    if weight is not None:
        under = stored[:, :1] if grey else stored[:, :3]
        under = under if photo.palette is None else photo.palette[stored[:, 0], :3]
        value = weight * value + (1 - weight) * (under / top)
    if photo.mode == "1":
        value = np.rint(value)
    mixed = stored.copy()
    if photo.palette is None:
        mixed[:, : value.shape[1]] = np.clip(np.rint(value * top), 0, top)
    else:
        mixed[:, 0] = _nearest(photo.palette, value)
    # Where nothing is laid over it, a pixel stays what it is: a palette may hold one colour twice.
    return mixed if weight is None else np.where(weight > 0, mixed, stored)


def _nearest(palette: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(n,) uint8: the index of the nearest opaque palette colour to each of (n, 3) in [0, 1]."""
    opaque = np.flatnonzero(palette[:, 3] == 255)
    usable = opaque if len(opaque) else np.arange(len(palette))
    known = palette[usable, :3].astype(np.float32) / 255
    chosen = np.empty(len(colour), np.uint8)
    for start in range(0, len(colour), 4096):  # (4096, N) distances at a time
        part = colour[start : start + 4096]
        # |part - known|^2 without |part|^2, which is the same for all known colours.
        distance = (known * known).sum(axis=1) - 2 * part @ known.T
        chosen[start : start + 4096] = usable[distance.argmin(axis=1)]
    return chosen
