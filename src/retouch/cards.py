"""Model cards: what a model is, where it comes from and how good it is, as JSON beside its weights."""

import importlib.resources
import json
from dataclasses import asdict, dataclass, field, fields
from importlib.resources.abc import Traversable
from typing import Any

from retouch.boxes import Limits
from retouch.errors import ModelError

DEFAULT = "recurrent-scenes"
OPTIONAL = {"quality", "notes"}
SUFFIXES = (".onnx", ".safetensors")  # of weight files


@dataclass(frozen=True, slots=True)
class Card:
    """What a model is: the content of ``NAME.json``.

    Args:
        name: how it is called, e.g. ``"recurrent-scenes"``.
        method: name in ``retouch.methods()``.
        paper: citation.
        good_for: what to use it for, in one line.
        training_data: what it was trained on.
        images_seen: crops shown to it in training, repetitions counted.
        mask_kinds: kinds of holes that it was trained with.
        limits: the windows that it accepts, in pixels.
        sha256: of the weight file, in hexadecimal.
        licence: of the weights.
        created: date, ``YYYY-MM-DD``.
        command: what trained it.
        quality: measured rows ``{"data": ..., "masks": ..., "model": ..., "psnr": ..., "ssim": ..., ...}``;
            rows whose ``model`` is another name are baselines on the same photos and holes.
        notes: anything else worth knowing.
    """

    name: str
    method: str
    paper: str
    good_for: str
    training_data: str
    images_seen: int
    mask_kinds: tuple[str, ...]
    limits: Limits
    sha256: str
    licence: str
    created: str
    command: str
    quality: tuple[dict[str, str | float], ...] = field(default=(), hash=False)
    notes: str = ""

    def to_json(self) -> str:
        """The card as the text of a JSON file; ``parse_card`` reads it back."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"
        # file names may hold bytes that are no UTF-8, which JSON can escape
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def parse_card(text: str | bytes, source: str) -> Card:
    """Reads a card.

    Args:
        text: the content of a JSON file.
        source: its name, for messages.

    Raises:
        ModelError: not JSON, an unknown or missing key, a value of a wrong type.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are not UTF-8
        raise ModelError(f"{source}: expected a model card in JSON, got {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{source}: expected a model card (a JSON object), got {type(values).__name__}")
    known = {field.name for field in fields(Card)}
    wrong = [f"no {key!r}" for key in sorted(known - OPTIONAL - set(values))]
    wrong += [f"an unknown {key!r}" for key in sorted(set(values) - known)]
    if wrong:
        raise ModelError(f"{source}: expected the keys of a model card, got {', '.join(wrong)}")
    for key, value in values.items():
        problem = _problem(key, value)
        if problem:
            raise ModelError(f"{source}: expected {key} to be {problem}, got {json.dumps(value)[:80]}")
    try:
        values["limits"] = Limits(**values["limits"])
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    return Card(**values | {key: tuple(values.get(key, ())) for key in ("mask_kinds", "quality")})


def _problem(key: str, value: Any) -> str | None:
    """What the value of a key should have been; None where it is right."""
    if key == "images_seen":
        return None if type(value) is int and value >= 0 else "a whole number"
    if key == "mask_kinds":
        right = isinstance(value, list) and all(isinstance(kind, str) for kind in value)
        return None if right else "a list of strings"
    if key == "limits":
        return None if _are_limits(value) else "{native, multiple, largest}, perhaps smallest and whole"
    if key == "quality":
        right = isinstance(value, list) and all(map(_is_row, value))
        return None if right else "a list of rows: data, masks, model as strings, the rest numbers"
    if key == "sha256":
        right = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
        return None if right else "64 hexadecimal digits"
    return None if isinstance(value, str) else "a string"


def _are_limits(value: Any) -> bool:
    kinds = {field.name: bool if field.name == "whole" else int for field in fields(Limits)}
    return (
        isinstance(value, dict)
        and kinds.keys() - {"smallest", "whole"} <= set(value) <= kinds.keys()
        and all(type(number) is kinds[name] for name, number in value.items())
    )


def _is_row(row: Any) -> bool:
    texts = {"data", "masks", "model"}
    return (
        isinstance(row, dict)
        and texts <= set(row)
        and all(isinstance(row[key], str) if key in texts else type(row[key]) in (int, float) for key in row)
    )


def weights_folder() -> Traversable:
    """Where the shipped models lie: NAME.onnx or NAME.safetensors, NAME.json."""
    return importlib.resources.files("retouch") / "weights"


def shipped_names() -> list[str]:
    """The names of the shipped models, the default first."""
    names = [file.name[:-5] for file in weights_folder().iterdir() if file.name.endswith(".json")]
    return sorted(names, key=lambda name: (name != DEFAULT, name))


def cards() -> dict[str, Card]:
    """The cards of the shipped models by name, the default first.

    Raises:
        ModelError: a damaged card.
    """
    folder = weights_folder()
    return {
        name: parse_card((folder / f"{name}.json").read_bytes(), f"{name}.json") for name in shipped_names()
    }


def shipped_weights(name: str) -> Traversable:
    """A shipped model's weight file: ``NAME.onnx``, or ``NAME.safetensors`` of a method that searches."""
    files = [weights_folder() / f"{name}{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), files[0])


def weights_size(name: str) -> int:
    """The size of a shipped model's weight file in bytes."""
    with importlib.resources.as_file(shipped_weights(name)) as path:
        return path.stat().st_size
