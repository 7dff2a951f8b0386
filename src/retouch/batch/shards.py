"""Outputs of photos that came from a tar shard go into a shard of the same name.

They are written as files of their own first (`work.PARTS`), so that nothing is lost by a kill; when all photos of the
shard are done, it is packed: every member of the input shard in its order, photos completed, masks and failed photos
left out, anything else (labels, captions) as it is.
"""

import io
import os
import secrets
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from retouch import sources
from retouch.batch import storage, work
from retouch.batch.pairs import Job, some
from retouch.errors import DataError
from retouch.photo import SUFFIXES
from retouch.sources import Source


def members(shard: str) -> dict[str, Source]:
    """Where the members of a shard lie; none where there is no such file, or one that is no shard."""
    if not storage.is_file(shard):
        return {}
    try:
        with storage.opened(shard) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            return {m.name: Source(shard, m.name, m.offset_data, m.size) for m in archive if m.isreg()}
    except (tarfile.TarError, EOFError):
        return {}


def completed(path: str, packed: Source | None) -> bytes | None:
    """An output that waits at a path or lies in a packed shard; None where there is neither."""
    try:
        return storage.read(path)
    except FileNotFoundError:
        return storage.read(packed.path, packed.offset, packed.size) if packed else None


def pack(jobs: Sequence[Job], output: str) -> None:
    """Packs the shard of these jobs (all of one shard) from their parts and what a shard there holds already.

    Raises:
        OSError, DataError: the disk or store refuses, or the input shard is damaged or without a photo by now; the
            parts stay.
    """
    shard = storage.join(output, jobs[0].shard)
    parts = storage.join(storage.join(output, work.PARTS), jobs[0].shard)
    there = members(shard)
    if there and not storage.is_folder(parts):
        return  # all that was begun has failed: nothing new
    left = {job.image.name: job.member for job in jobs}
    folder = tempfile.gettempdir() if storage.is_address(output) else storage.join(output, work.PARTS)
    temporary = Path(folder) / f".retouch-{secrets.token_hex(6)}.tmp"
    storage.make_folder(folder)
    try:
        with ExitStack() as stack:
            file = stack.enter_context(open(temporary, "xb"))
            source = stack.enter_context(storage.opened(jobs[0].image.path))
            incoming = stack.enter_context(tarfile.open(fileobj=source, mode="r:"))
            packed = stack.enter_context(tarfile.open(fileobj=file, mode="w"))
            for member in sources.members(incoming):
                data, name = None, member.name
                if name in left:
                    name = left.pop(name)
                    data = completed(storage.join(parts, name), there.get(name))
                elif member.isreg() and not name.lower().endswith(SUFFIXES):
                    content = incoming.extractfile(member)
                    data = content.read() if content else b""
                if data is None:
                    continue
                header = tarfile.TarInfo(name)  # no times and owners: the same bytes from every run
                header.size = len(data)
                packed.addfile(header, io.BytesIO(data))
            packed.close()
            file.flush()
            os.fsync(file.fileno())
        storage.upload(temporary, shard)
    except OSError as error:
        error.filename = shard  # not the temporary file
        raise
    except (tarfile.TarError, EOFError) as error:
        raise DataError(f"{jobs[0].image.path}: expected the tar shard that it was, got {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    if lost := sorted(name for name in left.values() if storage.is_file(storage.join(parts, name))):
        raise DataError(f"{jobs[0].image.path}: expected the photos that it had, got it without {some(lost)}")
    storage.remove(parts)
