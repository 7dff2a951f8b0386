"""What is not done yet, done by an engine; all of it written down."""

import os
import threading
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

from retouch import image as images
from retouch.batch import local, manifest, ray, shards, storage, work
from retouch.batch.manifest import Kept
from retouch.batch.pairs import SHOWN, Job, Plan, some
from retouch.batch.settings import Settings
from retouch.batch.work import Row
from retouch.errors import DataError
from retouch.models import Model, load
from retouch.sources import Source
from retouch.workers import as_they_come

ENGINES = {"local": local.rows, "ray": ray.rows}
READERS = 16  # threads that compare outputs with the manifest


@dataclass(frozen=True, slots=True)
class Finished:
    """What was done.

    Args:
        done: photos completed now.
        failed: photos that could not be.
        there: photos whose outputs were there.
        left: photos that were not begun, because the run was stopped.
        seconds: it took.
        failures: the rows of the first photos that failed.
    """

    done: int
    failed: int
    there: int
    left: int
    seconds: float
    failures: list[Row] = field(default_factory=list)


def run(
    plan: Plan,
    output: str,
    settings: Settings,
    progress: Callable[[int, int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> Finished:
    """Completes all photos of a plan that are not completed yet.

    Args:
        plan: as `pairs.plan` gives it.
        output: the folder, or an address.
        progress: called with photos done, all, and failures, first before any work.
        stop: set it (from a signal handler, another thread) and the photos in hand are the last.

    Raises:
        DataError: nothing to do, photos without masks or masks without photos (unless ``settings.partial``), an
            output that holds other things or was made on other terms.
        ModelError, MissingExtraError: a model cannot be loaded.
        OSError: the output cannot be written. What is done stays, and the next run goes on from there.
    """
    started = time.perf_counter()
    check(plan, settings)
    models = loaded(plan.jobs, settings)
    output, stop = storage.plain(output), stop or threading.Event()
    todo = missing(plan.jobs, output, settings, models)
    _check_names(plan.jobs, output)
    total, there = len(plan.jobs), len(plan.jobs) - len(todo)
    count, failed, failures = 0, 0, list[Row]()
    with manifest.appending(output) as append:
        untold = manifest.begun(output)  # of a run that was killed: outputs that have no line yet
        if todo:
            manifest.begin(output, sorted(untold.union(job.output for job in todo)))
        _sweep(plan.jobs, output)
        finish_shard = _packing(plan.jobs, todo, output)
        if progress:
            progress(there, total, 0)
        old = _old(todo, output) if settings.resume else lambda _: False
        for row in ENGINES[settings.engine](todo, output, settings, models, stop):
            if row["status"] == "failed" and old(row["output"]):
                row["error"] += f"; {storage.join(output, row['output'])} of an earlier run stays as it was"
            append(row)
            count += 1
            if row["status"] == "failed":
                failed += 1
                failures += [row] if failed <= SHOWN else []
                if settings.fail_fast:
                    stop.set()
            finish_shard(row["output"])
            if progress:
                progress(there + count, total, failed)
        if settings.engine != "local":
            _sweep(plan.jobs, output)  # what a worker was writing when it was lost
        left = len(todo) - count
        if not left or (settings.engine == "local" and not untold):  # stopped Ray workers leave some too
            manifest.end(output, untold.difference(job.output for job in todo))
        storage.remove_empty(storage.join(output, work.PARTS))
    return Finished(count - failed, failed, there, left, time.perf_counter() - started, failures)


def check(plan: Plan, settings: Settings) -> None:
    """Refuses a plan that would leave out photos or masks unasked, or fail with all photos for one mask's sake.

    Raises:
        DataError: naming the first of them.
        ImageError, MaskError, OSError: the only mask cannot be read, or is none.
    """
    lacks = [
        f"{len(names)} {what} ({some(names)})"
        for names, what in (
            (plan.maskless, "photos without a mask"),
            (plan.photoless, "masks without a photo"),
        )
        if names
    ]
    if not plan.jobs:
        raise DataError(
            f"expected pairs of photos and masks with the same names, got none: {' and '.join(lacks)}"
        )
    if lacks and not settings.partial:
        raise DataError(f"expected only pairs (--partial leaves out the rest), got {' and '.join(lacks)}")
    masks = {job.mask for job in plan.jobs}
    if len(masks) == 1 < len(plan.jobs):
        images.hole_of(images.read(work.opened(masks.pop())))


def loaded(jobs: Sequence[Job], settings: Settings) -> dict[str, Model]:
    """The models of the jobs by name.

    Raises:
        ModelError, MissingExtraError: one cannot be loaded.
    """
    return {name: load(name, threads=settings.threads) for name in dict.fromkeys(job.model for job in jobs)}


def missing(jobs: Sequence[Job], output: str, settings: Settings, models: Mapping[str, Model]) -> list[Job]:
    """The jobs whose outputs are not there, not as the manifest says, or of a photo or mask that has changed since.

    Raises:
        DataError: without ``settings.resume``, for an output where a batch was begun; with it, where outputs were
            made on other terms. In both cases for one of these outputs that no batch here has written.
    """
    kept = manifest.read(output)
    if kept is not None and not settings.resume:
        raise DataError(
            f"{output}: expected a new output, got that of another batch (--resume goes on with it)"
        )
    ours = set[str]() if kept is None else kept.keys() | manifest.begun(output)
    own = {job.shard or job.output for job in jobs if job.output in ours}
    others = dict.fromkeys(job.shard or job.output for job in jobs if (job.shard or job.output) not in own)
    if taken := storage.held(output, others) if others else []:
        untold = "" if kept is None else ", which its manifest does not tell of"
        raise DataError(f"{output}: expected a new output, got one that holds {some(taken)}{untold}")
    if kept is None:
        return list(jobs)
    known = [(job, done) for job in jobs if (done := kept.get(job.output))]
    for job, done in known:
        if done.weights and done.weights != models[job.model].sha256:
            raise DataError(
                f"{output}: expected {job.model} with the weights that {job.output} was made with, got others: "
                "name another OUTPUT"
            )
        about = work.about(job, settings)
        for name, value in zip(manifest.TERMS, done.terms, strict=True):
            if about[name] != value:
                raise DataError(
                    f"{output}: expected {name} {value!r} as {job.output} was made with, got {about[name]!r}: "
                    "name another OUTPUT"
                )
    whole, sha256 = set[str](), cache(work.sha256)  # one mask may be that of all
    with ThreadPoolExecutor(READERS) as pool:
        for shard, group in groupby(known, key=lambda pair: pair[0].shard):
            packed = shards.members(storage.join(output, shard)) if shard else {}
            arguments = ((job, output, done, packed, sha256) for job, done in group)
            whole |= set(filter(None, as_they_come(pool, 2 * READERS, _if_whole, arguments)))
    return [job for job in jobs if job.output not in whole]


def _if_whole(
    job: Job, output: str, kept: Kept, packed: dict[str, Source], sha256: Callable[[Source], str]
) -> str:
    """The output's name where it is what the manifest says, and photo and mask are what it was made of; else ''."""
    data = shards.completed(work.place(job, output), packed.get(job.member))
    if data is None or not kept.is_in(data):
        return ""
    try:
        same = kept.inputs is None or kept.inputs == (sha256(job.image), sha256(job.mask))
    except (OSError, DataError):  # to be read again, and told of
        same = False
    return job.output if same else ""


def _packing(jobs: Sequence[Job], todo: Sequence[Job], output: str) -> Callable[[str], None]:
    """Gives a function to tell of each finished output: packs a shard when it was the last one of it.

    Shards of which nothing is left to do, but that were not packed, are packed now.
    """
    by_shard: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.shard:
            by_shard[job.shard].append(job)
    left = Counter(job.shard for job in todo if job.shard)
    shard_of = {job.output: job.shard for job in todo if job.shard}
    for shard, own in by_shard.items():
        if not left[shard] and storage.is_folder(storage.join(storage.join(output, work.PARTS), shard)):
            shards.pack(own, output)

    def finished(name: str) -> None:
        if name in shard_of:
            shard = shard_of[name]
            left[shard] -= 1
            if not left[shard]:
                shards.pack(by_shard[shard], output)

    return finished


def _old(jobs: Sequence[Job], output: str) -> Callable[[str], bool]:
    """Gives a function that tells whether an output is there, in its shard or as a file, before it is written."""
    by_output = {job.output: job for job in jobs}
    members = lru_cache(8)(shards.members)  # of the shards that are in hand

    def there(name: str) -> bool:
        job = by_output[name]
        packed = job.shard and job.member in members(storage.join(output, job.shard))
        return bool(packed) or storage.is_file(work.place(job, output))

    return there


def _check_names(jobs: Sequence[Job], output: str) -> None:
    """Refuses two outputs that would be one file, as OUTPUT lies on a disk that takes their names for the same."""
    alike: dict[str, str] = {}
    for name in dict.fromkeys(name for job in jobs for name in (job.output, job.shard) if name):
        other = alike.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other == name:
            continue
        storage.make_folder(output)
        if storage.are_one(output, other, name):
            raise DataError(
                f"{output}: expected an output for each photo, got one file for {other} and {name}"
            )


def _sweep(jobs: Sequence[Job], output: str) -> None:
    """Removes what a killed process was writing. The lock on the manifest says that nobody writes there now."""
    if storage.is_address(output):
        return
    folders = {os.path.dirname(work.place(job, output)) for job in jobs}
    for folder in folders | {storage.join(output, work.PARTS)}:
        for file in Path(folder).glob(".retouch-*.tmp"):
            file.unlink(missing_ok=True)
