"""Rows to figures: means with 95 % intervals, and paired differences, over photos that all models measured.

Intervals are percentiles of the means of ``RESAMPLES`` bootstrap samples of the photos (Efron 1979), drawn from a fixed
seed: the same results give the same report. Of few photos these are too narrow; they are widened about the mean as
Student's t is wider than the normal distribution (after the expanded percentile intervals of Hesterberg 2015).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from retouch import metrics
from retouch.evaluation.cases import ORIGINAL, features
from retouch.evaluation.results import Row
from retouch.metrics import METRICS, NETWORK, REGIONS, SETS

Floats = npt.NDArray[np.float64]

RESAMPLES = 2000
CHUNK = 100  # bootstrap samples made at a time
COVERAGE = 0.9  # a model with fewer photos than this share of the most is compared on its own photos
LEAST = 50  # photos: fewer say nothing about how features are distributed
ALL = METRICS | NETWORK | SETS


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval, NaN where it has none; how many photos it is of."""

    mean: float
    low: float
    high: float
    photos: int


@dataclass(frozen=True, slots=True)
class Group:
    """Models that measured the same photos with the same holes.

    Args:
        masks: the holes' name.
        photos: numbers.
        lacking: model -> how many photos it has not measured that others, here or elsewhere, have with these holes.
        there: how many photos were measured with these holes by any model.
        values: model -> name of the figure -> (photos,), NaN where a photo has none of one of the models.
        estimates: model -> name -> mean and interval; also of sets (``metrics.SETS``), which have none.
        seconds: model -> the median of its times.
    """

    masks: str
    photos: tuple[int, ...]
    lacking: dict[str, int]
    there: int
    values: dict[str, dict[str, Floats]]
    estimates: dict[str, dict[str, Estimate]]
    seconds: dict[str, float]

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(self.values)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more of a metric one model has than another on the same photos."""

    model: str
    other: str
    metric: str
    estimate: Estimate

    @property
    def verdict(self) -> str:
        """``better`` or ``worse``, or ``no difference shown`` where the interval holds 0."""
        if not (self.estimate.low > 0 or self.estimate.high < 0):
            return "no difference shown"
        return "better" if (self.estimate.mean > 0) == metric_of(self.metric).higher else "worse"


def metric_of(name: str) -> metrics.Metric:
    """The metric that a figure's name means, whatever its region: ``psnr_hole`` -> PSNR."""
    for ending in REGIONS[1:]:
        if name.endswith(ending) and name.removesuffix(ending) in METRICS:
            return METRICS[name.removesuffix(ending)]
    return ALL[name]


def figures_in(rows: Sequence[Row]) -> list[str]:
    """The names of the figures that rows hold: whole image first, then hole and band."""
    there = {name for row in rows for name in row}
    whole = [name for name in (*METRICS, *NETWORK) if name in there]
    return whole + [name + ending for ending in REGIONS[1:] for name in METRICS if name + ending in there]


def groups(rows: Sequence[Row], order: Sequence[str] = ()) -> list[Group]:
    """The comparisons that the rows allow, by holes, the one with the most photos first.

    All figures of one are of the same photos, which all its models have: the photos that a model fails on are
    seldom the easy ones, and its mean without them stands beside no other's with them. Where that would cost the others
    more than a tenth of theirs, they have a comparison of their own.

    Args:
        rows: without failures.
        order: of the models; those that it does not name come after, by their name.
    """
    originals = {
        row["photo"]: features(row) for row in rows if row["model"] == ORIGINAL and "features" in row
    }
    table: dict[str, dict[str, dict[int, Row]]] = {}
    for row in rows:
        if row["model"] != ORIGINAL:
            table.setdefault(row["masks"], {}).setdefault(row["model"], {})[row["photo"]] = row
    found = []
    for masks in sorted(table):
        left = dict(sorted(table[masks].items(), key=lambda item: -len(item[1])))
        covered: dict[str, dict[int, Row]] = {}
        there = len(set.union(*map(set, left.values())))
        while left:
            most = len(next(iter(left.values())))
            alike = {model: left.pop(model) for model in list(left) if len(left[model]) >= COVERAGE * most}
            covered |= alike
            photos = sorted(set.intersection(*(set(of) for of in (*alike.values(), *covered.values()))))
            if photos:
                ranks = {model: place for place, model in enumerate(order)}
                models = sorted(covered, key=lambda model: (ranks.get(model, len(ranks)), model))
                chosen = {model: [covered[model][photo] for photo in photos] for model in models}
                lacking = {model: there - len(covered[model]) for model in models}
                found.append(_group(masks, photos, lacking, there, chosen, originals))
    return found


def widest(found: Sequence[Group]) -> dict[tuple[str, str], Group]:
    """(holes, model) -> of the comparisons that the model is in, the one with the most photos."""
    return {(group.masks, model): group for group in reversed(found) for model in group.models}


def _group(
    masks: str,
    photos: list[int],
    lacking: dict[str, int],
    there: int,
    rows: dict[str, list[Row]],
    originals: Mapping[int, npt.NDArray[np.float16]],
) -> Group:
    names = figures_in([row for of in rows.values() for row in of])
    values = {
        model: {name: np.array([row.get(name, np.nan) for row in of], np.float64) for name in names}
        for model, of in rows.items()
    }
    for name in names:  # only photos of which every model has the figure, but for models that never have it
        has = [of[name] for of in values.values() if np.isfinite(of[name]).any()]
        for one in has:
            one[~np.isfinite(has).all(axis=0)] = np.nan
    stacked = np.array([values[model][name] for model in values for name in names])
    found = iter(estimates(stacked.reshape(len(rows) * len(names), len(photos)).T))
    tables = {model: {name: _possible(next(found), metric_of(name)) for name in names} for model in rows}
    for model, of in rows.items():
        tables[model] |= {
            name: Estimate(value, np.nan, np.nan, count)
            for name, (value, count) in _of_sets(of, originals).items()
        }
    seconds = {
        model: float(np.median([row.get("seconds", np.nan) for row in of])) for model, of in rows.items()
    }
    return Group(masks, tuple(photos), lacking, there, values, tables, seconds)


def _possible(estimate: Estimate, metric: metrics.Metric) -> Estimate:
    """Without the part of a wide interval that is better than perfect."""
    if metric.higher:
        return replace(estimate, high=min(estimate.high, metric.perfect))
    return replace(estimate, low=max(estimate.low, metric.perfect))


def _of_sets(
    rows: list[Row], originals: Mapping[int, npt.NDArray[np.float16]]
) -> dict[str, tuple[float, int]]:
    """The figures that a set of photos has and a photo has not, and of how many photos."""
    found = {}
    if all("mse" in row for row in rows):
        mean = np.average(
            [row["mse"] for row in rows], weights=[row["height"] * row["width"] for row in rows]
        )
        found["psnr_pooled"] = float(metrics.decibels(np.array(mean / 255**2))), len(rows)
    pairs = [(originals[row["photo"]], features(row)) for row in rows
             if "features" in row and row["photo"] in originals]  # fmt: skip
    if len(pairs) >= LEAST:
        real, fake = map(np.stack, zip(*pairs, strict=True))
        found["frechet"] = metrics.frechet_distance(real, fake), len(pairs)
        found["kernel"] = metrics.kernel_distance(real, fake, paired=True), len(pairs)
    return found


def estimates(values: Floats) -> list[Estimate]:
    """(photos, k), NaN where there is no value -> k means with their intervals."""
    finite = np.isfinite(values)
    filled = np.where(finite, values, 0.0)
    count = finite.sum(axis=0)
    mean = np.divide(filled.sum(axis=0), count, out=np.full(values.shape[1], np.nan), where=count > 0)
    photos, rng = len(values), np.random.default_rng(0)
    samples = []
    for start in range(0, RESAMPLES, CHUNK):
        size = min(CHUNK, RESAMPLES - start)
        times = rng.multinomial(photos, np.full(photos, 1 / photos), size).astype(np.float64)
        drawn, total = times @ finite, times @ filled
        samples.append(np.divide(total, drawn, out=np.full(total.shape, np.nan), where=drawn > 0))
    means = np.concatenate(samples)
    bounds = np.full((2, values.shape[1]), np.nan)
    usable = (count > 1) & np.isfinite(means).any(axis=0)
    found = np.nanpercentile(means[:, usable], (2.5, 97.5), axis=0)
    bounds[:, usable] = mean[usable] + (found - mean[usable]) * np.array(
        [_widening(n) for n in count[usable]]
    )
    return [
        Estimate(float(middle), float(low), float(high), int(n))
        for middle, low, high, n in zip(mean, *bounds, count, strict=True)
    ]


def _widening(count: int) -> float:
    """t(n - 1) over z at 97.5 %, times √(n / (n - 1)): bootstrap samples scatter by the latter too little."""
    df = count - 1
    # t at 97.5 %: exact for one and two degrees of freedom, then Fisher's series, off by less than 1 %
    t = {1: 12.706, 2: 4.303}.get(df) or 1.96 + 2.372 / df + 2.822 / df**2 + 2.556 / df**3
    return float(t / 1.96 * np.sqrt(count / df))


def differences(group: Group, model: str, names: Sequence[str]) -> list[Difference]:
    """One model against each other one of the group, metric by metric."""
    pairs = [(other, name) for other in group.models if other != model for name in names
             if name in group.values[model]]  # fmt: skip
    if not pairs:
        return []
    columns = [group.values[model][name] - group.values[other][name] for other, name in pairs]
    found = estimates(np.array(columns).T)
    return [Difference(model, other, name, e) for (other, name), e in zip(pairs, found, strict=True)]


def extremes(rows: Sequence[Row], model: str) -> dict[int, str]:
    """Photo -> "best", "median" or "worst" by a model's PSNR in the hole, for rows of one kind of hole."""
    scores = {row["photo"]: row["psnr_hole"] for row in rows if row["model"] == model and "psnr_hole" in row}
    photos = sorted(scores, key=lambda photo: (-scores[photo], photo))
    if not photos:
        return {}
    # of few photos one is both: it is called by the later word
    return {photos[0]: "best", photos[len(photos) // 2]: "median"} | {photos[-1]: "worst"}


def ranked(rows: Sequence[Row]) -> list[str]:
    """The models, best first by PSNR: over the photos and holes that all measured, or else over their own."""
    own: dict[str, dict[tuple[int, str], float]] = {}
    for row in rows:
        if "psnr" in row:
            own.setdefault(row["model"], {})[row["photo"], row["masks"]] = row["psnr"]
    shared = set.intersection(*map(set, own.values())) if own else set()
    means = {model: np.mean([of[key] for key in (shared or of)]) for model, of in own.items()}
    return sorted(means, key=lambda model: (-means[model], model))
