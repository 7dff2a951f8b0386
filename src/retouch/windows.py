"""Which crops of a photograph to complete, and in which order: pure geometry, no pixels.

The hole is looked at through a grid of 8 x 8 px cells, so that all that comes after one cheap pass over the
mask costs as much as there is hole, not as much as there is photograph:

1. a hole deeper than a window can bracket is halved until it fits (*levels*: level ``k`` is the photograph
   shrunk by ``2 ** k``); every finer level then repeats only a *band* along the hole's border;
2. per level the occupied cells are cut, guillotine-fashion, into disjoint *cores*, each the part of the hole
   that one window completes; a cut is kept only where it makes fewer pixels to predict;
3. windows that can see one another's core get different *stages*: a later stage sees what an earlier one
   completed as known, hence two near holes neither overwrite one another nor meet in a seam.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from retouch.boxes import Box, Limits, Window, meet
from retouch.errors import MaskError

Bools = npt.NDArray[np.bool_]

CELL = 8  # px: eight booleans are one 64-bit word, which makes the pass over the mask cheap
MARGIN = 1 / 6  # share of its side that a window shows on each side of its core, where the picture goes on
BRACKET = 1 - 2 * MARGIN  # and so the share that a core may take where it meets no border: 170 px in 256


def plan(hole: Bools, limits: Limits) -> tuple[Window, ...]:
    """The windows that complete a hole, in the order in which to predict them: coarse levels first.

    At level 0 every missing pixel lies in exactly one core or, deeper than ``band(limits)`` inside the hole,
    may be left to the next coarser level; and so on to the coarsest, where each that is needed has its core.

    Args:
        hole: (H, W) bool, True = missing.
        limits: what the predictor accepts.

    Raises:
        MaskError: when ``hole`` is not (H, W) bool.
    """
    if hole.ndim != 2 or hole.dtype != np.bool_:
        raise MaskError(f"expected a hole of shape (H, W) and dtype bool, got {hole.shape} and {hole.dtype}")
    size, touched = (hole.shape[0], hole.shape[1]), _cells(hole, whole=False)
    if not touched.any():
        return ()
    if not _too_deep(hole, size, limits):
        return tuple(_stages(0, list(_cover(touched, hole, (0, 0), size, limits))))

    crop = _aligned(_bounds(touched), size, limits)
    masks = [hole[crop.rows, crop.cols]]
    while _too_deep(masks[-1], level_size(size, len(masks) - 1), limits):
        masks.append(shrink(masks[-1]))
    windows: list[Window] = []
    for level in reversed(range(len(masks))):
        mask, cells = masks[level], _cells(masks[level], whole=False)
        depth = _distance(_cells(mask, whole=True))
        if level > 0:  # what fits in the band of the next finer level needs no coarse result
            cells &= _deepest(cells, depth) >= band(limits) / 2 - 2 * CELL
        if level < len(masks) - 1:  # the deep interior comes from the next coarser level
            cells &= depth <= band(limits) + CELL
        corner = crop.top >> level, crop.left >> level
        windows += _stages(level, list(_cover(cells, mask, corner, level_size(size, level), limits)))
    return tuple(windows)


def band(limits: Limits) -> int:
    """Width in px of the strip along a deep hole's border that each finer level predicts again.

    It equals what a native window shows around the largest core it takes, so that a window sees all known
    pixels that decide whether a pixel of its core belongs to the strip.
    """
    return int(MARGIN * limits.native)


def shrink(hole: Bools) -> Bools:
    """Halve a hole, (H, W) bool: a pixel stays missing only if all (up to) four below it are missing.

    So no known pixel is ever lost, however far the picture is shrunk.
    """
    height, width = hole.shape
    rows = hole[0::2].copy()
    rows[: height // 2] &= hole[1::2]
    halved = rows[:, 0::2].copy()
    halved[:, : width // 2] &= rows[:, 1::2]
    return halved


def level_size(size: tuple[int, int], level: int) -> tuple[int, int]:
    """Height and width of the photograph shrunk by ``2 ** level``, rounded up."""
    return -(-size[0] >> level), -(-size[1] >> level)


def _cells(mask: Bools, *, whole: bool) -> Bools:
    """One boolean per 8 x 8 cell (cut off at the ends): is any pixel missing, or (``whole``) are all."""
    join = np.bitwise_and if whole else np.bitwise_or
    width = mask.shape[1] // CELL * CELL
    words = (mask[:, :width] if mask.strides[1] == 1 else mask[:, :width].copy()).view(np.uint64)
    joined = _by_eights(words, join)
    cells: Bools = joined == np.frombuffer(b"\1" * CELL, np.uint64) if whole else joined != 0
    if width < mask.shape[1]:
        cells = np.hstack([cells, _by_eights(join.reduce(mask[:, width:], axis=1, keepdims=True), join)])
    return cells


def _by_eights(grid: npt.NDArray[Any], join: np.ufunc) -> npt.NDArray[Any]:
    """Join every eight rows, and those that are left at the end."""
    full, rest = divmod(len(grid), CELL)
    rows = join.reduce(grid[: full * CELL].reshape(full, CELL, grid.shape[1]), axis=1)
    return np.vstack([rows, join.reduce(grid[full * CELL :], axis=0)]) if rest else rows


def _distance(missing: Bools) -> npt.NDArray[np.float32]:
    """Distance in px from the middle of each missing cell to the next known one; beyond the ends are none."""
    distance = cv2.distanceTransform(missing.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    distance = np.minimum(distance, sum(missing.shape))  # where all are missing it is the greatest float
    return distance.astype(np.float32) * np.float32(CELL) - np.float32(CELL / 2)


def _deepest(cells: Bools, depth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Per cell, the greatest depth in the connected hole that it belongs to."""
    count, found = cv2.connectedComponents(cells.view(np.uint8), connectivity=8)
    labels, greatest = np.asarray(found, np.int32), np.zeros(count, np.float32)
    np.maximum.at(greatest, labels, depth)
    return np.take(greatest, labels)


def _too_deep(mask: Bools, size: tuple[int, int], limits: Limits) -> bool:
    """Whether windows cannot bracket the hole: the picture is too large for one, the hole too thick or far.

    Thick: more than half of what a window brackets to the next known pixel or the picture's border. Far:
    more than a window to the next known pixel, so that some window would have nothing to go by.
    """
    if max(size) <= limits.largest // limits.multiple * limits.multiple:
        return False
    whole = _cells(mask, whole=True)
    thick = _distance(np.pad(whole, 1)).max() > BRACKET / 2 * limits.largest
    return bool(thick or _distance(whole).max() > limits.largest)


def _bounds(grid: Bools) -> Box:
    """The smallest box that holds all that is set; at least one must be."""
    rows = np.flatnonzero(grid.any(axis=1))
    cols = np.flatnonzero(grid[rows[0] : rows[-1] + 1].any(axis=0))
    return Box(int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)


def _aligned(cells: Box, size: tuple[int, int], limits: Limits) -> Box:
    """The cells' box in px with a known border, its corner on a pixel of every level that may be needed."""
    step = max(CELL, 1 << (max(size) // limits.native).bit_length())
    top, left = ((start * CELL - 1) // step * step for start in cells[:2])
    bottom, right = (-(-(end * CELL + 1) // step) * step for end in cells[2:])
    return Box(top, left, bottom, right).common(Box(0, 0, *size))


def _side(low: int, high: int, length: int, limits: Limits) -> int:
    """Side of a window for a core from ``low`` to ``high`` of an axis; 0 where none has the margins for it."""
    unit = limits.multiple
    step = unit * max(1, limits.native // 8 // unit)  # coarse: so there are few shapes, and windows batch
    sides: list[int] = [*range(limits.smallest, limits.native, step), limits.native]
    for side in sides:
        if side >= length or _fits(low, high, limits, side, length):
            return side
    step = unit * max(1, limits.native // 4 // unit)
    side = min(limits.largest // unit * unit, -(-length // unit) * unit, -(-2 * (high - low) // step) * step)
    return side if side >= length or _fits(low, high, limits, side, length) else 0


def _fits(low: int, high: int, limits: Limits, side: int, length: int) -> bool:
    """Whether a window shows the margin on both sides of a core, or the picture up to its border.

    A small window has a native one's margin: how far a network has to look does not shrink with the hole.
    """
    margin = int(MARGIN * max(side, limits.native))
    return min(length, high + margin) - max(0, low - margin) <= side


def _place(low: int, high: int, side: int, length: int) -> tuple[int, int]:
    """Where a window has ``low`` to ``high`` in its middle, or as near to it as the picture allows."""
    if side >= length:
        return 0, length
    start = min(max((low + high - side) // 2, 0), length - side)
    return start, start + side


def _cover(
    cells: Bools, mask: Bools, corner: tuple[int, int], size: tuple[int, int], limits: Limits
) -> Iterator[tuple[Box, Box, tuple[int, int]]]:
    """Cut the cells of a level that are to be completed into cores; gives (source, core, shape).

    ``mask`` is the hole in the part of the level's picture, of height and width ``size``, that begins at
    ``corner``, top and left; ``cells`` has one boolean per cell of it.
    """
    for core in _cut(cells, mask, _bounds(cells), corner, size, limits)[1] if cells.any() else []:
        core = core.shifted(*corner)
        height, width = _sides(core, size, limits)
        top, bottom = _place(core.top, core.bottom, height, size[0])
        left, right = _place(core.left, core.right, width, size[1])
        yield Box(top, left, bottom, right), core, (height, width)


def _sides(core: Box, size: tuple[int, int], limits: Limits) -> tuple[int, int]:
    """Height and width of the window for a core of a picture of this size; 0 where none brackets it."""
    height = _side(core.top, core.bottom, size[0], limits)
    return height, _side(core.left, core.right, size[1], limits)


def _cut(
    cells: Bools, mask: Bools, box: Box, corner: tuple[int, int], size: tuple[int, int], limits: Limits
) -> tuple[float, list[Box]]:
    """The cheaper of one window for a tight box of cells, and the best for both halves of it.

    Returns:
        the pixels to predict, and the cores in px of ``mask``.
    """
    unit, alone, core = limits.native**2, float("inf"), box
    if max(box.height, box.width) * CELL <= limits.largest + 2 * CELL:
        near = Box(*(edge * CELL for edge in box))
        core = _bounds(mask[near.rows, near.cols]).shifted(near.top, near.left)
        height, width = _sides(core.shifted(*corner), size, limits)
        alone = float(height * width) if height and width else alone
    occupied = cells[box.rows, box.cols]
    # What fits into one native window is cut only where two smaller ones may well be cheaper.
    if alone <= limits.smallest**2 or (alone <= unit and not _wide(_widest(occupied)[0], limits)):
        return alone, [core]

    cut = _where(occupied, _spare(box, corner, size, limits), limits)
    if cut.at_row:
        halves = (
            Box(box.top, box.left, box.top + cut.before, box.right),
            Box(box.top + cut.before, *box[1:]),
        )
    else:
        halves = (Box(*box[:3], box.left + cut.before), Box(box.top, box.left + cut.before, *box[2:]))
    # Through the hole itself only where it saves much, since two predictions then have to meet.
    total, cores = 0.0 if cut.in_gap else unit / 2, list[Box]()
    for half in halves:
        tight = _bounds(cells[half.rows, half.cols]).shifted(half.top, half.left)
        cost, parts_of_half = _cut(cells, mask, tight, corner, size, limits)
        total, cores = total + cost, cores + parts_of_half
    return (alone, [core]) if alone <= total else (total, cores)


def _spare(
    box: Box, corner: tuple[int, int], size: tuple[int, int], limits: Limits
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Cells that a window can take beyond its bracket: left and right, top and bottom; some only at a border."""
    margin = int(MARGIN * limits.native) // CELL
    top, left, bottom, right = (edge * CELL + corner[i % 2] for i, edge in enumerate(box))
    columns = margin * (left <= 0), margin * (right >= size[1])
    return columns, (margin * (top <= 0), margin * (bottom >= size[0]))


class _Cut(NamedTuple):
    """Where a box of cells is cut: before this row, or column, which is in an empty gap or not."""

    at_row: bool
    before: int
    in_gap: bool


def _where(occupied: Bools, spare: tuple[tuple[int, int], tuple[int, int]], limits: Limits) -> _Cut:
    """Where to cut a tight box of cells.

    At the widest gap that reaches into the middle half (others are left to later cuts: so both parts shrink,
    and the recursion stays shallow), if it is wide; else so that full windows fit on both sides, more or
    less, at an empty line where one is near. ``spare`` is how many cells more a window takes at either end of
    the rows, and of the columns: those of the margin where that end is the picture's border.
    """
    width, at, row = _widest(occupied)
    if _wide(width, limits):
        return _Cut(bool(row), at, in_gap=True)
    most = _most(limits)
    lines = np.any(occupied, axis=0), np.any(occupied, axis=1)
    row = int(len(lines[1]) >= len(lines[0]))
    before, after = spare[row]
    inner = len(lines[row]) - before - after
    parts = max(2, -(-inner // most))
    at = min(max(1, before + inner * (parts // 2) // parts), len(lines[row]) - 1)
    empty = np.flatnonzero(~lines[row])
    near = empty[np.argmin(np.abs(empty - at))] if len(empty) else 0
    if near and abs(near - at) < most // 2:
        return _Cut(bool(row), int(near), in_gap=True)
    return _Cut(bool(row), at, in_gap=False)


def _most(limits: Limits) -> int:
    """Cells that a native window brackets."""
    return int(BRACKET * limits.native) // CELL


def _wide(gap: int, limits: Limits) -> bool:
    """Whether to cut at a gap of so many cells in any case: about two margins of a native window."""
    return 2 * gap >= _most(limits)


def _widest(occupied: Bools) -> tuple[int, int, int]:
    """Of the gaps that reach into the middle half, the widest: its cells, its start, and 1 for rows, 0 for columns."""
    lines = np.any(occupied, axis=0), np.any(occupied, axis=1)
    return max((*max(_gaps(line), default=(0, 0)), row) for row, line in enumerate(lines))


def _gaps(line: Bools) -> list[tuple[int, int]]:
    """Width and start of each empty run that reaches into the middle half; neither end is empty."""
    edges = np.flatnonzero(line[1:] != line[:-1]) + 1
    first, last = len(line) // 4, len(line) - len(line) // 4
    runs = zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(end - start, start) for start, end in runs if end > first and start < last]


def _stages(level: int, found: list[tuple[Box, Box, tuple[int, int]]]) -> list[Window]:
    """Give each window the first stage in which no other window sees its core, nor it theirs."""
    sources = np.array([source for source, _, _ in found], np.int64).reshape(-1, 4)
    cores = np.array([core for _, core, _ in found], np.int64).reshape(-1, 4)
    stages = np.zeros(len(found), np.int64)
    for i in range(1, len(found)):
        taken = stages[:i][meet(sources[i], cores[:i]) | meet(cores[i], sources[:i])]
        stages[i] = np.setdiff1d(np.arange(len(taken) + 1), taken)[0]
    windows = (Window(level, int(stage), *one) for stage, one in zip(stages, found, strict=True))
    return sorted(windows, key=lambda window: (window.stage, window.shape, window.core))
