"""Speed and memory of ``retouch serve``, as ratios against the engine in the same run; all over loopback.

The engine's own time is what one process takes from the bytes of the pictures to the bytes of the result.
"""

import argparse
import io
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import measure
import numpy as np
import requests
from measure import Row
from PIL import Image

from retouch import engine, masks
from retouch import image as images
from retouch.models import Model, load

CLIENTS = 16


def pictures(size: int = 512, share: float = 0.1) -> dict[str, bytes]:
    """A photograph as JPEG and its mask as PNG."""
    photo = io.BytesIO()
    Image.fromarray(measure.photograph(size, size)).save(photo, "JPEG", quality=90)
    hole = masks.draw("strokes", size, size, ratio=(share - 0.005, share + 0.005), seed=0)
    mask = io.BytesIO()
    Image.fromarray(masks.to_image(hole)).save(mask, "PNG")
    return {"image": photo.getvalue(), "mask": mask.getvalue()}


def alone(model: Model, files: dict[str, bytes]) -> bytes:
    """The same without a server."""
    photo = images.read(files["image"])
    hole = images.read_mask(files["mask"], photo.size)
    return images.encode(engine.complete(photo, hole, model.predictor, batch_size=1), photo.format)


@contextmanager
def served(model: str, log: Path) -> Iterator[tuple[str, int]]:
    """``retouch serve`` in a process of its own: (its URL, its process id)."""
    command = [
        sys.executable,
        "-m",
        "retouch.cli",
        "serve",
        "--port",
        "0",
        "--model",
        model,
        "--seconds",
        "600",
    ]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as server,
    ):
        assert server.stdout is not None
        yield server.stdout.readline().split()[3].rstrip("/"), server.pid
        server.terminate()


def memory(pid: int, key: str = "VmRSS") -> float:
    """Of a process, in MB; ``VmHWM`` is its peak. Linux only."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else float("nan")


def ask(url: str, files: dict[str, bytes]) -> bytes:
    """One request, whose answer has to be good."""
    answer = requests.post(f"{url}/api/v1/inpaint", files=files, timeout=600)
    answer.raise_for_status()
    return answer.content


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def crowd(
    service: Callable[[], object], engine: Callable[[], object], rounds: int
) -> tuple[float, float, float, list[float]]:
    """All clients at once, each round between two of the engine's, so that a slow moment falls on both.

    Returns:
        Photographs a second of the service, of the engine, the ratio of the two (medians of the rounds), and the
        seconds of each request.
    """
    rates, serial, ratios, each = list[float](), list[float](), list[float](), list[float]()

    def alone() -> list[float]:
        return [timed(engine) for _ in range(CLIENTS // 4)]

    before = alone()
    with ThreadPoolExecutor(CLIENTS) as clients:
        for _ in range(rounds):
            started = time.perf_counter()
            each += clients.map(lambda _: timed(service), range(2 * CLIENTS))
            rates.append(2 * CLIENTS / (time.perf_counter() - started))
            after = alone()
            serial.append(1 / statistics.mean(before + after))
            ratios.append(rates[-1] / serial[-1])
            before = after
    return statistics.median(rates), statistics.median(serial), statistics.median(ratios), each


def measured(name: str, repeats: int, rounds: int, many: int, log: Path) -> Iterator[Row]:
    """All rows."""
    model, files, cheap = load(name), pictures(), pictures(96, 0.05)
    started = time.perf_counter()
    with served("telea", log) as (url, _):
        ask(url, cheap)
        seconds = time.perf_counter() - started
    yield Row("start to first answer", f"{seconds:.2f} s", "", seconds, "<= 2")
    with served(name, log) as (url, pid):
        assert ask(url, files) == alone(model, files)
        yield Row("idle memory", f"{memory(pid):.0f} MB", "", memory(pid))
        works = {"service": partial(ask, url, files), "engine": partial(alone, model, files)}
        times = measure.medians(works, warmups=1, repeats=repeats)
        ratio = times["service"] / times["engine"]
        yield Row(
            "512 x 512, 10 % hole", f"{times['service']:.2f} s", f"{times['engine']:.2f} s", ratio, "<= 1.3"
        )
        rate, serial, ratio, each = crowd(works["service"], works["engine"], rounds)
        yield Row(
            f"{CLIENTS} clients, photographs a second",
            f"{rate:.2f}",
            f"{serial:.2f}",
            ratio,
            ">= 0.9",
            f"medians of {rounds} rounds; against the engine alone, one after the other, on all cores",
        )
        slowest = float(np.percentile(each, 99))
        yield Row(f"{CLIENTS} clients, p99", f"{slowest:.2f} s", f"{statistics.median(each):.2f} s", None)
        hundreds: list[float] = []
        for _ in range(5):
            for _ in range(many // 5):
                ask(url, cheap)
            hundreds.append(memory(pid))
        yield Row(
            f"memory after {many} requests",
            f"{hundreds[-1]:.0f} MB",
            f"{hundreds[0]:.0f} MB after a fifth",
            hundreds[-1] / hundreds[0],
            "<= 1.05",
            f"peak of the whole run: {memory(pid, 'VmHWM'):.0f} MB",
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Speed and memory of retouch serve.")
    parser.add_argument("--model", default="recurrent-scenes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="of the many clients")
    parser.add_argument("--requests", type=int, default=500, help="for the memory")
    given = parser.parse_args()
    measure.show(list(measured(given.model, given.repeats, given.rounds, given.requests, Path(os.devnull))))


if __name__ == "__main__":
    main()
