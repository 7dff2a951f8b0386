"""Writes the measured table of every shipped model into the README, between its two markers."""

from pathlib import Path

from retouch.cards import cards
from retouch.tables import markdown, of_card

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- models: begin -->\n", "<!-- models: end -->\n"


def updated(text: str) -> str:
    """The README's text with the tables that the cards hold now."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    tables = [of_card(card) for card in cards().values()]
    written = "\n".join(f"{table.title}\n\n{markdown(table)}" for table in tables)
    return before + BEGIN + written + END + after


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
