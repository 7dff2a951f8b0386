"""The figures of docs/scale.md follow from the inputs that stand in it, by the formulas that stand in it."""

import json
import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
scale = pytest.importorskip("scale", reason="counts the processor's time as Unix does")
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def cells(page: str, start: str) -> list[list[str]]:
    """The cells of the rows of the page that begin so."""
    rows = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_tables_are_those_of_the_inputs() -> None:
    assert scale.updated(PAGE) == PAGE, "run python benchmarks/scale.py --write"


def test_another_input_gives_other_tables() -> None:
    inputs = scale.inputs_of(PAGE)
    inputs["measured"]["photo_bytes"] += 1_000_000
    changed = PAGE.replace(
        PAGE[PAGE.index("```json") : PAGE.rindex("}\n```") + 5], "```json\n" + json.dumps(inputs) + "\n```"
    )
    assert scale.updated(changed) != changed


def test_the_figures_agree_with_the_formulas_done_by_hand() -> None:
    inputs = scale.inputs_of(PAGE)
    known, assumed = inputs["measured"], inputs["assumed"]
    size = known["photo_bytes"] + known["mask_bytes"] + known["output_bytes"]
    for name, seconds in known["core_seconds"].items():
        (billion,) = [row for row in cells(PAGE, "1,000,000,000") if row[1] == name and row[-1].endswith("B")]
        hours = 1e9 * seconds / 3600
        assert float(billion[2].replace(",", "")) == pytest.approx(hours, abs=0.5)
        count = math.ceil(hours / (24 * assumed["cores_per_machine"] * assumed["busy_share"]))
        assert int(billion[3].replace(",", "")) == count
        assert billion[4].endswith(" TB") and float(billion[4][:-3]) == pytest.approx(
            1e9 * size / 1e12, rel=0.005
        )
        (lost,) = [row for row in cells(PAGE, "1,000,000,000") if row[1] == name and "core seconds" in row[4]]
        assert float(lost[3]) == pytest.approx(24 * count / assumed["machine_lifetime_hours"], rel=0.005)
        (rate,) = cells(PAGE, f"{name} |")
        assert float(rate[1]) == pytest.approx(
            assumed["cores_per_machine"] * assumed["busy_share"] / seconds, abs=0.5
        )
    (eight,) = cells(PAGE, "8 |")
    best = math.sqrt(2 * assumed["checkpoint_seconds"] * assumed["machine_lifetime_hours"] * 3600) / 60
    assert float(eight[2].split()[0]) == pytest.approx(best, abs=0.5)


def test_a_page_without_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a block of JSON with the inputs, got none"):
        scale.inputs_of("# nothing")
