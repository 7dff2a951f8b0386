"""Completion by patches of the same picture."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retouch
from retouch import engine, files, image, patchmatch, windows, workers
from retouch.classical import CLASSICAL


def grain(side: int, seed: int = 0) -> np.ndarray:
    """(side, side, 3) float32: a texture without order."""
    noise = np.random.default_rng(seed).normal(size=(side, side, 1)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 1.2)[..., None]
    return np.repeat((0.5 + 0.18 * blurred / blurred.std()).clip(0, 1), 3, axis=2)


def tiles(side: int) -> np.ndarray:
    """(side, side, 3) float32: 16 x 16 px tiles with dark joints."""
    down, across = np.mgrid[:side, :side] % 16
    joint = (down < 2) | (across < 2)
    return np.where(joint[..., None], (0.1, 0.1, 0.15), (0.8, 0.5, 0.3)).astype(np.float32)


def disc(side: int, radius: float) -> np.ndarray:
    down, across = np.mgrid[:side, :side] - side / 2
    return np.hypot(down, across) < radius


def test_a_pattern_goes_on_through_a_large_hole():
    truth, hole = tiles(160), disc(160, 36)
    found = patchmatch.fill(truth, hole)
    assert found.dtype == np.float32 and (found[~hole] == truth[~hole]).all()
    assert np.abs(found - truth)[hole].mean() < 0.05
    smooth = CLASSICAL["telea"]()
    telea = smooth(truth.transpose(2, 0, 1)[None].copy(), hole[None, None].astype(np.float32), seed=0)
    assert np.abs(telea[0].transpose(1, 2, 0) - truth)[hole].mean() > 0.1


def test_a_texture_keeps_its_grain():
    truth, hole = grain(160), disc(160, 36)
    found = patchmatch.fill(truth, hole)
    inner = disc(160, 30)
    changes = np.abs(np.diff(found, axis=0)).mean(axis=2)
    assert changes[inner[1:]].mean() > 0.75 * changes[~hole[1:]].mean()


def test_what_is_round_the_hole_alone_does_not_decide():
    """Half is grain, half is smooth, and both go on as far as they came."""
    truth = grain(160)
    truth[:, 80:] = 0.5
    hole = disc(160, 36)
    found = patchmatch.fill(truth, hole)
    changes = np.abs(np.diff(found, axis=0)).mean(axis=2)
    assert changes[70:90, 50:70].mean() > 5 * changes[70:90, 92:112].mean()


def test_nearly_the_nearest_patches_are_found():
    """Against all of them, one by one."""
    rng = np.random.default_rng(3)
    picture, hole = grain(40, 1), disc(40, 6)
    search = patchmatch._Completion(picture, hole, patchmatch._Threads(1))
    search.begin(None, rng)
    for _ in range(8):
        list(search.search(rng))
    steps = [(-down, -right) for down in range(-3, 4) for right in range(-3, 4)]
    confidence = 1.3 ** -cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, 5)
    patches = np.stack([np.roll(picture, step, (0, 1)).reshape(-1, 3) for step in steps], axis=1)
    weights = np.stack([np.roll(confidence, step, (0, 1)).ravel() for step in steps], axis=1)
    apart = [((patches[search.whole] - patches[target]) ** 2).sum(axis=2) for target in search.targets]
    distances = [
        (each * weight).sum(axis=1) / weight.sum()
        for each, weight in zip(apart, weights[search.targets], strict=True)
    ]
    nearest = np.array([each.min() for each in distances])
    assert (search.distances >= nearest * (1 - 1e-4)).all()
    assert search.distances.mean() < 1.15 * nearest.mean()


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(16, 60),
    width=st.integers(16, 60),
    share=st.floats(0.02, 0.98),
    seed=st.integers(0, 999),
)
def test_any_hole_is_filled_with_colours_between_the_known_ones(height, width, share, seed):
    rng = np.random.default_rng(seed)
    hole = cv2.resize(rng.random((6, 6)), (width, height)) < share
    hole[rng.integers(height), rng.integers(width)] = False
    picture = rng.uniform(0.2, 0.9, (height, width, 3)).astype(np.float32)
    before = picture.copy()
    found = patchmatch.fill(picture, hole)
    assert (picture == before).all() and (found[~hole] == picture[~hole]).all()
    known = picture[~hole]
    assert (found >= known.min(axis=0) - 1e-5).all() and (found <= known.max(axis=0) + 1e-5).all()


@pytest.mark.parametrize("radius", [60, 200])
def test_through_the_engine(radius):
    """A small window of a larger photo of 16 bits, and one as large as the photo."""
    truth = np.rint(tiles(700) * 65535).astype(np.uint16)
    hole = disc(700, radius)
    found = engine.complete(image.read(truth), hole, CLASSICAL["patchmatch"]()).pixels
    assert found.dtype == np.uint16 and (found[~hole] == truth[~hole]).all()
    assert np.abs(found.astype(int) - truth)[hole].mean() < 0.1 * 65535


def test_a_person_in_a_telephones_photo_is_filled_at_full_size():
    """A coarser level would leave the middle soft."""
    hole = np.zeros((3000, 4000), bool)
    hole[600:2900, 1500:2800] = True
    assert {window.level for window in windows.plan(hole, CLASSICAL["patchmatch"]().limits)} == {0}


def test_threads_change_the_time_alone(monkeypatch):
    truth, hole = grain(200), disc(200, 60)
    monkeypatch.setattr(patchmatch, "CHUNK", 500)  # so that all threads have some
    monkeypatch.setattr(patchmatch, "VOTED", 300)
    found = [patchmatch.fill(truth, hole, threads=threads) for threads in (1, 2, 7)]
    assert all(np.array_equal(found[0], each) for each in found[1:])


def test_threads_are_as_many_as_asked_for(monkeypatch):
    seen = []
    fill = patchmatch.fill
    monkeypatch.setattr(patchmatch, "fill", lambda *a, **o: seen.append(o["threads"]) or fill(*a, **o))
    photo, hole = np.rint(grain(64) * 255).astype(np.uint8), disc(64, 8)
    for threads in (3, None):
        retouch.complete(photo, hole, model="patchmatch", threads=threads)
    assert seen == [3, workers.cores()]


def test_all_but_a_corner_of_a_large_picture():
    """Hundreds of pixels from what is known, confidence is still a number."""
    hole = np.ones((500, 500), bool)
    hole[:50, :50] = False
    found = patchmatch.fill(np.tile(grain(50), (10, 10, 1)), hole)
    assert np.isfinite(found).all() and found[250:].std() > 0.5 * grain(50).std()


def test_it_tells_how_far_it_is_and_ends_when_told():
    truth, hole = tiles(160), disc(160, 36)
    told: list[float] = []
    found = patchmatch.fill(truth, hole, tell=told.append)
    assert (found == patchmatch.fill(truth, hole)).all()
    assert told == sorted(told) and 0 < told[0] < 0.05 and told[-1] == pytest.approx(1)
    assert max(np.diff(told)) < 0.05

    def stop(share: float) -> None:
        told.append(share)
        raise InterruptedError

    told.clear()
    photo = image.read(np.rint(truth * 255).astype(np.uint8))
    with pytest.raises(InterruptedError):
        engine.complete(photo, hole, CLASSICAL["patchmatch"](), progress=lambda done, _: done and stop(done))
    assert len(told) == 1 and told[0] < 0.05


def test_progress_is_that_of_all_variants():
    told: list[float] = []
    completed = files.run(
        np.rint(grain(96) * 255).astype(np.uint8), disc(96, 14), model="patchmatch", output=None, overwrite=False,
        threads=None, search=None, seed=0, dilate=0, feather=8, blend="feather", variants=2,
        progress=lambda done, total: told.append(done / total),
    )  # fmt: skip
    assert len(completed) == 2 and told == sorted(told) and (told[0], told[-1]) == (0, 1)
    assert told.count(0.5) >= 2 and 0 < told[1] < 0.1


def test_each_seed_and_each_answer_is_another():
    photo, hole = image.read(np.rint(grain(96) * 255).astype(np.uint8)), disc(96, 14)
    first, second = CLASSICAL["patchmatch"]().variants(2)
    made = [
        engine.complete(photo, hole, model, seed=seed).pixels
        for model, seed in ((first, 0), (first, 0), (second, 0), (first, 1))
    ]
    assert (made[0] == made[1]).all()
    assert (made[0] != made[2]).any() and (made[0] != made[3]).any() and (made[2] != made[3]).any()
