"""The engine on one machine: photos in threads, a few in flight, so that memory does not grow with their number.

Each of the photos that are completed at once keeps one core busy, from decoding to encoding, with a session of ONNX
Runtime for one thread that all share. Twice as many threads read and write, so that a core never waits for a disk.

Windows of several photos do not share a forward pass: on a core, a pass over 2, 4 or 8 windows of 256 x 256 took
8 %, 13 % or 21 % longer per window than over one (more memory in turn), and would let a photo's bytes depend on its
neighbours (see `OnnxPredictor`). A network in two threads, on the other hand, leaves one idle wherever an operator
runs in one, which two photos side by side do not.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2

from retouch.batch import work
from retouch.batch.pairs import Job
from retouch.batch.settings import Settings
from retouch.batch.work import Row
from retouch.models import load
from retouch.workers import as_they_come


def rows(jobs: Sequence[Job], output: str, settings: Settings, stop: threading.Event) -> Iterator[Row]:
    """Does the jobs; gives each one's row for the manifest when its output is written, in the order of finishing.

    Args:
        output: the folder.
        stop: once it is set, no further photo is begun; those in hand are finished.

    Raises:
        OSError, DataError: an output cannot be written. What a bad photo raises becomes a row instead.
        ModelError, MissingExtraError: a model cannot be loaded.
    """
    models = {name: load(name, threads=settings.threads) for name in dict.fromkeys(job.model for job in jobs)}
    computing = threading.Semaphore(settings.at_once)

    def one(job: Job) -> Row | None:
        try:
            photo, mask = work.read(job)
            with computing:
                if stop.is_set():
                    return None
                row, data = work.completed(job, photo, mask, models[job.model], settings)
        except Exception as error:  # one bad photo never stops the others
            return work.failed(job, settings, error)
        work.write(job, output, data)
        return row

    ahead = 2 * settings.at_once
    before = cv2.getNumThreads()
    cv2.setNumThreads(settings.threads)
    pool = ThreadPoolExecutor(ahead, "retouch-batch")
    try:
        wanted = ((job,) for job in jobs if not stop.is_set())
        yield from (row for row in as_they_come(pool, ahead, one, wanted) if row is not None)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(before)
