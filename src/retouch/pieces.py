"""Holes laid down piece by piece: brush strokes, boxes, lines of text, scratches, lost transmission blocks.

A *piece* is one shape in its own crop. A stream of pieces is endless; ``grow`` takes from it until a wanted
number of pixels is missing and cuts the last piece short along its own course: a stroke ends early, a box is
smaller, a line of text breaks off. No pixel is ever sprinkled in or out. Every length scales with the
picture's shorter side (the numbers below are for 256 px), except the grid of ``blocks``: it is the codecs'.

Source: the brush follows the free-form masks of Yu et al., "Free-Form Image Inpainting with Gated
Convolution", ICCV 2019, supplement. The other streams are drawn after what they are named for.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Hole = NDArray[np.bool_]
Order = NDArray[np.float32]
Point = tuple[int, int]  # (x, y), as OpenCV has it

# After so many pieces what is still lacking comes from swelling the hole, so that any share can be met.
_MOST_PIECES = 4000


class Piece(NamedTuple):
    """One shape of a hole: where its crop lies, the crop, and the order in which its pixels are drawn."""

    top: int
    left: int
    shape: Bytes  # (h, w), 1 = missing
    order: Callable[
        [], Order
    ]  # (h, w): small is drawn first; asked for only when the piece must be cut short


class Count(NamedTuple):
    """Pixels to lose: any number from least to most will do, wanted is the aim."""

    least: int
    wanted: int
    most: int


def grow(height: int, width: int, count: Count, pieces: Iterator[Piece]) -> Hole:
    """Lay pieces down until count.wanted pixels are missing; the piece that would pass it is cut short.

    Args:
        height, width: of the hole, in pixels.
        count: 1 <= least <= wanted <= most < height * width.
        pieces: as many as it takes; their crops lie inside the hole.

    Returns:
        (height, width) bool, True = missing, with count.least to count.most pixels True.
    """
    hole = np.zeros((height, width), np.uint8)
    covered = 0
    for top, left, shape, order in chain(islice(pieces, _MOST_PIECES), _swelling(hole)):
        window = hole[top : top + shape.shape[0], left : left + shape.shape[1]]
        new = cv2.subtract(shape, window)  # saturating: 1 where missing now and not before
        fresh = cv2.countNonZero(new)
        if covered + fresh >= count.wanted:
            need = Count(*(number - covered for number in count))
            window |= _first(np.asarray(new).view(np.bool_), order(), need)
            break
        window |= np.asarray(new)
        covered += fresh
    return hole.view(np.bool_)


def _first(new: Hole, order: Order, need: Count) -> Hole:
    """The first pixels of a piece in its order: need.wanted of them, or a near number where the order steps.

    Pixels of equal order stay together if the bin allows: a box keeps whole rows and a run whole blocks.
    """
    inside = np.sort(order[new])
    edge = inside[need.wanted - 1]
    if np.searchsorted(inside, edge, "right") <= need.most:
        return np.asarray(new & (order <= edge))
    before = int(np.searchsorted(inside, edge, "left"))
    part = np.asarray(new & (order < edge))
    if before < need.least:
        ties = np.flatnonzero(new & (order == edge))[: need.wanted - before]
        part.reshape(-1)[ties] = True
    return part


def _swelling(hole: Bytes) -> Iterator[Piece]:
    """Everything still known, nearest to the hole first: thickens what a stream left too thin."""
    known = np.bitwise_xor(hole, np.uint8(1))
    yield Piece(0, 0, known, lambda: _order(cv2.distanceTransform(known, cv2.DIST_L2, cv2.DIST_MASK_5)))


def _order(values: Any) -> Order:
    return np.asarray(values, np.float32)


def _from_point(height: int, width: int, y: float, x: float) -> Order:
    """Squared distance of every pixel of a crop from (y, x)."""
    down = np.arange(height, dtype=np.float32)[:, None] - np.float32(y)
    across = np.arange(width, dtype=np.float32) - np.float32(x)
    return _order(down * down + across * across)


def _from_corner(height: int, width: int) -> Order:
    """Smaller boxes of the same aspect first, all from the top left corner."""
    down = np.arange(1, height + 1, dtype=np.float32)[:, None] / np.float32(height)
    across = np.arange(1, width + 1, dtype=np.float32) / np.float32(width)
    return _order(np.maximum(down, across))


# --- strokes --------------------------------------------------------------------------------------


def _line(height: int, width: int, points: list[Point], brushes: list[int]) -> Piece | None:
    """A polyline with a brush (px) for each segment, drawn from its first point outwards.

    None where all of it is outside the picture.
    """
    reach = max(brushes) // 2 + 2
    xs, ys = [x for x, _ in points], [y for _, y in points]
    left, right = max(min(xs) - reach, 0), min(max(xs) + reach + 1, width)
    top, bottom = max(min(ys) - reach, 0), min(max(ys) + reach + 1, height)
    if left >= right or top >= bottom:
        return None
    shape = np.zeros((bottom - top, right - left), np.uint8)
    moved = [(x - left, y - top) for x, y in points]
    for (start, end), brush in zip(pairwise(moved), brushes, strict=True):
        cv2.line(shape, start, end, 1, brush)
    return Piece(top, left, shape, partial(_from_point, *shape.shape, *reversed(moved[0])))


def strokes(height: int, width: int, ratio: float, rng: np.random.Generator) -> Iterator[Piece]:
    """A broad brush in zigzags: 4 to 12 segments, 12 to 40 px wide, every other one turned back."""
    scale = min(height, width) / 256
    mean_length = math.hypot(height, width) / 8
    while True:
        bends = int(rng.integers(4, 13))
        brush = max(round(rng.uniform(12.0, 40.0) * scale), 1)
        turn = rng.uniform(0.0, 2 * math.pi)  # the whole stroke, any way round
        slants = 2 * math.pi / 5 + rng.uniform(-2 * math.pi / 15, 2 * math.pi / 15, bends)
        slants[1::2] *= -1.0
        # Python's own numbers from here on: a third of the time of NumPy's scalars.
        angles: list[float] = (turn + slants).tolist()
        lengths: list[float] = rng.normal(mean_length, mean_length / 2, bends).tolist()
        x, y = int(rng.integers(width)), int(rng.integers(height))
        for angle, length in zip(angles, lengths, strict=True):
            length = min(max(length, 0.0), 2 * mean_length)
            to_x = min(max(round(x + length * math.cos(angle)), 0), width - 1)
            to_y = min(max(round(y + length * math.sin(angle)), 0), height - 1)
            piece = _line(height, width, [(x, y), (to_x, to_y)], [brush])
            if piece is not None:
                yield piece
            x, y = to_x, to_y


# --- boxes ----------------------------------------------------------------------------------------


def boxes(height: int, width: int, ratio: float, rng: np.random.Generator) -> Iterator[Piece]:
    """Rectangles of 1/8 to 1/2 of the picture's sides, anywhere, overlapping as it comes."""
    while True:
        tall = max(round(height * rng.uniform(0.125, 0.5)), 1)
        wide = max(round(width * rng.uniform(0.125, 0.5)), 1)
        top = int(rng.integers(height - tall + 1))
        left = int(rng.integers(width - wide + 1))
        yield Piece(top, left, np.ones((tall, wide), np.uint8), partial(_from_corner, tall, wide))


# --- text -----------------------------------------------------------------------------------------

# OpenCV 5 draws each of these with a weight or slant of the one scalable font inside it: no file to find.
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)
# Letters about as often as English has them, so that lines have the texture of writing.
_LETTERS = "eeeeeeeetttttaaaaaooooiiiinnnnsssshhhrrrdddllluccmmwffggyyppbbvkjxqz"


def _words(rng: np.random.Generator, length: float) -> str:
    """A line of made-up words, a capital here and there, of about so many characters."""
    line = ""
    while len(line) < max(length, 1.0):
        word = "".join(_LETTERS[i] for i in rng.integers(len(_LETTERS), size=int(rng.integers(2, 10))))
        line += (word.capitalize() if rng.random() < 0.25 else word) + " "
    return line.rstrip()


def text(height: int, width: int, ratio: float, rng: np.random.Generator) -> Iterator[Piece]:
    """Pages of writing, two in three of them level: paragraphs under one another, letters of 12 to 34 px.

    A page starts at any height and goes on at the top when it reaches the bottom; the next is written over
    it. Letters are larger where much must go.
    """
    side = min(height, width)
    tilts = max(height, width) < 3 * side  # a tilted page is mostly beside a narrow strip
    while True:
        angle = math.radians(rng.uniform(-35.0, 35.0)) if tilts and rng.random() < 1 / 3 else 0.0
        cos, sin = math.cos(angle), math.sin(angle)
        across, down = (width, height) if angle == 0.0 else (math.hypot(height, width),) * 2
        column = min(across, 4.0 * side)
        margin = rng.uniform(0.0, across - column)
        begin, written = rng.uniform(0.0, down), 0.0
        while written < down:
            pixels = max(side / 256 * rng.uniform(12.0, 34.0) * (0.8 + ratio), 7.0)
            font = _FONTS[int(rng.integers(len(_FONTS)))]
            spacing = pixels * rng.uniform(1.1, 1.6)
            indent = rng.uniform(0.0, 0.3) * column
            for _ in range(int(rng.integers(1, 6))):
                line = _words(rng, (column - indent) * rng.uniform(0.4, 1.0) / (0.5 * pixels))
                u, v = margin + indent - across / 2, (begin + written) % down - down / 2
                x, y = width / 2 + u * cos - v * sin, height / 2 + u * sin + v * cos
                piece = _written(height, width, line, font, pixels, angle, x, y)
                if piece is not None:
                    yield piece
                written += spacing
            written += spacing


def _written(
    height: int, width: int, line: str, font: int, pixels: float, angle: float, x: float, y: float
) -> Piece | None:
    """A line of text from (x, y) on its baseline, falling by an angle (radians); None outside the picture."""
    size = pixels / 30.0  # the font's lines are about 30 px high at scale 1
    (wide, tall), under = cv2.getTextSize(line, font, size, 1)
    base, box_w, box_h = tall + 2, wide + 4, tall + under + 4
    level = np.zeros((box_h, box_w), np.uint8)
    cv2.putText(level, line, (2, base), font, size, 255, 1, cv2.LINE_8)
    cos, sin = math.cos(angle), math.sin(angle)
    # Corners of the line's box in the picture: what of the picture it touches.
    corners = [(x + cos * u - sin * v, y + sin * u + cos * v) for u in (0, box_w) for v in (-base, under + 2)]
    left, right = max(math.floor(min(c[0] for c in corners)), 0), math.ceil(max(c[0] for c in corners)) + 1
    top, bottom = max(math.floor(min(c[1] for c in corners)), 0), math.ceil(max(c[1] for c in corners)) + 1
    right, bottom = min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        return None
    # From the line's box to the crop: the start of the baseline, (0, base), goes to (x - left, y - top).
    place = np.array([[cos, -sin, x - left + sin * base], [sin, cos, y - top - cos * base]])
    turned = cv2.warpAffine(level, place, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    shape = np.asarray(turned >= 128).view(np.uint8)
    return Piece(top, left, shape, partial(_along, bottom - top, right - left, cos, sin))


def _along(height: int, width: int, cos: float, sin: float) -> Order:
    """Position along the direction (cos, sin): written text comes first."""
    across = np.arange(width, dtype=np.float32) * np.float32(cos)
    down = np.arange(height, dtype=np.float32)[:, None] * np.float32(sin)
    return _order(across + down)


# --- scratches ------------------------------------------------------------------------------------


def scratches(height: int, width: int, ratio: float, rng: np.random.Generator) -> Iterator[Piece]:
    """Long thin lines, slightly bent and broken, most along one direction; hairs and dust."""
    scale = min(height, width) / 256
    wear = scale * (1.0 + 5.0 * max(ratio - 0.05, 0.0))  # a worse print has wider scratches, not only more
    grain = rng.uniform(0.0, math.pi)
    while True:
        what = rng.random()
        if what < 0.5:
            angle = grain + rng.normal(0.0, 0.12) if rng.random() < 0.7 else rng.uniform(0.0, math.pi)
            length = max(height, width) * rng.uniform(0.3, 1.2)
            bend = length * rng.normal(0.0, 0.04)
            thick = (0.8 + rng.gamma(1.2, 0.7)) * wear
            yield from _scratch(height, width, angle, length, bend, thick, rng)
        elif what < 0.65:
            length = rng.uniform(10.0, 36.0) * scale
            bend = length * rng.uniform(-0.6, 0.6)
            thick = rng.uniform(0.6, 1.6) * wear
            yield from _scratch(
                height, width, rng.uniform(0.0, math.pi), length, bend, thick, rng, breaks=0.0
            )
        else:
            for _ in range(int(rng.integers(2, 12))):
                yield _speck(height, width, rng.gamma(2.0, 0.8) * wear, rng)


def _scratch(
    height: int,
    width: int,
    angle: float,
    length: float,
    bend: float,
    thickness: float,
    rng: np.random.Generator,
    breaks: float = 0.12,
) -> Iterator[Piece]:
    """A parabola through the picture, thinner to its ends, in the runs that its breaks leave (px)."""
    steps = 16
    along = np.linspace(-0.5, 0.5, steps + 1)
    aside = bend * (1.0 - 4.0 * along * along)
    x = rng.uniform(0.0, width) + length * along * math.cos(angle) - aside * math.sin(angle)
    y = rng.uniform(0.0, height) + length * along * math.sin(angle) + aside * math.cos(angle)
    points: list[Point] = list(
        zip(np.rint(x).astype(int).tolist(), np.rint(y).astype(int).tolist(), strict=True)
    )
    taper = thickness * (1.1 - 2.8 * (along[1:] + along[:-1]) ** 2 / 4)
    brushes: list[int] = np.maximum(np.rint(taper), 1).astype(int).tolist()
    broken = np.flatnonzero(rng.random(steps) < breaks).tolist()
    for before, after in pairwise([-1, *broken, steps]):
        if after - before > 1:
            piece = _line(height, width, points[before + 1 : after + 1], brushes[before + 1 : after])
            if piece is not None:
                yield piece


def _speck(height: int, width: int, radius: float, rng: np.random.Generator) -> Piece:
    """A grain of dust: a small ellipse, any way round."""
    x, y = int(rng.integers(width)), int(rng.integers(height))
    reach = math.ceil(radius) + 1
    left, right = max(x - reach, 0), min(x + reach + 1, width)
    top, bottom = max(y - reach, 0), min(y + reach + 1, height)
    shape = np.zeros((bottom - top, right - left), np.uint8)
    axes = (round(radius), round(radius * rng.uniform(0.3, 1.0)))
    cv2.ellipse(shape, (x - left, y - top), axes, rng.uniform(0.0, 180.0), 0.0, 360.0, 1, cv2.FILLED)
    return Piece(top, left, shape, partial(_from_point, *shape.shape, y - top, x - left))


# --- blocks ---------------------------------------------------------------------------------------


def blocks(height: int, width: int, ratio: float, rng: np.random.Generator) -> Iterator[Piece]:
    """Blocks of 8 or 16 px lost in transmission: one alone, or a run of a row, as a lost packet leaves it."""
    grid = 16 if min(height, width) >= 128 and rng.random() < 0.5 else 8
    rows, columns = -(-height // grid), -(-width // grid)
    while True:
        top = int(rng.integers(rows)) * grid
        first = int(rng.integers(columns))
        run = 1 + int(rng.exponential(columns / 8)) if rng.random() < 0.7 else 1
        left, right = first * grid, min((first + run) * grid, width)
        shape = np.ones((min(top + grid, height) - top, right - left), np.uint8)
        yield Piece(top, left, shape, partial(_blockwise, *shape.shape, grid))


def _blockwise(height: int, width: int, grid: int) -> Order:
    """Whole blocks from the left; a block that must be cut loses its rows from the top."""
    return np.broadcast_to(_order(np.arange(width) // grid), (height, width))
