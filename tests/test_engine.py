"""Completing a photo: known pixels, whole holes, seams, determinism, cost, and what a model must return."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retouch
from retouch import blend as blending
from retouch import engine, image, pyramid, windows
from retouch.boxes import Box, Limits
from retouch.errors import ImageError, MaskError, ModelError, OptionError
from retouch.image import Photo

FLEXIBLE = Limits(256, 8, 512)
FIXED = Limits(256, 8, 256)
SMALL = Limits(32, 4, 48)
TINY = Limits(16, 1, 16)
WHOLE = Limits(64, 4, 128, whole=True)


@dataclass
class Fake:
    """A predictor that keeps account; ``answer`` gets (image, hole), (B, 3, h, w) and (B, 1, h, w)."""

    limits: Limits
    answer: Callable[[np.ndarray, np.ndarray], np.ndarray]
    calls: list[tuple[int, ...]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        height, width = image.shape[2:]
        assert image.dtype == hole.dtype == np.float32
        assert image.shape[1] == 3 and hole.shape == (len(image), 1, height, width)
        assert self.limits.native <= min(height, width) and max(height, width) <= self.limits.largest
        assert height % self.limits.multiple == width % self.limits.multiple == 0
        assert image.min() >= 0 and image.max() <= 1
        assert set(np.unique(hole)) <= {0, 1}
        assert (image * hole == 0).all(), "what was in the hole leaks"
        self.calls.append(image.shape)
        self.seeds.append(seed)
        return self.answer(image, hole)

    @property
    def windows(self) -> int:
        return sum(shape[0] for shape in self.calls)


def constant(value: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda image, hole: np.full_like(image, value)


def mean(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The mean of the known pixels, plus something of each pixel's place and surroundings."""
    known = np.maximum((1 - hole).sum((2, 3), keepdims=True), 1)
    average = image.sum((2, 3), keepdims=True) / known
    return np.clip(average + 0.2 * (np.roll(image, 3, 3) - 0.5) * (image > 0.3), 0, 1).astype(np.float32)


def pasted(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    return np.where(hole > 0, mean(image, hole), image)


def noise(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.repeat(rng.random((1, *image.shape[1:]), np.float32), len(image), 0)


def picture(height: int, width: int, channels: int = 3, depth: int = 8, seed: int = 0) -> np.ndarray:
    """A smooth picture with a little grain."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 24 + 2, width // 24 + 2, channels)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(
        height, width, channels
    )
    grain = rng.normal(0, 0.01, smooth.shape)
    top = 2**depth - 1
    return np.rint(np.clip(smooth + grain, 0, 1) * top).astype(np.uint8 if depth == 8 else np.uint16)


def with_box(size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> np.ndarray:
    hole = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        hole[top:bottom, left:right] = True
    return hole


def complete(
    pixels: np.ndarray, hole: np.ndarray, predictor: engine.Predictor, **options: object
) -> np.ndarray:
    return engine.complete(image.read(pixels), hole, predictor, **options).pixels.reshape(pixels.shape)  # type: ignore[arg-type]


# Every size, every hole, every mode.


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    channels, depth = draw(st.sampled_from([(1, 8), (3, 8), (4, 8), (2, 8), (1, 16), (3, 16), (4, 16)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = rng.integers(0, 2**depth, (height, width, channels)).astype(
        np.uint8 if depth == 8 else np.uint16
    )
    hole = rng.random((height, width)) < draw(st.sampled_from([0, 0, 0.01, 0.5]))
    for _ in range(draw(st.integers(0, 4))):
        top, left = rng.integers(0, height), rng.integers(0, width)
        tall, wide = rng.integers(1, 250, 2) // rng.choice([1, 10], 2) + 1
        hole[top : top + tall, left : left + wide] = True
    return (pixels[..., 0] if channels == 1 else pixels), hole


@settings(deadline=None, max_examples=40)
@given(
    case=cases(),
    limits=st.sampled_from(
        [FLEXIBLE, FIXED, SMALL, TINY, Limits(64, 16, 200), Limits(32, 4, 64, whole=True)]
    ),
    answer=st.sampled_from([mean, pasted, noise]),
    blend=st.sampled_from(engine.BLENDS),
    dilate=st.sampled_from([0, 0, 3]),
)
def test_known_pixels_stay_and_every_hole_is_filled(
    case: tuple[np.ndarray, np.ndarray],
    limits: Limits,
    answer: Callable[[np.ndarray, np.ndarray], np.ndarray],
    blend: engine.Blend,
    dilate: int,
) -> None:
    pixels, hole = case
    before = pixels.copy(), hole.copy()
    grown = hole
    if dilate and hole.any():
        grown = cv2.dilate(hole.astype(np.uint8), disk(dilate)) > 0
    photo = image.read(pixels)
    if grown.all():
        with pytest.raises(MaskError, match="leaves known pixels"):
            engine.complete(photo, hole, Fake(limits, answer), dilate=dilate)
        return
    found = engine.complete(photo, hole, Fake(limits, answer), dilate=dilate, blend=blend)
    assert (pixels == before[0]).all() and (hole == before[1]).all()
    if not hole.any():
        assert found is photo
        return
    assert found.mode == photo.mode and found.pixels.dtype == photo.pixels.dtype
    assert (found.pixels[~grown] == photo.pixels[~grown]).all()
    if found.mode in ("LA", "RGBA"):
        assert (found.pixels[..., -1] == photo.pixels[..., -1]).all()
    # What was in the hole has no say: also the proof that every pixel of it is written.
    other = pixels.copy()
    colours = other if other.ndim == 2 else other[..., : (1 if other.shape[2] < 3 else 3)]
    colours[grown] = np.iinfo(pixels.dtype).max - colours[grown]
    again = engine.complete(image.read(other), hole, Fake(limits, answer), dilate=dilate, blend=blend)
    assert (again.pixels == found.pixels).all()


@pytest.mark.parametrize("limits", [FIXED, SMALL, TINY])
@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 300), (7, 5), (33, 31), (1000, 3)])
def test_tiny_and_thin_photos(size: tuple[int, int], limits: Limits) -> None:
    pixels = picture(*size)
    hole = np.zeros(size, bool)
    hole[0, 0] = True
    found = complete(pixels, hole, Fake(limits, constant(0.5)), blend="none")
    assert (found[0, 0] == 128).all()
    assert (found[~hole] == pixels[~hole]).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
def test_modes(mode: str) -> None:
    from PIL import Image

    between = {"1": "L", "P": "RGB"}.get(
        mode, mode
    )  # Pillow's palette of RGBA has alpha, and few opaque colours
    source = Image.fromarray(picture(60, 80, 4), "RGBA").convert(between)
    photo = image.read(source.convert(mode))
    hole = with_box((60, 80), (10, 20, 30, 50))
    found = engine.complete(photo, hole, Fake(SMALL, constant(1.0)), blend="none")
    assert found.mode == photo.mode
    assert (found.pixels[~hole] == photo.pixels[~hole]).all()
    assert image.rgb(found, slice(10, 30), slice(20, 50)).min() > 0.75


@pytest.mark.parametrize("limits", [SMALL, WHOLE])
def test_a_photo_that_is_grey_stays_so_in_colour(limits: Limits) -> None:
    """As most old ones are that were scanned; one with any colour at all gets what the model says."""
    grey = np.repeat(picture(100, 130, 1), 3, axis=2)
    hole = with_box((100, 130), (10, 10, 90, 100))
    tint = np.array([0.4, 0.5, 0.7], np.float32)[:, None, None]
    model = Fake(limits, lambda shown, _: np.broadcast_to(tint, shown.shape).copy())
    found = complete(grey, hole, model)
    assert (found[~hole] == grey[~hole]).all() and np.ptp(found, axis=2).max() == 0
    assert abs(found[50, 55, 0] - 255 * (0.299 * 0.4 + 0.587 * 0.5 + 0.114 * 0.7)) < 12
    grey[::4, ::4, 2] ^= 1
    assert np.ptp(complete(grey, hole, model)[50, 55]) > 40


def test_a_coarser_level_that_ends_one_row_above_shows_nothing() -> None:
    """Its last row would only be needed to interpolate: below it there is nothing to be enlarged."""

    def level(area: Box, coarser: pyramid.Level | None = None) -> pyramid.Level:
        shape = area.height, area.width
        return pyramid.Level(
            area, np.zeros(shape, bool), lambda box: np.ones((box.height, box.width, 3), np.float32), coarser
        )

    fine = level(Box(0, 0, 269, 228), level(Box(0, 0, 110, 114)))
    rgb, covered = fine.below(Box(221, 31, 269, 63))
    assert rgb.shape == (48, 32, 3) and not covered.any()
    assert fine.below(Box(200, 31, 240, 63))[1][:18].all()


def test_values_of_16_bits_come_through() -> None:
    pixels = picture(80, 80, 1, 16)[..., 0]
    hole = with_box((80, 80), (30, 30, 50, 50))
    found = complete(pixels, hole, Fake(SMALL, constant(12345 / 65535)), blend="none")
    assert (found[hole] == 12345).all()


# Deep holes: coarse to fine.


@pytest.mark.parametrize("size", [(301, 420), (512, 389)])
@pytest.mark.parametrize("limits", [SMALL, Limits(64, 8, 64)])
def test_a_deep_hole_is_filled_whole_and_smoothly(size: tuple[int, int], limits: Limits) -> None:
    pixels = np.full((*size, 3), 100, np.uint8)
    hole = with_box(size, (40, 50, size[0] - 30, size[1] - 60))
    hole[:10] = np.random.default_rng(0).random((10, size[1])) < 0.1
    predictor = Fake(limits, mean)
    found = complete(pixels, hole, predictor, blend="none")
    assert windows.plan(hole, limits)[0].level >= 2
    pixels[hole] = 0
    predictor = Fake(limits, lambda image, hole: np.full_like(image, 100 / 255))
    assert (complete(pixels, hole, predictor) == 100).all()
    assert found.shape == pixels.shape
    assert found[hole].min() > 50


def test_the_interior_of_a_deep_hole_is_the_enlarged_coarse_completion_and_the_rim_is_not() -> None:
    size, limits = (600, 600), Limits(64, 8, 64)
    hole = with_box(size, (100, 100, 420, 420))
    coarsest = windows.plan(hole, limits)[0].level
    seen: list[int] = []

    def answer(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        seen.append(len(image))
        first = len(seen) == 1  # the coarsest level: one window brackets the whole
        return np.full_like(image, 0.2 if first else 0.8)

    found = complete(np.zeros((*size, 3), np.uint8), hole, Fake(limits, answer), blend="none", batch_size=1)
    assert coarsest == 3
    assert (found[255:265, 255:265] == 51).all()
    assert (found[100:106, 100:420] == 204).all()
    middle = found[260, 100:260, 0].astype(int)
    assert np.abs(np.diff(middle)).max() < 25  # the ramp is smooth
    assert (np.diff(middle) <= 0).all()


def test_all_but_a_corner_missing() -> None:
    pixels = np.full((300, 400, 3), 77, np.uint8)
    hole = np.ones((300, 400), bool)
    hole[:3, :3] = False
    found = complete(pixels, hole, Fake(SMALL, mean), blend="none")
    assert (found[:3, :3] == 77).all()


def test_shrinking_takes_the_mean_of_known_pixels_only() -> None:
    pixels = np.zeros((5, 4, 3), np.uint8)
    pixels[..., 0] = np.arange(20).reshape(5, 4) * 10
    hole = np.zeros((5, 4), bool)
    hole[0, :2] = hole[2:4, 2:] = True
    plan = [windows.Window(level, 0, Box(0, 0, 3, 2), Box(0, 0, 1, 1), (16, 16)) for level in (1, 0)]
    _, half = pyramid.levels(image.read(pixels), hole, plan)
    assert half.hole.tolist() == [[False, False], [False, True], [False, False]]
    red = half.settled(Box(0, 0, 3, 2))[..., 0] * 255
    assert np.allclose(red, [[45, 45], [105, 0], [165, 185]], atol=0.01)


# Models that know whole pictures of one size.


@pytest.mark.parametrize(
    "size", [(64, 64), (64, 100), (65, 65), (95, 120), (256, 256), (300, 500), (63, 63), (40, 52)]
)
def test_a_model_of_whole_pictures_sees_them_at_its_size(size: tuple[int, int]) -> None:
    """However small the hole, whatever the photograph's size: what it sees is where it would be there."""
    slope = np.rint(np.linspace(20, 220, size[0])).astype(np.uint8)
    pixels = np.broadcast_to(slope[:, None, None], (*size, 3)).copy()
    hole = with_box(size, (size[0] // 3, size[1] // 3, size[0] // 2, size[1] // 2))

    def answer(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        missing = np.argwhere(hole[0, 0])
        (top, left), (bottom, right) = missing.min(axis=0), missing.max(axis=0)
        assert image.shape[2] == 64 and abs(top - 64 / 3) < 2 and abs(bottom + 1 - 64 / 2) < 2
        assert abs(right - left - 64 / 6 * size[1] / size[0]) < 3
        return np.broadcast_to(np.linspace(20, 220, 64, dtype=np.float32)[:, None] / 255, image.shape)

    predictor, told = Fake(WHOLE, answer), []
    found = complete(pixels, hole, predictor, progress=lambda *at: told.append(at))
    assert predictor.windows == 1
    assert told[0][0] == 0 and told[-1][0] == told[-1][1] == (1 if size[0] == 64 else 2)
    assert np.abs(found.astype(float) - pixels)[hole].max() < 6
    assert (found[~hole] == pixels[~hole]).all()


def test_a_scratch_too_thin_for_a_model_of_whole_pictures_takes_what_is_beside_it() -> None:
    """At the model's size nothing is missing: it is not even called."""
    pixels = picture(640, 640)
    hole = with_box((640, 640), (100, 300, 500, 303))
    predictor = Fake(WHOLE, constant(0.9))
    found = complete(pixels, hole, predictor)
    assert predictor.windows == 0
    assert np.abs(found.astype(float) - pixels)[hole].mean() < 6


def test_a_deep_hole_of_a_large_photo_is_the_completion_of_the_small_one_enlarged() -> None:
    hole = with_box((1500, 1300), (150, 150, 1300, 1150))
    slope = np.linspace(20, 220, 1500)
    pixels = np.broadcast_to(np.rint(slope).astype(np.uint8)[:, None, None], (1500, 1300, 3)).copy()

    def answer(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        rows = np.interp(np.arange(image.shape[2]), np.arange(74), np.linspace(20, 220, 74)) / 255
        return np.broadcast_to(rows.astype(np.float32)[:, None], image.shape)

    predictor = Fake(WHOLE, answer)
    found = complete(pixels, hole, predictor)
    assert np.abs(found.astype(float) - pixels).max() < 6
    assert predictor.windows == 1


@pytest.mark.parametrize("size", [(1, 100), (100, 1), (6500, 100), (100, 6500)])
def test_a_strip_is_no_whole_picture(size: tuple[int, int]) -> None:
    """At the model's size it would be far larger, or a line of as many windows."""
    hole = np.zeros(size, bool)
    hole[:1, :1] = True
    predictor = Fake(WHOLE, constant(0.5))
    found = complete(np.zeros((*size, 3), np.uint8), hole, predictor, blend="none")
    assert (found[0, 0] == 128).all() and predictor.calls == [(1, 3, 64, 64)]


@pytest.mark.parametrize("size", [(60, 80), (40, 129), (65, 80)])
@pytest.mark.parametrize("largest", [64, 128])
def test_what_is_scaled_back_is_blended_once(size: tuple[int, int], largest: int) -> None:
    pixels = picture(*size)
    hole = with_box(size, (10, 10, 30, 30))
    found = {
        way: complete(pixels, hole, Fake(Limits(64, 4, largest, whole=True), mean), blend=way)
        for way in engine.BLENDS
    }
    assert (found["none"] != found["feather"]).any() and (found["none"] != found["poisson"]).any()

    again = complete(pixels, hole, Fake(Limits(64, 4, largest, whole=True), pasted))
    assert (again == found["feather"]).all()  # what it makes of the known pixels at its own size has no say


def test_the_border_error_is_the_smaller_of_two_that_agree() -> None:
    hole = with_box((9, 9), (3, 3, 6, 6))
    known = np.full((9, 9, 3), 0.5, np.float32)

    def error(outside: float, inside: float) -> float:
        prediction = np.where(hole[..., None], np.float32(inside), np.float32(outside)).repeat(3, axis=2)
        border, found = blending.border_error(prediction, known, ~hole, hole)
        assert border.sum() == 16 and (found[~border] == 0).all()
        assert np.ptp(found[border]) == 0
        return round(float(found[border][0, 0]), 4)

    assert error(outside=0.4, inside=0.2) == 0.1
    assert error(outside=0.1, inside=0.3) == 0.2
    assert error(outside=0.7, inside=0.6) == -0.1
    assert error(outside=0.4, inside=0.6) == error(outside=0.6, inside=0.4) == 0
    assert error(outside=0.5, inside=0.2) == 0.3  # the known pixels pasted


# Seams.


def jump(pixels: np.ndarray, hole: np.ndarray) -> float:
    """Mean absolute difference between neighbours on both sides of the hole's boundary, in 8-bit levels."""
    steps = []
    for axis in (0, 1):
        across = np.diff(hole.astype(np.int8), axis=axis) != 0
        steps.append(np.abs(np.diff(pixels.astype(float), axis=axis))[across].ravel())
    return float(np.concatenate(steps).mean())


def oracle(pixels: np.ndarray, offset: float, paste: bool) -> Fake:
    """Knows the photo (of one native window), but for a constant offset of colour."""

    def answer(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        truth = (pixels.transpose(2, 0, 1)[None] / 255).astype(np.float32) + np.float32(offset)
        return np.where(hole > 0, truth, image) if paste else np.clip(truth, 0, 1)

    return Fake(FIXED, answer)


SHAPES = {
    "box": with_box((256, 256), (80, 70, 180, 190)),
    "strokes": with_box((256, 256), (10, 10, 250, 30), (100, 0, 112, 256), (30, 200, 256, 220)),
    "border": ~with_box((256, 256), (30, 30, 226, 226)),
}


@pytest.mark.parametrize("paste", [False, True])
@pytest.mark.parametrize("offset", [0.25, -0.2])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("blend", ["feather", "poisson"])
def test_the_seam_is_no_stronger_than_the_photo_itself(
    blend: engine.Blend, shape: str, offset: float, paste: bool
) -> None:
    pixels, hole = (picture(256, 256) // 2 + 60).astype(np.uint8), SHAPES[shape]
    own = jump(pixels, hole)
    raw = complete(pixels, hole, oracle(pixels, offset, paste), blend="none")
    found = complete(pixels, hole, oracle(pixels, offset, paste), blend=blend)
    assert jump(raw, hole) > 10 * own
    assert jump(found, hole) < 1.3 * own
    error = np.abs(found.astype(float) - pixels)[hole].mean()
    assert error < 0.9 * np.abs(raw.astype(float) - pixels)[hole].mean()
    if blend == "poisson":  # takes a constant offset away altogether
        assert error < 6


@pytest.mark.parametrize("width", [2, 8, 30])
def test_feathering_stays_within_its_band(width: int) -> None:
    pixels = np.full((256, 256, 3), 100, np.uint8)
    hole = with_box((256, 256), (64, 64, 192, 192))
    found = complete(pixels, hole, Fake(FIXED, constant(0.8)), feather=width)
    distance = cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    assert (found[distance > width + 1] == 204).all()
    assert (np.abs(found[distance == 1].astype(int) - 100) <= 1).all()
    line = found[128, 64:128, 0].astype(int)
    assert (np.diff(line) >= 0).all()


def test_a_prediction_that_fits_is_left_alone() -> None:
    pixels = np.full((64, 64, 3), 51, np.uint8)
    hole = with_box((64, 64), (20, 20, 40, 40))
    for blend in engine.BLENDS:
        assert (complete(pixels, hole, Fake(SMALL, constant(0.2)), blend=blend) == 51).all()


@pytest.mark.parametrize("blend", engine.BLENDS)
def test_what_a_model_knows_of_the_border_bounds_its_correction(blend: engine.Blend) -> None:
    """However different the pixels across the border are: here the truth, known to within 2 levels."""
    pixels, hole = picture(32, 32), with_box((32, 32), (10, 10, 24, 24))
    pixels[:, 18:] = 255 - pixels[:, 18:]
    off = np.random.default_rng(0).choice([-2, 2], (32, 32, 1))
    known = ((pixels + off * ~hole[..., None]) / 255).astype(np.float32).transpose(2, 0, 1)
    done = complete(
        pixels, hole, Fake(SMALL, lambda image, _: np.broadcast_to(known, image.shape)), blend=blend
    )
    assert np.abs(done.astype(int) - pixels).max() <= 3


# Order, batches, seeds.


@pytest.mark.parametrize("limits", [FIXED, SMALL, FLEXIBLE])
@pytest.mark.parametrize("answer", [mean, pasted, noise])
def test_the_same_bytes_whatever_the_batch(
    limits: Limits, answer: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    size = (520, 300) if limits is SMALL else (520, 700)
    pixels = picture(*size)
    hole = np.random.default_rng(1).random(size) < 0.0002
    hole |= with_box(size, (50, 30, 240, 230), (400, 20, 410, 690), (420, 20, 440, 690))
    expected = complete(pixels, hole, Fake(limits, answer), batch_size=1)
    for batch_size in (2, 5):
        predictor = Fake(limits, answer)
        assert (complete(pixels, hole, predictor, batch_size=batch_size) == expected).all()
        assert max(shape[0] for shape in predictor.calls) <= batch_size
    assert predictor.windows == len(windows.plan(hole, limits))


def test_a_later_window_sees_what_an_earlier_one_completed() -> None:
    pixels = np.full((256, 600, 3), 10, np.uint8)
    hole = with_box((256, 600), (100, 200, 110, 380))  # longer than a window brackets
    known: list[float] = []

    def answer(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        known.append(float(image.max()))
        return np.full_like(image, 0.9)

    complete(pixels, hole, Fake(FIXED, answer), blend="none")
    assert known == pytest.approx([10 / 255, 0.9], abs=1e-4)


def test_the_seed_reaches_every_call_and_progress_is_told() -> None:
    pixels, hole = picture(300, 900), with_box((300, 900), (10, 10, 50, 50), (200, 800, 240, 840))
    told: list[tuple[int, int]] = []
    predictor = Fake(FIXED, mean)
    complete(pixels, hole, predictor, seed=41, batch_size=1, progress=lambda *at: told.append(at))
    assert predictor.seeds == [41, 41]
    assert told == [(0, 2), (1, 2), (2, 2)]
    predictor = Fake(FIXED, mean)
    complete(pixels, hole, predictor, batch_size=4)
    assert predictor.calls == [(2, 3, 256, 256)]


@dataclass
class Watched(Fake):
    """Tells of halves of each window."""

    tell: Callable[[float], None] | None = None

    def watched(self, tell: Callable[[float], None]) -> "Watched":
        return replace(self, tell=tell)  # it shares what it keeps account in

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        assert self.tell is not None
        self.tell(0.5)
        answer = super().__call__(image, hole, seed=seed)
        self.tell(1)
        return answer


def test_parts_of_a_window_are_told_and_can_end_it() -> None:
    pixels, hole = picture(300, 900), with_box((300, 900), (10, 10, 50, 50), (200, 800, 240, 840))
    told: list[float] = []
    predictor = Watched(FIXED, mean)
    found = complete(pixels, hole, predictor, progress=lambda done, total: told.append(done / total))
    assert told == [0, 0.25, 0.5, 0.5, 0.75, 1, 1]
    assert predictor.calls == [(1, 3, 256, 256)] * 2
    assert np.array_equal(found, complete(pixels, hole, Fake(FIXED, mean)))
    assert np.array_equal(found, complete(pixels, hole, predictor))  # with nobody to be told

    def stop(done: float, total: int) -> None:
        if done == 1.5:
            raise KeyboardInterrupt

    predictor = Watched(FIXED, mean)
    with pytest.raises(KeyboardInterrupt):
        complete(pixels, hole, predictor, progress=stop)
    assert len(predictor.calls) == 1


# Cost.


def test_cost_follows_the_hole_not_the_photo() -> None:
    pixels = np.zeros((8000, 8000), np.uint8)
    hole = with_box((8000, 8000), (5003, 2001, 5153, 2151))
    for limits in (FIXED, FLEXIBLE):
        predictor = Fake(limits, constant(0.5))
        found = engine.complete(image.read(pixels), hole, predictor, blend="none").pixels
        assert predictor.calls == [(1, 3, 256, 256)]
    assert int((found == 128).sum()) == 150 * 150


def test_dilating_in_tiles_is_dilating_the_whole() -> None:
    hole = np.random.default_rng(0).random((700, 1100)) < 0.0001
    hole[510:514, 508:515] = True
    for radius in (1, 4, 23):
        pixels = np.zeros((*hole.shape, 3), np.uint8)
        found = complete(pixels, hole, Fake(FLEXIBLE, constant(1)), dilate=radius, blend="none")
        assert ((found[..., 0] == 255) == (cv2.dilate(hole.view(np.uint8), disk(radius)) > 0)).all()


def disk(radius: int) -> np.ndarray:
    """(2 radius + 1, 2 radius + 1) uint8: 1 where the distance to the middle is at most the radius."""
    rows, cols = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return (rows**2 + cols**2 <= radius**2).astype(np.uint8)


@pytest.mark.parametrize("option", ["dilate", "feather"])
@pytest.mark.parametrize("size", [50, 5_000, 2_000_000_000])
def test_a_photo_is_all_that_the_largest_numbers_reach(option: str, size: int) -> None:
    pixels, hole = np.zeros((400, 700, 3), np.uint8), with_box((400, 700), (30, 40, 60, 70))
    options = {option: size}
    if option == "dilate" and size > 700:
        with pytest.raises(MaskError, match=f"after dilating by {size} px"):
            complete(pixels, hole, Fake(FLEXIBLE, constant(1)), **options)
    else:
        blend = "none" if option == "dilate" else "feather"
        found = complete(pixels, hole, Fake(FLEXIBLE, constant(1)), blend=blend, **options)
        filled = cv2.dilate(hole.view(np.uint8), disk(size)) > 0 if option == "dilate" else hole
        assert not found[~filled].any() and (found[filled].all() or option == "feather")


# Bad input.


def test_no_hole_gives_the_photo_itself() -> None:
    photo = image.read(picture(20, 30))
    predictor = Fake(FIXED, constant(0.5))
    assert engine.complete(photo, np.zeros((20, 30), bool), predictor, dilate=5) is photo
    assert predictor.calls == []


@pytest.fixture
def photo() -> Photo:
    return image.read(picture(20, 30))


def test_a_full_hole_is_refused(photo: Photo) -> None:
    with pytest.raises(
        MaskError, match=r"leaves known pixels to complete from, got one that covers all 30 x 20"
    ):
        engine.complete(photo, np.ones((20, 30), bool), Fake(FIXED, constant(0)))
    with pytest.raises(MaskError, match=r"covers all 30 x 20 px after dilating by 40 px"):
        engine.complete(photo, with_box((20, 30), (5, 5, 6, 6)), Fake(FIXED, constant(0)), dilate=40)


@pytest.mark.parametrize(
    "hole", [np.zeros((30, 20), bool), np.zeros((20, 30), np.uint8), np.zeros((20, 30, 1), bool), [[True]]]
)
def test_a_hole_of_another_shape_or_dtype_is_refused(photo: Photo, hole: np.ndarray) -> None:
    with pytest.raises(MaskError, match=r"expected a hole of shape \(20, 30\) and dtype bool.*, got"):
        engine.complete(photo, hole, Fake(FIXED, constant(0)))


def test_what_is_no_photo_or_no_predictor_is_refused(photo: Photo) -> None:
    """As an array, a model that holds a predictor, limits of numbers alone."""
    hole, answers = with_box((20, 30), (5, 5, 9, 9)), Fake(FIXED, constant(0))
    with pytest.raises(ImageError, match=r"^expected a photo as image.read gives it, got ndarray$"):
        engine.complete(photo.pixels, hole, answers)  # type: ignore[arg-type]
    for wrong, got in (
        (retouch.Model("mine", answers), "Model"),
        (Fake((64, 8, 64), constant(0)), "Fake"),  # type: ignore[arg-type]
        (FIXED, "Limits"),
        (None, "NoneType"),
    ):
        with pytest.raises(ModelError, match=rf"^expected a predictor, a callable .*, got {got}$"):
            engine.complete(photo, hole, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "option",
    [
        {"blend": "smooth"}, {"dilate": -1}, {"feather": 0}, {"batch_size": 0}, {"dilate": 1.5}, {"dilate": "2"},
        {"feather": float("nan")}, {"seed": -1}, {"seed": 0.5},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(photo: Photo, option: dict[str, object]) -> None:
    (name,) = option
    with pytest.raises(OptionError, match=f"^(expected {name} to be|{name}: expected)"):
        engine.complete(photo, np.zeros((20, 30), bool), Fake(FIXED, constant(0)), **option)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda image, hole: image[:, :, 1:], "floats of shape"),
        (lambda image, hole: image[:, :1], "floats of shape"),
        (lambda image, hole: (image * 255).astype(np.uint8), "uint8"),
        (lambda image, hole: None, "NoneType"),
        (lambda image, hole: image + np.nan, "finite"),
        (lambda image, hole: image + np.inf, "finite"),
    ],
)
def test_a_model_that_returns_something_else_is_refused(
    photo: Photo, answer: Callable[[np.ndarray, np.ndarray], np.ndarray], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        engine.complete(photo, with_box((20, 30), (5, 5, 9, 9)), Fake(FIXED, answer))


def test_values_a_little_out_of_range_are_clipped(photo: Photo) -> None:
    hole = with_box((20, 30), (5, 5, 9, 9))
    for value, expected in ((1.5, 255), (-0.5, 0)):
        found = engine.complete(photo, hole, Fake(FIXED, constant(value)), blend="none")
        assert (found.pixels[hole] == expected).all()


@pytest.mark.parametrize("side", [128, 150, 256])
def test_a_model_of_whole_pictures_completes_a_larger_one_at_its_own_size(side: int) -> None:
    """It knows one picture of 32 x 32, and nothing of parts of it."""
    truth = picture(32, 32)

    def answer(image: np.ndarray, hole: np.ndarray) -> np.ndarray:
        known = cv2.resize(truth, image.shape[:1:-1], interpolation=cv2.INTER_AREA) / np.float32(255)
        whole = np.broadcast_to(known.transpose(2, 0, 1), image.shape)
        right = (np.abs(whole - image) * (1 - hole)).mean() < 0.1
        return whole if right else mean(image, hole)

    photo = image.read(cv2.resize(truth, (side, side), interpolation=cv2.INTER_CUBIC))
    hole = with_box((side, side), (side // 3, side // 3, 2 * side // 3, 2 * side // 3))
    errors = []
    for whole in (True, False):
        limits = Limits(32, 2, 64, whole=whole)
        found = engine.complete(photo, hole, Fake(limits, answer), blend="none")
        errors.append(np.abs(found.pixels[hole].astype(int) - photo.pixels[hole]).mean())
    assert errors[0] < 0.4 * errors[1], errors
