"""Work shared out to processes, which end with their parent, or threads: results as they come, few jobs in flight."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from typing import Any

import cv2

from retouch import signals
from retouch.errors import DataError

AWAKE = 0.5  # seconds: a signal that arrives just as a wait begins is seen at its end, which may be far


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def unforked(module: str) -> BaseContext:
    """For processes that are no copies of this one: forking one that runs threads is unsafe (Python 3.12 warns of it).

    Where there is fork at all, they are forked from a process that has imported the module and does nothing else.
    """
    if not hasattr(os, "fork"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def in_processes(
    workers: int, threads: int, work: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]
) -> Iterator[Any]:
    """The results of ``work`` for each of the arguments as they come, with few of them in flight.

    Raises:
        DataError: a process died. Whatever ``work`` raises.
    """
    with ProcessPoolExecutor(workers, unforked(__name__), _worker, (threads,)) as pool:
        try:
            with put_off():
                for _ in range(workers):
                    pool.submit(os.getpid)  # starts a process
            yield from as_they_come(pool, 2 * workers, work, arguments)
        except BrokenProcessPool as error:
            raise DataError(
                "expected the worker processes to live, got one that died (no memory left?): "
                "the same command goes on, perhaps with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def put_off() -> Iterator[None]:
    """SIGINT and SIGTERM wait: they would leave a process half started, which tells of that by a traceback.

    What is started meanwhile never sees the SIGINT that a terminal sends to all processes.
    """
    came: list[int] = []
    with signals.taken(came.append):
        mask = getattr(signal, "pthread_sigmask", None)  # Windows has none
        if mask:
            resource_tracker.ensure_running()  # started later, it would let SIGINT through again
        before = mask(signal.SIG_BLOCK, {signal.SIGINT}) if mask else None
        try:
            yield
        finally:
            if mask:
                mask(signal.SIG_SETMASK, before)
    for number in came[:1]:
        signal.raise_signal(number)


def as_they_come(
    pool: Executor, ahead: int, work: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]
) -> Iterator[Any]:
    """The results of ``work`` for each of the arguments as they come, with at most ``ahead`` of them in flight.

    Raises:
        Whatever ``work`` raises.
    """
    left = iter(arguments)
    running: set[Future[Any]] = {pool.submit(work, *one) for one in itertools.islice(left, ahead)}
    while running:
        done, running = wait(running, timeout=AWAKE, return_when=FIRST_COMPLETED)
        running |= {pool.submit(work, *one) for one in itertools.islice(left, len(done))}
        for future in done:
            yield future.result()


def _worker(threads: int) -> None:
    """In each process at its start: Ctrl-C is the parent's to take, and without it there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(threads)
    end_with_parent()


def end_with_parent() -> None:
    """A killed parent cannot end its workers, which would wait for work for ever: this one ends by itself."""
    threading.Thread(target=_after_parent, daemon=True).start()


def _after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
