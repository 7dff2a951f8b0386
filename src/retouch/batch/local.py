"""The engine on one machine: photos in threads, a few in flight, so that memory does not grow with their number.

Each forward pass keeps one core busy, with a session of ONNX Runtime for one thread that all share: a network in two
threads leaves one idle wherever an operator runs in one. A few more photos are in hand than passes run, so that a core
never waits for a disk, a decoder or an encoder; where small windows of several of them wait for a core, they share a
pass (`dynamic_batching`), which does not touch their bytes.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2

from retouch.batch import work
from retouch.batch.pairs import Job
from retouch.batch.settings import Settings
from retouch.batch.work import Row
from retouch.dynamic_batching import MORE, shared
from retouch.models import Model
from retouch.workers import as_they_come


def rows(
    jobs: Sequence[Job], output: str, settings: Settings, models: Mapping[str, Model], stop: threading.Event
) -> Iterator[Row]:
    """Does the jobs; gives each one's row for the manifest when its output is written, in the order of finishing.

    Args:
        output: the folder.
        models: of the jobs, by name.
        stop: once it is set, no further photo is begun; those in hand are finished.

    Raises:
        OSError, DataError: an output cannot be written. What a bad photo raises becomes a row instead.
    """
    sharing = {
        name: replace(model, predictor=shared(model.predictor, settings.at_once))
        for name, model in models.items()
    }
    ahead = 2 * settings.at_once
    computing = threading.Semaphore(settings.workers or settings.at_once + MORE)

    def one(job: Job) -> Row | None:
        try:
            photo, mask = work.read(job)
            with computing:
                if stop.is_set():
                    return None
                row, data = work.completed(job, photo, mask, sharing[job.model], settings)
        except Exception as error:  # one bad photo never stops the others
            return work.failed(job, settings, error)
        work.write(job, output, data)
        return row

    before = cv2.getNumThreads()
    cv2.setNumThreads(settings.threads)
    pool = ThreadPoolExecutor(ahead, "retouch-batch")
    try:
        wanted = ((job,) for job in jobs if not stop.is_set())
        yield from (row for row in as_they_come(pool, ahead, one, wanted) if row is not None)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(before)
