"""The command ``retouch batch``."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

from cyclopts import Parameter

from retouch import signals
from retouch.batch import lists, manifest, pairs, storage
from retouch.batch.pairs import Plan
from retouch.batch.run import Finished, check, loaded, missing, run
from retouch.batch.settings import Settings
from retouch.cards import DEFAULT
from retouch.errors import DataError
from retouch.terminal import counted, say, say_json


def batch(
    images: str,
    masks: str,
    output: str | None = None,
    /,
    *,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> int:
    """Complete many photographs; each output keeps its photo's name and format.

    Ctrl-C finishes the photos in hand, and --resume goes on. OUTPUT/manifest.jsonl tells what became of each photo.

    Args:
        images: A folder, "pattern*.jpg" or tar shard; or a .csv or .jsonl of image, mask, output, model.
        masks: The same, named as the photos; one for all; NAME, a folder beside each; none with a .csv.
        output: The folder to write to; like the others, it may be an address such as s3://bucket/folder.
    """
    settings = settings or Settings()
    if output is None:
        if not images.lower().endswith(lists.KINDS):
            raise DataError(
                f"expected IMAGES MASKS OUTPUT, or LIST OUTPUT with a .csv or .jsonl; got {images} {masks}"
            )
        masks, output = "", masks
    plan = pairs.plan(images, masks, output, settings.model or DEFAULT)
    if settings.dry_run:
        return _dry(plan, output, settings)
    with _until_stopped(settings.engine) as (stop, caught), counted("photos") as progress:
        done = run(plan, output, settings, progress, stop)
    _tell(done, output, settings.json)
    if done.failed:
        return 1
    return 128 + caught[0] if caught and done.left else 0


@contextmanager
def _until_stopped(engine: str) -> Iterator[tuple[threading.Event, list[int]]]:
    """SIGINT and SIGTERM set the event instead, and are collected; a second one ends the process."""
    stop, caught = threading.Event(), list[int]()

    def take(number: int) -> None:
        if caught:
            os._exit(128 + number)  # photos in hand are lost, files are whole
        caught.append(number)
        stop.set()
        doing = "finishing" if engine == "local" else "giving up"
        print(f"{doing} the photos in hand; once more ends at once", file=sys.stderr, flush=True)

    with signals.taken(take):
        yield stop, caught


def _dry(plan: Plan, output: str, settings: Settings) -> int:
    """Says what a run would do and what is missing; what a run would refuse is refused."""
    models = loaded(plan.jobs, settings)
    todo = missing(plan.jobs, storage.plain(output), settings, models) if plan.jobs else []
    there = len(plan.jobs) - len(todo)
    if settings.json:
        jobs = [
            {"image": j.image.label, "mask": j.mask.label, "output": j.output, "model": j.model} for j in todo
        ]
        lacking = {"photos_without_mask": plan.maskless, "masks_without_photo": plan.photoless}
        say_json({"jobs": jobs, "there": there, **lacking})
    else:
        for job in todo:
            say(f"{job.image.label} + {job.mask.label} -> {storage.join(output, job.output)} ({job.model})")
        for name in plan.maskless:
            say(f"no mask: {name}")
        for name in plan.photoless:
            say(f"no photo: {name}")
        lacks = f", {len(plan.maskless)} photos without a mask, {len(plan.photoless)} masks without a photo"
        say(f"{len(todo)} photos to complete, {there} completed already{lacks}; nothing was written")
    check(plan, settings)
    return 0


def _tell(done: Finished, output: str, as_json: bool) -> None:
    """The summary, after the first of the photos that failed."""
    if as_json:
        say_json(asdict(done))
        return
    for row in done.failures:
        say(f"failed: {row['image']}: {row['error']}")
    if done.failed > len(done.failures):
        say(f"failed: {done.failed - len(done.failures)} more")
    parts = [
        f"{done.done} photos completed in {timedelta(seconds=round(done.seconds))}"
        f" ({done.done / done.seconds:.3g} a second)"
    ]
    parts += [f"{done.failed} failed"] if done.failed else []
    parts += [f"{done.there} were there"] if done.there else []
    parts += [f"{done.left} left (--resume goes on)"] if done.left else []
    say(f"{storage.join(output, manifest.NAME)}: {', '.join(parts)}")
