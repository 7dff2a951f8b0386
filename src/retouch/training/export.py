"""A training run -> a model: ONNX and its card, checked against PyTorch; or a Predictor that runs PyTorch itself."""

import contextlib
import datetime
import hashlib
import io
import logging
import shlex
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import torch
from onnxscript import opset18 as op
from torch import Tensor, nn

from retouch.boxes import Limits
from retouch.cards import Card
from retouch.errors import ModelError, TrainingError
from retouch.methods import METHODS
from retouch.sources import index, short
from retouch.training.checkpoints import read_checkpoint
from retouch.training.data import SAMPLES, Photos, damaged
from retouch.training.process import restored
from retouch.training.quantize import Sample, to_int8
from retouch.training.search_predictor import SearchPredictor, to_safetensors
from retouch.training.settings import Settings, configure, plain
from retouch.writing import atomic_write, check_new

OPSET = 18
TOLERANCE = 1e-4  # largest difference between ONNX Runtime and PyTorch, in [0, 1]
CROPS = 32  # that show a network's ranges before it is quantized


class Completion(nn.Module):
    """A method's completion as a module, with the averaged weights: what is exported."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(method.networks)  # registers the weights
        self.method = method

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], (B, 1, H, W) -> (B, 3, H, W)."""
        completed: Tensor = self.method.complete(image, hole, generator=None)
        return completed


def completion(run: Path) -> tuple[Completion, dict[str, Any]]:
    """A run's method with the averaged weights of its newest checkpoint, in evaluation mode; and its state.

    Raises:
        TrainingError: no run there, a damaged one, or one of a method that this version does not know.
    """
    state, weights = read_checkpoint(run, lambda group: group.endswith(".ema"))
    if state["method"] not in METHODS:
        raise TrainingError(f"{run}: expected a method among {', '.join(METHODS)}, got {state['method']!r}")
    kind, build = METHODS[state["method"]].load()
    method = build(configure(kind, state["config"]), training=False)
    for name, network in method.networks.items():
        try:
            network.load_state_dict(weights[f"{name}.ema"])
        except (KeyError, RuntimeError) as error:
            raise TrainingError(
                f"{run}: expected weights that fit {state['method']}, got {str(error).splitlines()[0]}"
            ) from error
    return Completion(method).eval().requires_grad_(False), state


def window_limits(state: dict[str, Any]) -> Limits:
    """The windows for a run's weights: native is the canvas of its holes, or the crops' size where these were whole
    photographs; the largest is at most twice as much; whole as the run's photographs were.

    Beyond that a network is asked for what it has never seen, and the planner's shrunk photograph serves better.
    """
    limits, settings = METHODS[state["method"]].limits, state["settings"]
    whole = settings.get("whole", False)  # which runs of old do not tell
    canvas = settings["size"] if whole else settings["mask_size"] or settings["size"]
    native = max(16, min(canvas, limits.largest)) // limits.multiple * limits.multiple
    smallest = native if limits.smallest == limits.native else min(limits.smallest, native)
    largest = min(2 * native, limits.largest)
    return replace(limits, native=native, largest=largest, smallest=smallest, whole=whole)


@dataclass(frozen=True, slots=True)
class TorchPredictor:
    """A training run as the engine's Predictor: one picture at a time, since company changes the bits."""

    limits: Limits
    module: Completion
    threads: int | None = None

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        """(B, 3, h, w) in [0, 1] and (B, 1, h, w), 1 = missing, float32 -> (B, 3, h, w) float32."""
        with restored(self.threads), torch.inference_mode():
            pairs = zip(torch.from_numpy(image)[:, None], torch.from_numpy(hole)[:, None], strict=True)
            completed: np.ndarray = torch.cat([self.module(*pair) for pair in pairs]).numpy()
        return completed


def predictor(
    run: Path, threads: int | None = None
) -> tuple[TorchPredictor | SearchPredictor, dict[str, Any]]:
    """The Predictor of a training run, on so many cores (None: all), and the run's state.

    Raises:
        TrainingError: see ``completion``.
    """
    module, state = completion(run)
    if METHODS[state["method"]].searches:
        return SearchPredictor(window_limits(state), module.method), state
    return TorchPredictor(window_limits(state), module, threads), state


def to_onnx(module: nn.Module, limits: Limits) -> bytes:
    """Exports a completion network with open batch, height and width, and checks it.

    Args:
        module: (B, 3, H, W), (B, 1, H, W) -> (B, 3, H, W).
        limits: the windows that it accepts; it is traced at ``native`` and checked at other sizes too.

    Raises:
        ModelError: ONNX Runtime's answers differ from PyTorch's by more than ``TOLERANCE``.
    """
    shape = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    image, hole = _example(limits.native, limits.native + limits.multiple, seed=0)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of the exporter's own making
        logger.setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                module,
                (image, hole),
                dynamo=True,
                opset_version=OPSET,
                input_names=["image", "hole"],
                output_names=["completion"],
                dynamic_shapes={"image": shape, "hole": shape},
                custom_translation_table={torch.ops.aten.elu.default: _elu},
                verbose=False,
            )
        finally:
            logger.setLevel(level)
    assert program is not None  # the dynamo exporter always returns one
    data: bytes = program.model_proto.SerializeToString()
    _check(module, data, limits)
    return data


def _elu(x: Any, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """max(x, e^min(x, 0) - 1): the same function as the operator Elu, in half of ONNX Runtime's time for that."""
    return op.Max(
        x, op.Sub(op.Exp(op.Clip(x, None, op.Constant(value_float=0.0))), op.Constant(value_float=1.0))
    )


def _example(height: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two random pictures, and holes in them."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, height, width, generator=generator)
    coarse = torch.rand(2, 1, height // 8, width // 8, generator=generator) < 0.3
    hole = coarse.float().repeat_interleave(8, 2).repeat_interleave(8, 3)
    hole = nn.functional.interpolate(hole, size=(height, width))
    return image * (1 - hole), hole


def _check(module: nn.Module, data: bytes, limits: Limits) -> None:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    half = limits.native // limits.multiple // 2 * limits.multiple
    sides = sorted({limits.native, max(half, limits.multiple, 16), limits.largest})
    for seed, side in enumerate(sides):
        image, hole = _example(limits.native, side, seed)
        with torch.inference_mode():
            expected = module(image, hole).numpy()
        (got,) = session.run(["completion"], {"image": image.numpy(), "hole": hole.numpy()})
        difference = float(np.abs(got - expected).max())
        if not difference <= TOLERANCE:
            raise ModelError(
                f"expected ONNX Runtime within {TOLERANCE} of PyTorch, got {difference:.2g} apart"
            )


def crops(photographs: Sequence[str], state: dict[str, Any]) -> list[Sample]:
    """Crops of these photographs with holes, drawn as the run drew its own."""
    drawn = (
        "size", "zoom", "whole", "jitter", "jittered", "colour", "mirror", "masks", "ratio", "mask_size", "seed",
    )  # fmt: skip
    # older runs have fewer settings
    own = {name: state["settings"][name] for name in drawn if name in state["settings"]}
    own |= {"masks": tuple(own["masks"]), "ratio": tuple(own["ratio"])}
    settings = Settings(data=tuple(photographs), output=Path(), **own)
    return damaged(Photos(index(settings.data), settings, SAMPLES), CROPS)


def _learned_from(state: dict[str, Any]) -> str:
    """For the card: a run's photographs, what it began with, and what taught it."""
    parts, settings, init = [", ".join(state["settings"]["data"])], state["settings"], state.get("init")
    if init:
        parts.append(f"from the weights of {short(init)}")
    if settings.get("teacher"):  # which older runs do not tell
        parts.append(f"taught by {' and '.join(map(short, settings['teacher']))}")
    return ", ".join(parts)


def _untrained(state: dict[str, Any], networks: Iterable[str]) -> str:
    """For the card: which of these networks a run never came to; none where it began with another run's."""
    # older runs do not tell
    names = [name for name in networks if not state["optimizers"].get(name, {}).get("begun", True)]
    if not names or state.get("init"):
        return ""
    return f"Not trained, as the run ended at step {state['step']}: {', '.join(names)}."


def command_line(state: dict[str, Any], run: Path) -> str:
    """The command that trained a run, from its state; ``--set`` for what differs from the method's defaults."""
    kind, _ = METHODS[state["method"]].load()
    defaults = vars(kind())
    words = ["retouch", "train", state["method"], "--output", run.name]
    standard = plain(Settings(data=(), output=Path()))
    settings = state["settings"] | {"init": state.get("init")}  # a resumed run's settings have none
    for name, value in settings.items():
        if name in ("output", "resume") or value == standard.get(name):
            continue
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
            continue
        if name == "ratio":
            words += ["--ratio", "-".join(map(str, value))]
            continue
        for part in value if isinstance(value, list) else [value]:
            if name in ("data", "validate", "init", "teacher"):
                part = short(part)
            words += [f"--{name.replace('_', '-')}", str(part)]
    for name, value in state["config"].items():
        if value != defaults.get(name):
            words += ["--set", f"{name}={Path(value).name if name == 'features' else value}"]
    return shlex.join(words)


def export(
    run: Path,
    name: str,
    output: Path = Path("."),
    *,
    good_for: str = "",
    training_data: str = "",
    licence: str = "",
    notes: str = "",
    quantize: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Writes ``NAME.onnx`` (``NAME.safetensors`` of a method that searches) and its card ``NAME.json``.

    Each is written whole or not at all.

    Args:
        run: folder of the training run.
        name: of the model.
        output: folder for the two files; made where it is missing.
        good_for, training_data, licence, notes: the card's words; the data by default as the run names it, the licence
            by default that of the model that the run began with, or was taught by. Networks that the run never came
            to are added to the notes.
        quantize: photographs, as for training; where given, the large convolutions are in 8 bits, by the ranges
            on crops and holes of these as the run had them, and the card's notes say how much that changed.
        overwrite: replace files of that name.

    Returns:
        The path of the weights.

    Raises:
        TrainingError, ModelError, FileExistsError.
    """
    if Path(name).name != name or not name:
        raise ModelError(f"expected a name without folders, got {name!r}")
    module, state = completion(run)
    entry, settings = METHODS[state["method"]], state["settings"]
    target = output / (name + (".safetensors" if entry.searches else ".onnx"))
    for path in (target, output / f"{name}.json"):
        if not overwrite:
            check_new(path)
    if quantize and entry.searches:
        raise ModelError(f"expected a method that is exported as ONNX to quantize, got {state['method']}")
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"expected an output folder, got a file: {output}")
    limits, samples = window_limits(state), crops(quantize, state) if quantize else []
    data = to_safetensors(state["method"], module.method) if entry.searches else to_onnx(module, limits)
    if samples:
        data, changed = to_int8(data, samples)
        notes = f"{notes} {changed}".strip()
    notes = f"{notes} {_untrained(state, module.method.networks)}".strip()
    card = Card(
        name=name,
        method=state["method"],
        paper=entry.citation,
        good_for=good_for or "photographs like those it was trained on",
        training_data=training_data or _learned_from(state),
        images_seen=state["images"] + state["images_before"],
        mask_kinds=tuple(spec.partition("=")[0] for spec in settings["masks"]),
        limits=limits,
        sha256=hashlib.sha256(data).hexdigest(),
        licence=licence or state.get("licence") or "not stated",
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        command=command_line(state, run),
        notes=notes,
    )
    output.mkdir(parents=True, exist_ok=True)
    atomic_write(target, data)
    atomic_write(output / f"{name}.json", card.to_json().encode())
    return target
