"""Search: loss against time, from random starts as in the papers and from the inverter's z, in one run.

    python benchmarks/search.py [MODEL [DATA]] [--photos 8] [--restarts 4] [--steps 100] [--batch 8]
        [--threads N] [--set KEY=N]

MODEL is a training run of ``wgan`` or ``dcgan_search`` or an exported ``.safetensors``, by default a shipped one;
DATA photographs as for ``retouch train --data``, by default crops around one face (Eileen Collins, NASA). Every
photo has a hole in its middle. Prints the median over the photos of the lowest total loss, and that per known
value, after so many steps and seconds per photo; then the ratio of the losses and of the times.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch

from retouch import masks
from retouch.cards import cards
from retouch.methods import METHODS, latent, search
from retouch.models import load
from retouch.sources import index
from retouch.training.data import decode

STEPS = (0, 10, 25, 50, 100, 250, 500, 1000, 1250)


@dataclass(frozen=True)
class Curve:
    """Lowest totals of all photos, (photos,), and the seconds for all of them, after each number of steps."""

    totals: dict[int, np.ndarray]
    seconds: dict[int, float]


def photos(data: str | None, count: int) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8."""
    if data is not None:
        yield from map(decode, index((data,))[:count])
        return
    portrait: np.ndarray = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    rng = np.random.default_rng(0)
    for _ in range(count):
        side, (top, left) = int(rng.integers(110, 190)), rng.integers((0, 120), (70, 220))
        yield portrait[top : top + side, left : left + side]


def pictures(data: str | None, count: int) -> torch.Tensor:
    """(count, 3, 64, 64) in [0, 1], the largest square in the middle of each photo."""
    shown = []
    for photo in photos(data, count):
        side = min(photo.shape[:2])
        top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        square = photo[top : top + side, left : left + side]
        shown.append(cv2.resize(square, (latent.SIZE, latent.SIZE), interpolation=cv2.INTER_AREA))
    return torch.from_numpy(np.stack(shown).transpose(0, 3, 1, 2)).float() / 255


def measure(method: Any, image: torch.Tensor, hole: torch.Tensor, how: str, batch: int) -> Curve:
    """Searches batch by batch, all steps."""
    totals: dict[int, list[np.ndarray]] = {}
    seconds: dict[int, float] = {}
    for start in range(0, len(image), batch):
        part, missing = image[start : start + batch], hole[start : start + batch]
        begun = time.perf_counter()

        def watch(done: int, lowest: torch.Tensor, begun: float = begun) -> None:
            if done in STEPS:
                totals.setdefault(done, []).append(lowest.amin(1).numpy())
                seconds[done] = seconds.get(done, 0.0) + time.perf_counter() - begun

        search.find(
            method.networks, method.score, method.config, 2 * part - 1, missing,
            generator=None, how=how, patient=True, watch=watch,
        )  # fmt: skip
    return Curve({done: np.concatenate(parts) for done, parts in totals.items()}, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shipped = [name for name, card in cards().items() if METHODS[card.method].searches]
    parser.add_argument("model", nargs="?", default=shipped[0] if shipped else None)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--restarts", type=int)
    parser.add_argument(
        "--steps", type=int, default=100, help="from the inverter's z, whatever the model's own"
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--set", action="append", default=[], help="a field of the search, as KEY=NUMBER")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.model is None:
        print("no model that searches is shipped: name a training run")
        return
    method = load(options.model).predictor.method  # type: ignore[attr-defined]
    changes: dict[str, Any] = {"refine_steps": options.steps}
    if options.restarts:
        changes["restarts"] = options.restarts
    for pair in options.set:
        name, _, value = pair.partition("=")
        changes[name] = type(getattr(method.config, name))(value)
    method.config = replace(method.config, **changes)
    image = pictures(options.data, options.photos)
    hole = torch.from_numpy(masks.draw("center", latent.SIZE, latent.SIZE, ratio=(0.2, 0.3), seed=0)).float()
    hole = hole.expand(len(image), 1, -1, -1).contiguous()
    known = 3 * float((1 - hole[0]).sum())
    print(f"{len(image)} photos, {method.config.restarts} restarts, batches of {options.batch}")
    curves = {}
    for how in ("inverter", "paper"):
        curves[how] = measure(method, image, hole, how, options.batch)
        for done, total in curves[how].totals.items():
            median = float(np.median(total))
            each = curves[how].seconds[done] / len(image)
            print(
                f"{how:9} {done:5} steps  {each:8.3f} s/photo  total {median:9.2f}  per value {median / known:.4f}"
            )
    last = {how: max(curve.totals) for how, curve in curves.items()}
    ratio = float(
        np.median(curves["inverter"].totals[last["inverter"]] / curves["paper"].totals[last["paper"]])
    )
    times = curves["paper"].seconds[last["paper"]] / curves["inverter"].seconds[last["inverter"]]
    print(
        f"{last['inverter']} steps from the inverter against {last['paper']} from random starts: "
        f"loss x {ratio:.3f} (median over the photos), {times:.1f} times less time"
    )


if __name__ == "__main__":
    main()
