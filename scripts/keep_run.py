"""Keeps what is worth keeping of training runs: ``python scripts/keep_run.py RUN ...``.

Writes runs/NAME/run.json (the command, what was seen and how long it took, where the curves ended) and
runs/NAME/curves.png, both small enough for the repository, of each run's folder; checkpoints stay out of it.
"""

import io
import json
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
from PIL import Image

from retouch.evaluation import plots
from retouch.training.checkpoints import read_checkpoint
from retouch.training.export import command_line
from retouch.writing import atomic_write

KEPT = Path(__file__).parents[1] / "runs"
COLOURS = 16  # of the drawn curves: a third of the bytes
LATEST = 0.1  # of the lines of a curve: their mean is where it ended


def facts(run: Path) -> dict[str, Any]:
    """What a run was, for JSON."""
    state, _ = read_checkpoint(run, lambda group: False)
    curves: dict[str, list[float]] = {}
    for line in plots.read_stats(run):
        for name, value in line.items():
            if name not in ("step", "images", "seconds", "images_per_second", "lr"):
                curves.setdefault(name, []).append(value)
    ended = {name: float(f"{np.mean(v[-max(1, int(LATEST * len(v))) :]):.4g}") for name, v in curves.items()}
    return {
        "command": command_line(state, run),
        "seed": state["settings"]["seed"],
        "steps": state["step"],
        "images": state["images"],
        "images_before": state["images_before"],
        "minutes": round(state["seconds"] / 60, 1),
        "photos": state["photos"],
        "data_sha256": state["data_sha256"],
        "versions": state["versions"],
        "ended": ended,
    }


def keep(run: Path, kept: Path = KEPT) -> None:
    """Writes the two files of a run into ``kept``."""
    folder = kept / run.name
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(folder / "run.json", (json.dumps(facts(run), indent=2) + "\n").encode())
    drawn = Image.open(io.BytesIO(plots.png(plots.curves({run.name: plots.read_stats(run)}))))
    small = io.BytesIO()
    drawn.convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
    atomic_write(folder / "curves.png", small.getvalue())


def main(run: Path, /, *more: Path) -> None:
    """Keeps one training run, or several."""
    for each in (run, *more):
        keep(each)


if __name__ == "__main__":
    cyclopts.run(main)
