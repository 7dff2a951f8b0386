"""Matplotlib: quality by the hole's size, quality by time, training curves. Figures in, SVG or PNG out."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from retouch import jsonl
from retouch.errors import DataError, needs
from retouch.evaluation.results import Row
from retouch.evaluation.summary import Group
from retouch.evaluation.tables import head
from retouch.masks import KINDS
from retouch.metrics import loss_name

BIN = 0.05  # of the picture: width of the bins of hole size
COUNTERS = ("step", "images", "seconds", "images_per_second")
WIDE = 10.0  # inches
MARKERS = "os^Dv*"
SMOOTH = 12  # a curve's running mean goes over this part of the shortest run
FEW = 20  # points of a curve that are marked
DASHES = ("-", "--", ":")
LETTERS = 110  # in a line of a legend
Stats = dict[str, float]  # a line of stats.jsonl
Along = Literal["step", "images", "seconds"]
ALONG: dict[Along, str] = {"step": "steps", "images": "images seen", "seconds": "seconds"}


def _figure(rows: int, columns: int, height: float) -> Any:
    """A figure and its axes, flat. No windows, no global state: pyplot is not imported.

    Raises:
        MissingExtraError: without Matplotlib.
    """
    with needs("report", "drawing plots"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(WIDE, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes


def _label(name: str) -> str:
    """A name as text: Matplotlib takes $ for a formula, leaves out labels that begin with _, and takes UTF-8 alone."""
    text = name.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def png(figure: Any) -> bytes:
    """110 dots an inch."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})
    return data.getvalue()


def svg(figure: Any) -> str:
    """An ``<svg>`` element to put into a page; its text stays text."""
    from matplotlib import rc_context

    data = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "retouch"}):
        figure.savefig(data, format="svg", metadata={"Date": None})
    text = data.getvalue()
    return text[text.index("<svg") :]


def _kind(row: Row) -> str:
    """``strokes`` of ``strokes 0.1-0.2``; a folder of masks is a kind of its own."""
    kind = str(row["masks"]).partition(" ")[0]
    return kind if kind in KINDS else str(row["masks"])


def by_hole(rows: Sequence[Row], models: Sequence[str], names: Sequence[str]) -> Any:
    """Means over bins of the hole's share, a line per model: a row of panels per kind of hole."""
    kinds = sorted({_kind(row) for row in rows})
    figure, axes = _figure(len(kinds), len(names), 3.2 * len(kinds))
    for place, axis in enumerate(axes):
        kind, name = kinds[place // len(names)], names[place % len(names)]
        for number, model in enumerate(models):
            pairs = np.array([
                (row["hole"], row[name]) for row in rows
                if row["model"] == model and _kind(row) == kind and name in row
            ]).reshape(-1, 2)  # fmt: skip
            bins = np.floor(pairs[:, 0] / BIN)
            means = np.array([pairs[bins == one].mean(axis=0) for one in np.unique(bins)]).reshape(-1, 2)
            axis.plot(
                100 * means[:, 0], means[:, 1], "o-", ms=4, color=f"C{number % 10}", label=_label(model)
            )
        axis.set(xlabel="hole, % of the picture", ylabel=head(name), title=_label(kind))
    axes[0].legend(frameon=False, fontsize="small")
    return figure


def by_time(groups: Sequence[Group], models: Sequence[str], names: Sequence[str]) -> Any:
    """Median seconds a photo against the mean: a colour per model, a marker per kind of hole."""
    figure, axes = _figure(1, len(names), 3.6)
    from matplotlib.ticker import LogLocator, MaxNLocator

    for axis, name in zip(axes, names, strict=True):
        for place, group in enumerate(groups):
            for number, model in enumerate(models):
                if name in group.estimates.get(model, {}):
                    point = (group.seconds[model], group.estimates[model][name].mean)
                    axis.plot(*point, MARKERS[place % len(MARKERS)], ms=7, color=f"C{number % 10}")
        axis.set(xscale="log", xlabel="seconds a photo (median)", ylabel=head(name))
        axis.margins(x=0.15, y=0.15)
        axis.xaxis.set_major_formatter("{x:g}")
        low, high = axis.get_xlim()
        axis.xaxis.set_minor_formatter("")
        if high < 10 * low:  # no power of ten may lie between, and of its tenths none or too many
            axis.xaxis.set_major_locator(MaxNLocator(4))
        elif high < 100 * low:  # perhaps one alone, by which nothing can be read off
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for number, model in enumerate(models):
        axes[0].plot([], [], "o", color=f"C{number % 10}", label=_label(model))
    for place, group in enumerate(groups):
        axes[0].plot([], [], MARKERS[place % len(MARKERS)], color="0.5", label=_label(group.masks))
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


# ---- training ---------------------------------------------------------------------------------------------


def read_stats(run: Path) -> list[Stats]:
    """The lines of a run's ``stats.jsonl``; a last one that was cut off is left out.

    Runs of earlier versions called some losses as metrics are; here they have the names of today.

    Raises:
        DataError: there is none, or it is not what ``retouch train`` writes.
    """
    path = run / "stats.jsonl"
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{run}: expected a training run with stats.jsonl, got none") from None
    rows = []
    for where, row in jsonl.rows(data, path):
        try:
            rows.append({loss_name(name): float(value) for name, value in row.items()})
        except (ValueError, TypeError) as error:
            raise DataError(f"{where}: expected a line of numbers, got {error}") from error
    without = sum("step" not in row for row in rows)
    if not rows:
        raise DataError(
            f"{path}: expected lines with a step, got none yet (a run logs every --log-every steps)"
        )
    if without:
        raise DataError(f"{path}: expected lines with a step, got {without} of {len(rows)} without")
    return rows


def titles(runs: Sequence[Path]) -> dict[str, Path]:
    """The runs by their names; those of one name by their paths. A run that is named twice is one."""
    once = list({run.resolve(): run for run in runs}.values())
    names = [run.resolve().name for run in once]
    return {name if names.count(name) == 1 else str(run): run for name, run in zip(names, once, strict=True)}


def curves(runs: Mapping[str, Sequence[Stats]], by: Along = "step") -> Any:
    """A panel for every value that a run logged, whatever it is, held-out figures first; a colour for each run.

    Thin as logged, thick the running mean, of all runs over the same distance along the axis. Held-out figures, which
    are of the same photographs each time, and the learning rate are shown as they are.

    Args:
        runs: title -> what ``read_stats`` gives.
        by: what stands along the axis.

    Raises:
        DataError: nothing but counters, or lines without ``by``.
    """
    every = dict.fromkeys(name for rows in runs.values() for row in rows for name in row)
    names = sorted((name for name in every if name not in COUNTERS), key=lambda name: not _held_out(name))
    title = ", ".join(runs)
    if not names:
        raise DataError(f"{title}: expected losses beside the counters, got none")
    without = [run for run, rows in runs.items() if any(by not in row for row in rows)]
    if without:
        raise DataError(f"{without[0]}: expected lines with {by}, got some without")
    several = len(runs) > 1
    across = max(1, LETTERS // (max(map(len, runs)) + 8))  # names in a line of the legend
    columns = min(3, len(names))
    lines = math.ceil(len(names) / columns)
    figure, axes = _figure(lines, columns, 2.6 * lines + 0.2 + 0.2 * math.ceil(len(runs) / across))
    for axis in axes[len(names) :]:
        axis.remove()
    for axis, name in zip(axes, names, strict=False):
        shown = [
            np.array([(row[by], row[name]) for row in rows if math.isfinite(row.get(name, math.nan))])
            for rows in runs.values()
        ]
        spans = [points[-1, 0] - points[0, 0] for points in shown if len(points)]
        noisy = spans and name != "lr" and not _held_out(name)
        for number, points in enumerate(shown):
            if len(points):
                _curve(axis, points, min(spans) / SMOOTH if noisy else 0.0, number, several)
        values = np.concatenate([points[:, 1] for points in shown if len(points)] or [np.empty(0)])
        if len(values) and values.min() > 0 and values.max() > 50 * values.min():
            axis.set_yscale("log")
        axis.set(title=_label(name), xlabel=ALONG[by])
    if several:
        from matplotlib.lines import Line2D

        keys = [Line2D([], [], lw=2.5, **_look(number)) for number in range(len(runs))]
        figure.legend(
            keys, [_label(run) for run in runs], loc="outside upper left", ncols=across, frameon=False
        )
    else:
        figure.suptitle(_label(title))
    return figure


def _held_out(name: str) -> bool:
    return name.startswith("validation_")


def _look(number: int) -> dict[str, Any]:
    """A colour; after ten of them other dashes."""
    return {"color": f"C{number % 10}", "ls": DASHES[number // 10 % len(DASHES)]}


def _curve(axis: Any, points: np.ndarray, span: float, number: int, several: bool) -> None:
    """One run's (n, 2) points, and their running mean over ``span`` where that holds more than one of them."""
    step = (points[-1, 0] - points[0, 0]) / max(1, len(points) - 1)
    width = int(span / step) if step > 0 else 0
    if width < 2:
        axis.plot(*points.T, marker="o" if len(points) <= FEW else "", ms=3, lw=1.4, **_look(number))
        return
    axis.plot(*points.T, lw=0.7, alpha=0.25 if several else 0.45, **_look(number))
    mean = np.convolve(points[:, 1], np.full(width, 1 / width), mode="valid")
    axis.plot(points[width - 1 :, 0], mean, lw=1.8, **_look(number))
