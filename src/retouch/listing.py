"""What `retouch models` shows: all models, a line each, or one with its figures beside those of others."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

import retouch
from retouch.cards import DEFAULT, Card, weights_size
from retouch.classical import CLASSICAL, summary
from retouch.errors import ModelError
from retouch.evaluation.summary import metric_of
from retouch.evaluation.tables import ON_CARDS, head, number
from retouch.terminal import say, say_json, say_table

CODE = "Apache-2.0"  # the licence of methods without weights
FIGURES = (*ON_CARDS, "mse")

Row = dict[str, Any]  # of `Card.quality`


def show_all(*, json: bool) -> None:
    """What each does, its size and licence, and how good it was measured to be."""
    cards = retouch.models()
    if json:
        shipped = [_as_json(card, shipped=True) for card in cards.values()]
        say_json({"models": shipped, "classical": [_classical(name) for name in CLASSICAL]})
        return
    rows = [
        (name, card.good_for, f"{_size(name)}, {card.licence.partition(',')[0]}", _psnr(card))
        for name, card in cards.items()
    ]
    rows += [(name, summary(name), CODE, "") for name in CLASSICAL]
    say_table(("model", "what it does", "size, licence", head("psnr")), rows)
    say(f"{DEFAULT} is the default. retouch models NAME: its figures beside those of others, and what it is")


def show_one(name: str, *, json: bool) -> None:
    """Where a model comes from, and its figures beside those of others on the same photographs and holes.

    Args:
        name: as `retouch.load` takes it.

    Raises:
        ModelError: there is no such model, or it has no card.
    """
    cards = retouch.models()
    card = cards.get(name)
    if name not in cards and name not in CLASSICAL:
        card = retouch.load(name).card
        if card is None:
            raise ModelError(f"expected a model that has a card, got {name}")
    if json:
        say_json(_as_json(card, shipped=name in cards) if card else _classical(name))
        return
    if card:
        facts = _facts(card, {"size": _size(name)} if name in cards else {})
        name = card.name
    else:
        facts = {"good for": summary(name), "licence": CODE}
    say_table((name, ""), list(facts.items()))
    own = [card] if card else []
    rows = list(_beside(name, _groups([*own, *cards.values()])))
    if rows:
        keys = [key for key in FIGURES if any(key in row for _, row in rows)]
        figures = [(where, row["model"], *(_number(row, key) for key in keys)) for where, row in rows]
        say_table(("photographs, holes", "model", *map(head, keys)), figures)


def _facts(card: Card, size: dict[str, str]) -> dict[str, str]:
    return {
        "good for": card.good_for,
        "method": f"{card.method}: {card.paper}",
        "learned from": f"{card.training_data}; {card.images_seen:,} crops were shown to it",
        "holes": ", ".join(card.mask_kinds),
        **size,
        "licence": card.licence,
    }


def _groups(cards: Iterable[Card]) -> Iterable[dict[str, Row]]:
    """The measured rows of the models that completed the same holes, by the model's name."""
    groups: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in (row for card in cards for row in card.quality):
        group = groups.setdefault((row["data"], row["masks"], row.get("photos")), {})
        group.setdefault(str(row["model"]), row)
    return groups.values()


def _beside(name: str, groups: Iterable[dict[str, Row]]) -> Iterator[tuple[str, Row]]:
    """The rows of each group that the model is in, the highest PSNR first; of what, beside the first of a group."""
    for group in groups:
        rows = sorted(group.values(), key=lambda row: -row.get("psnr", 0)) if name in group else []
        for index, row in enumerate(rows):
            count = f"{row['photos']} of " if "photos" in row else ""
            yield "" if index else f"{count}{row['data']}, {row['masks']}", row


def _size(name: str) -> str:
    return f"{weights_size(name) / 1e6:.1f} MB"


def _psnr(card: Card) -> str:
    """Its PSNR: from the hardest holes to the easiest."""
    own = [row["psnr"] for row in card.quality if row["model"] == card.name and "psnr" in row]
    ends = (f"{end(own):.1f}" for end in (min, max)) if own else ()
    return "-".join(dict.fromkeys(ends))


def _number(row: Row, key: str) -> str:
    return number(row[key], metric_of(key)) if key in row else ""


def _classical(name: str) -> dict[str, str]:
    return {"name": name, "good_for": summary(name)}


def _as_json(card: Card, *, shipped: bool) -> dict[str, Any]:
    size = {"bytes": weights_size(card.name), "default": card.name == DEFAULT} if shipped else {}
    return asdict(card) | size
