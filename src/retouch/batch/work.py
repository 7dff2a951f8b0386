"""One photo: read, complete, write. Every engine calls these, so that all give the same bytes."""

import hashlib
import time
from typing import Any, BinaryIO

from retouch import engine
from retouch import image as images
from retouch.batch import storage
from retouch.batch.pairs import Job
from retouch.batch.settings import Settings
from retouch.errors import said
from retouch.models import Model
from retouch.sources import Source

PARTS = ".parts"  # folder in OUTPUT: outputs that wait until their shard is complete
Row = dict[str, Any]


def read(job: Job) -> tuple[bytes, bytes]:
    """The bytes of the photo and of the mask.

    Raises:
        OSError, DataError: one of them cannot be read.
    """
    return _bytes(job.image), _bytes(job.mask)


def sha256(source: Source) -> str:
    """The sum of a photo's or mask's bytes, as `completed` writes it down.

    Raises:
        OSError, DataError: they cannot be read.
    """
    return hashlib.sha256(_bytes(source)).hexdigest()


def opened(source: Source) -> BinaryIO:
    """A photo or mask as an open file, whose name errors tell. Raises as `sha256`."""
    return storage.stream(_bytes(source), source.label)


def _bytes(source: Source) -> bytes:
    return storage.read(source.path, source.offset, source.size)


def completed(job: Job, photo: bytes, mask: bytes, model: Model, settings: Settings) -> tuple[Row, bytes]:
    """Completes one photo, exactly as `retouch complete` does: a pure function but for the time it tells.

    Args:
        job: for its names; nothing is read or written.
        photo, mask: the content of the files.
        model: the job's, loaded.

    Returns:
        The manifest's row, and the content of the output's file.

    Raises:
        ImageError, MaskError, ModelError: the photo cannot be completed.
    """
    started = time.perf_counter()
    picture = images.read(storage.stream(photo, job.image.label))
    hole = images.read_mask(storage.stream(mask, job.mask.label), picture.size)
    target, share = images.format_of(job.output), float(hole.mean())
    images.check_holds(target, picture, job.output)  # before the work
    # Under its own name: the photo's pixels, which are large, go before the encoder's come.
    picture = engine.complete(
        picture,
        hole,
        model.answers(1)[0],
        seed=settings.seed,
        dilate=settings.dilate,
        feather=settings.feather,
        blend=settings.blend,
    )
    del hole
    data, notes = images.as_file(picture, target, None if share else photo)
    row = about(job, settings) | {
        "status": "done",
        "image_sha256": hashlib.sha256(photo).hexdigest(),
        "mask_sha256": hashlib.sha256(mask).hexdigest(),
        "model_sha256": model.sha256,
        "hole": round(share, 6),
        "seconds": round(time.perf_counter() - started, 3),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return (row | {"notes": list(notes)} if notes else row), data


def about(job: Job, settings: Settings) -> Row:
    """What a row says of a job before it is done: its files, and all that decides the output's bytes."""
    return {
        "image": job.image.label,
        "mask": job.mask.label,
        "output": job.output,
        "model": job.model,
        "seed": settings.seed,
        "dilate": settings.dilate,
        "feather": settings.feather,
        "blend": settings.blend,
    }


def failed(job: Job, settings: Settings, error: Exception) -> Row:
    """The row of a photo that could not be completed; it says why in one line."""
    return about(job, settings) | {"status": "failed", "error": said(error)}


def place(job: Job, output: str) -> str:
    """Where a job's output is written: at its path in OUTPUT, or among the parts of its shard."""
    return storage.join(storage.join(output, PARTS) if job.shard else output, job.output)


def write(job: Job, output: str, data: bytes) -> None:
    """Writes a job's output, whole or not at all.

    Raises:
        OSError, DataError: the disk or store refuses; nothing is left behind.
    """
    storage.write(place(job, output), data)
