"""The engine on a Ray cluster: the same work as `local`, as a Ray Data pipeline.

    jobs -> read (tasks) -> plan, predict, blend, encode (a pool of actors, each loads a model once) -> write (tasks)

Ray Data holds back a stage whose output nobody takes yet, by the memory of its object store. What a lost worker had
in hand is done again by another: an output is written whole or not at all, and has the same bytes whoever does it.
A block of photos that is lost again and again is taken apart in the end, so that a photo that takes its worker with it
fails alone.
"""

import logging
import os
import pickle
import posixpath
import socket
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from typing import Any

import cv2

from retouch import signals
from retouch.batch import storage, work
from retouch.batch.pairs import Job
from retouch.batch.settings import Settings
from retouch.batch.work import Row
from retouch.errors import DataError, first_line, needs, said
from retouch.models import Model, load
from retouch.sources import Source

BLOCK = 16  # photos, at most, that one task reads, completes or writes
RETRIES = 2  # times that the photos which a lost worker had in hand are done again
MODEL_SHARE, DISK_SHARE = 0.9, 0.05  # of a core: for each thread of a model, for a task that reads or writes
DISK_PER = 4  # actors that one task which reads, and one which writes, keep busy
STORE = 512 << 20  # bytes of memory for photos on their way, where this command starts Ray; then the disk
CONNECT = 10.0  # seconds that a cluster has to answer
STARTS = (
    10  # tries to start Ray on this machine: a part of it gives up after 15 seconds, too few for a busy one
)
REGISTER = 600  # seconds that its workers have to start, where Ray would give them 60


def rows(
    jobs: Sequence[Job], output: str, settings: Settings, models: Mapping[str, Model], stop: threading.Event
) -> Iterator[Row]:
    """As `local.rows`, but once ``stop`` is set the photos in hand are given up; each worker loads its own models.

    Raises:
        MissingExtraError: Ray is not installed.
        DataError: no cluster answers at ``settings.address``, or it is lost; an output cannot be written.
        OSError: the same.
    """
    with needs("ray", "--engine ray"):
        import ray
        import ray.data
    with redirect_stdout(sys.stderr), _cluster(settings) as slots:  # Ray's notes on lost workers
        left = {job.output: job for job in jobs}
        fitting = max(1, min(BLOCK, len(jobs) // (8 * slots)))  # the last ones are shared out evenly
        for block in dict.fromkeys((fitting, 1)):
            if not left or stop.is_set():
                return
            try:
                for done in _pipeline([*left.values()], output, settings, slots, block):
                    if isinstance(done, Exception):
                        raise done
                    del left[done["output"]]
                    yield done
                    if stop.is_set():
                        return
            except ray.exceptions.RayError as error:
                raise DataError(f"expected the Ray cluster to the end, got: {first_line(error)}") from error
    lost = DataError(f"expected a worker that completes it, got {1 + RETRIES} that were lost with it")
    yield from (work.failed(job, settings, lost) for job in left.values())


@contextmanager
def _cluster(settings: Settings) -> Iterator[int]:
    """Connects to the cluster, or starts one on this machine; gives the number of photos completed at once."""
    import ray

    for left in reversed(range(STARTS)):
        try:
            # Ray takes SIGTERM when it starts, to print a stack in C++ and leave at once: it remains ours
            with signals.taken(), _quietly():
                _connect(settings)
            break
        except Exception as error:  # of whatever kind: Ray raises bare Exceptions too
            ray.shutdown()
            if settings.address or not left or "timed out" not in str(error):
                where = settings.address or "this machine"
                raise DataError(
                    f"expected a Ray cluster at {where} (ray start --head starts one), got: {first_line(error)}"
                ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield settings.workers or max(1, int(resources.get("CPU", 1)) // settings.threads)
    finally:
        ray.shutdown()


def _connect(settings: Settings) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if settings.address is None:
        cores = settings.at_once * settings.threads
        ray.init("local", num_cpus=cores, object_store_memory=STORE, include_dashboard=False, **quiet)
        return
    host, _, port = settings.address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():  # where nobody listens Ray itself would try for minutes
        socket.create_connection((host, int(port)), timeout=CONNECT).close()
    ray.init(settings.address, **quiet)


@contextmanager
def _quietly() -> Iterator[None]:
    """For Ray's start: it tells nobody how it is used, and its parts in C++ leave the terminal to us.

    Workers of our own have this process's priority; Ray would give them the lowest, below whatever else runs here.
    """
    wanted = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_worker_niceness": "0"}
    wanted |= {"RAY_worker_register_timeout_seconds": str(REGISTER)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    terminal = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # they would say there that they say less
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _pipeline(
    jobs: Sequence[Job], output: str, settings: Settings, slots: int, block: int
) -> Iterator[Row | Exception]:
    """The rows of all jobs but those in blocks that were lost; an output that cannot be written is an exception."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    # pickled: names may hold bytes that are no text, which Arrow does not take
    items = [{"job": pickle.dumps((job, _from_anywhere(job)))} for job in jobs]
    disk: dict[str, Any] = {
        "num_cpus": DISK_SHARE,
        "compute": ray.data.TaskPoolStrategy(size=-(-slots // DISK_PER)),
    }
    model: dict[str, Any] = {
        "num_cpus": MODEL_SHARE * settings.threads,
        # one task at a time: what waits for an actor that is lost would count as tried
        "compute": ray.data.ActorPoolStrategy(size=slots, max_tasks_in_flight_per_actor=1),
        "max_restarts": -1,
        "max_task_retries": RETRIES,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")  # until Ray 2.64 names it
        done = (
            ray.data.from_items(items, override_num_blocks=-(-len(items) // block))
            .map(partial(_read, settings=settings), **disk)
            .map(_Completer, fn_constructor_args=(settings,), **model)  # type: ignore[arg-type]
            .map(partial(_write, output=storage.absolute(output)), **disk)
        )
    for row in done.iter_rows():
        yield pickle.loads(row["row"])


def _from_anywhere(job: Job) -> Job:
    """The job with paths and model that do not depend on the folder that a process is in."""
    model = posixpath.abspath(job.model) if os.path.exists(job.model) else job.model
    return replace(job, image=_absolute(job.image), mask=_absolute(job.mask), model=model)


def _absolute(source: Source) -> Source:
    return replace(source, path=storage.absolute(source.path))


def _read(row: dict[str, bytes], settings: Settings) -> dict[str, bytes]:
    job, there = pickle.loads(row["job"])
    try:
        photo, mask = work.read(there)
    except Exception as error:  # one bad photo never stops the others
        return row | {"photo": b"", "mask": b"", "row": pickle.dumps(work.failed(job, settings, error))}
    return row | {"photo": photo, "mask": mask, "row": b""}


class _Completer:
    """An actor: the models that it has loaded."""

    def __init__(self, settings: Settings) -> None:
        cv2.setNumThreads(settings.threads)
        self.settings = settings
        self.models: dict[str, Model] = {}

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        job, there = pickle.loads(row["job"])
        made, data = row["row"], b""
        if not made:
            try:
                if there.model not in self.models:
                    self.models[there.model] = load(there.model, threads=self.settings.threads)
                model = self.models[there.model]
                told, data = work.completed(job, row["photo"], row["mask"], model, self.settings)
            except Exception as error:
                told = work.failed(job, self.settings, error)
            made = pickle.dumps(told)
        return {"job": row["job"], "row": made, "data": data}


def _write(row: dict[str, bytes], output: str) -> dict[str, bytes]:
    (job, _), told = pickle.loads(row["job"]), pickle.loads(row["row"])
    if told["status"] == "failed":
        return {"row": row["row"]}
    try:
        work.write(job, output, row["data"])
    except (OSError, DataError) as error:
        return {"row": pickle.dumps(_plain(error))}
    return {"row": row["row"]}


def _plain(error: Exception) -> Exception:
    """An exception that survives pickling: with its words alone."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return OSError(error.errno, error.strerror, str(error.filename))
    return DataError(said(error))
