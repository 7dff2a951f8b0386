"""Reports: figures by hand, intervals, comparisons on shared photos, both forms, curves, cards."""

import base64
import dataclasses
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_card
from PIL import Image
from scipy import stats

from retouch import sources
from retouch.cards import parse_card
from retouch.cli import main
from retouch.errors import DataError, ModelError
from retouch.evaluation import cases, plots, report, results, summary, tables
from retouch.evaluation.cases import picture_of
from retouch.evaluation.protocols import PROTOCOLS
from retouch.evaluation.results import Row
from retouch.metrics import METRICS, NETWORK

ABOUT: Row = {
    "format": 1, "retouch": "0", "data": ["sets/<b>val.tar"], "photos_there": 9, "fingerprint": "f", "size": None,
    "seed": 0, "protocol": None, "lpips": None, "features": None,
}  # fmt: skip


def row(photo: int, model: str, psnr: float, masks: str = "strokes 0.1-0.2", **more: Any) -> Row:
    mse = 255**2 * 10 ** (-psnr / 10)
    figures = {"psnr": psnr, "psnr_hole": psnr - 8, "ssim": psnr / 50, "ssim_hole": psnr / 60, "mse": mse}
    known: Row = {
        "photo": photo,
        "name": f"{photo}.png",
        "masks": masks,
        "model": model,
        "height": 8,
        "width": 8,
    }
    return known | {"hole": 0.1 + photo / 100, "seconds": 0.5} | figures | more


def write(folder: Path, rows: list[Row], **about: Any) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [ABOUT | about, *rows]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "results.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def rows() -> list[Row]:
    """Six photos, two kinds of holes, two models: the first is 1 dB better, give or take."""
    rng = np.random.default_rng(0)
    found = []
    for masks in ("strokes 0.1-0.2", "center"):
        for photo in range(6):
            base = 24 + 2 * rng.normal()
            found.append(row(photo, "ours", base + 1 + 0.1 * rng.normal(), masks))
            found.append(row(photo, "telea", base, masks))
    return found


# ---- figures ----------------------------------------------------------------------------------------------


def test_means_and_pooled_figures_by_hand() -> None:
    (group,) = summary.groups([row(0, "a", 20.0), row(1, "a", 30.0)])
    assert group.estimates["a"]["psnr"].mean == 25
    pooled = 10 * np.log10(2 / (10**-2 + 10**-3))
    assert group.estimates["a"]["psnr_pooled"].mean == pytest.approx(pooled)
    assert group.seconds == {"a": 0.5}


def test_intervals_hold_what_they_say() -> None:
    """Of 200 samples of 30, about 95 % have the true mean in their interval; each is as wide as theory says."""
    rng = np.random.default_rng(1)
    found = summary.estimates(rng.normal(5, 2, (30, 200)))
    held = np.mean([e.low <= 5 <= e.high for e in found])
    assert 0.88 <= held <= 0.98
    width = np.mean([e.high - e.low for e in found])
    assert width == pytest.approx(2 * 1.96 * 2 / np.sqrt(30), rel=0.08)


@pytest.mark.parametrize("photos", [2, 3, 5, 8, 20])
def test_few_photos_have_wide_intervals(photos: int) -> None:
    """The true mean is outside of about 5 % of them, however few; without Student's t, of half of them for two."""
    found = summary.estimates(np.random.default_rng(photos).normal(5, 2, (photos, 2000)))
    assert np.mean([not e.low <= 5 <= e.high for e in found]) < 0.085
    exact = stats.t.ppf(0.975, photos - 1) / stats.norm.ppf(0.975) * np.sqrt(photos / (photos - 1))
    assert summary._widening(photos) == pytest.approx(exact, rel=0.01)


def test_no_interval_is_better_than_perfect() -> None:
    about = {"masks": "center", "model": "one", "height": 8, "width": 8, "hole": 0.25}
    figures = [{"ssim": 0.99, "psnr": 59.0, "l1": 0.01}, {"ssim": 0.6, "psnr": 20.0, "l1": 9.0}]
    rows = [{"photo": n, "name": str(n)} | about | row for n, row in enumerate(figures)]
    (group,) = summary.groups(rows)
    found = group.estimates["one"]
    assert (found["ssim"].high, found["psnr"].high, found["l1"].low) == (1, 60, 0)
    assert found["ssim"].low < 0.6 and found["psnr"].low < 20 and found["l1"].high > 9
    for name, metric in (METRICS | NETWORK).items():
        same = np.random.default_rng(0).random((1, 3, 176, 176), np.float32)
        assert name in NETWORK or metric(same, same) == pytest.approx(metric.perfect)


def test_intervals_are_the_same_each_time_and_leave_out_what_is_not_there() -> None:
    values = np.array([[1.0, np.nan, 3.0], [2.0, np.nan, np.nan], [3.0, np.nan, 5.0], [6.0, np.nan, 7.0]])
    first, second, third = summary.estimates(values)
    assert summary.estimates(values)[0] == first
    assert (first.mean, third.mean) == (3, 5)
    four, three = summary._widening(4), summary._widening(3)  # a mean of samples lies within the values
    assert 3 - 2 * four <= first.low < 3 < first.high <= 3 + 3 * four
    assert np.isnan([second.mean, second.low, second.high]).all()
    assert 5 - 2 * three <= third.low <= 5 <= third.high <= 5 + 2 * three


def test_paired_differences_see_what_means_do_not(rows: list[Row]) -> None:
    group = next(g for g in summary.groups(rows) if g.masks == "center")
    ours, telea = (group.estimates[model]["psnr"] for model in ("ours", "telea"))
    assert ours.low < telea.high  # each alone: nothing shown
    (found,) = summary.differences(group, "ours", ["psnr"])
    assert found.verdict == "better" and 0.8 < found.estimate.low < found.estimate.high < 1.2
    (back,) = summary.differences(group, "telea", ["psnr"])
    assert back.verdict == "worse" and back.estimate.mean == pytest.approx(-found.estimate.mean)
    (lower,) = summary.differences(group, "ours", ["mse"])
    assert lower.estimate.mean < 0 and lower.verdict == "better"


def test_equal_models_are_told_to_be_equal() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 40))
    rows = [row(p, m, 25 + noise[i, p]) for i, m in enumerate("ab") for p in range(40)]
    (found,) = summary.differences(summary.groups(rows)[0], "a", ["psnr"])
    assert found.verdict == "no difference shown" and found.estimate.low < 0 < found.estimate.high


def test_models_are_compared_on_photos_that_all_measured() -> None:
    rows = [row(p, m, 20.0 + p) for m in ("a", "b") for p in range(100) if (m, p) != ("b", 99)]
    rows += [row(p, "slow", 30.0 + p) for p in range(10, 20)]
    large, small = summary.groups(rows)
    assert (large.models, len(large.photos)) == (("a", "b"), 99)  # one failure costs one photo, not a table
    assert (small.models, small.photos) == (("a", "b", "slow"), tuple(range(10, 20)))
    assert (large.there, large.lacking, small.lacking) == (
        100,
        {"a": 0, "b": 1},
        {"a": 0, "b": 1, "slow": 90},
    )
    assert small.estimates["slow"]["psnr"].mean - small.estimates["a"]["psnr"].mean == pytest.approx(10)


def test_a_models_failures_are_told_wherever_a_mean_stands(tmp_path: Path) -> None:
    """Its failures cost every model of the table those photos, and the table says so."""
    failed = {"photo": 0, "name": "0.png", "masks": "center", "model": "ours", "error": "no"}
    rows = [row(p, m, 20.0 + p, "center", ssim=0.9) for m in ("ours", "telea") for p in range(20)]
    rows = [failed if (one["photo"], one["model"]) == (0, "ours") else one for one in rows]
    del rows[-1][
        "ssim"
    ]  # as of a photo that is too small: no mean of the others stands beside one without it
    folder = write(tmp_path / "out", rows)
    report.report(folder)
    text, markdown = page_of(folder)[0], (folder / "report.md").read_text()
    for said in (text, markdown):
        assert "center, 19 of 20 photos" in said and "ours lacks 1." in said
    (group,) = summary.groups([one for one in rows if "error" not in one])
    means = {model: (of["psnr"].photos, of["ssim"].photos) for model, of in group.estimates.items()}
    assert means == {"ours": (19, 18), "telea": (19, 18)}
    assert "18 photos" in tables.quality(group, ["ssim"]).rows[0][1].note
    drawn = plots.by_hole([one for one in rows if "psnr" in one], ["ours", "telea"], ["psnr"])
    assert not np.array_equal(*(line.get_ydata() for line in drawn.axes[0].lines))
    alike = [one for one in rows if one["photo"] in group.photos]
    assert report._alike(rows, [group]) == alike  # ... and so a plot of these shows no difference
    card = tmp_path / "ours.json"
    card.write_text(tiny_card(b"", "ours").to_json(), encoding="utf-8")
    report.into_card(folder, card, "photos")
    written = [q for q in parse_card(card.read_bytes(), "").quality if q["data"] == "photos"]
    assert [(q["model"], q["photos"], q["psnr"]) for q in written] == [
        ("ours", 18, 29.5), ("telea", 18, 29.5),
    ]  # fmt: skip


def test_a_model_with_few_photos_is_in_the_papers_table_with_their_number() -> None:
    rows = protocol_rows("wgan")
    slow = [one | {"model": "slow"} for one in rows if one["model"] == "ours" and one["photo"] == 0]
    table = tables.as_printed(PROTOCOLS["wgan"], summary.groups([*rows, *slow]))
    assert table.heads[-1] == "slow" and table.rows[0][-1].note == "1 photo" and not table.rows[0][-1].best
    recurrent = protocol_rows("recurrent")
    slow = [one | {"model": "slow"} for one in recurrent if one["model"] == "ours" and one["photo"] == 0]
    table = tables.as_printed(PROTOCOLS["recurrent"], summary.groups([*recurrent, *slow]))
    assert table.heads[-1] == "slow" or "slow" in {line[0].text for line in table.rows}


def test_features_become_distances_of_sets() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for photo in range(summary.LEAST):
        real = rng.normal(size=6)
        for model, noise in (("original", 0.0), ("near", 0.1), ("far", 1.0)):
            text = base64.b64encode((real + noise).astype(np.float16).tobytes()).decode()
            rows.append(row(photo, model, 25.0, "" if model == "original" else "center", features=text))
    assert cases.features(rows[0]).shape == (6,)
    (group,) = summary.groups(rows)
    assert group.models == ("far", "near")
    frechet = {model: of["frechet"].mean for model, of in group.estimates.items()}
    assert frechet["near"] == pytest.approx(6 * 0.01, rel=0.05) and frechet["far"] == pytest.approx(
        6, rel=0.05
    )
    assert group.estimates["near"]["kernel"].mean < group.estimates["far"]["kernel"].mean
    few = [r for r in rows if r["photo"] < 10]
    assert "frechet" not in summary.groups(few)[0].estimates["near"]


def test_models_are_ranked_on_shared_photos() -> None:
    rows = [row(0, "a", 30.0), row(1, "a", 20.0), row(1, "b", 25.0)]
    assert summary.ranked(rows) == ["b", "a"]
    assert summary.ranked([]) == []


# ---- tables -----------------------------------------------------------------------------------------------


def test_the_best_is_bold_and_ties_are_both(rows: list[Row]) -> None:
    tied = [row(0, "a", 25.001), row(0, "b", 25.0), row(0, "c", 24.0)]
    table = tables.quality(summary.groups(tied)[0], ["psnr", "mse"])
    assert [[cell.best for cell in line[1:]] for line in table.rows] == [
        [True, True, False], [True, True, False], [False, False, False],
    ]  # fmt: skip
    assert table.heads[1].startswith("PSNR") and "↑" in table.heads[1] and "↓" in table.heads[2]
    alone = tables.quality(summary.groups(tied[:1])[0], ["psnr"])
    assert not alone.rows[0][1].best


def test_markdown_is_a_table_that_stays_one() -> None:
    table = tables.Table(
        "t", ("a|b", "x"), ((tables.label("m|n"), tables.Cell("1", "0 to 2", True)),), ("why",)
    )
    assert tables.markdown(table).splitlines() == [
        "| a\\|b | x |", "|---|--:|", "| m\\|n | **1** (0 to 2) |", "", "- why",
    ]  # fmt: skip


def protocol_rows(name: str) -> list[Row]:
    fixed = PROTOCOLS[name]
    figures = {metric: 1.5 for metric in fixed.metrics}
    return [
        row(photo, model, 25.0, cases.masks_name(spec)) | figures
        for spec in fixed.masks for photo in range(3) for model in ("ours", "telea")
    ]  # fmt: skip


def words(table: tables.Table) -> list[list[str]]:
    return [[cell.text for cell in line] for line in table.rows]


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_every_paper_has_its_table(name: str) -> None:
    table = tables.as_printed(PROTOCOLS[name], summary.groups(protocol_rows(name)))
    assert len(table.rows) and all(len(line) == len(table.heads) for line in table.rows)
    assert len(table.notes) > len(PROTOCOLS[name].differences) > 0
    shown = {text for line in words(table) for text in line}
    for printed in PROTOCOLS[name].printed:
        assert set(printed.figures.values()) <= shown
    assert not tables.as_printed(PROTOCOLS[name], []).notes[0].startswith("Ours: 0")


def test_the_papers_layouts() -> None:
    wgan = tables.as_printed(PROTOCOLS["wgan"], summary.groups(protocol_rows("wgan")))
    assert wgan.heads[2:5] == tuple(
        f"{who}, printed (Tables 1, 2)" for who in ("CE [12]", "PI [1]", "this work")
    )
    assert wgan.heads[5:] == ("ours", "telea")
    assert words(wgan)[0][2:5] == ["22.85", "21.45", "23.41"] and words(wgan)[2][4] == "0.9074"
    search = tables.as_printed(PROTOCOLS["dcgan_search"], summary.groups(protocol_rows("dcgan_search")))
    assert words(search)[2][2:] == ["105.76", "0.87"]
    recurrent = tables.as_printed(PROTOCOLS["recurrent"], summary.groups(protocol_rows("recurrent")))
    assert len(recurrent.rows) == 5 * 3
    by_bin = [line for line in words(recurrent) if line[0].startswith("PSNR")]
    assert [line[2:6] for line in by_bin] == [  # Gated, Edge, Plural, the paper itself
        ["29.575", "29.803", "29.693", "29.920"],
        ["27.853", "28.748", "27.847", "29.152"],
        ["24.026", "25.888", "24.468", "26.012"],
    ]


# ---- pages ------------------------------------------------------------------------------------------------


VOID = ("meta", "img", "br")  # elements without an end


class Addresses(HTMLParser):
    """All that a page refers to, and whether its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [str(value) for key, value in attrs if key in ("src", "href", "xlink:href")]
        assert tag not in ("script", "link", "iframe")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(folder: Path) -> tuple[str, Addresses]:
    text = (folder / "report.html").read_text(encoding="utf-8")
    parser = Addresses()
    parser.feed(text)
    assert parser.open == []
    return text, parser


def keep_pictures(folder: Path, rows: list[Row]) -> None:
    for one in rows:
        picture = folder / picture_of(one)
        picture.parent.mkdir(parents=True, exist_ok=True)
        for path in (picture.parents[1] / "original.png", picture.parent / "damaged.png", picture):
            Image.new("RGB", (40, 30), (one["photo"] * 20, 90, 120)).save(path)


def test_a_page_from_the_results_alone(tmp_path: Path, rows: list[Row]) -> None:
    failure = {"photo": 7, "name": "<i>.png", "masks": "center", "model": "ours", "error": "expected <this>"}
    folder = write(tmp_path / "out", [*rows, failure])
    report.report(folder)
    text, parser = page_of(folder)
    assert not re.search(r"<script|@import|url\((?!#)", text)
    assert all(address.startswith("#") for address in parser.found)
    assert "&lt;b&gt;val.tar" in text and "expected &lt;this&gt;" in text
    assert "These photographs show that it is better" in text
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "expected &lt;this&gt;" in markdown
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    report.report(folder / "results.jsonl")
    assert {
        path.name: path.read_bytes() for path in folder.iterdir()
    } == first  # the same results, the same page


def test_pictures_are_in_the_page_and_lead_to_their_files(tmp_path: Path, rows: list[Row]) -> None:
    (tmp_path / "out").mkdir()
    keep_pictures(tmp_path / "out", rows)
    folder = write(tmp_path / "out", rows)
    report.report(folder)
    text, parser = page_of(folder)
    assert text.count("data:image/webp;base64,") == 2 * 5 * 4  # kinds of holes, photos, pictures
    links = [address for address in parser.found if address.startswith("pictures/")]
    assert links and all((folder / link).is_file() for link in links)
    best = max((r for r in rows if r["model"] == "ours" and r["masks"] == "center"), key=lambda r: r["psnr"])
    assert f"best: {best['name']}" in text and "worst: " in text and "median: " in text


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", "a/../../b"])
def test_pictures_lie_in_the_folder_whatever_a_row_says(tmp_path: Path, name: str) -> None:
    path = Path(picture_of(row(0, name, 25.0, masks=name)))
    assert path.parts[0] == "pictures" and ".." not in path.parts and len(path.parts) == 4


@pytest.mark.parametrize("kept", [[], [0], [0, 1]])
def test_few_rows_still_make_a_page(tmp_path: Path, kept: list[int]) -> None:
    folder = write(tmp_path / "out", [row(p, "a", 25.0) for p in kept])
    report.report(folder)
    page_of(folder)


def test_one_photo_has_no_interval(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", [row(0, "a", 25.0), row(0, "b", 24.0)])
    report.report(folder)
    for text in (page_of(folder)[0], (folder / "report.md").read_text()):
        assert "1 photo: a has the highest PSNR, 25.00 dB, 1.00 dB more than b, the next." in text
        assert ": )" not in text


NAMES = ["w$x$y/a$b_$c.onnx", "_best.onnx", "<script>x</script>", "two\nlines", "caf\udce9"]


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """No formula, no HTML, no line of their own; in every legend."""
    rows = [row(p, name, 20.0 + n + p, name=name) for n, name in enumerate(NAMES) for p in range(2)]
    rows.append({"photo": 7, "name": NAMES[2], "masks": "m", "model": NAMES[3], "error": "no"})
    folder = write(tmp_path / "out", rows)
    report.report(folder)
    page_of(folder)
    written = (folder / "report.md").read_text()
    assert "<script>" not in written and "- &lt;script&gt;x&lt;/script&gt;, m, two lines: no" in written
    figure = plots.by_hole([one for one in rows if "psnr" in one], NAMES, ["psnr"])
    assert len(figure.axes[0].get_legend().get_texts()) == len(NAMES)


@pytest.mark.parametrize(
    "times", [(0.39, 0.68), (0.05, 3.0), (2.0, 2.0), (0.0721, 0.201), (0.06, 0.4), (2.0, 19.0), (0.1, 0.105)]
)
def test_times_can_be_read_off(times: tuple[float, float]) -> None:
    rows = [row(p, name, 20.0 + p, seconds=s) for name, s in zip("ab", times, strict=True) for p in range(2)]
    figure = plots.by_time(summary.groups(rows), "ab", ["psnr", "psnr"])
    plots.png(figure)  # which lays it out
    axis = figure.axes[0].xaxis
    low, high = axis.get_view_interval()
    ticks = [*zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True),
             *zip(axis.get_minorticklocs(), axis.get_minorticklabels(), strict=True)]  # fmt: skip
    shown = [text for place, text in sorted(ticks, key=lambda one: one[0]) if low <= place <= high]
    shown = [text for text in shown if text.get_text()]
    assert len(shown) >= 2 and all(re.fullmatch(r"[\d.]+", text.get_text()) for text in shown)
    boxes = [text.get_window_extent() for text in shown]
    assert all(right.x0 - left.x1 > 10 for left, right in itertools.pairwise(boxes)), "labels touch"


def test_runs_of_one_name_are_all_shown(tmp_path: Path) -> None:
    for number in "12":
        (tmp_path / number / "first").mkdir(parents=True)
        (tmp_path / number / "first" / "stats.jsonl").write_text(f'{{"step": 1, "loss_{number}": 1}}\n' * 3)
    folder = write(tmp_path / "out", [row(0, "a", 25.0)])
    report.report(folder, [tmp_path / "1/first", tmp_path / "2/first"])
    text = page_of(folder)[0]
    assert {"loss_1", "loss_2"} <= set(re.findall(r"loss_\d", text)) and str(tmp_path / "2/first") in text
    assert (folder / "report-training.png").read_bytes().startswith(b"\x89PNG")


def test_failures_alone_make_a_page(tmp_path: Path) -> None:
    rows = [{"photo": n, "name": "a", "masks": "m", "model": "x", "error": "no"} for n in range(30)]
    folder = write(tmp_path / "out", rows)
    report.report(folder)
    assert "30 cases could not be measured" in page_of(folder)[0]


def test_a_protocols_page_says_whose_figures_are_whose(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", protocol_rows("wgan"), protocol="wgan", size=64)
    report.report(folder)
    text, _ = page_of(folder)
    assert "23.41" in text and "not the paper&#39;s draw from CelebA-HQ" in text
    assert "Chandak" in (folder / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "wrong",
    [
        {"photo": "0"}, {"photo": None}, {"model": ["a"]}, {"masks": None}, {"psnr": "25"}, {"psnr": None},
        {"hole": None}, {"seconds": "0.1"}, {"height": None}, {"name": 3}, {"psnr": True},
    ],
    ids=str,
)  # fmt: skip
def test_rows_that_are_none_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any]
) -> None:
    folder = write(tmp_path / "out", [row(0, "a", 25.0), row(1, "a", 25.0) | wrong])
    assert main(["report", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "line 3: expected photo, masks, model and figures" in said


def test_differences_are_those_of_the_model_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quality = {"best": 27.0, "mine": 26.0, "old": 25.0}
    folder = write(
        tmp_path / "out", [row(n, model, at + n) for n in range(9) for model, at in quality.items()]
    )
    assert main(["report", str(folder)]) == 0
    assert "best against mine" in page_of(folder)[0] and "mine against old" not in page_of(folder)[0]
    assert main(["report", str(folder), "--model", "mine"]) == 0
    text = page_of(folder)[0]
    assert "mine against old" in text and "mine against best" in text and "best against" not in text
    capsys.readouterr()
    assert main(["report", str(folder), "--model", "none"]) == 2
    assert "expected a model among best, mine, old, got none" in capsys.readouterr().err


def test_no_results_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "expected the results of retouch evaluate" in capsys.readouterr().err
    with pytest.raises(DataError, match="no such file"):
        results.read(tmp_path / "none.jsonl")


# ---- cards ------------------------------------------------------------------------------------------------


def test_a_card_takes_the_rows_and_keeps_others(
    tmp_path: Path, rows: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, card = write(tmp_path / "out", rows), tmp_path / "ours.json"
    card.write_text(tiny_card(b"", "ours").to_json(), encoding="utf-8")
    report.into_card(folder, card, "photos")
    assert (
        main(["report", str(folder), "--card", str(card), "--name", "photos"]) == 0
    )  # in place of the first
    assert "4 rows of quality written" in capsys.readouterr().out
    quality = parse_card(card.read_bytes(), "card").quality
    assert [one["data"] for one in quality] == ["set"] * 2 + ["photos"] * 4
    mean = np.mean([r["psnr"] for r in rows if r["model"] == "ours" and r["masks"] == "center"])
    (ours,) = (q for q in quality if (q["data"], q["masks"], q["model"]) == ("photos", "center", "ours"))
    assert ours["psnr"] == pytest.approx(mean, abs=1e-4) and ours["photos"] == 6
    written = tables.markdown(tables.of_card(parse_card(card.read_bytes(), "card")))
    assert f"**{mean:.2f}**" in written and "| 6 of photos | center | **ours** |" in written
    with pytest.raises(ModelError):
        report.into_card(folder, folder / "results.jsonl", None)
    card.write_text(tiny_card(b"", "theirs").to_json(), encoding="utf-8")
    with pytest.raises(DataError, match=r"expected its own model, theirs, among those measured, got .*ours"):
        report.into_card(folder, card, "photos")


@pytest.mark.parametrize("path", ["mine.onnx", "models/mine.safetensors"])
def test_a_model_measured_as_a_file_is_the_cards_own(tmp_path: Path, rows: list[Row], path: str) -> None:
    rows = [one | {"model": path} if one["model"] == "ours" else one for one in rows]
    folder, card = write(tmp_path / "out", rows), tmp_path / "mine.json"
    card.write_text(tiny_card(b"", "mine").to_json(), encoding="utf-8")
    report.into_card(folder, card, "photos")
    models = [
        one["model"] for one in parse_card(card.read_bytes(), "card").quality if one["data"] == "photos"
    ]
    assert models.count("mine") == 2 and path not in models


def test_of_two_files_of_one_name_the_card_takes_its_own(tmp_path: Path) -> None:
    """The ordinary comparison of a new export with the one before."""
    new, old = (tmp_path / name / "mine.onnx" for name in ("new", "old"))
    new.parent.mkdir()
    rows = [row(p, str(path), psnr) for p in range(3) for path, psnr in ((new, 20.0), (old, 22.0))]
    folder, card = write(tmp_path / "out", rows), new.with_suffix(".json")
    card.write_text(tiny_card(b"", "mine").to_json(), encoding="utf-8")
    report.into_card(folder, card, "photos")
    found = {
        one["model"]: one["psnr"]
        for one in parse_card(card.read_bytes(), "").quality
        if one["data"] == "photos"
    }
    assert found == {"mine": 20.0, str(old): 22.0}
    elsewhere = card.rename(tmp_path / "mine.json")
    with pytest.raises(DataError, match="expected its own model among those measured"):
        report.into_card(folder, elsewhere, "photos")


@pytest.mark.parametrize(
    ("others", "sums", "words"),
    [
        (["mine"], ["", ""], "expected one model of the name mine among those measured, got .*mine.onnx too"),
        ([], ["0123456789ab"], "expected figures of the card's own weights, got those of others"),
    ],
)
def test_a_card_takes_no_figures_of_other_weights(
    tmp_path: Path, others: list[str], sums: list[str], words: str
) -> None:
    """As of the shipped model of that name, or of weights that were exported anew since."""
    models = [str(tmp_path / "mine.onnx"), *others]
    rows = [row(0, model, 20.0) | {"model_sum": known} for model, known in zip(models, sums, strict=True)]
    folder, card = write(tmp_path / "out", rows), tmp_path / "mine.json"
    card.write_text(tiny_card(b"", "mine").to_json(), encoding="utf-8")
    before = card.read_bytes()
    with pytest.raises(DataError, match=words):
        report.into_card(folder, card, "photos")
    assert card.read_bytes() == before


def test_a_name_is_for_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "out", [row(0, "mine", 20.0)])
    assert main(["report", str(folder), "--name", "photos"]) == 2
    assert "expected --card with --name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/there/photos", "there/photos"),
        ("/photos", "photos"),
        ("set/scenes.v2", "set/scenes.v2"),
        ("a/b.tar", "a/b"),
    ],
)
def test_a_card_names_its_photographs(tmp_path: Path, path: str, name: str) -> None:
    folder, card = write(tmp_path / "out", [row(0, "mine", 20.0)], data=[path]), tmp_path / "mine.json"
    card.write_text(tiny_card(b"", "mine").to_json(), encoding="utf-8")
    report.into_card(folder, card, None)
    assert parse_card(card.read_bytes(), "").quality[-1]["data"] == name


def test_photographs_where_one_stands_have_the_folders_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sources.short(".") == tmp_path.name


def test_folders_of_masks_have_panels_of_their_own() -> None:
    rows = [
        row(0, "a", 20.0) | {"masks": masks, "hole": 0.2}
        for masks in ("my large", "my small", "strokes 0.1-0.2")
    ]
    figure = plots.by_hole(rows, ["a"], ["psnr"])
    assert [axis.get_title() for axis in figure.axes] == ["my large", "my small", "strokes"]


def test_smaller_comparisons_are_named_in_the_card() -> None:
    rows = [row(p, "a", 20.0) for p in range(30)] + [row(p, "slow", 20.0) for p in range(3)]
    found = tables.card_rows(summary.groups(rows), "set", tables.on_card("recurrent"))
    assert [(r["data"], r["model"], r["photos"]) for r in found] == [
        ("set", "a", 30), ("set, a sample", "a", 3), ("set, a sample", "slow", 3),
    ]  # fmt: skip
    assert set(found[0]) == {"data", "masks", "model", "photos", "psnr", "ssim"}


def test_a_cards_table_says_what_the_paper_prints() -> None:
    measured = {"data": "set", "masks": "center 0.25-0.25", "model": "ours", "psnr": 20.0, "mse": 600.0}
    card = dataclasses.replace(tiny_card(b"", "ours"), quality=(measured,))
    table = tables.of_card(dataclasses.replace(card, method="dcgan_search"))
    assert [re.split(r"\W", name)[0] for name in table.heads[3:]] == ["PSNR", "MSE"]
    assert len(table.notes) == 3 and table.notes[2].endswith("its table): MSE 105.76.")
    table = tables.of_card(dataclasses.replace(card, method="wgan"))
    assert len(table.heads) == 4 and [note.rpartition(": ")[2] for note in table.notes] == ["PSNR 23.41."]
    table = tables.of_card(dataclasses.replace(card, method="recurrent"))
    assert [note.rpartition(": ")[2] for note in table.notes] == [
        "PSNR 29.920 / 29.152 / 26.012.", "PSNR 24.237 / 22.572 / 20.308.",
    ]  # fmt: skip


# ---- curves -----------------------------------------------------------------------------------------------


def test_curves_of_whatever_was_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"step": s, "images": 4 * s, "seconds": s / 2, "images_per_second": 2.0, "critic": -s / 10, "odd name": 1e4 / s}
        | ({"late": 0.5} if s > 50 else {})
        for s in range(1, 120)
    ]  # fmt: skip
    run = tmp_path / "run"
    run.mkdir()
    (run / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 1')
    assert main(["curves", str(run)]) == 0
    assert main(["curves", str(run), "--output", str(tmp_path / "mine.png")]) == 0
    assert "119 lines" in capsys.readouterr().out
    for output, words in (
        ("mine.png", "expected a new output file, got one that exists (--overwrite replaces it): "),
        ("mine.svg", "expected an output that ends in .png, got "),
        ("none/mine.png", ""),
    ):
        assert main(["curves", str(run), "--output", str(tmp_path / output)]) == 2
        assert capsys.readouterr().err.startswith(f"retouch: {words}{tmp_path / output}")
    assert (run / "curves.png").read_bytes() == (tmp_path / "mine.png").read_bytes()
    figure = plots.curves({"run": plots.read_stats(run)})
    assert [axis.get_title() for axis in figure.axes] == ["critic", "odd name", "late"]
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "log", "linear"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), [line["critic"] for line in lines])
    folder = write(tmp_path / "out", [row(0, "a", 25.0)])
    report.report(folder, [run])
    assert "odd name" in page_of(folder)[0]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "no json\n",
        '{"step": 1}\n',
        '{"loss": 1.0}\n',
        '{"step": "x"}\n',
        '{"step": 1, "loss": 1}\n{"loss": 2}\n',
    ],
)
def test_runs_without_curves_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    if text is not None:
        (tmp_path / "stats.jsonl").write_text(text)
    assert main(["curves", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "expected" in said
    assert not (tmp_path / "curves.png").exists()


def logged(folder: Path, steps: int, batch: int, **more: float) -> Path:
    folder.mkdir(parents=True)
    lines = (
        {"step": s, "images": batch * s, "seconds": s / 2, "loss": 1 / s} | more for s in range(1, steps)
    )
    (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_runs_are_compared_in_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [logged(tmp_path / "_a", 121, 4, validation_psnr=25.0), logged(tmp_path / "b", 61, 8, extra=1.0)]
    assert main(["curves", *map(str, runs), "--by", "images"]) == 0
    assert "120 lines of" in (said := capsys.readouterr().out) and "60 lines of" in said
    assert main(["curves", *map(str, runs)]) == 2  # what lies there is not a run's own picture
    assert "expected a new output file" in capsys.readouterr().err
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    figure = plots.curves(
        {title: plots.read_stats(run) for title, run in plots.titles(runs).items()}, "images"
    )
    assert [axis.get_title() for axis in figure.axes] == ["validation_psnr", "loss", "extra"]
    assert [text.get_text().strip() for text in figure.legends[0].get_texts()] == ["_a", "b"]
    held_out, loss, extra = figure.axes
    assert loss.get_xlabel() == "images seen" and len(held_out.lines) == 1  # no mean of what has no noise
    assert [(line.get_color(), line.get_xdata()[-1]) for line in loss.lines] == [
        ("C0", 480), ("C0", 480), ("C1", 480), ("C1", 480),
    ]  # fmt: skip
    assert {line.get_color() for line in extra.lines} == {"C1"}
    smoothed = [np.diff(line.get_xdata()[[0, -1]])[0] for line in loss.lines[1::2]]
    assert smoothed[0] == pytest.approx(smoothed[1], abs=8)  # both means go over as many images
    with pytest.raises(DataError, match="b: expected lines with images, got some without"):
        plots.curves({"a": plots.read_stats(runs[0]), "b": [{"step": 1.0, "loss": 1.0}]}, "images")


def test_runs_have_names_that_tell_them_apart(tmp_path: Path) -> None:
    runs = [tmp_path / "1" / "run", tmp_path / "2" / "run", tmp_path / "other", tmp_path / "1/../other"]
    (tmp_path / "1").mkdir()
    assert list(plots.titles(runs)) == [str(runs[0]), str(runs[1]), "other"]
    runs = {f"run{n}": [{"step": 1.0, "loss": 1.0}] for n in range(23)}
    lines = plots.curves(runs).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 23


def test_values_that_are_not_finite_do_not_stop_a_curve() -> None:
    rows = [{"step": float(s), "loss": float("nan") if s == 3 else 1.0 / s} for s in range(1, 9)]
    assert plots.png(plots.curves({"run": rows})).startswith(b"\x89PNG")


def test_all_metrics_have_words() -> None:
    for name in [
        *summary.ALL,
        *(f"{n}{e}" for n in METRICS if METRICS[n].regional for e in ("_hole", "_band")),
    ]:
        assert tables.head(name)[-1] in "↑↓"
    assert tables.head("psnr_hole").replace("\N{NO-BREAK SPACE}", " ") == "PSNR in the hole, dB ↑"
    assert tables.head("ms_ssim").startswith("MS-SSIM")
