"""Training throughput as a ratio against a plain PyTorch loop, in one run: ``python benchmarks/training.py``.

    loop           images per second of training.loop, against the shortest loop that trains the same: the same
                   method, steps and batches, but no average, logs, checks, random state or checkpoints
    channels last  the plain loop with networks and images in that layout, against the plain loop

The runs take turns. Nothing is asserted: a busy machine gives other numbers. Needs the extra ``train``.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import measure
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
}


def write_photos(folder: Path, count: int = 64) -> None:
    """Crops of a drawn photograph, as JPEG files of 128 x 128 px."""
    photo = measure.photograph(1024, 1024)
    for n, (top, left) in enumerate(itertools.product(range(8), range(8))):
        if n < count:
            crop = photo[top * 128 : top * 128 + 128, left * 128 : left * 128 + 128]
            cv2.imwrite(str(folder / f"{n:02d}.jpg"), crop[..., ::-1])


def ours(method: str, settings: Settings, config: dict[str, Any]) -> float:
    """Images per second of the loop: the last line of its logs, all but the first steps."""
    run = loop.train(method, settings, config).run
    rate: float = json.loads((run / "stats.jsonl").read_text().splitlines()[-1])["images_per_second"]
    return rate


def plain(method: str, settings: Settings, config: dict[str, Any], channels_last: bool) -> float:
    """Images per second of a plain loop over the same batches."""
    kind, build = METHODS[method].load()
    torch.manual_seed(settings.seed)
    made = build(configure(kind, config))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for network in made.networks.values():
        network.to(memory_format=layout)
    photos = data.Photos(
        sources.index(settings.data), settings.size, settings.zoom, settings.kinds(), settings.ratio,
        settings.size, settings.seed,
    )  # fmt: skip
    steps = settings.steps or 0
    with closing(data.batches(photos, start=0, batch=settings.batch, workers=settings.workers)) as batches:
        for k in range(steps):
            if k == settings.log_every:
                start = time.perf_counter()
            image, hole = next(batches)
            image = image.float().div_(255).contiguous(memory_format=layout)
            made.step(image, hole.float(), k, backward=lambda loss: loss.backward())
        return (steps - settings.log_every) * settings.batch / (time.perf_counter() - start)


def measured(method: str, photos: Path, steps: int, repeats: int, threads: int) -> list[Row]:
    """The two ratios of one method."""
    shared, config = WORKS[method]
    rates: dict[str, list[float]] = {"loop": [], "plain": [], "channels last": []}
    for turn in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(
                data=(str(photos),), output=Path(folder) / "run", steps=2 * steps, log_every=steps,
                sample_every=0, workers=1, threads=threads, accelerator="cpu", checkpoint_minutes=60, **shared,
            )  # fmt: skip
            works = {
                "loop": lambda: ours(method, settings, config),  # noqa: B023
                "plain": lambda: plain(method, settings, config, channels_last=False),  # noqa: B023
                "channels last": lambda: plain(method, settings, config, channels_last=True),  # noqa: B023
            }
            for name in list(works)[turn % 3 :] + list(works)[: turn % 3]:
                rates[name].append(works[name]())
                print(f"{method}, {name}: {rates[name][-1]:.1f} images/s", file=sys.stderr, flush=True)
    rate = {name: statistics.median(values) for name, values in rates.items()}
    peer = f"plain {rate['plain']:.1f} images/s"
    return [
        Row(
            f"training: {method}, the loop", f"{rate['loop']:.1f} images/s", peer,
            rate["plain"] / rate["loop"], "<= 1.05", f"{shared['size']} px, batch {shared['batch']}",
        ),
        Row(
            f"training: {method}, channels last", f"{rate['channels last']:.1f} images/s", peer,
            rate["plain"] / rate["channels last"],
        ),
    ]  # fmt: skip


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description="Training throughput against a plain PyTorch loop.")
    parser.add_argument("--only", nargs="+", choices=tuple(WORKS), default=tuple(WORKS))
    parser.add_argument("--steps", type=int, default=12, help="measured steps of each run; default 12")
    parser.add_argument("--repeats", type=int, default=5, help="the median of so many; default 5")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("training.json"))
    options = parser.parse_args()
    about = measure.machine()
    rows: list[Row] = []
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as photos:
        write_photos(Path(photos))
        for method in options.only:
            rows += measured(method, Path(photos), options.steps, options.repeats, options.threads)
    measure.show(rows)
    results = [asdict(row) | {"passes": row.passes} for row in rows]
    options.output.write_text(json.dumps({"machine": about, "rows": results}, indent=2) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
