"""Summaries and cards as tables: for a page, for Markdown, in the layouts that the papers print."""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retouch.cards import Card
from retouch.evaluation.protocols import PROTOCOLS, Printed, Protocol
from retouch.evaluation.summary import Estimate, Group, differences, metric_of, widest
from retouch.metrics import Metric

MAIN = ("psnr", "psnr_pooled", "ssim", "lpips", "l1", "perceptual", "ms_ssim", "frechet", "kernel")
REGIONAL = ("psnr_hole", "ssim_hole", "l1_hole", "psnr_band", "ssim_band", "l1_band")
COMPARED = ("psnr", "ssim", "lpips", "psnr_hole", "ssim_hole")
ON_CARDS = ("psnr", "ssim", "lpips")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Args:
        text: what it says.
        note: said smaller below it, such as an interval; may have two lines.
        best: whether it is the best of its kind.
        label: whether it is text, set to the left.
    """

    text: str
    note: str = ""
    best: bool = False
    label: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its title and what must be known beside it."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


def label(text: str, *, best: bool = False) -> Cell:
    return Cell(text, best=best, label=True)


def head(name: str) -> str:
    """``psnr_hole`` -> ``PSNR in the hole, dB ↑``: the arrow says which way is better."""
    metric = metric_of(name)
    where = {"_hole": " in the hole", "_band": " at its border"}.get("_" + name.rpartition("_")[2], "")
    unit = f",\N{NO-BREAK SPACE}{metric.unit}" if metric.unit else ""
    return f"{metric.title}{where}{unit}\N{NO-BREAK SPACE}{'↑' if metric.higher else '↓'}"


def number(value: float, metric: Metric, *, sign: bool = False) -> str:
    return "" if math.isnan(value) else f"{value:{'+' if sign else ''}.{metric.digits}f}"


def _cell(estimate: Estimate | None, name: str, of: int, *, best: bool = False, sign: bool = False) -> Cell:
    """A mean and its interval; and of how many photos it is, where that is another number than ``of``."""
    if estimate is None or math.isnan(estimate.mean):
        return Cell("–")
    metric = metric_of(name)
    low, high = (number(value, metric, sign=sign) for value in (estimate.low, estimate.high))
    notes = [f"{low} to {high}"] if low and high else []
    notes += [_count(estimate.photos)] if estimate.photos != of else []
    return Cell(number(estimate.mean, metric, sign=sign), "\n".join(notes), best)


def _best(values: Iterable[float], metric: Metric) -> float:
    """The best of them, as far as the digits shown tell; NaN where there is no choice."""
    rounded = [round(value, metric.digits) for value in values if not math.isnan(value)]
    return (max if metric.higher else min)(rounded) if len(rounded) > 1 else math.nan


def quality(group: Group, names: Sequence[str], *, timed: bool = True) -> Table:
    """A line per model, a column per metric: mean and 95 % interval, the best in bold; then the time."""
    names = [name for name in names if any(name in of for of in group.estimates.values())]
    names = [name for name in names if any(not math.isnan(of[name].mean) for of in group.estimates.values())]
    best = {
        name: _best((of[name].mean for of in group.estimates.values()), metric_of(name)) for name in names
    }
    shown = len(group.photos)
    rows = tuple(
        (
            label(model),
            *(_cell(of[name], name, shown, best=round(of[name].mean, metric_of(name).digits) == best[name])
              for name in names),
            *([Cell(_seconds(group.seconds[model]))] if timed else []),
        )
        for model, of in group.estimates.items()
    )  # fmt: skip
    return Table(
        f"{group.masks}, {photos(group)}",
        ("model", *map(head, names), *(["seconds a photo"] if timed else [])),
        rows,
        _left_out(group),
    )


def compared(group: Group, model: str) -> Table | None:
    """How much more the model has than each other one, with what that says; None without another."""
    found = differences(group, model, COMPARED)
    if not found:
        return None
    others = list(dict.fromkeys(one.other for one in found))
    names = list(dict.fromkeys(one.metric for one in found))
    by = {(one.other, one.metric): one for one in found}
    rows = []
    for other in others:
        cells = []
        for name in names:
            one = by[other, name]
            cell = _cell(one.estimate, name, len(group.photos), sign=True)
            note = f"{one.verdict}\n{cell.note}" if cell.note else one.verdict
            cells.append(Cell(cell.text, note, one.verdict == "better"))
        rows.append((label(f"{model} against {other}"), *cells))
    return Table(f"{group.masks}, {photos(group)}", ("", *map(head, names)), tuple(rows))


def photos(group: Group) -> str:
    """``18 of 20 photos`` where two of them lack a model of the group."""
    shown = len(group.photos)
    return f"{shown:,} of {_count(group.there)}" if shown < group.there else _count(shown)


def _count(number: int) -> str:
    return f"{number:,} photo{'s' * (number != 1)}"


def _left_out(group: Group) -> tuple[str, ...]:
    """Whose failures, or rows not measured yet, cost the group its photos."""
    lacking = [f"{model} lacks {number:,}" for model, number in group.lacking.items() if number]
    if not lacking:
        return ()
    return (
        f"Means over the photographs that all models here have; of the {group.there:,}, {', '.join(lacking)}.",
    )


def _seconds(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


# ---- the papers' layouts ----------------------------------------------------------------------------------


def as_printed(protocol: Protocol, found: Sequence[Group]) -> Table:
    """The paper's table with our models beside its columns."""
    by = widest(found)
    largest = {group.masks: group for group in reversed(found)}  # the first of each kind has the most photos
    kinds = [masks.replace(":", " ") for masks in protocol.masks if masks.replace(":", " ") in largest]
    models = list(dict.fromkeys(model for group in found if group.masks in kinds for model in group.models))
    columns = list(dict.fromkeys((one.label, one.table) for one in protocol.printed))
    title = f"{protocol.paper}: the paper's figures, then ours"
    counts = ", ".join(sorted({photos(largest[kind]) for kind in kinds})) or "no photos"
    terms = f"Ours: {counts} of {protocol.size} x {protocol.size} px. The paper: {protocol.data}."
    notes = (terms, *protocol.differences)

    def ours(kind: str, model: str, name: str) -> Cell:
        values = [largest[kind].estimates[m][name].mean for m in largest[kind].models
                  if name in largest[kind].estimates[m]]  # fmt: skip
        group = by.get((kind, model))
        estimate = group.estimates[model].get(name) if group else None
        digits = metric_of(name).digits
        best = (
            estimate is not None
            and group is largest[kind]
            and round(estimate.mean, digits) == _best(values, metric_of(name))
        )
        return _cell(estimate, name, len(largest[kind].photos), best=best)

    if protocol.layout == "across":
        heads = ("", "holes", *(f"{name} ({table})" for name, table in columns), *models)
        rows = tuple(
            (
                label(head(name)),
                label(kind),
                *(_printed(protocol.printed, column, kind, name) for column in columns),
                *(ours(kind, model, name) for model in models),
            )
            for name in protocol.metrics
            for kind in kinds
        )
        return Table(title, heads, rows, notes)
    heads = ("", "holes", *map(head, protocol.metrics))
    printed = [
        (label(f"{name} ({table})"), label("not told"), *(_printed(protocol.printed, (name, table), "", metric)
                                                          for metric in protocol.metrics))
        for name, table in columns
    ]  # fmt: skip
    measured = [
        (label(model), label(kind), *(ours(kind, model, metric) for metric in protocol.metrics))
        for kind in kinds
        for model in models
        if (kind, model) in by
    ]
    return Table(title, heads, (*printed, *measured), notes)


def _printed(printed: Sequence[Printed], column: tuple[str, str], kind: str, name: str) -> Cell:
    """The paper's figure, with the digits that it prints."""
    for one in printed:
        if (one.label, one.table) == column and one.masks.replace(":", " ") in ("", kind):
            return Cell(one.figures.get(name, "–"))
    return Cell("–")


# ---- cards ------------------------------------------------------------------------------------------------


def on_card(method: str) -> tuple[str, ...]:
    """The metrics of a card: the usual ones, and the paper's where PSNR is not among them."""
    papers = PROTOCOLS[method].metrics if method in PROTOCOLS else ()
    return ON_CARDS if "psnr" in papers else tuple(dict.fromkeys((*ON_CARDS, *papers)))


def card_rows(found: Sequence[Group], data: str, names: Sequence[str]) -> list[dict[str, str | float]]:
    """What a card keeps of the measured groups; a smaller group's data are named a sample."""
    most = max((len(group.photos) for group in found), default=0)
    rows = []
    for group in sorted(found, key=lambda group: (-len(group.photos), group.masks)):
        part = "" if len(group.photos) >= 0.9 * most else ", a sample"
        for model in group.models:
            row: dict[str, str | float] = {"data": data + part, "masks": group.masks, "model": model}
            row["photos"] = len(group.photos)
            for name in names:
                if name in group.estimates[model]:
                    row[name] = round(group.estimates[model][name].mean, 4)
            rows.append(row)
    return rows


def of_card(card: Card) -> Table:
    """A model's quality beside its baselines, as its card has it, and what the paper prints."""
    names = [name for name in on_card(card.method) if any(name in row for row in card.quality)]
    rows = []
    for row in card.quality:
        alike = [other for other in card.quality if all(other[key] == row[key] for key in ("data", "masks"))]
        best = {name: _best((float(other[name]) for other in alike if name in other), metric_of(name))
                for name in names}  # fmt: skip
        figures = (
            Cell(number(float(row[name]), metric_of(name)),
                 best=round(float(row[name]), metric_of(name).digits) == best[name])
            if name in row else Cell("")
            for name in names
        )  # fmt: skip
        where = f"{row['photos']} of {row['data']}" if "photos" in row else str(row["data"])
        name = str(row["model"])
        rows.append((label(where), label(str(row["masks"])), label(name, best=name == card.name), *figures))
    title = f"**`{card.name}`** ({card.method}, {card.images_seen:,} crops seen): {card.good_for}."
    return Table(
        title, ("photographs", "holes", "model", *map(head, names)), tuple(rows), _papers(card, names)
    )


def _papers(card: Card, names: Sequence[str]) -> tuple[str, ...]:
    """The paper's own figures in these metrics, a note for each column of its table."""
    protocol = PROTOCOLS.get(card.method)
    own = [one for one in protocol.printed if one.own] if protocol else []
    notes = []
    for name, table in dict.fromkeys((one.label, one.table) for one in own):
        column = [one for one in own if (one.label, one.table) == (name, table)]
        figures = [
            f"{metric_of(metric).title} {' / '.join(one.figures[metric] for one in column)}"
            for metric in names
            if all(metric in one.figures for one in column)
        ]
        holes = " / ".join(one.masks.replace(":", " ") for one in column if one.masks)
        where = f"{table}; {holes}" if holes else table
        notes.append(
            f"The paper, on its own photographs: {name.removesuffix(', printed')} ({where}): {', '.join(figures)}."
        )
    return tuple(notes)


def plain(text: str) -> str:
    """Names of files and models in Markdown: one line, and no HTML."""
    return html.escape(" ".join(text.splitlines()), quote=False)


def markdown(table: Table) -> str:
    """The table in Markdown, without its title; notes as a list below."""
    labels = [all(row[i].label for row in table.rows) for i in range(len(table.heads))]
    lines = [
        "| " + " | ".join(plain(head).replace("|", "\\|") for head in table.heads) + " |",
        "|" + "|".join("---" if text else "--:" for text in labels) + "|",
    ]
    for row in table.rows:
        cells = []
        for cell in row:
            text = f"**{cell.text}**" if cell.best else cell.text
            whole = f"{text} ({cell.note})".replace("\n", ": ") if cell.note else text
            cells.append(plain(whole).replace("|", "\\|"))
        lines.append("| " + " | ".join(cells) + " |")
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"
