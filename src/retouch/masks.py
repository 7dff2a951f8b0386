"""Seeded hole generators: what is missing from a photograph, in eight kinds, at a wanted share of it.

A hole is a bool array (H, W), True = missing. ``draw(kind, height, width, ratio=(lo, hi), seed=0)`` gives a
hole with ``lo <= hole.mean() <= hi``, both ends included, or raises; the same seed gives the same hole.

``center``, ``rectangle`` and ``border`` are rectangles (or what is outside one), whose two sides are chosen
in whole pixels so that the area falls inside the bin. The other kinds are laid down piece by piece until a
number of pixels drawn uniformly from the bin is missing (``pieces.py``).

Source of the bins of hole ratio: Liu et al., "Image Inpainting for Irregular Holes Using Partial
Convolutions", ECCV 2018.
"""

import difflib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retouch import pieces
from retouch.errors import MaskError, check_whole
from retouch.pieces import Count, Hole, Piece


def draw(
    kind: str,
    height: int,
    width: int,
    *,
    ratio: tuple[float, float] | None = None,
    seed: int | np.random.Generator,
) -> Hole:
    """Draw a hole.

    Args:
        kind: a key of ``KINDS``.
        height: of the picture, in pixels, at least 1.
        width: of the picture, in pixels, at least 1.
        ratio: (lo, hi) with 0 <= lo <= hi <= 1; the missing share of the picture lies in [lo, hi], both ends
            included. The hole is empty only for hi = 0 and full only for lo = 1. None takes the kind's own
            bin, as an aim: where the size allows no such share, the nearest that it does.
        seed: a whole number from 0 up, or a generator, which is advanced.

    Returns:
        (height, width) bool, True = missing.

    Raises:
        MaskError: an unknown kind, a size below 1 or not whole, a ratio that is not a bin, a negative seed, or a
            bin that no hole of this kind and size can meet (such as 10-12 % of 2 x 2 pixels).
    """
    entry = KINDS.get(kind)
    if entry is None:
        raise MaskError(_unknown(kind))
    check_whole(MaskError, 1, height=height, width=width)
    height, width = int(height), int(width)  # a product of NumPy's small integers would overflow
    if not isinstance(seed, np.random.Generator):
        check_whole(MaskError, 0, seed=seed)
    rng = np.random.default_rng(seed)
    bounds = entry.ratio if ratio is None else _bin(ratio)
    count = _count(height, width, bounds, rng, loose=ratio is None)
    if count.wanted in (0, height * width):
        return np.full((height, width), count.wanted > 0)
    hole = entry.draw(height, width, count, rng)
    if hole is None:
        raise MaskError(
            f"no {kind!r} mask of {width}x{height} pixels has a hole ratio in {bounds[0]:g}-{bounds[1]:g}: "
            "expected a wider bin or a larger picture"
        )
    return hole


def parse_ratio(text: str) -> tuple[float, float]:
    """Read a bin of hole ratios such as ``"0.1-0.2"``.

    Args:
        text: two shares of the picture in [0, 1], the smaller first, with a hyphen between.

    Returns:
        (lo, hi).

    Raises:
        MaskError: anything else.
    """
    parts = text.split("-")
    try:
        lo, hi = (float(part) for part in parts)
    except ValueError:
        raise MaskError(f"expected a ratio such as 0.1-0.2, got {text!r}") from None
    return _bin((lo, hi))


def to_image(hole: Hole) -> NDArray[np.uint8]:
    """A hole as a mask picture: (H, W) bool -> (H, W) uint8, 255 (white) = fill, 0 = keep."""
    return np.where(hole, np.uint8(255), np.uint8(0))


def _unknown(kind: str) -> str:
    near = difflib.get_close_matches(kind, KINDS, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"expected one of {', '.join(KINDS)}"
    return f"unknown mask kind {kind!r}: {hint}"


def _bin(ratio: Any) -> tuple[float, float]:
    try:
        lo, hi = (float(value) for value in ratio)
    except (TypeError, ValueError):
        raise MaskError(f"expected a ratio of two numbers (lo, hi), got {ratio!r}") from None
    if not 0.0 <= lo <= hi <= 1.0:  # also refuses NaN
        raise MaskError(f"expected a ratio with 0 <= lo <= hi <= 1, got {lo:g}-{hi:g}")
    return lo, hi


def _count(
    height: int, width: int, bounds: tuple[float, float], rng: np.random.Generator, *, loose: bool
) -> Count:
    """The numbers of missing pixels that the bin allows (loose: any but none and all), one drawn from it."""
    pixels = height * width
    wanted = round(rng.uniform(*bounds) * pixels)
    lo, hi = (0.0, 1.0) if loose else bounds
    least, most = math.ceil(lo * pixels), math.floor(hi * pixels)
    # The products above are rounded; the promise is about the quotient, as hole.mean() computes it.
    least += least / pixels < lo
    most -= most / pixels > hi
    if hi > 0.0:
        least = max(least, 1)
    if lo < 1.0:
        most = min(most, pixels - 1)
    if least > most:
        raise MaskError(
            f"no whole number of the {pixels} pixels of {width}x{height} is a share in {lo:g}-{hi:g} "
            "(neither empty nor full): expected a wider bin or a larger picture"
        )
    return Count(least, min(max(wanted, least), most), most)


# --- one rectangle --------------------------------------------------------------------------------


def _sides(
    height: int, width: int, least: int, wanted: int, most: int, aspect: float, shortest: int = 1
) -> tuple[int, int] | None:
    """Sides (h, w) of a rectangle with least <= h * w <= most, shortest <= h <= height and w <= width.

    Of all that fit, the one nearest to the wanted area and aspect (h / w), in the logarithms of both; None if
    there is none.
    """
    tall = np.arange(shortest, height + 1, dtype=np.int64)
    narrowest, widest = -(-least // tall), np.minimum(most // tall, width)
    fits = narrowest <= widest
    if not fits.any():
        return None
    wide = np.clip(np.rint(wanted / tall).astype(np.int64), narrowest, np.maximum(widest, narrowest))
    off_area, off_aspect = np.abs(np.log(tall * wide / wanted)), np.abs(np.log(tall / wide / aspect))
    best = int(np.argmin(np.where(fits, 4.0 * off_area + off_aspect, np.inf)))
    return int(tall[best]), int(wide[best])


def _center(height: int, width: int, count: Count, rng: np.random.Generator) -> Hole | None:
    """A rectangle of the picture's own aspect in its middle."""
    sides = _sides(height, width, *count, height / width)
    if sides is None:
        return None
    top, left = (height - sides[0]) // 2, (width - sides[1]) // 2
    return _rectangle_at(height, width, top, left, *sides)


def _rectangle(height: int, width: int, count: Count, rng: np.random.Generator) -> Hole | None:
    """A rectangle of any aspect between 1:2 and 2:1 (against the picture's), anywhere."""
    sides = _sides(height, width, *count, height / width * 2.0 ** rng.uniform(-1.0, 1.0))
    if sides is None:
        return None
    top = int(rng.integers(height - sides[0] + 1))
    left = int(rng.integers(width - sides[1] + 1))
    return _rectangle_at(height, width, top, left, *sides)


def _rectangle_at(height: int, width: int, top: int, left: int, tall: int, wide: int) -> Hole:
    hole = np.zeros((height, width), np.bool_)
    hole[top : top + tall, left : left + wide] = True
    return hole


# Which sides of the picture a border takes away: (top, bottom, left, right).
_FRAMES = (
    (True, True, True, True),
    (False, False, True, False),
    (False, False, False, True),
    (True, False, False, False),
    (False, True, False, False),
    (False, False, True, True),
    (True, True, False, False),
    (True, False, True, False),
    (False, True, False, True),
)


def _border(height: int, width: int, count: Count, rng: np.random.Generator) -> Hole | None:
    """Everything outside a rectangle: a frame around it, or one or two sides of the picture (outpainting)."""
    frame = _FRAMES[0] if rng.random() < 0.4 else _FRAMES[int(rng.integers(1, len(_FRAMES)))]
    pixels, aspect = height * width, height / width
    known = (pixels - count.most, pixels - count.wanted, pixels - count.least)
    sides = None
    for top, bottom, left, right in (frame, _FRAMES[0]):  # a frame where one side alone is too coarse a step
        if not (top or bottom):
            sides = _sides(height, width, *known, aspect, shortest=height)
        elif not (left or right):
            turned = _sides(width, height, *known, 1 / aspect, shortest=width)
            sides = turned and (turned[1], turned[0])
        else:
            sides = _sides(height, width, *known, aspect)
        if sides is not None:
            break
    if sides is None:
        return None
    spare_y, spare_x = height - sides[0], width - sides[1]
    y = spare_y // 2 if top == bottom else spare_y * top
    x = spare_x // 2 if left == right else spare_x * left
    return ~_rectangle_at(height, width, y, x, *sides)


# --- the kinds ------------------------------------------------------------------------------------

# None: no hole of this kind and size falls into the bin.
Drawing = Callable[[int, int, Count, np.random.Generator], Hole | None]
Stream = Callable[[int, int, float, np.random.Generator], Iterator[Piece]]


def _grown(stream: Stream) -> Drawing:
    """A drawing from a stream of pieces (height, width, wanted share, rng)."""

    def drawing(height: int, width: int, count: Count, rng: np.random.Generator) -> Hole:
        share = count.wanted / (height * width)
        return pieces.grow(height, width, count, stream(height, width, share, rng))

    return drawing


class Kind(NamedTuple):
    """How a kind is drawn, the bin of hole ratios that it takes by default, and a line for people."""

    draw: Drawing
    ratio: tuple[float, float]
    about: str


KINDS: dict[str, Kind] = {
    "center": Kind(_center, (0.25, 0.25), "a rectangle in the middle"),
    "rectangle": Kind(_rectangle, (0.05, 0.4), "a rectangle anywhere"),
    "strokes": Kind(_grown(pieces.strokes), (0.1, 0.4), "free-form strokes of a broad brush"),
    "boxes": Kind(_grown(pieces.boxes), (0.1, 0.4), "several rectangles"),
    "text": Kind(_grown(pieces.text), (0.03, 0.15), "lines of writing over the picture"),
    "scratches": Kind(_grown(pieces.scratches), (0.02, 0.1), "long thin scratches, hairs and dust"),
    "border": Kind(_border, (0.1, 0.4), "a frame, or one or two sides of the picture"),
    "blocks": Kind(_grown(pieces.blocks), (0.05, 0.25), "blocks of 8 or 16 px lost in transmission"),
}
