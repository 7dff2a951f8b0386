"""Writes what the cards of the shipped models say: one table into the README, all of it into docs/models.md."""

from itertools import groupby
from pathlib import Path

from retouch.cards import Card, cards
from retouch.evaluation.summary import metric_of
from retouch.evaluation.tables import ON_CARDS, Cell, Table, head, label, markdown, number, of_card

ROOT = Path(__file__).parents[1]
README, MODELS = ROOT / "README.md", ROOT / "docs" / "models.md"
BEGIN, END = "<!-- models: begin -->\n", "<!-- models: end -->\n"
INTRODUCTION = """# The shipped models, measured

All figures of the cards, each model beside the classical methods that completed the same holes of the same photographs.
What the photographs and the figures are: [README](../README.md#models-measured). `retouch models --json` prints the
cards, which also say how each model was trained and where it fails.
"""


def summary(models: list[Card]) -> Table:
    """A line for each model and kind of hole: its figures, and the best that any classical method has in each."""
    rows = []
    for card in models:
        first, most = True, max(row["photos"] for row in card.quality)
        for _, alike in groupby(card.quality, key=lambda row: (row["data"], row["masks"])):
            (own, *others) = sorted(alike, key=lambda row: row["model"] != card.name)
            if own["photos"] < most:
                continue  # a sample, for a slow method beside it
            figures, best = [], []
            for name in ON_CARDS:
                metric = metric_of(name)
                rivals = [float(row[name]) for row in others]
                ahead = (max if metric.higher else min)(rivals, default=None)
                value = float(own[name])
                won = ahead is not None and (value > ahead if metric.higher else value < ahead)
                figures.append(Cell(number(value, metric), best=won))
                best.append("–" if ahead is None else number(ahead, metric))
            names = label(f"`{card.name}`: {card.good_for}" if first else "")
            where = label(f"{own['photos']} of {own['data']}, {own['masks']}")
            rows.append((names, where, *figures, Cell(" · ".join(best) if others else "–")))
            first = False
    titles = map(head, ON_CARDS)
    return Table("", ("model", "photographs, holes", *titles, "the best classical figures"), tuple(rows))


def updated(text: str) -> str:
    """The README's text with the table that the cards make now."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + markdown(summary(list(cards().values()))) + END + after


def details() -> str:
    """The text of docs/models.md."""
    tables = [of_card(card) for card in cards().values()]
    return "\n".join([INTRODUCTION, *(f"{table.title}\n\n{markdown(table)}" for table in tables)])


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
    MODELS.write_text(details(), encoding="utf-8")
