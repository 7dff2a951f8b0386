"""What a person sees of a training run: a progress bar (lines without a terminal), logs, sample grids."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from retouch.errors import TrainingError
from retouch.metrics import loss_name
from retouch.terminal import bar
from retouch.training.settings import Settings
from retouch.writing import atomic_write


@contextmanager
def progress(
    settings: Settings, state: Mapping[str, Any], *, quiet: bool, console: Console | None = None
) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Shows how far a run is; gives a function to call after every step with the step's values.

    Args:
        settings: its bounds.
        state: the run's counters ``step``, ``images`` and ``seconds``, read at every call.
        quiet: shows nothing.
        console: standard error by default.
    """
    if quiet:
        yield lambda values: None
        return
    step, images, seconds = state["step"], state["images"], state["seconds"]
    with bar(console) as show:

        def told(values: Mapping[str, float]) -> None:
            passed = max(state["seconds"] - seconds, 1e-9)
            done, left = _left(settings, state, (state["step"] - step) / passed)
            rate = (state["images"] - images) / passed
            losses = "  ".join(f"{loss_name(name)} {value:.4g}" for name, value in values.items())
            show(done, f"{done:4.0%}  step {state['step']}  {rate:.1f} images/s  {left} left  {losses}")

        yield told


def _left(settings: Settings, state: Mapping[str, Any], steps_per_second: float) -> tuple[float, str]:
    """The share of the run that is done and the time left, by whichever bound comes first."""
    bounds = []
    if settings.steps:
        left = (settings.steps - state["step"]) / max(steps_per_second, 1e-9)
        bounds.append((left, state["step"] / settings.steps))
    if settings.minutes:
        bounds.append((60 * settings.minutes - state["seconds"], state["seconds"] / 60 / settings.minutes))
    if not bounds:
        return 0.0, "no end"
    left, done = min(bounds)
    minutes, rest = divmod(int(max(left, 0)), 60)
    return min(done, 1.0), f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def save_grid(path: Path, image: Tensor, hole: Tensor, completed: Tensor) -> None:
    """Writes a PNG with three rows: original, damaged (grey holes), completed inside the holes.

    Args:
        path: of the PNG; its folder is made.
        image: (B, 3, S, S) in [0, 1].
        hole: (B, 1, S, S), 1 = missing.
        completed: (B, 3, S, S); clipped to [0, 1].

    Raises:
        TrainingError: the disk refuses.
    """
    rows = (image, image * (1 - hole) + 0.5 * hole, image * (1 - hole) + completed.float().clamp(0, 1) * hole)
    grid = np.concatenate([np.concatenate(list(_uint8(row)), axis=1) for row in rows])
    _, png = cv2.imencode(".png", grid[..., ::-1])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, png.tobytes())
    except OSError as error:
        raise TrainingError(f"{path}: expected to write a sample grid, got {error}") from error


def _uint8(row: Tensor) -> np.ndarray:
    """(B, 3, S, S) in [0, 1] -> (B, S, S, 3) uint8."""
    array: np.ndarray = row.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return array


@contextmanager
def logs(
    run: Path, state: Mapping[str, Any], *, quiet: bool
) -> Iterator[Callable[[float, dict[str, float]], None]]:
    """Gives a function that appends the run's means to ``stats.jsonl`` and to TensorBoard's files.

    Args:
        run: its folder.
        state: counters ``step``, ``images``, ``seconds``, and ``sums`` of values over ``counts`` steps, read
            at every call. What the logs hold of later steps is dropped first: they will be done again.
        quiet: writes nothing.

    The function takes the images per second since the last line, and figures of this very step. Raises
    TrainingError where the disk refuses.
    """
    if quiet:
        yield lambda rate, figures: None
        return
    try:
        # where steps are left over, their line is that of a run that had ended: it is drawn up anew
        _truncate(run / "stats.jsonl", state["step"] - bool(state["counts"]))
        writer = SummaryWriter(str(run / "tensorboard"), purge_step=state["step"] + 1)
    except (OSError, UnicodeEncodeError) as error:  # TensorBoard takes names in UTF-8 alone
        raise TrainingError(f"{run}: expected to write logs, got {error}") from error

    def log(rate: float, figures: dict[str, float]) -> None:
        means = {loss_name(name): total / state["counts"][name] for name, total in state["sums"].items()}
        record = {name: state[name] for name in ("step", "images", "seconds")}
        record |= {"images_per_second": rate} | means | figures
        try:
            with open(run / "stats.jsonl", "a") as file:
                file.write(json.dumps(record) + "\n")
            for name, value in record.items():
                writer.add_scalar(name, value, state["step"])
        except OSError as error:
            raise TrainingError(f"{run}: expected to write logs, got {error}") from error

    with _unsaid():
        try:
            yield log
        finally:
            try:
                writer.close()
            except OSError as error:
                raise TrainingError(f"{run}: expected to write logs, got {error}") from error


@contextmanager
def _unsaid() -> Iterator[None]:
    """Keeps a full disk, which TensorBoard's thread hands on, from being told by that thread's traceback too."""
    before = threading.excepthook
    threading.excepthook = lambda ended: None if isinstance(ended.exc_value, OSError) else before(ended)
    try:
        yield
    finally:
        threading.excepthook = before


def _truncate(stats: Path, step: int) -> None:
    """Drops the lines of steps after ``step``, which will be done again, and a line that was cut off or damaged."""
    kept = []
    for line in stats.read_bytes().splitlines() if stats.exists() else ():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + b"\n")
        except (ValueError, KeyError, TypeError):
            continue
    draft = stats.with_name(f".{stats.name}")
    draft.write_bytes(b"".join(kept))
    draft.replace(stats)
