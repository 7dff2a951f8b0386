"""What training changes in its process, and puts back: signals, threads, random state; where its memory ends."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from retouch.errors import TrainingError
from retouch.signals import taken
from retouch.writing import lock


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of being ended by them; a second one acts as it did before."""
    caught: list[int] = []

    def take(number: int) -> None:
        caught.append(number)
        give_back()

    with taken(take) as give_back:
        yield caught


_found: list[int] = []  # PyTorch's thread count as the first found it, once for each who is in ``restored``
_finding = threading.Lock()


@contextmanager
def restored(threads: int | None, devices: Sequence[torch.device] = ()) -> Iterator[None]:
    """Leaves PyTorch's thread count and random state, on the CPU and on these GPUs, as they were found.

    Threads may overlap: what one sets is where the next begins, so all go back to what the first found.
    """
    with _finding:
        before = _found[0] if _found else torch.get_num_threads()
        _found.append(before)
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        with _finding:
            torch.set_num_threads(before)
            _found.pop()


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Makes a run's folder and keeps other processes from training there.

    Raises:
        DataError: another trains there.
        TrainingError: the folder cannot be made.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{run}: expected a folder to write to, got: {error.strerror}") from error
    if os.name == "nt":  # folders cannot be opened there
        yield
        return
    descriptor = os.open(run, os.O_RDONLY)
    try:
        lock(descriptor, run)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def memory_named(batch: int, size: int) -> Iterator[None]:
    """PyTorch has no memory left: one line that says what needs less of it.

    Raises:
        TrainingError: so it is.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            raise TrainingError(
                f"expected memory for batches of {batch} at size {size}, got too little: a smaller --batch or "
                "--size needs less"
            ) from error
        raise
