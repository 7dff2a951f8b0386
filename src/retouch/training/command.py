"""The commands ``retouch train`` and ``retouch export``; PyTorch is imported when they run, not for help."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from retouch.cards import parse_card
from retouch.errors import TrainingError, needs
from retouch.options import Output
from retouch.terminal import say
from retouch.training import describe
from retouch.training.settings import Settings


def train(
    method: str,
    /,
    *,
    settings: Annotated[Settings, Parameter(name="*")],
    preset: str | None = None,
    config: Path | None = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", show_default=False)] = (),
) -> int:
    """Train a method on photographs; Ctrl-C saves and stops, --resume goes on.

    Args:
        method: A name from "retouch methods".
        preset: Settings for options not given: "shipped", of shipped models; "paper"; "quick", minutes on two cores.
        config: A TOML file with settings of the method.
        set_: Settings of the method, KEY=VALUE each; they win over the file.
    """
    describe.presets(method)  # an unknown method is told at once, not after PyTorch's import
    preset_config = describe.preset(method, preset)["config"] if preset else {}
    overrides = {**preset_config, **_from_file(config), **_from_pairs(set_)}
    with needs("train", "training"):
        from retouch.training.loop import train as run
    finished = run(method, settings, overrides)
    if finished.first:
        say(
            f"{finished.run}: {finished.step} steps, {finished.images} images seen, stopped by: {finished.why}"
        )
    return 0 if finished.signal is None else 128 + finished.signal


def export(
    run: Path,
    /,
    *,
    name: str,
    output: Output = Path("."),
    good_for: str = "",
    training_data: str = "",
    licence: str = "",
    notes: str = "",
    quantize: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    overwrite: bool = False,
) -> None:
    """Turn a training run into a model: NAME.onnx and its card NAME.json.

    Args:
        run: The folder of the training run.
        name: The model's name.
        output: The folder to write to.
        good_for: For the card: what to use it for, in one line.
        training_data: For the card; by default the run's --data.
        licence: For the card: of the weights, which the photographs may decide; by default that of the model that the
            run began with, or was taught by.
        notes: For the card: anything else worth knowing.
        quantize: Photographs, as for --data: convolutions in 8 bits where that is faster, by ranges seen on these.
        overwrite: Replace files of that name.
    """
    with needs("train", "exporting a model"):
        from retouch.training import export as exporting
    path = exporting.export(
        run,
        name,
        output,
        good_for=good_for,
        training_data=training_data,
        licence=licence,
        notes=notes,
        quantize=quantize,
        overwrite=overwrite,
    )
    card = path.with_suffix(".json")
    say(f"{path}: exported, with its card {card.name} beside it")
    if added := parse_card(card.read_bytes(), str(card)).notes.removeprefix(notes).strip():
        say(f"note: {added}")


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # with or without a byte order mark
    except ValueError as error:  # not TOML, or not UTF-8
        raise TrainingError(f"{path}: expected settings in TOML, got: {error}") from error


def _from_pairs(pairs: Sequence[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise TrainingError(f"expected --set KEY=VALUE, got --set {wrong[0]}")
    return dict(pair.split("=", 1) for pair in pairs)
