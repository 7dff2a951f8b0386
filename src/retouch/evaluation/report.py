"""``results.jsonl`` -> one HTML page that needs nothing else, and Markdown with its plots; no model runs."""

import base64
import importlib.resources
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from retouch.cards import SUFFIXES, parse_card
from retouch.errors import DataError, needs
from retouch.evaluation import plots, protocols, results, summary, tables
from retouch.evaluation.cases import ORIGINAL, picture_of
from retouch.evaluation.results import Results, Row
from retouch.evaluation.summary import Group
from retouch.evaluation.tables import Table
from retouch.sources import short
from retouch.writing import atomic_write

SECTIONS = (
    ("In short", "short"), ("The paper's table", "paper"), ("Quality", "quality"), ("Differences", "differences"),
    ("Holes and borders", "regions"), ("Plots", "plots"), ("Pictures", "pictures"), ("Training", "training"),
    ("Not measured", "failures"), ("Metrics", "metrics"),
)  # fmt: skip
PLOTTED = ("psnr", "lpips", "ssim")  # the first two that there are
THUMB = 224  # px: height of the pictures in the page
EXAMPLES = 2  # photos beside best, median and worst


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the page: its content as a ``data:`` address, the path of its file, and what it shows."""

    source: str
    link: str
    caption: str


@dataclass(frozen=True, slots=True)
class Content:
    """What a report says, whatever its form."""

    title: str
    facts: tuple[tuple[str, str], ...]
    short: tuple[str, ...]
    printed: Table | None
    quality: tuple[Table, ...]
    differences: tuple[Table, ...]
    regional: tuple[Table, ...]
    cases: tuple[tuple[str, list[tuple[str, list[Picture]]]], ...]
    failures: list[Row]


def report(folder: Path, runs: Sequence[Path] = (), model: str | None = None) -> tuple[Path, Path]:
    """Writes ``report.html``, ``report.md`` and its plots beside the results; returns the first two.

    Args:
        folder: of the results, or the file ``results.jsonl`` itself.
        runs: training runs whose curves to compare.
        model: whose differences from each other one to show; the best by default.

    Raises:
        DataError: no results, no training run, or a model that was not measured.
        MissingExtraError: without Matplotlib or Jinja2.
        OSError: the disk refuses.
    """
    path = results.path_of(folder)
    found = results.read(path)
    rows = [row for row in found.measured if row["model"] != ORIGINAL]
    order = summary.ranked(rows)
    if model is not None and model not in order:
        raise DataError(f"{path}: expected a model among {', '.join(order) or 'none'}, got {model}")
    groups = summary.groups(found.measured, order)
    figures = _figures(rows, order, groups)
    stats = {title: plots.read_stats(run) for title, run in plots.titles(runs).items()}
    training = {"training": plots.curves(stats)} if stats else {}
    content = _content(found, groups, order, path.parent, model)
    page, text = path.with_name("report.html"), path.with_name("report.md")
    drawn, curves = ([plots.svg(figure) for figure in some.values()] for some in (figures, training))
    atomic_write(page, _html(content, drawn, curves).encode("utf-8", "backslashreplace"))
    for name, figure in (figures | training).items():
        atomic_write(path.with_name(f"report-{name}.png"), plots.png(figure))
    markdown = _markdown(content, list(figures), list(training))
    atomic_write(text, markdown.encode("utf-8", "backslashreplace"))
    return page, text


def _alike(rows: list[Row], groups: Sequence[Group]) -> list[Row]:
    """Those of the photos that the tables are of: the same for all models but those with comparisons of their own."""
    of = {key: set(group.photos) for key, group in summary.widest(groups).items()}
    return [row for row in rows if row["photo"] in of.get((row["masks"], row["model"]), ())]


def _figures(rows: list[Row], order: Sequence[str], groups: Sequence[Group]) -> dict[str, Any]:
    names = [name for name in PLOTTED if any(name in row for row in rows)][:2]
    if not names:
        return {}
    largest = {group.masks: group for group in reversed(groups)}
    figures = {"by-hole": plots.by_hole(_alike(rows, groups), order, names)}
    if len(order) > 1:
        figures["by-time"] = plots.by_time([largest[masks] for masks in sorted(largest)], order, names)
    return figures


# ---- what is said -----------------------------------------------------------------------------------------


def _content(
    found: Results, groups: Sequence[Group], order: Sequence[str], folder: Path, model: str | None
) -> Content:
    about, leader = found.about, model or next(iter(order), "")
    protocol = protocols.PROTOCOLS.get(str(about.get("protocol")))
    several = [group for group in groups if len(group.models) > 1 and leader in group.models]
    compared = [table for group in several if (table := tables.compared(group, leader))]
    photos = {row["photo"] for row in found.measured}
    data = ", ".join(map(str, about.get("data", ())))
    size = (
        f"middle square at {about['size']} x {about['size']} px" if about.get("size") else "whole photographs"
    )
    facts = (
        ("photographs", f"{len(photos):,} of the {about.get('photos_there', '?'):,} in {data}; {size}"),
        ("holes", "; ".join(sorted({group.masks for group in groups})) or "none"),
        ("models", ", ".join(order) or "none"),
        ("seed", f"{about.get('seed')}: draws the holes and the order of the photographs"),
        (
            "networks of the metrics",
            ", ".join(str(about[k]) for k in ("lpips", "features") if about.get(k)) or "none",
        ),
        ("not measured", f"{len(found.failed):,} of {len(found.rows):,} cases"),
        ("retouch", str(about.get("retouch"))),
    )
    return Content(
        title=f"Retouch: the protocol of {about['protocol']}" if protocol else "Retouch: models measured",
        facts=facts,
        short=tuple(line for group in groups if (line := _in_short(group))),
        printed=tables.as_printed(protocol, groups) if protocol else None,
        quality=tuple(tables.quality(group, tables.MAIN) for group in groups),
        differences=tuple(compared),
        regional=tuple(tables.quality(group, tables.REGIONAL, timed=False) for group in groups),
        cases=tuple(_cases(found.measured, order, folder)),
        failures=found.failed,
    )


def _in_short(group: Group) -> str:
    """Which model is ahead, and whether that is shown; empty for a single model."""
    ahead = sorted(
        (model for model in group.models if "psnr" in group.estimates[model]),
        key=lambda model: -group.estimates[model]["psnr"].mean,
    )
    if len(ahead) < 2:
        return ""
    first, second = ahead[:2]
    found = next(d for d in summary.differences(group, first, ["psnr"]) if d.other == second)
    metric = summary.metric_of("psnr")
    mean, more, low, high = (
        tables.number(value, metric)
        for value in (
            group.estimates[first]["psnr"].mean,
            found.estimate.mean,
            found.estimate.low,
            found.estimate.high,
        )
    )
    shown = (
        "These photographs show that it is better."
        if found.verdict == "better"
        else "These photographs do not tell the two apart."
    )
    interval = f" (95\N{NO-BREAK SPACE}% interval of the difference: {low} to {high})" if low else ""
    return (
        f"{group.masks}, {tables.photos(group)}: {first} has the highest PSNR, {mean} dB, {more} dB more than "
        f"{second}, the next{interval}. {shown}"
    )


def _cases(
    rows: Sequence[Row], order: Sequence[str], folder: Path
) -> list[tuple[str, list[tuple[str, list[Picture]]]]]:
    """By kind of hole: best, median and worst photo of the model that is ahead, and a few others."""
    found = []
    for masks in sorted({row["masks"] for row in rows if row["masks"]}):
        group = [row for row in rows if row["masks"] == masks]
        kept: dict[int, dict[str, Row]] = {}
        for row in group:
            if (folder / picture_of(row)).is_file():
                kept.setdefault(row["photo"], {})[row["model"]] = row
        there = {row["model"] for row in group}
        ahead = next((model for model in order if model in there), "")
        chosen = {photo: which for photo, which in summary.extremes(group, ahead).items() if photo in kept}
        others = [photo for photo in sorted(kept) if photo not in chosen][: 3 + EXAMPLES - len(chosen)]
        chosen |= dict.fromkeys(others, "another")
        lines = []
        for photo, which in chosen.items():
            name = next(iter(kept[photo].values()))["name"]
            lines.append((f"{which}: {name}", _pictures(kept[photo], order, folder)))
        if lines:
            found.append((masks, lines))
    return found


def _pictures(rows: dict[str, Row], models: Sequence[str], folder: Path) -> list[Picture]:
    anyone = PurePosixPath(picture_of(next(iter(rows.values()))))
    wanted = [(str(anyone.parents[1] / "original.png"), "original")]
    wanted += [(str(anyone.parent / "damaged.png"), "damaged")]
    for model in models:
        if model in rows:
            score = rows[model].get("psnr")
            said = f"{model}, {score:.1f}\N{NO-BREAK SPACE}dB" if score is not None else model
            wanted.append((picture_of(rows[model]), said))
    return [
        Picture(_thumbnail(folder / path), path, text) for path, text in wanted if (folder / path).is_file()
    ]


def _thumbnail(path: Path) -> str:
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((4 * THUMB, THUMB), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, "WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")


# ---- its two forms ----------------------------------------------------------------------------------------


def _html(content: Content, drawn: list[str], training: list[str]) -> str:
    with needs("report", "a report in HTML"):
        from jinja2 import Environment
    template = (importlib.resources.files("retouch.evaluation") / "templates" / "report.html").read_text(
        encoding="utf-8"
    )
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    there = {
        "short": content.short, "paper": content.printed, "quality": content.quality, "plots": drawn,
        "differences": content.differences, "regions": content.regional, "pictures": content.cases,
        "training": training, "failures": content.failures, "metrics": summary.ALL.values(),
    }  # fmt: skip
    sections = [(name, id_) for name, id_ in SECTIONS if there[id_]]
    return environment.from_string(template).render(
        title=content.title, facts=content.facts, sections=sections, **there
    )


def _markdown(content: Content, drawn: list[str], training: list[str]) -> str:
    lines = [
        f"# {content.title}",
        "",
        *(f"- {name}: {tables.plain(value)}" for name, value in content.facts),
        "",
    ]
    lines += (
        ["## In short", "", *(f"- {tables.plain(line)}" for line in content.short), ""]
        if content.short
        else []
    )
    parts = (
        ("Beside the paper's own table", (content.printed,) if content.printed else ()),
        ("Quality, whole picture: means and their 95 % intervals", content.quality),
        ("Differences, photo by photo", content.differences),
        ("In the hole, and along its border", content.regional),
    )
    for title, shown in parts:
        if shown:
            lines += [f"## {title}", ""]
            for table in shown:
                lines += [f"### {tables.plain(table.title)}", "", tables.markdown(table)]
    for title, names in (("Plots", drawn), ("Training", training)):
        if names:
            lines += [f"## {title}", "", *(f"![{name}](report-{name}.png)" for name in names), ""]
    if content.cases:
        lines += ["## Pictures", ""]
        for masks, cases in content.cases:
            for which, pictures in cases:
                links = ", ".join(
                    f"[{tables.plain(picture.caption)}]({picture.link})" for picture in pictures
                )
                lines.append(f"- {masks}, {tables.plain(which)}: {links}")
        lines.append("")
    if content.failures:
        lines += [f"## Not measured: {len(content.failures)} cases", ""]
        failed = content.failures[:20]
        lines += [
            f"- {tables.plain(', '.join((r['name'], r['masks'], r['model'])))}: {tables.plain(r['error'])}"
            for r in failed
        ]
    return "\n".join(lines).rstrip() + "\n"


def _own(models: Sequence[str], card: Path) -> str | None:
    """That of the measured models which is the card's own, by the path of its file, or by its name where one has it."""
    files = {card.stem + suffix for suffix in SUFFIXES}
    found = [model for model in models if Path(model).name in files]
    if len(found) < 2:
        return found[0] if found else None
    beside = [model for model in found if Path(model).resolve().parent == card.resolve().parent]
    if len(beside) != 1:
        raise DataError(f"{card}: expected its own model among those measured, got {' and '.join(found)}")
    return beside[0]


def into_card(folder: Path, card: Path, data: str | None) -> int:
    """Puts the measured means into a model's card, in place of its rows of that data; returns how many.

    Raises:
        DataError: no results, or none of the card's own weights alone.
        ModelError, OSError: no card, or a disk that refuses.
    """
    found = results.read(folder)
    name = data or ", ".join(short(str(one).removesuffix(".tar")) for one in found.about.get("data", ()))
    rows = [row for row in found.measured if row["model"] != ORIGINAL]
    there = parse_card(card.read_bytes(), str(card))
    models = {row["model"] for row in rows}
    own = _own(sorted(models), card) or there.name
    if own not in models:
        raise DataError(
            f"{card}: expected its own model, {there.name}, among those measured, got {', '.join(sorted(models))}"
        )
    if own != there.name and there.name in models:
        raise DataError(
            f"{card}: expected one model of the name {there.name} among those measured, got {own} too"
        )
    if any(row["model"] == own and not there.sha256.startswith(row.get("model_sum", "")) for row in rows):
        raise DataError(
            f"{card}: expected figures of the card's own weights, got those of others named {own}"
        )
    rows = [row | {"model": there.name} if row["model"] == own else row for row in rows]
    names = [one for one in tables.on_card(there.method) if any(one in row for row in rows)]
    rows = [
        row for row in rows if all(one in row for one in names)
    ]  # a line's figures are of the same photos
    new = tables.card_rows(summary.groups(rows, summary.ranked(rows)), name, names)
    if not new:
        raise DataError(f"{os.fspath(folder)}: expected measured rows for a card, got none")
    named = {row["data"] for row in new}
    kept = tuple(row for row in there.quality if row["data"] not in named)
    atomic_write(card, replace(there, quality=(*kept, *new)).to_json().encode())
    return len(new)
