"""Waiting for what other threads and processes do."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def until(
    done: Callable[[], Any], process: subprocess.Popen[str] | None = None, seconds: float = 600
) -> None:
    """Waits until something is so; where a process is to bring it about, while that runs."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "never came true"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)


def alive(number: int) -> bool:
    """Whether a process of this number runs, as Linux shows it."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(process: int) -> set[int]:
    """The numbers of a process's children and theirs, as Linux shows them."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return {int(child) for child in children}.union(*(descendants(int(child)) for child in children))
