"""The plan: which windows, how many, and that together they own the hole exactly once."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retouch import masks, windows
from retouch.boxes import Box, Limits, Window
from retouch.errors import MaskError, ModelError
from retouch.windows import plan

FLEXIBLE = Limits(256, 8, 512)
FIXED = Limits(256, 8, 256)
ZOOMING = Limits(256, 8, 256, 128)  # takes smaller windows where a hole needs no more
SMALL = Limits(32, 4, 48)
TINY = Limits(16, 1, 16)


def hole_with(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    hole = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        hole[top:bottom, left:right] = True
    return hole


def owners(hole: np.ndarray, found: tuple[Window, ...], level: int = 0) -> np.ndarray:
    """How many windows of a level own each missing pixel of that level."""
    for _ in range(level):
        hole = windows.shrink(hole)
    count = np.zeros(hole.shape, int)
    for window in found:
        if window.level == level:
            count[window.core.rows, window.core.cols] += 1
    return count[hole]


def check(hole: np.ndarray, limits: Limits, found: tuple[Window, ...]) -> None:
    """What holds for every plan."""
    largest = limits.largest // limits.multiple * limits.multiple
    for window in found:
        height, width = windows.level_size(hole.shape, window.level)
        for low, high, length, side in (
            (window.source.top, window.source.bottom, height, window.shape[0]),
            (window.source.left, window.source.right, width, window.shape[1]),
        ):
            assert 0 <= low < high <= length
            assert high - low == min(side, length)
            assert limits.smallest <= side <= largest
            assert side % limits.multiple == 0
        assert window.core.common(window.source) == window.core
        assert window.core.height > 0 and window.core.width > 0
    order = [(-window.level, window.stage) for window in found]
    assert order == sorted(order)
    for first in found:
        for second in found:
            same = (first.level, first.stage) == (second.level, second.stage)
            if same and first is not second:
                shared = first.source.common(second.core)
                assert shared.height <= 0 or shared.width <= 0


@st.composite
def holes(draw: st.DrawFn) -> np.ndarray:
    """Boxes, lines and noise in pictures of 1x1 to 300x300."""
    size = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hole = rng.random(size) < draw(st.sampled_from([0, 0, 0, 0.001, 0.02, 0.5]))
    for _ in range(draw(st.integers(0, 6))):
        top, left = rng.integers(0, size[0]), rng.integers(0, size[1])
        height, width = rng.integers(1, 200, 2) // rng.choice([1, 3, 20], 2) + 1
        hole[top : top + height, left : left + width] = True
    return hole


@settings(deadline=None, max_examples=60)
@given(
    hole=holes(),
    limits=st.sampled_from([FLEXIBLE, FIXED, ZOOMING, SMALL, TINY, Limits(64, 16, 200, 16)]),
)
def test_every_missing_pixel_has_one_owner_at_most_and_the_shallow_ones_exactly_one(
    hole: np.ndarray, limits: Limits
) -> None:
    found = plan(hole, limits)
    check(hole, limits, found)
    assert bool(found) == bool(hole.any())
    levels = max((window.level for window in found), default=0)
    for level in range(levels + 1):
        assert owners(hole, found, level).max(initial=0) <= 1
    if levels == 0:
        assert (owners(hole, found) == 1).all()


def test_the_plan_is_the_same_each_time_and_leaves_the_hole_alone() -> None:
    hole = np.random.default_rng(0).random((300, 400)) < 0.01
    before = hole.copy()
    assert plan(hole, SMALL) == plan(hole, SMALL)
    assert (hole == before).all()
    assert plan(np.asfortranarray(hole), SMALL) == plan(hole, SMALL)
    assert plan(np.flip(np.flip(hole).copy()), SMALL) == plan(hole, SMALL)


def test_a_hole_without_a_known_pixel_has_a_plan() -> None:
    hole = np.ones((24, 8), bool)
    assert (owners(hole, plan(hole, TINY), max(window.level for window in plan(hole, TINY))) == 1).all()


def test_no_hole_needs_no_window() -> None:
    assert plan(np.zeros((1, 1), bool), FIXED) == ()
    assert plan(np.zeros((70, 30), bool), FIXED) == ()


def test_three_small_holes_in_a_large_photo_are_three_native_windows() -> None:
    hole = hole_with((3000, 4000), (103, 107, 253, 257), (2005, 3001, 2155, 3151), (1000, 1002, 1150, 1152))
    for limits in (FLEXIBLE, FIXED):
        found = plan(hole, limits)
        assert [window.shape for window in found] == [(256, 256)] * 3
        assert {(window.level, window.stage) for window in found} == {(0, 0)}
        for window in found:
            assert (window.core.height, window.core.width) == (150, 150)
            middle = (window.source.top + window.source.bottom) // 2
            assert abs(middle - (window.core.top + window.core.bottom) // 2) <= 1


@pytest.mark.parametrize("corner", [(0, 0), (0, 1900), (900, 0), (900, 1900)])
def test_a_hole_in_the_corner_keeps_a_whole_window_inside_the_photo(corner: tuple[int, int]) -> None:
    top, left = corner
    (window,) = plan(hole_with((1000, 2000), (top, left, top + 100, left + 100)), FIXED)
    assert (window.source.height, window.source.width) == (256, 256)
    assert window.core == Box(top, left, top + 100, left + 100)


def test_near_holes_share_a_window() -> None:
    hole = hole_with((2000, 2000), (900, 900, 950, 950), (960, 960, 1010, 1010), (900, 1000, 905, 1050))
    for limits in (FLEXIBLE, FIXED):
        assert len(plan(hole, limits)) == 1
    apart = hole_with((2000, 2000), (900, 900, 950, 950), (900, 1000, 950, 1100))  # 200 px in all
    (window,) = plan(apart, FLEXIBLE)  # a wider window is cheaper than two
    assert window.shape == (256, 448)
    first, second = plan(apart, FIXED)  # which a fixed model cannot take
    assert (first.stage, second.stage) == (0, 1)


def test_holes_all_over_a_photo_of_evaluation_size_are_one_window() -> None:
    hole = np.zeros((256, 384), bool)
    hole[20:30, 10:370] = hole[230:240, 10:370] = hole[100:140, 100:110] = True
    (window,) = plan(hole, FLEXIBLE)
    assert window.source == Box(0, 0, 256, 384)
    assert window.shape == (256, 384)
    (window,) = plan(hole[:, :383], FLEXIBLE)
    assert window.shape == (256, 384)
    assert window.source == Box(0, 0, 256, 383)


def test_a_small_photo_is_one_native_window_to_be_padded() -> None:
    (window,) = plan(hole_with((1, 2), (0, 0, 1, 1)), FIXED)
    assert window == Window(0, 0, Box(0, 0, 1, 2), Box(0, 0, 1, 1), (256, 256))


def test_a_long_scratch_is_followed_at_full_size() -> None:
    hole = np.zeros((2000, 2000), bool)
    index = np.arange(2000)
    for thickness in range(5):
        hole[index, np.minimum(index + thickness, 1999)] = True
    found = plan(hole, FIXED)
    assert {window.level for window in found} == {0}
    assert (owners(hole, found) == 1).all()
    assert len(found) <= 18
    assert max(window.stage for window in found) <= 2


@pytest.mark.parametrize("limits", [FLEXIBLE, FIXED, ZOOMING, SMALL])
def test_a_hole_too_deep_for_a_window_is_bracketed_on_a_coarser_level(limits: Limits) -> None:
    side = 4 * limits.largest
    hole = hole_with((2 * side, 2 * side + 3), (side // 2, side // 3, side // 2 + side, side // 3 + side))
    found = plan(hole, limits)
    check(hole, limits, found)
    coarsest = found[0].level
    assert coarsest == 3  # 4 windows across: 1 / 8 of it fits into 2 / 3 of one
    assert [window.level for window in found].count(coarsest) == 1
    assert (owners(hole, found, coarsest) == 1).all()
    count = np.zeros(hole.shape, int)
    for window in found:
        if window.level == 0:
            count[window.core.rows, window.core.cols] += 1
    edge = windows.band(limits)
    inner = np.zeros_like(hole)
    inner[side // 2 + edge : side // 2 + side - edge, side // 3 + edge : side // 3 + side - edge] = True
    assert (count[hole & ~inner] == 1).all()
    assert count[inner].mean() < 0.8  # most of the interior is left to the coarser levels
    assert sum(window.level == 0 for window in found) < 4 * side / (0.5 * limits.native)


def test_half_a_photo_missing_reaches_its_border() -> None:
    hole = np.zeros((1500, 1500), bool)
    hole[:, 700:] = True
    found = plan(hole, FIXED)
    check(hole, FIXED, found)
    assert (
        max(window.core.right for window in found if window.level == found[0].level)
        == windows.level_size(hole.shape, found[0].level)[1]
    )


def test_all_but_one_pixel_missing_still_shows_a_known_one() -> None:
    hole = np.ones((1000, 700), bool)
    hole[3, 4] = False
    found = plan(hole, FIXED)
    check(hole, FIXED, found)
    small = hole
    for _ in range(found[0].level):
        small = windows.shrink(small)
    assert (~small).sum() == 1


def test_shrinking_keeps_every_known_pixel() -> None:
    hole = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 1], [1, 1, 1, 1, 0]], bool)
    assert windows.shrink(hole).tolist() == [[True, False, True], [True, True, False]]


@pytest.mark.parametrize("limits", [FIXED, ZOOMING])
def test_many_dots_are_planned_quickly_and_in_few_windows(limits: Limits) -> None:
    hole = np.zeros((6000, 6000), bool)
    hole[::40, ::40] = True
    found = plan(hole, limits)
    assert (owners(hole, found) == 1).all()
    assert len(found) <= 2.5 * (6000 / 160) ** 2


@pytest.mark.parametrize(
    "native, multiple, largest",
    [(8, 8, 8), (256, 0, 256), (256, 24, 512), (256, 8, 255), (10**6, 10**6, 10**6)],
)
def test_limits_that_contradict_one_another_are_refused(native: int, multiple: int, largest: int) -> None:
    with pytest.raises(ModelError, match=f"got native={native}, multiple={multiple}, largest={largest}"):
        Limits(native, multiple, largest)


@pytest.mark.parametrize("smallest", [4, 60, 264, -8])
def test_a_smallest_side_that_does_not_fit_is_refused(smallest: int) -> None:
    with pytest.raises(
        ModelError, match=f"a multiple of 8 up to native=256, or 0 for native, got smallest={smallest}"
    ):
        Limits(256, 8, 256, smallest)


def test_a_small_hole_takes_a_small_window_with_a_native_margin() -> None:
    for side, shape in (
        (1, 128),
        (44, 128),
        (45, 160),
        (76, 160),
        (100, 192),
        (140, 224),
        (141, 256),
        (170, 256),
    ):
        (window,) = plan(hole_with((1000, 1000), (400, 500, 400 + side, 500 + side)), ZOOMING)
        assert window.shape == (shape, shape)
        assert min(window.core.top - window.source.top, window.source.right - window.core.right) >= 42
    (window,) = plan(hole_with((1000, 1000), (400, 500, 404, 650)), ZOOMING)  # a scratch
    assert window.shape == (128, 256)
    (window,) = plan(hole_with((100, 180), (10, 20, 30, 40)), ZOOMING)  # a picture smaller than that
    assert window.source == Box(0, 0, 100, 128)


def test_two_dots_far_apart_in_one_native_window_are_two_small_ones() -> None:
    dots = hole_with((1000, 1000), (500, 500, 510, 510), (630, 640, 640, 650))
    assert [window.shape for window in plan(dots, ZOOMING)] == [(128, 128)] * 2
    assert [window.shape for window in plan(dots, FIXED)] == [(256, 256)]


@pytest.mark.parametrize("hole", [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 1), bool)])
def test_a_hole_of_another_kind_is_refused(hole: np.ndarray) -> None:
    with pytest.raises(MaskError, match=r"expected a hole of shape \(H, W\) and dtype bool, got"):
        plan(hole, FIXED)


def test_windows_and_limits_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FIXED.native = 3  # type: ignore[misc]


def test_a_compact_hole_of_a_tenth_takes_one_window() -> None:
    (window,) = plan(masks.draw("center", 512, 512, ratio=(0.1, 0.1001), seed=0), FIXED)
    assert window.source.height == window.source.width == 256


@pytest.mark.parametrize("limits", [FIXED, ZOOMING])
@pytest.mark.parametrize("kind", ["text", "scratches", "strokes"])
def test_windows_show_a_margin_wherever_the_picture_goes_on(kind: str, limits: Limits) -> None:
    hole = masks.draw(kind, 512, 512, seed=3)
    found = plan(hole, limits)
    for window in found:
        outer = Box(
            max(0, window.core.top - 42),
            max(0, window.core.left - 42),
            min(512, window.core.bottom + 42),
            min(512, window.core.right + 42),
        )
        assert outer.common(window.source) == outer
    assert len(found) <= 12  # nine cover the picture; cuts follow the hole
