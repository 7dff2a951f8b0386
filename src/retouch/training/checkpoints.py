"""Checkpoints of a training run: safetensors and JSON, never pickles; a whole one at every moment.

    RUN/checkpoint/0000012345/              named after the steps done; the highest number counts
        state.json                          counters, method, config, settings, versions, optimisers' numbers
        NETWORK.safetensors                 weights as trained
        NETWORK.ema.safetensors             their exponential moving average: what is exported
        NETWORK.optimizer.safetensors       the optimiser's tensors, named INDEX.NAME

A checkpoint is written to a hidden folder beside, flushed to the disk and renamed; only then older ones go.
"""

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from retouch.errors import TrainingError
from retouch.training.settings import Settings

FORMAT = 1  # of state.json and of the files beside it
# what state.json always holds, and its types
HELD: dict[str, type | tuple[type, ...]] = {
    "method": str, "config": dict, "settings": dict, "step": int, "images": int, "images_before": int,
    "seconds": (float, int), "photos": int, "data_sha256": str, "scaler": dict, "versions": dict,
    "optimizers": dict, "groups": list,
}  # fmt: skip
TRIES = 20  # a run that is still going may remove a checkpoint while it is read

Weights = dict[str, dict[str, Tensor]]  # file's stem -> name -> tensor


def read_checkpoint(
    run: str | os.PathLike[str], wanted: Callable[[str], bool] = bool
) -> tuple[dict[str, Any], Weights]:
    """Reads the newest checkpoint of a run, on the CPU.

    Args:
        run: the folder of the run.
        wanted: which groups of tensors to read, by name; all by default.

    Returns:
        The state (``method``, ``config``, ``settings``, ``step``, ``images``, ``images_before``, ``seconds``,
        ``versions``, ...), and the tensors by group: ``NETWORK``, ``NETWORK.ema``, ``NETWORK.optimizer``.

    Raises:
        TrainingError: no checkpoint there, or a damaged or foreign one.
    """
    missing: OSError | None = None
    for _ in range(TRIES):
        found = _whole(Path(run) / "checkpoint")
        try:
            if found:
                return _read(found[-1], wanted)
        except FileNotFoundError as error:
            missing = error
        if not (Path(run) / "checkpoint").is_dir():
            break
        time.sleep(0.02)
    if missing is not None:
        raise TrainingError(f"{missing.filename}: expected a whole checkpoint, got no such file")
    got = "one without a checkpoint" if Path(run).is_dir() else "no folder"
    raise TrainingError(f"{run}: expected the folder of a training run, got {got}")


def newest(run: str | os.PathLike[str]) -> int:
    """The step of a run's newest checkpoint; -1 where there is none."""
    found = _whole(Path(run) / "checkpoint")
    return int(found[-1].name) if found else -1


def holds_run(run: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a training run, that is, a checkpoint."""
    return newest(run) >= 0


def check_newest(run: Path, step: int) -> None:
    """Raises TrainingError where a run's newest checkpoint is no longer the one of this step (-1: none)."""
    if (found := newest(run)) != step:
        raise TrainingError(
            f"{run}: expected no other process to train here, got its checkpoint of step {found} "
            "(--resume goes on with it)"
        )


def write_checkpoint(
    run: Path, state: Mapping[str, Any], weights: Mapping[str, Mapping[str, Tensor]]
) -> Path:
    """Writes a checkpoint and removes older ones; whenever the process is killed, a whole one is left.

    Raises:
        TrainingError: a weight that is not finite (nothing is written), or a disk that refuses.
    """
    for group, tensors in weights.items():
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise TrainingError(
                    f"step {state['step']}: expected finite weights, got others in {group}: {name}"
                )
    folder = run / "checkpoint"
    target, draft = folder / f"{state['step']:010d}", folder / f".{state['step']:010d}.{os.getpid()}"
    try:
        document = {"format": FORMAT, **state, "groups": sorted(weights)}
        draft.mkdir(parents=True, exist_ok=True)
        for group, tensors in weights.items():
            # clones: safetensors refuses tensors that share memory, and wants them contiguous
            plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
            (draft / f"{group}.safetensors").write_bytes(save(plain))  # save_file lets only its owner read it
        (draft / "state.json").write_text(json.dumps(document, indent=1, allow_nan=False))
        for file in (*draft.iterdir(), draft):
            _flush(file)
        if target.exists():  # the same step again, as after a resume without a step: the same content
            shutil.rmtree(draft)
        else:
            draft.rename(target)
        _flush(folder)
        for other in folder.iterdir():
            if other.name < target.name:  # earlier steps, and drafts, whose names begin with a dot
                shutil.rmtree(other, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)  # a full disk needs the space
        raise TrainingError(f"{target}: expected to write a checkpoint, got {error}") from error
    return target


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimiser's state, named INDEX.NAME."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, values in state.items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def optimizer_numbers(optimizer: Optimizer) -> dict[str, Any]:
    """What an optimiser's state holds beside tensors: parameter groups, and numbers by INDEX.NAME.

    ``begun`` is whether it keeps anything of a step done.
    """
    state = optimizer.state_dict()
    numbers = {
        f"{index}.{name}": value
        for index, values in state["state"].items()
        for name, value in values.items()
        if not isinstance(value, Tensor)
    }
    return {"groups": state["param_groups"], "numbers": numbers, "begun": bool(state["state"])}


def load_optimizer(optimizer: Optimizer, numbers: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Gives an optimiser the state that ``optimizer_numbers`` and ``optimizer_tensors`` took."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in (*numbers["numbers"].items(), *tensors.items()):
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = [
        {
            name: tuple(value) if isinstance(value, list) and name != "params" else value
            for name, value in g.items()
        }
        for g in numbers["groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def load_networks(
    networks: Mapping[str, nn.Module],
    averages: Mapping[str, nn.Module],
    weights: Weights,
    settings: Settings,
) -> None:
    """Fills networks and averages from a checkpoint's groups; with ``init`` from its averages alone.

    Raises:
        TrainingError: none of them fit, one does not, or one is missing on resume.
    """
    if settings.init is not None and not any(f"{name}.ema" in weights for name in networks):
        raise TrainingError(
            f"{settings.init}: expected weights of {', '.join(networks)}, got {', '.join(weights)}"
        )
    for name in networks:
        average = weights.get(f"{name}.ema")
        trained = average if settings.init is not None else weights.get(name)
        if average is None or trained is None:
            if settings.resume:
                raise TrainingError(f"{settings.output}: expected weights of {name}, got none")
            continue  # a network that the other run has not: it starts fresh
        try:
            networks[name].load_state_dict(trained)
            averages[name].load_state_dict(average)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            where = settings.init or settings.output
            raise TrainingError(f"{where}: expected weights that fit {name}, got others: {reason}") from error


def versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("retouch", "torch", "lightning", "numpy", "opencv-contrib-python-headless"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _whole(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        kept for kept in folder.iterdir() if kept.name.isdecimal() and (kept / "state.json").is_file()
    )


def _read(folder: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, Any], Weights]:
    try:
        state = json.loads((folder / "state.json").read_text())
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise TrainingError(f"{folder}: expected a checkpoint of format {FORMAT}, got another")
        for name, kind in HELD.items():
            if not isinstance(state.get(name), kind):
                raise ValueError(f"{name}: {state.get(name)!r}")
        names = [name for name in state["groups"] if wanted(name)]
        return state, {name: load((folder / f"{name}.safetensors").read_bytes()) for name in names}
    except (ValueError, KeyError, SafetensorError) as error:
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(f"{folder}: expected a whole checkpoint, got a damaged one ({error})") from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
