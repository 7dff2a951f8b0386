"""The classical baselines as Predictors."""

import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from retouch import engine, image, patchmatch
from retouch.boxes import Limits
from retouch.classical import CLASSICAL, Classical, PatchMatch, biharmonic
from retouch.engine import Predictor
from retouch.errors import MissingExtraError, ModelError, RetouchError


def scene(height: int = 48, width: int = 56) -> np.ndarray:
    """(h, w, 3) float32 on the 8-bit grid: stripes on a slope."""
    down, across = np.mgrid[0:height, 0:width]
    stripes = 0.5 + 0.2 * np.sin(across / 3)
    pixels = np.stack([stripes, 0.2 + 0.5 * down / height, 0.7 - 0.3 * across / width], -1)
    return (np.rint(pixels * 255) / 255).astype(np.float32)


def strokes(height: int = 48, width: int = 56) -> np.ndarray:
    hole = np.zeros((height, width), bool)
    hole[10:16, 8:40] = hole[20:40, 28:33] = True
    hole[-3:, :9] = True
    return hole


def batch(*pictures: np.ndarray) -> np.ndarray:
    return np.stack([picture.transpose(2, 0, 1) for picture in pictures])


def holes(*masks: np.ndarray) -> np.ndarray:
    return np.stack([mask[None] for mask in masks]).astype(np.float32)


@pytest.fixture(params=CLASSICAL)
def predictor(request: pytest.FixtureRequest) -> Predictor:
    if request.param == "biharmonic":
        pytest.importorskip("skimage")
    return CLASSICAL[request.param]()


def test_fills_the_hole_near_the_truth_and_leaves_the_rest(predictor: Predictor) -> None:
    truth, hole = scene(), strokes()
    shown = np.where(hole[..., None], 0, truth)
    before = shown.copy()
    (found,) = predictor(batch(shown), holes(hole), seed=0).transpose(0, 2, 3, 1)
    assert found.dtype == np.float32 and found.shape == truth.shape
    assert (shown == before).all()
    assert (found[~hole] == truth[~hole]).all()
    assert found.min() >= 0 and found.max() <= 1
    error = np.abs(found - truth)[hole].mean()
    assert error < 0.8 * np.abs(truth[~hole].mean(axis=0) - truth)[hole].mean()


def test_what_was_in_the_hole_does_not_matter(predictor: Predictor) -> None:
    truth, hole = scene(), strokes()
    answers, bare = [], []
    for value in (0.0, 1.0):
        shown = np.where(hole[..., None], np.float32(value), truth)
        answers.append(predictor(batch(shown), holes(hole), seed=0))
        fill = predictor.fill if isinstance(predictor, Classical) else patchmatch.fill
        bare.append(fill(shown, hole)[hole])
    assert (answers[0][:, :, hole] == answers[1][:, :, hole]).all()
    # OpenCV's Telea looks into holes at the picture's edge, a little; the predictor shows it zeros.
    assert np.abs(bare[0] - bare[1]).max() < 0.02


def test_the_same_whatever_batch_seed_and_thread(predictor: Predictor) -> None:
    first, second, hole = scene(24, 30), scene(24, 30)[::-1].copy(), strokes(24, 30)
    both = predictor(batch(first, second), holes(hole, hole), seed=0)
    with ThreadPoolExecutor(3) as pool:
        seeds = [0, 0, 0] if isinstance(predictor, PatchMatch) else [0, 1, 2]
        runs = list(pool.map(lambda seed: predictor(batch(second), holes(hole), seed=seed), seeds))
    for run in runs:
        assert (both[1] == run[0]).all()


@pytest.mark.parametrize("kind", ["one known", "noise", "half", "all"])
@pytest.mark.parametrize("size", [(16, 16), (17, 40), (40, 16)])
def test_hard_windows_are_filled_with_something_finite(
    predictor: Predictor, size: tuple[int, int], kind: str
) -> None:
    hole = np.ones(size, bool)
    if kind == "one known":
        hole[3, 5] = False
    if kind == "noise":
        hole = np.random.default_rng(0).random(size) < 0.6
    if kind == "half":
        hole[:, size[1] // 2 :] = False
    shown = np.where(hole[..., None], 0, scene(*size))
    shown[~hole] = np.maximum(shown[~hole], 0.2)
    found = predictor(batch(shown), holes(hole), seed=0)
    assert np.isfinite(found).all()
    # Nothing known is darker than 0.2: black would be a pixel that was not filled.
    assert (found.max(axis=1)[0][hole] > 0.05).mean() > 0.95


def test_an_empty_hole_changes_nothing(predictor: Predictor) -> None:
    truth = scene(16, 16)
    assert (predictor(batch(truth), holes(np.zeros((16, 16), bool)), seed=0) == batch(truth)).all()


@pytest.mark.parametrize("name, flag", [("telea", cv2.INPAINT_TELEA), ("navier-stokes", cv2.INPAINT_NS)])
def test_a_whole_photo_comes_out_as_opencv_itself_gives_it(name: str, flag: int) -> None:
    hole = strokes(256, 384)
    hole[200:230, 20:360] = hole[20:240, 350:355] = True
    pixels = np.rint(scene(256, 384) * 255).astype(np.uint8)
    expected = cv2.inpaint(np.where(hole[..., None], 0, pixels), hole.view(np.uint8), 3, flag)
    found = engine.complete(image.read(pixels), hole, CLASSICAL[name](), blend="none")
    assert (found.pixels == expected).all()


@pytest.mark.parametrize("name", ["telea", "navier-stokes", "biharmonic"])
def test_through_the_engine(name: str) -> None:
    if name == "biharmonic":
        pytest.importorskip("skimage")
    truth = np.rint(scene(300, 280) * 255).astype(np.uint8)
    hole = strokes(300, 280)
    found = engine.complete(image.read(truth), hole, CLASSICAL[name]()).pixels
    assert (found[~hole] == truth[~hole]).all()
    assert np.abs(found.astype(int) - truth)[hole].mean() < 25


def test_biharmonic_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    with pytest.raises(MissingExtraError, match=r"'biharmonic' needs the extra 'report'"):
        biharmonic()


def test_an_opencv_error_is_one_line_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise cv2.error("OpenCV: bad\n  (-215) assertion failed")

    monkeypatch.setattr(cv2.xphoto, "inpaint", fail)
    with pytest.raises(ModelError, match=r"got: OpenCV: bad \(-215\) assertion failed") as caught:
        CLASSICAL["fsr"]()(batch(scene()), holes(strokes()), seed=0)
    assert isinstance(caught.value, RetouchError) and "\n" not in str(caught.value)


def test_limits_let_small_windows_be_and_bound_the_cost(predictor: Predictor) -> None:
    assert isinstance(predictor.limits, Limits)
    assert predictor.limits.multiple == 1
    assert predictor.limits.largest <= (2048 if isinstance(predictor, PatchMatch) else 1024)


@pytest.mark.parametrize("name", ["telea", "navier-stokes", "fsr"])
def test_a_small_picture_is_filled_once(name: str) -> None:
    """Not mirrored up to a window of a large picture's size, each of its holes many times."""
    made, seen = CLASSICAL[name](), list[np.ndarray]()
    assert isinstance(made, Classical)

    def fill(rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        seen.append(hole)
        return made.fill(rgb, hole)

    hole = np.zeros((64, 96), bool)
    hole[20:40, 30:60] = True
    photo = image.read((scene(64, 96) * 255).astype(np.uint8))
    engine.complete(photo, hole, Classical(made.limits, fill))
    assert len(seen) == 1 and (seen[0] == hole).all()
