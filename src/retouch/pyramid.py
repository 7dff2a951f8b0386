"""The photograph at the sizes that completing it takes: as it is, and for a deep hole halved, quartered...

A level is read by the box: its known pixels, what has been completed so far, and under both the next coarser
level, enlarged. Nothing is held as floats but the box that was asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from retouch import image, windows
from retouch.boxes import Box, Window, meet
from retouch.image import Photo

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint16]

STRIP = 256  # rows that are shrunk at a time


@dataclass(frozen=True, slots=True)
class Fill:
    """What one window completed: ``values`` (n, 3) for the n pixels of ``where`` (h, w) inside ``core``.

    Kept as 16 bits: that loses nothing that a photo can hold, and takes half the memory of floats.
    """

    core: Box
    where: Bools
    values: Words

    def rgb(self) -> Floats:
        """(h, w, 3) float32 in [0, 1], 0 off ``where``."""
        rgb = np.zeros((*self.where.shape, 3), np.float32)
        rgb[self.where] = from_words(self.values)
        return rgb


@dataclass(slots=True)
class Level:
    """One size of the photograph with what has been completed of it so far.

    Args:
        area: the part of the level's picture that is held here.
        hole: missing pixels inside ``area``.
        base: reads a box as (h, w, 3) float32 RGB of its own; arbitrary in the hole.
        coarser: the next smaller size, where there is one.
    """

    area: Box
    hole: Bools
    base: Callable[[Box], Floats]
    coarser: "Level | None" = None
    fills: list[Fill] = field(default_factory=list)
    cores: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 4), np.int64))

    def settle(self, fills: Iterable[Fill]) -> None:
        """From now on these pixels count as known."""
        self.fills += fills
        self.cores = np.array([fill.core for fill in self.fills], np.int64)

    def missing(self, box: Box) -> Bools:
        """(h, w) the hole, completed or not."""
        inside = box.within(self.area)
        return self.hole[inside.rows, inside.cols]

    def open(self, box: Box) -> Bools:
        """(h, w) what is left of the hole: neither known nor completed at this level."""
        left = self.missing(box).copy()
        for fill, here, there in self._fills_in(box):
            left[here.rows, here.cols] &= ~fill.where[there.rows, there.cols]
        return left

    def settled(self, box: Box) -> Floats:
        """(h, w, 3) RGB of what is known or completed; 0 in the rest."""
        rgb = self.base(box)
        rgb[self.missing(box)] = 0
        for fill, here, there in self._fills_in(box):
            where = fill.where[there.rows, there.cols]
            rgb[here.rows, here.cols][where] = fill.rgb()[there.rows, there.cols][where]
        return rgb

    def finished(self, box: Box) -> tuple[Floats, Bools]:
        """(h, w, 3) RGB, from the coarser level where this is open; (h, w) is there anything at all."""
        rgb, left = self.settled(box), self.open(box)
        if self.coarser is None or not left.any():
            return rgb, ~left
        below, covered = self.below(box)
        return np.where(left[..., None], below, rgb), ~left | covered

    def _fills_in(self, box: Box) -> Iterator[tuple[Fill, Box, Box]]:
        """The fills that reach into a box, and what they share with it: counted in it, and in the core."""
        for index in np.flatnonzero(meet(np.array(box), self.cores)):
            fill = self.fills[index]
            both = box.common(fill.core)
            yield fill, both.within(box), both.within(fill.core)

    def below(self, box: Box) -> tuple[Floats, Bools]:
        """The coarser level, enlarged to this one's size: (h, w, 3) RGB; (h, w) is there anything at all."""
        rgb = np.zeros((box.height, box.width, 3), np.float32)
        covered = np.zeros((box.height, box.width), np.bool_)
        if self.coarser is None:
            return rgb, covered
        halved = Box(box.top // 2 - 1, box.left // 2 - 1, box.bottom // 2 + 2, box.right // 2 + 2)
        half = halved.common(self.coarser.area)
        doubled = Box(2 * half.top, 2 * half.left, 2 * half.bottom, 2 * half.right)
        both = box.common(doubled)
        if both.height <= 0 or both.width <= 0:
            return rgb, covered
        small, known = self.coarser.finished(half)
        size = (2 * half.width, 2 * half.height)
        large = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
        # The weights are sixteenths: whatever falls short of 1 has taken from a pixel that is not there.
        whole = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.99
        here, there = both.within(box), both.within(doubled)
        rgb[here.rows, here.cols] = large[there.rows, there.cols]
        covered[here.rows, here.cols] = whole[there.rows, there.cols]
        return rgb, covered


def levels(photo: Photo, hole: Bools, plan: Sequence[Window]) -> list[Level]:
    """The levels that a plan asks for, finest first; the coarse ones only where its windows look."""
    size = photo.size
    coarsest = max(window.level for window in plan)
    areas: dict[int, Box] = {}
    for number in range(coarsest, 0, -1):
        boxes = [window.source for window in plan if window.level == number]
        if number < coarsest:
            boxes.append(_doubled(areas[number + 1], windows.level_size(size, number)))
        corners = np.array(boxes)
        areas[number] = Box(*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist())
    found = [Level(Box(0, 0, *size), hole, lambda box: image.rgb(photo, box.rows, box.cols))]
    for number in range(1, coarsest + 1):
        source = _doubled(areas[number], windows.level_size(size, number - 1))
        found.append(_halved(found[-1], source, areas[number]))
        found[-2].coarser = found[-1]
    return found


def to_words(rgb: Floats) -> Words:
    """[0, 1] to 16 bits, to the nearest."""
    return np.rint(np.clip(rgb, 0, 1) * 65535).astype(np.uint16)


def from_words(values: Words) -> Floats:
    """16 bits to [0, 1]."""
    return np.divide(values, np.float32(65535), dtype=np.float32)


def _doubled(box: Box, size: tuple[int, int]) -> Box:
    """The box on the next finer level, inside its picture."""
    return Box(2 * box.top, 2 * box.left, 2 * box.bottom, 2 * box.right).common(Box(0, 0, *size))


def _halved(finer: Level, source: Box, area: Box) -> Level:
    """Halve the part ``source`` of a level: each pixel is the mean of the known ones among the four below it.

    What is hidden in the hole never enters. Kept as 16 bits and made strip by strip, since it may be as large
    as a quarter of a photo of 100 megapixels.
    """
    inside = source.within(finer.area)
    hole = windows.shrink(finer.hole[inside.rows, inside.cols])
    pixels = np.empty((*hole.shape, 3), np.uint16)
    for top in range(source.top, source.bottom, STRIP):
        strip = Box(top, source.left, min(top + STRIP, source.bottom), source.right)
        within = strip.within(finer.area)
        mean = mean_of_known(finer.base(strip), finer.hole[within.rows, within.cols])
        start = (top - source.top) // 2
        pixels[start : start + len(mean)] = to_words(mean)

    def base(box: Box) -> Floats:
        there = box.within(area)
        return from_words(pixels[there.rows, there.cols])

    return Level(area, hole, base)


def mean_of_known(values: Floats, hole: Bools) -> Floats:
    """(h, w, C) at half the size: of each four pixels the mean of the known ones; 0 where there is none."""
    known = (~hole)[..., None].astype(np.float32)
    mean: Floats = np.divide(_summed(values * known), np.maximum(_summed(known), 1))
    return mean


def _summed(values: Floats) -> Floats:
    """(h, w, C) -> (ceil(h / 2), ceil(w / 2), C): sums of two by two, of fewer at an odd end."""
    rows = values[0::2].copy()
    rows[: len(values) // 2] += values[1::2]
    columns = rows[:, 0::2].copy()
    columns[:, : values.shape[1] // 2] += rows[:, 1::2]
    return columns
