"""Boxes of pixels, windows, and what a predictor accepts of them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retouch.errors import ModelError

Bools = npt.NDArray[np.bool_]

LARGEST = 16384  # px: side of a window that a card may speak of


@dataclass(frozen=True, slots=True)
class Limits:
    """What a predictor accepts, in pixels.

    Args:
        native: side of the square windows that the model was trained on, at least 16.
        multiple: both sides of a window must be multiples of this.
        largest: longest side that the model may be given.
        smallest: shortest side that the model does well with, where a hole needs no more; 0: ``native``.
        whole: the model was trained on whole pictures, not on parts of them, and knows things at that size alone: a
            photograph is completed where its shorter side has ``native`` px, and that is scaled back; a strip is not.

    Raises:
        ModelError: for limits that are no whole numbers, or contradict one another.
    """

    native: int
    multiple: int
    largest: int
    smallest: int = 0
    whole: bool = False

    def __post_init__(self) -> None:
        numbers = (self.native, self.multiple, self.largest, self.smallest)
        if not all(isinstance(number, int | np.integer) for number in numbers):
            raise ModelError(
                "expected limits in whole numbers of pixels, got native={!r}, multiple={!r}, largest={!r}, "
                "smallest={!r}".format(*numbers)
            )
        rising = 16 <= self.native <= self.largest <= LARGEST
        if not rising or self.multiple < 1 or self.native % self.multiple:
            raise ModelError(
                "expected limits with native >= 16, a multiple that divides native, and largest from native to "
                f"{LARGEST}, got native={self.native}, multiple={self.multiple}, largest={self.largest}"
            )
        smallest = self.smallest or self.native
        if not self.multiple <= smallest <= self.native or smallest % self.multiple:
            raise ModelError(
                f"expected limits with smallest a multiple of {self.multiple} up to native={self.native}, or 0 for "
                f"native, got smallest={self.smallest}"
            )
        object.__setattr__(self, "smallest", smallest)


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def cols(self) -> slice:
        return slice(self.left, self.right)

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def common(self, other: "Box") -> "Box":
        """The pixels in both; of negative height or width where there are none."""
        ends = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(max(self.top, other.top), max(self.left, other.left), *ends)

    def within(self, other: "Box") -> "Box":
        """This box, counted from the top left corner of ``other``."""
        return self.shifted(-other.top, -other.left)

    def shifted(self, down: int, right: int) -> "Box":
        return Box(self.top + down, self.left + right, self.bottom + down, self.right + right)


@dataclass(frozen=True, slots=True)
class Window:
    """One crop to complete. All boxes are in pixels of the window's level and lie inside its picture.

    Args:
        level: the picture is the photograph shrunk by ``2 ** level``.
        stage: order within the level; windows of one stage do not see one another's core.
        source: the pixels that the predictor is shown.
        core: the part of ``source`` whose missing pixels the window completes; a level's are disjoint.
        shape: height and width that the predictor is given; where the picture is smaller than that,
            the caller pads ``source`` at the bottom and the right.
    """

    level: int
    stage: int
    source: Box
    core: Box
    shape: tuple[int, int]


def meet(box: npt.NDArray[np.int64], others: npt.NDArray[np.int64]) -> Bools:
    """Which of the (N, 4) boxes share a pixel with this box."""
    top, left, bottom, right = others.T
    shared: Bools = (top < box[2]) & (bottom > box[0]) & (left < box[3]) & (right > box[1])
    return shared
