"""Metrics: against scikit-image and torchmetrics, by hand, and against frozen values."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from retouch import metrics
from retouch.errors import ImageError
from retouch.metrics import METRICS, NETWORK, REGIONS


def pair(height: int = 64, width: int = 48, batch: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Two batches (B, 3, H, W) float32: smooth pictures, and the same with noise and a shift of light."""
    rng = np.random.default_rng(0)
    image = np.stack([
        cv2.resize(rng.random((8, 6, 3), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(batch)
    ]).clip(0, 1)  # fmt: skip
    completion = (image + rng.normal(0.02, 0.06, image.shape).astype(np.float32)).clip(0, 1)
    return tuple(np.ascontiguousarray(x.transpose(0, 3, 1, 2)) for x in (image, completion))


@pytest.fixture
def hole() -> np.ndarray:
    """(1, 1, 64, 48) bool: a rectangle of 30 x 30 px."""
    hole = np.zeros((1, 1, 64, 48), np.bool_)
    hole[0, 0, 10:40, 12:42] = True
    return hole


def test_pixel_metrics_are_scikit_images() -> None:
    image, completion = pair(batch=2)
    for number in range(2):
        a, b = image[number], completion[number]
        assert METRICS["mse"](image, completion)[number] == pytest.approx(
            mean_squared_error(a * 255, b * 255), rel=1e-4
        )
        assert METRICS["psnr"](image, completion)[number] == pytest.approx(
            peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4
        )


@pytest.mark.parametrize("size", [(64, 48), (11, 11), (40, 300)])
def test_ssim_is_scikit_images(size: tuple[int, int]) -> None:
    image, completion = pair(*size)
    expected = structural_similarity(
        image[0], completion[0], channel_axis=0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, data_range=1.0,
    )  # fmt: skip
    assert METRICS["ssim"](image, completion)[0] == pytest.approx(expected, abs=1e-4)


def test_ssim_in_a_hole_is_the_mean_of_scikit_images_map(hole: np.ndarray) -> None:
    image, completion = pair()
    _, full = structural_similarity(
        image[0], completion[0], channel_axis=0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, data_range=1.0, full=True,
    )  # fmt: skip
    inner = hole[0, 0].copy()
    inner[:5] = inner[-5:] = inner[:, :5] = inner[:, -5:] = False
    found = METRICS["ssim"](image, completion, hole)[0]
    assert found == pytest.approx(full.mean(axis=0)[inner].mean(), abs=1e-4)


@pytest.mark.parametrize("size", [(176, 180), (201, 253)])
def test_ms_ssim_is_torchmetrics(size: tuple[int, int]) -> None:
    image, completion = pair(*size, batch=2)
    expected = multiscale_structural_similarity_index_measure(
        torch.from_numpy(completion), torch.from_numpy(image), data_range=1.0, reduction="none"
    )
    np.testing.assert_allclose(METRICS["ms_ssim"](image, completion), expected.numpy(), atol=1e-4)


def test_values_that_were_written_down(hole: np.ndarray) -> None:
    """Any change of these is a change of what the tables say."""
    found = {name: float(value[0]) for name, value in metrics.measure(*pair(), hole).items()}
    assert found == pytest.approx(FROZEN, rel=1e-4, nan_ok=True)


FROZEN = {
    "l1": 4.92693,
    "l1_hole": 4.99467,
    "l1_band": 4.9526,
    "l2": 0.386807,
    "l2_hole": 0.389338,
    "l2_band": 0.383992,
    "mse": 251.521,
    "mse_hole": 253.167,
    "mse_band": 249.691,
    "psnr": 24.1251,
    "psnr_hole": 24.0967,
    "psnr_band": 24.1568,
    "ssim": 0.808859,
    "ssim_hole": 0.804477,
    "ssim_band": 0.802395,
    "ms_ssim": float("nan"),
}


def test_by_hand(hole: np.ndarray) -> None:
    image = np.zeros((1, 3, 64, 48), np.float32)
    completion = np.where(hole, np.float32(0.5), image)
    share = hole.mean()
    found = {name: float(value[0]) for name, value in metrics.measure(image, completion, hole).items()}
    assert found["l1"] == pytest.approx(50 * share) and found["l1_hole"] == pytest.approx(50)
    assert found["l2"] == pytest.approx(25 * share) and found["l2_hole"] == pytest.approx(25)
    assert found["mse_hole"] == pytest.approx(255**2 / 4)
    assert found["psnr_hole"] == pytest.approx(20 * np.log10(2))
    assert found["psnr"] == pytest.approx(20 * np.log10(2) - 10 * np.log10(share))


def test_each_metric_alone_is_what_all_together_give(hole: np.ndarray) -> None:
    image, completion = pair(200, 180)
    wide = np.zeros((1, 1, 200, 180), np.bool_)
    wide[..., 30:80, 40:90] = True
    together = metrics.measure(image, completion, wide)
    for name, metric in METRICS.items():
        for ending, region in zip(REGIONS, (None, wide, metrics.band(wide)), strict=True):
            if metric.regional or not ending:
                np.testing.assert_array_equal(metric(image, completion, region), together[name + ending])


def test_a_batch_is_its_pictures_one_by_one(hole: np.ndarray) -> None:
    image, completion = pair(batch=3)
    holes = np.concatenate([hole, ~hole, np.zeros_like(hole)])
    together = metrics.measure(image, completion, holes)
    for i in range(3):
        alone = metrics.measure(image[i : i + 1], completion[i : i + 1], holes[i : i + 1])
        for name, values in together.items():
            np.testing.assert_array_equal(values[i], alone[name][0])


def test_the_inputs_stay_as_they_are(hole: np.ndarray) -> None:
    image, completion = pair()
    before = image.copy(), completion.copy(), hole.copy()
    for one in (image, completion, hole):
        one.flags.writeable = False
    metrics.measure(image, completion, hole)
    for one, copy in zip((image, completion, hole), before, strict=True):
        np.testing.assert_array_equal(one, copy)


def test_what_has_no_value_is_nan() -> None:
    image, completion = pair(9, 40)
    nothing = np.zeros((1, 1, 9, 40), np.bool_)
    found = metrics.measure(image, completion, nothing)
    assert np.isnan(found["ssim"][0]) and np.isnan(found["ms_ssim"][0])
    assert all(np.isnan(value[0]) for name, value in found.items() if name.endswith(("_hole", "_band")))
    assert np.isfinite(found["psnr"][0])


def test_an_exact_completion_has_sixty_decibels(hole: np.ndarray) -> None:
    image, _ = pair()
    found = metrics.measure(image, image, hole)
    assert (found["psnr"][0], found["ssim"][0], found["l1"][0]) == (60.0, pytest.approx(1), 0.0)


def test_the_band_is_the_border_of_the_hole(hole: np.ndarray) -> None:
    band = metrics.band(hole, 3)
    assert not (band & ~hole).any()
    expected = np.zeros_like(hole)
    expected[0, 0, 10:40, 12:42] = True
    expected[0, 0, 13:37, 15:39] = False
    assert (band == expected).all()
    assert not metrics.band(np.ones((1, 1, 4, 4))).any()


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(np.float32, (2, 3, 14, 13), elements=st.floats(0, 1, width=32)),
    arrays.arrays(np.float32, (2, 3, 14, 13), elements=st.floats(0, 1, width=32)),
    arrays.arrays(np.bool_, (2, 1, 14, 13)),
)
def test_ranges_and_symmetry(image: np.ndarray, completion: np.ndarray, hole: np.ndarray) -> None:
    found, swapped = metrics.measure(image, completion, hole), metrics.measure(completion, image, hole)
    for name, values in found.items():
        np.testing.assert_allclose(values, swapped[name], rtol=1e-5, atol=1e-6)
        there = values[np.isfinite(values)]
        low, high = {"l1": (0, 100), "l2": (0, 100), "mse": (0, 65025.1), "psnr": (-1e-4, 60)}.get(
            name.partition("_")[0], (-1.001, 1.001)
        )
        assert ((low <= there) & (there <= high)).all(), name


@pytest.mark.parametrize(
    ("image", "completion", "hole"),
    [
        ((1, 3, 8, 8), (1, 3, 8, 9), None),
        ((1, 1, 8, 8), (1, 1, 8, 8), None),
        ((3, 8, 8), (3, 8, 8), None),
        ((1, 3, 8, 8), (1, 3, 8, 8), (1, 8, 8)),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    image: tuple[int, ...], completion: tuple[int, ...], hole: tuple[int, ...] | None
) -> None:
    region = None if hole is None else np.zeros(hole, np.bool_)
    with pytest.raises(ImageError, match=r"expected .*got"):
        METRICS["psnr"](np.zeros(image, np.float32), np.zeros(completion, np.float32), region)


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (lambda x: np.rint(x * 255).astype(np.uint8), "uint8"),
        (lambda x: x * 255, "0 to 255"),
        (lambda x: x * 2 - 1, "-1 to 1"),
        (lambda x: np.where(x == 0, np.nan, x), "nan to nan"),
    ],
)
def test_pixels_of_other_units_are_named(wrong: Callable[[np.ndarray], np.ndarray], got: str) -> None:
    """Bytes would wrap around as they are subtracted; a pixel that is no number would not count."""
    image = np.zeros((1, 3, 16, 16), np.float32)
    image[:, :, 8:] = 1
    hole = np.ones((1, 1, 16, 16), np.bool_)
    for pictures in ((image, wrong(image)), (wrong(image), image)):
        for measured in (METRICS["psnr"], lambda a, b: metrics.measure(a, b, hole)):
            with pytest.raises(ImageError, match=rf"^expected floats in \[0, 1\], got {got}$"):
                measured(*pictures)


def test_a_metric_says_what_it_cannot_do(hole: np.ndarray) -> None:
    image, completion = pair()
    with pytest.raises(ImageError, match="MS-SSIM, got a hole"):
        METRICS["ms_ssim"](image, completion, hole)
    with pytest.raises(ImageError, match="LPIPS, got no network"):
        NETWORK["lpips"](image, completion)


# ---- sets of features -------------------------------------------------------------------------------------


def features() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(80, 12))
    return real, real[:60] * 1.2 + rng.normal(0.3, 0.4, (60, 12))


def test_frechet_distance_is_torchmetrics() -> None:
    real, fake = features()
    moments = [(torch.from_numpy(x.mean(0)), torch.from_numpy(np.cov(x, rowvar=False))) for x in (real, fake)]
    expected = float(_compute_fid(*moments[0], *moments[1]))
    assert metrics.frechet_distance(real, fake) == pytest.approx(expected, abs=1e-4)
    assert metrics.frechet_distance(real, real) == pytest.approx(0, abs=1e-6)
    one, other = real[:, :1], fake[:, :1]  # a single feature: by hand
    expected = (one.mean() - other.mean()) ** 2 + (one.std(ddof=1) - other.std(ddof=1)) ** 2
    assert metrics.frechet_distance(one, other) == pytest.approx(expected)


def test_kernel_distance_is_torchmetrics() -> None:
    real, fake = (x[:60] for x in features())
    expected = float(poly_mmd(torch.from_numpy(real), torch.from_numpy(fake)))
    assert metrics.kernel_distance(real, fake) == pytest.approx(expected, abs=1e-4)


def test_paired_sets_leave_out_the_pairs() -> None:
    real = features()[0]
    nearly = real + np.random.default_rng(1).normal(0, 1e-3, real.shape)
    assert metrics.kernel_distance(real, nearly) < -0.01  # each draw beside its own copy: too alike
    assert metrics.kernel_distance(real, nearly, paired=True) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("shapes", [((1, 4), (5, 4)), ((5, 4), (5, 3)), ((5,), (5,))])
def test_sets_that_are_none_are_named(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    for distance in (metrics.frechet_distance, metrics.kernel_distance):
        with pytest.raises(ImageError, match="expected two sets"):
            distance(*map(np.zeros, shapes))
    with pytest.raises(ImageError, match="as many"):
        metrics.kernel_distance(np.zeros((4, 3)), np.zeros((5, 3)), paired=True)
