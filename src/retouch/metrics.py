"""How far a completion is from the original: per-image metrics in NumPy, one dict `METRICS`.

Every metric is called with ``image`` and ``completion``, (B, 3, H, W) RGB in [0, 1], and gives (B,) float64.
With a ``hole``, (B, 1, H, W), 1 = missing, only the pixels in it count; ``band(hole)`` is a hole of its own:
its border. What has no value (a hole without pixels, a picture too small for SSIM) is NaN.

Nearly all of them are the mean of a map over a region. `measure` makes each map once and takes the means over
the whole image, the hole and the band.

- ``psnr``: Chandak et al. 2019 (method `wgan`), Eq. (9), (10), per image.
- ``ssim``: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
  similarity", 2004; Eq. (11) of `wgan` with exponents of 1.
- ``ms_ssim``: Wang, Simoncelli, Bovik, "Multi-scale structural similarity for image quality assessment", 2003.
- `frechet_distance`: Dowson, Landau 1982, as Heusel et al. 2017 use it; `kernel_distance`: Bińkowski et al. 2018.
  Both compare sets of features of any network. Only on Inception's do they have the names FID and KID.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from retouch.errors import ImageError

Floats = npt.NDArray[Any]  # float32 or float64
Pixels = Floats  # (B, 3, H, W) in [0, 1]
Hole = npt.NDArray[Any]  # (B, 1, H, W), 1 = missing
Values = npt.NDArray[np.float64]  # (B,)

CAP = 60.0  # dB; where a completion is exact, as in a plain sky, PSNR would be infinite and so would its mean
BAND = 8  # px: how far into the hole its border reaches
SIGMA, RADIUS = 1.5, 5  # px: SSIM's Gaussian window of 11 x 11
C1, C2 = 0.01**2, 0.03**2  # SSIM's constants for a range of 1
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # MS-SSIM's weights, finest first


# ---- maps: one number a pixel -----------------------------------------------------------------------------


def absolute(image: Pixels, completion: Pixels) -> Floats:
    """(B, H, W): the absolute difference, mean of the channels."""
    return _mean_channel(np.abs(completion - image))


def squared(image: Pixels, completion: Pixels) -> Floats:
    """(B, H, W): the squared difference, mean of the channels."""
    difference = completion - image
    return _mean_channel(difference * difference)


def similarity(image: Pixels, completion: Pixels) -> Floats:
    """(B, H, W): SSIM in a Gaussian window (sigma 1.5 px, 11 x 11), population covariance, of each channel.

    Then the mean of the channels. NaN in the outer 5 px, where the window leaves the picture: as in
    scikit-image, they do not count.
    """
    result = np.full((len(image), *image.shape[2:]), np.nan, np.float32)
    if min(image.shape[2:]) > 2 * RADIUS:
        for number, pair in enumerate(zip(image, completion, strict=True)):
            inner = slice(RADIUS, -RADIUS)
            luminance, structure = _ssim_terms(*map(_interleaved, pair))
            result[number, inner, inner] = (luminance * structure).mean(axis=2)
    return result


def _mean_channel(x: Floats) -> Floats:
    total: Floats = x[:, 0] + x[:, 1] + x[:, 2]
    return total / 3  # three times as fast as mean(axis=1)


def _interleaved(x: Floats) -> Floats:
    """(3, H, W) -> (H, W, 3) as OpenCV wants it."""
    return np.ascontiguousarray(x.transpose(1, 2, 0), np.float32)


def _ssim_terms(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Two (H, W, 3) -> luminance, and contrast times structure, (H - 10, W - 10, 3)."""

    def mean(x: Floats) -> Floats:
        return cv2.GaussianBlur(x, (2 * RADIUS + 1, 2 * RADIUS + 1), SIGMA)[RADIUS:-RADIUS, RADIUS:-RADIUS]

    mean_a, mean_b, squares, product = mean(a), mean(b), mean(a * a + b * b), mean(a * b)
    means, mean_squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    luminance = (2 * means + C1) / (mean_squares + C1)
    structure = (2 * (product - means) + C2) / (squares - mean_squares + C2)
    return luminance, structure


def multi_scale(image: Pixels, completion: Pixels) -> Floats:
    """(B, 1, 1): MS-SSIM over five scales; NaN for a side below 176 px, whose coarsest scale is too small."""
    result = np.full((len(image), 1, 1), np.nan)
    if min(image.shape[2:]) >> (len(SCALES) - 1) > 2 * RADIUS:
        for number, pair in enumerate(zip(image, completion, strict=True)):
            a, b = map(_interleaved, pair)
            value = 1.0
            for scale, weight in enumerate(SCALES):
                if scale:
                    a, b = _halved(a), _halved(b)
                luminance, structure = _ssim_terms(a, b)
                last = scale == len(SCALES) - 1
                term = (luminance * structure if last else structure).mean(dtype=np.float64)
                value *= max(float(term), 0.0) ** weight
            result[number] = value
    return result


def _halved(x: Floats) -> Floats:
    """The mean of every 2 x 2 pixels; an odd last row or column is left out."""
    height, width = x.shape[0] // 2, x.shape[1] // 2
    even = np.ascontiguousarray(x[: 2 * height, : 2 * width])
    return np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))


# ---- from a mean to a figure ------------------------------------------------------------------------------


def itself(mean: Values) -> Values:
    return mean


def percent(mean: Values) -> Values:
    """Of the range: 0 to 100."""
    return np.multiply(100, mean)


def grey_levels(mean: Values) -> Values:
    """From pixels in [0, 1] to pixels in 0 to 255, squared."""
    return np.multiply(255**2, mean)


def decibels(mean: Values) -> Values:
    """20 log10(MAX / sqrt(MSE)), Eq. (10) of `wgan`, with MAX = 1; at most 60 dB."""
    return np.asarray(np.minimum(CAP, -10 * np.log10(np.maximum(mean, 1e-12))))


Map = Callable[[Pixels, Pixels], Floats]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: call it with (image, completion, hole=None).

    Args:
        title: for people.
        unit: of the figure, empty for a plain number.
        higher: whether more is better.
        digits: after the point, in tables.
        about: what it is, in a line.
        map: one number a pixel; None for what is not computed here (see ``NETWORK``).
        finish: from the map's mean to the figure.
        regional: whether the mean of its map over a hole is a value.
        perfect: what no picture is better than.
    """

    title: str
    unit: str
    higher: bool
    digits: int
    about: str
    map: Map | None = None
    finish: Callable[[Values], Values] = itself
    regional: bool = True
    perfect: float = 0.0

    def __call__(self, image: Pixels, completion: Pixels, hole: Hole | None = None) -> Values:
        """(B,) float64.

        Raises:
            ImageError: shapes that do not fit, pixels that are no floats in [0, 1], a hole where the metric has
                none, or no network for one that needs it.
        """
        if self.map is None or (hole is not None and not self.regional):
            what = "a feature network" if self.map is None else "the whole image"
            raise ImageError(
                f"expected {what} for {self.title}, got {'no network' if self.map is None else 'a hole'}"
            )
        _check(image, completion, hole)
        return self.finish(_mean(self.map(image, completion), hole))


METRICS: dict[str, Metric] = {
    "l1": Metric("L1", "%", False, 2, "mean absolute difference, of the range", absolute, percent),
    "l2": Metric("L2", "%", False, 3, "mean squared difference, of the squared range", squared, percent),
    "mse": Metric("MSE", "", False, 1, "mean squared difference, pixels from 0 to 255", squared, grey_levels),
    "psnr": Metric(
        "PSNR",
        "dB",
        True,
        2,
        "peak signal-to-noise ratio per photo, at most 60 dB",
        squared,
        decibels,
        perfect=CAP,
    ),
    "ssim": Metric(
        "SSIM",
        "",
        True,
        4,
        "structural similarity: Gaussian window, sigma 1.5, of each channel",
        similarity,
        perfect=1,
    ),
    "ms_ssim": Metric(
        "MS-SSIM",
        "",
        True,
        4,
        "SSIM over five scales; sides of 176 px or more",
        multi_scale,
        regional=False,
        perfect=1,
    ),
}

# Per image as well, but from a feature network (methods/perceptual.py), whose weights the user names.
NETWORK: dict[str, Metric] = {
    "lpips": Metric("LPIPS", "", False, 4, "learned perceptual distance v0.1 of the network named"),
    "perceptual": Metric(
        "perceptual", "", False, 4, "L1 between features of VGG-19, relu1_1 to relu5_1, summed"
    ),
}

# Of a set of photos, not of one; Fréchet and kernel over the features of that network.
SETS: dict[str, Metric] = {
    "psnr_pooled": Metric(
        "pooled PSNR", "dB", True, 2, "of the mean squared error over all pixels of all photos"
    ),
    "frechet": Metric("Fréchet", "", False, 3, "Fréchet distance of features (not FID: another network)"),
    "kernel": Metric("kernel", "", False, 5, "kernel distance (MMD²) of features (not KID: another network)"),
}
REGIONS = ("", "_hole", "_band")  # endings of the names: whole image, hole only, border of the hole


def loss_name(name: str) -> str:
    """What logs call a loss: ``ssim_loss`` for 1 - SSIM, whose setting is ``ssim``; for a metric, more is better."""
    return f"{name}_loss" if name in METRICS and METRICS[name].higher else name


def band(hole: Hole, width: int = BAND) -> npt.NDArray[np.bool_]:
    """(B, 1, H, W) bool: the pixels of the hole that lie at most so many px from a known one."""
    border = np.zeros(hole.shape, np.bool_)
    for number, missing in enumerate(np.asarray(hole[:, 0]) > 0.5):
        if missing.all():
            continue  # nothing is known: no border
        distance = cv2.distanceTransform(missing.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        border[number, 0] = missing & (distance <= width)
    return border


def measure(image: Pixels, completion: Pixels, hole: Hole) -> dict[str, Values]:
    """All of ``METRICS`` in all regions: name, ``name_hole``, ``name_band`` -> (B,) float64.

    Raises:
        ImageError: shapes that do not fit one another, or pixels that are no floats in [0, 1].
    """
    _check(image, completion, hole)
    holes = dict(zip(REGIONS, (None, hole, band(hole)), strict=True))
    maps = {metric.map: metric.map(image, completion) for metric in METRICS.values() if metric.map}
    return {
        name + ending: metric.finish(_mean(maps[metric.map], region))
        for name, metric in METRICS.items()
        for ending, region in holes.items()
        if metric.map and (metric.regional or not ending)
    }


def _mean(values: Floats, hole: Hole | None) -> Values:
    """(B, H, W), NaN where it does not count -> (B,): the mean of all that counts, NaN where nothing does."""
    weights = np.isfinite(values)
    if hole is not None:
        weights &= np.asarray(hole[:, 0]) > 0.5
    count = weights.sum(axis=(1, 2), dtype=np.float64)
    total = np.where(weights, values, 0).sum(axis=(1, 2), dtype=np.float64)
    return np.asarray(np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0))


def _check(image: Pixels, completion: Pixels, hole: Hole | None) -> None:
    if image.ndim != 4 or image.shape[1] != 3 or completion.shape != image.shape:
        raise ImageError(f"expected two (B, 3, H, W), got {image.shape} and {completion.shape}")
    fitting = (image.shape[0], 1, *image.shape[2:])
    if hole is not None and hole.shape != fitting:
        raise ImageError(f"expected a hole of shape {fitting}, got {hole.shape}")
    for pixels in (image, completion):
        if pixels.dtype.kind != "f":
            raise ImageError(f"expected floats in [0, 1], got {pixels.dtype}")
        low, high = float(pixels.min(initial=0)), float(pixels.max(initial=1))
        if not (low >= 0 and high <= 1):  # also where one is not a number
            raise ImageError(f"expected floats in [0, 1], got {low:g} to {high:g}")


# ---- distances between sets of features -------------------------------------------------------------------


def frechet_distance(real: Floats, fake: Floats) -> float:
    """Between two sets of features, each taken as a Gaussian: 0 for equal means and covariances.

    Args:
        real: (N, D), at least two rows.
        fake: (M, D).

    Raises:
        ImageError: other shapes.
    """
    real, fake = _features(real, fake)
    mean = real.mean(axis=0) - fake.mean(axis=0)
    a, b = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (real, fake))
    # tr sqrt(a b) through symmetric matrices: sqrt(a) b sqrt(a) has the eigenvalues of a b.
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ b @ root), 0)).sum()
    return float(mean @ mean + np.trace(a) + np.trace(b) - 2 * cross)


def kernel_distance(real: Floats, fake: Floats, *, paired: bool = False) -> float:
    """Squared maximum mean discrepancy, unbiased, kernel (x·y / D + 1)³; about 0 for the same source.

    Takes memory for N x M numbers.

    Args:
        real, fake: as for `frechet_distance`.
        paired: row i of both comes from one photo: such pairs, more alike than two draws, are left out.

    Raises:
        ImageError: as for `frechet_distance`; paired sets of different sizes.
    """
    real, fake = _features(real, fake)
    if paired and len(real) != len(fake):
        raise ImageError(f"expected as many completions as photos, got {len(fake)} and {len(real)}")

    def mean(x: Floats, y: Floats, different: bool) -> float:
        table = (x @ y.T / x.shape[1] + 1) ** 3
        if different:
            return float((table.sum() - np.trace(table)) / (len(x) * (len(x) - 1)))
        return float(table.mean())

    return mean(real, real, True) + mean(fake, fake, True) - 2 * mean(real, fake, paired)


def _features(real: Floats, fake: Floats) -> tuple[Values, Values]:
    right = real.ndim == fake.ndim == 2 and real.shape[1:] == fake.shape[1:]
    if not right or min(len(real), len(fake)) < 2:
        raise ImageError(
            f"expected two sets of features (N, D) with at least two rows, got {real.shape} and {fake.shape}"
        )
    return real.astype(np.float64), fake.astype(np.float64)
