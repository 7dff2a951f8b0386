"""Photographs at the size that a model knows, and back: known pixels alone, by area and by cubic convolution."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retouch import image, scaled
from retouch.boxes import Box

ALL = slice(None)


def shares(length: int, count: int) -> np.ndarray:
    """(count, length): how much of each of ``length`` pixels lies in each of ``count`` equal parts, exactly."""
    found = np.zeros((count, length))
    for part in range(count):
        low, high = Fraction(part * length, count), Fraction((part + 1) * length, count)
        for pixel in range(length):
            found[part, pixel] = float(max(0, min(high, pixel + 1) - max(low, pixel)))
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    side = draw(st.integers(16, 24))
    height, width = draw(st.integers(side + 1, 90)), draw(st.integers(side + 1, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    hole = rng.random((height, width)) < draw(st.sampled_from([0.02, 0.9]))
    top, left = rng.integers(0, height), rng.integers(0, width)
    hole[top : top + 40, left : left + 30] = True
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8), hole, side


@settings(deadline=None, max_examples=40)
@given(cases())
def test_each_pixel_is_the_mean_of_the_known_ones_in_its_area(
    case: tuple[np.ndarray, np.ndarray, int],
) -> None:
    pixels, hole, side = case
    small, gap = scaled.scaled(image.read(pixels), hole, side)
    assert min(small.size) == side and small.size == gap.shape
    assert abs(small.height / small.width - hole.shape[0] / hole.shape[1]) < 1 / side
    down, across = shares(hole.shape[0], small.height), shares(hole.shape[1], small.width)
    weight = down @ ~hole @ across.T
    total = np.einsum("ih,hwc,jw->ijc", down, pixels / 255 * ~hole[..., None], across)
    clear = (weight == 0) | (weight > 0.01)  # OpenCV leaves out what is less than a thousandth of a pixel
    assert (gap == (weight == 0))[clear].all()
    expected = total / np.maximum(weight, 1e-9)[..., None]
    found = image.rgb(small, ALL, ALL)
    known = ~gap & clear
    assert np.abs(found - expected)[known].max(initial=0) < 0.01

    other = pixels.copy()
    other[hole] = 255 - other[hole]
    again, _ = scaled.scaled(image.read(other), hole, side)
    assert (again.pixels[~gap] == small.pixels[~gap]).all()


@pytest.mark.parametrize("at", [(0, 0), (99, 149), (50, 77)])
def test_a_single_known_pixel_is_not_lost(at: tuple[int, int]) -> None:
    hole = np.ones((100, 150), bool)
    hole[at] = False
    small, gap = scaled.scaled(image.read(np.full((100, 150), 40, np.uint8)), hole, 16)
    assert small.size == (16, 24) and not gap.all()
    assert np.allclose(image.rgb(small, ALL, ALL)[~gap], 40 / 255, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    more=st.integers(1, 40),
    share=st.sampled_from([0, 0.1, 0.9]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_small_photo_is_enlarged_from_its_known_pixels(
    size: tuple[int, int], more: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    hole = rng.random(size) < share
    pixels = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
    side = min(size) + more
    large, gap = scaled.scaled(image.read(pixels), hole, side)
    assert min(large.size) == side and large.size == gap.shape
    rows, columns = (
        [(2 * place + 1) * before // (2 * after) for place in range(after)]
        for before, after in zip(size, large.size, strict=True)
    )
    assert (gap == hole[rows][:, columns]).all()
    other = pixels.copy()
    other[hole] = 255 - other[hole]
    assert (scaled.scaled(image.read(other), hole, side)[0].pixels == large.pixels).all()
    flat, _ = scaled.scaled(image.read(np.full_like(pixels, 60)), np.zeros(size, bool), side)
    assert np.allclose(image.rgb(flat, ALL, ALL), 60 / 255, atol=1e-4)


def cubic(start: int, stop: int, length: int, count: float) -> np.ndarray:
    """(stop - start, length): Keys' weights of ``length`` pixels in each of some, of which ``count`` are all."""
    wide = max(length / count, 1)
    place = (np.arange(start, stop) + 0.5) * length / count - 0.5
    beyond = max(0, math.ceil(stop * length / count) - length)  # pixels that are as the last one
    s = np.abs(place[:, None] - np.arange(length + beyond)) / wide
    near, far = 1.5 * s**3 - 2.5 * s**2 + 1, -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2
    weights = np.where(s < 1, near, np.where(s < 2, far, 0))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.hstack([weights[:, : length - 1], weights[:, length - 1 :].sum(axis=1, keepdims=True)])


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    large=st.tuples(st.integers(8, 900), st.integers(8, 900)),
    level=st.integers(0, 3),
    where=st.tuples(*[st.floats(0, 1)] * 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_box_is_resampled_by_cubic_convolution(
    size: tuple[int, int], large: tuple[int, int], level: int, where: tuple[float, float], seed: int
) -> None:
    pixels = np.random.default_rng(seed).random((*size, 3)).astype(np.float32)
    height, width = (side / 2**level for side in large)
    top, left = (
        round(share * max(0, math.ceil(side) - 40))
        for share, side in zip(where, (height, width), strict=True)
    )
    box = Box(top, left, min(top + 40, math.ceil(height)), min(left + 40, math.ceil(width)))
    found = scaled.resampled(pixels, box, height, width)
    down, across = cubic(box.top, box.bottom, size[0], height), cubic(box.left, box.right, size[1], width)
    assert found.shape == (box.height, box.width, 3)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert np.abs(found - np.einsum("ih,hwc,jw->ijc", down, pixels, across, optimize=True)).max() < 2e-5


@pytest.mark.parametrize("size", [(100, 70), (41, 300), (9, 5), (70, 12)])
def test_a_box_has_the_pixels_of_the_whole(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).random((32, 34, 3)).astype(np.float32)
    box = Box(1, 2, size[0] - 3, size[1] - 1)
    whole, part = (scaled.resampled(pixels, one, *size) for one in (Box(0, 0, *size), box))
    assert np.allclose(part, whole[box.rows, box.cols], atol=1e-5)
