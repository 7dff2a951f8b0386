"""How to measure: medians of interleaved runs, whole processes, memory, and a photograph to measure on."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result.

    Args:
        name: what is measured.
        ours: our value, with its unit.
        peer: what it is held against, with its unit.
        value: the ratio, or the amount in the unit that the name gives; None where it was not measured.
        target: the bound, e.g. ``"<= 2.5"``; empty for information.
        note: what else to know.
    """

    name: str
    ours: str
    peer: str
    value: float | None
    target: str = ""
    note: str = ""

    @property
    def passes(self) -> bool | None:
        """Whether the target is met; None where there is none, or no measurement."""
        if not self.target or self.value is None:
            return None
        relation, bound = self.target.split()[:2]
        return self.value <= float(bound) if relation == "<=" else self.value >= float(bound)


def medians(works: Mapping[str, Callable[[], object]], *, warmups: int, repeats: int) -> dict[str, float]:
    """Median seconds of each piece of work.

    They take turns, so that a slow moment of the machine (heat, another process) falls on all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warmups + repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn >= warmups:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def show(rows: list[Row]) -> None:
    """The table, one line a measurement."""
    table = Table("", "ours", "against", "value", "target", "", box=None, pad_edge=False)
    for row in rows:
        verdict = {None: "", True: "pass", False: "MISS"}[row.passes]
        value = "" if row.value is None else f"{row.value:.2f}"
        table.add_row(row.name, row.ours, row.peer, value, row.target, verdict)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for row in rows:
        if row.note:
            print(f"{row.name}: {row.note}")


def process(arguments: Sequence[str]) -> str:
    """Run Python with these arguments, from its start to its end; returns what it printed.

    Raises:
        RuntimeError: it failed; its last line says why.
    """
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:80]}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


# For a process that measures itself. VmHWM starts anew with each process; ru_maxrss, where there is no /proc,
# may start at what the parent had.
PEAK = """
def peak():
    '''Largest memory of this process so far, in MB.'''
    import resource, sys
    try:
        lines = open('/proc/self/status').read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) / 1e3
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (1e6 if sys.platform == 'darwin' else 1e3)
"""


def machine() -> dict[str, str | float]:
    """What the numbers depend on."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "load before": round(load, 2),
    }


def photograph(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: noise of many scales with the spectrum of photographs, always the same.

    Each octave has the same contrast, as in natural images, so that a JPEG of it has a photo's size and cost.
    """
    rng = np.random.default_rng(0)
    picture = np.full((height, width, 3), 128.0, np.float32)
    for octave in range(2, 10):
        cells = rng.normal(0.0, 14.0, (2**octave, 2**octave, 3)).astype(np.float32)
        picture += cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def squares(height: int, width: int, count: int, side: int) -> np.ndarray:
    """(height, width) bool: square holes, their side in px, spread over the diagonal."""
    hole = np.zeros((height, width), np.bool_)
    for number in range(1, count + 1):
        top, left = (length * number // (count + 1) - side // 2 for length in (height, width))
        hole[top : top + side, left : left + side] = True
    return hole
