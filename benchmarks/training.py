"""Training throughput as a ratio against a plain PyTorch loop, in one run: ``python benchmarks/training.py``.

    loop           seconds of a step in training.loop, against the shortest loop that trains the same: the same
                   method and batches, but no average, logs, checks, random state or checkpoints
    channels last  the plain loop with networks and images in that layout, against the plain loop

The three take turns, one step each, and a ratio is the median over the steps: a machine that slows down for a while
slows them all. Nothing is asserted: a busy machine gives other numbers. Needs the extra ``train``.
"""

import argparse
import itertools
import json
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import measure
import numpy as np
import torch
from measure import Row

from retouch import sources
from retouch.methods import METHODS
from retouch.training import data, loop
from retouch.training.settings import Settings, configure

# Sizes at which one step takes long enough to be worth measuring, on two cores in less than a second.
WORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dcgan_direct": ({"size": 64, "batch": 16}, {"width": 32, "skip": True, "blocks": 1}),
    "glcic": ({"size": 32, "batch": 16}, {"size": 32, "width": 32, "discriminator_width": 32}),
    "recurrent": (
        {"size": 64, "batch": 4},
        {"width": 16, "perceptual": 0.0, "low_pass_perceptual": 0.0, "style": 0.0},
    ),
    "wgan": ({"size": 64, "batch": 16}, {"width": 32, "critic_steps": 1, "reconstruction": 10.0}),
    "dcgan_search": (
        {"size": 64, "batch": 16},
        {"width": 32, "discriminator_width": 32, "inverter_width": 32, "reconstruction": 10.0},
    ),
}
WARM = 5  # first steps, not measured


def write_photos(folder: Path, count: int = 64) -> None:
    """Crops of a drawn photograph, as JPEG files of 128 x 128 px."""
    photo = measure.photograph(1024, 1024)
    for n, (top, left) in enumerate(itertools.product(range(8), range(8))):
        if n < count:
            crop = photo[top * 128 : top * 128 + 128, left * 128 : left * 128 + 128]
            cv2.imwrite(str(folder / f"{n:02d}.jpg"), crop[..., ::-1])


class Turns:
    """Lets threads go on one after another, one step each, and measures the seconds of every turn."""

    def __init__(self, names: Iterable[str]) -> None:
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self._order = deque(self.seconds)
        self._moved = threading.Condition()
        self._since = 0.0

    def wait(self, name: str) -> None:
        """Returns when it is this one's turn."""
        with self._moved:
            self._moved.wait_for(lambda: self._order[0] == name)
        self._since = time.perf_counter()

    def hand_over(self, name: str) -> None:
        """Ends a turn, and returns when it is this one's again."""
        self.seconds[name].append(time.perf_counter() - self._since)
        with self._moved:
            self._order.rotate(-1)
            self._moved.notify_all()
        self.wait(name)

    def leave(self, name: str) -> None:
        """The others go on without this one."""
        with self._moved:
            self._order.remove(name)
            self._moved.notify_all()


@dataclass(frozen=True)
class Entry:
    """Stands in for a registry's entry: the method whose steps take turns."""

    load: Callable[[], tuple[Any, Any]]


def ours(method: str, settings: Settings, config: dict[str, Any], turns: Turns, name: str) -> None:
    """The loop: a turn is all from one step's end to the next one's."""
    kind, build = METHODS[method].load()

    class Taking(build):  # type: ignore[misc, valid-type]
        def step(self, *arguments: Any, **more: Any) -> dict[str, float]:
            values: dict[str, float] = super().step(*arguments, **more)
            turns.hand_over(name)
            return values

    try:
        turns.wait(name)
        loop.train(method, settings, config, entry=Entry(lambda: (kind, Taking)))
    finally:
        turns.leave(name)


def plain(method: str, settings: Settings, config: dict[str, Any], turns: Turns, name: str) -> None:
    """A plain loop over the same batches."""
    layout = torch.channels_last if name == "channels last" else torch.contiguous_format
    try:
        kind, build = METHODS[method].load()
        made = build(configure(kind, config))
        for network in made.networks.values():
            network.to(memory_format=layout)
        photos = data.Photos(sources.index(settings.data), settings)
        turns.wait(name)
        feed = data.batches(photos, start=0, batch=settings.batch, workers=settings.workers)
        with closing(feed) as batches:
            for k in range(settings.steps or 0):
                image, hole = next(batches)
                image = image.float().div_(255).contiguous(memory_format=layout)
                made.step(image, hole.float(), k, backward=lambda loss: loss.backward())
                turns.hand_over(name)
    finally:
        turns.leave(name)


def measured(method: str, photos: Path, steps: int, threads: int) -> list[Row]:
    """The two ratios of one method."""
    shared, config = WORKS[method]
    names = ("loop", "plain", "channels last")
    turns = Turns(names)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data=(str(photos),), output=Path(folder) / "run", steps=steps + WARM, log_every=10, sample_every=0,
            workers=1, threads=threads, accelerator="cpu", checkpoint_minutes=60, **shared,
        )  # fmt: skip
        others = [
            threading.Thread(target=plain, args=(method, settings, config, turns, name)) for name in names[1:]
        ]
        for thread in others:
            thread.start()
        ours(method, settings, config, turns, names[0])  # in the main thread, where signals arrive
        for thread in others:
            thread.join()
    seconds = {name: np.array(values[WARM:]) for name, values in turns.seconds.items()}
    rate = {name: shared["batch"] / float(np.median(values)) for name, values in seconds.items()}
    ratio = {name: float(np.median(values / seconds["plain"])) for name, values in seconds.items()}
    peer = f"plain {rate['plain']:.1f} images/s"
    note = f"{shared['size']} px, batch {shared['batch']}, {steps} steps"
    return [
        Row(f"training: {method}, the loop", f"{rate['loop']:.1f} images/s", peer, ratio["loop"], "<= 1.05", note),
        Row(
            f"training: {method}, channels last", f"{rate['channels last']:.1f} images/s", peer,
            ratio["channels last"],
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description="Training throughput against a plain PyTorch loop.")
    parser.add_argument("--only", nargs="+", choices=tuple(WORKS), default=tuple(WORKS))
    parser.add_argument("--steps", type=int, default=60, help="measured steps of each; default 60")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("training.json"))
    options = parser.parse_args()
    about = measure.machine()
    rows: list[Row] = []
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as photos:
        write_photos(Path(photos))
        for method in options.only:
            rows += measured(method, Path(photos), options.steps, options.threads)
            print(f"{rows[-2].name}: {rows[-2].value:.3f}", file=sys.stderr, flush=True)
    measure.show(rows)
    results = [asdict(row) | {"passes": row.passes} for row in rows]
    options.output.write_text(json.dumps({"machine": about, "rows": results}, indent=2) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
