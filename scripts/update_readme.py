"""Writes the measured table of every shipped model into the README, between its two markers."""

from pathlib import Path

from retouch.cards import Card, cards

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- models: begin -->\n", "<!-- models: end -->\n"


def table(card: Card) -> str:
    """A model's quality beside its baselines, from its card, in Markdown."""
    metrics = {"psnr": ("PSNR, dB ↑", 2), "ssim": ("SSIM ↑", 4), "lpips": ("LPIPS ↓", 4)}
    lines = [
        f"**`{card.name}`** ({card.method}, {card.images_seen:,} crops seen): {card.good_for}.\n",
        f"| photographs | holes | model | {' | '.join(title for title, _ in metrics.values())} |",
        "|---|---|---|" + "--:|" * len(metrics),
    ]
    for row in card.quality:
        figures = [f"{row[key]:.{digits}f}" if key in row else "" for key, (_, digits) in metrics.items()]
        name = f"**{row['model']}**" if row["model"] == card.name else row["model"]
        lines.append(
            f"| {row['photos']} of {row['data']} | {row['masks']} | {name} | {' | '.join(figures)} |"
        )
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """The README's text with the tables that the cards hold now."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + "\n".join(table(card) for card in cards().values()) + END + after


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
