"""Where files lie: local paths and ``file://``, and by fsspec whatever address it knows (``s3://``, ``gs://``, ...).

A path here is a string, local or an address; parts are joined by ``/``. A file is written whole or not at all.
"""

import glob
import io
import os
import posixpath
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from retouch.errors import DataError, MissingExtraError, first_line
from retouch.sources import below
from retouch.writing import atomic_write

PUT_WHOLE = ("memory", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss")
MAGIC = "*?["


def plain(path: str) -> str:
    """A path without a trailing slash; ``file://`` addresses become local paths.

    Raises:
        DataError: it is empty, as from a variable that is not set.
    """
    if path.startswith("file:"):
        path = unquote(urlsplit(path).path)
    if not path:
        raise DataError("expected a path or an address, got an empty one")
    return (path if is_address(path) else path.replace(os.sep, "/")).rstrip("/") or "/"


def is_address(path: str) -> bool:
    return "://" in path


def join(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if root else name


def absolute(path: str) -> str:
    """One spelling for each place, to compare paths by; links are not followed."""
    return path if is_address(path) else os.path.abspath(path).replace(os.sep, "/")


def real(path: str) -> str:
    """As `absolute`, links followed, which takes a look at each folder above."""
    return path if is_address(path) else os.path.realpath(path).replace(os.sep, "/")


def is_inside(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it, links followed."""
    if is_address(path) != is_address(folder):
        return False
    return f"{real(path)}/".startswith(f"{real(folder).rstrip('/')}/")


def is_folder(path: str) -> bool:
    if not is_address(path):
        return os.path.isdir(path)
    with _filesystem(path) as (system, inner):
        return bool(system.isdir(inner))


def is_file(path: str) -> bool:
    if not is_address(path):
        return os.path.isfile(path)
    with _filesystem(path) as (system, inner):
        return bool(system.isfile(inner))


def is_special(path: str) -> bool:
    """Whether a path is a pipe, socket or device, which could be waited for without an end."""
    there = not is_address(path) and os.path.exists(path)
    return there and not (os.path.isfile(path) or os.path.isdir(path))


def names(folder: str) -> list[str]:
    """All files in a folder and below, as paths relative to it, sorted; hidden ones are left out.

    Raises:
        DataError: a folder that cannot be read.
    """
    if not is_address(folder):
        return below(folder)
    with _filesystem(folder) as (system, inner):
        found = [posixpath.relpath(path, inner) for path in system.find(inner)]
    return sorted(name for name in found if not any(part.startswith(".") for part in name.split("/")))


def held(folder: str, wanted: Iterable[str]) -> list[str]:
    """Those of some names that a folder holds, whatever they are."""
    if not is_address(folder):
        return [name for name in wanted if os.path.lexists(join(folder, name))]
    if not is_folder(folder):
        return []
    with _filesystem(folder) as (system, inner):
        found = {posixpath.relpath(path, inner) for path in system.find(inner)}
    return [name for name in wanted if name in found]


def are_one(folder: str, one: str, other: str) -> bool:
    """Whether two names are one file in a folder that is there, as names that differ in case are on many a disk."""
    if is_address(folder):
        return False
    with tempfile.TemporaryDirectory(prefix=".retouch-", dir=folder) as empty:
        write(join(empty, one), b"")
        return os.path.lexists(join(empty, other))


def matches(root: str, pattern: str) -> list[str]:
    """The files and folders below a folder that a pattern with ``*``, ``?``, ``[...]`` or ``**`` names, sorted."""
    if not is_address(root):
        found = glob.glob(pattern, root_dir=root or None, recursive=True)
        return sorted(path.replace(os.sep, "/") for path in found)
    with _filesystem(root) as (system, inner):
        return sorted(
            posixpath.relpath(path, inner)
            for path in system.glob(f"{glob.escape(inner.rstrip('/'))}/{pattern}")
        )


def read(path: str, offset: int = 0, size: int = -1) -> bytes:
    """So many bytes of a file, all of them by default.

    Raises:
        OSError, DataError: it cannot be read.
    """
    if not is_address(path):
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    with _filesystem(path) as (system, inner):
        end = None if size < 0 else offset + size
        return bytes(system.cat_file(inner, start=offset or None, end=end))  # by name: s3fs has another order


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file to read from, with seeking.

    Raises:
        OSError, DataError: it cannot be read, now or later.
    """
    if not is_address(path):
        with open(path, "rb") as file:
            yield file
        return
    with _filesystem(path) as (system, inner):
        stored = system.open(inner, "rb")
    with stored, io.BufferedReader(_Reader(stored, path)) as reader:
        yield reader


class _Reader(io.RawIOBase):
    """What a store has opened: reads that the store refuses become one line, whatever else is done meanwhile."""

    def __init__(self, stored: Any, path: str) -> None:
        self._stored, self._path = stored, path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _told(self._path):
            data = self._stored.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with _told(self._path):
            return int(self._stored.seek(offset, whence))


def make_folder(path: str) -> None:
    """Makes a local folder where there is none; object stores have none.

    Raises:
        OSError: it cannot be made, or written to.
    """
    if not is_address(path):
        os.makedirs(path, exist_ok=True)


def write(path: str, data: bytes) -> None:
    """Writes a file whole or not at all, over one that is there; folders are made.

    Raises:
        OSError, DataError: it cannot be written; nothing is left behind.
    """
    if not is_address(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        atomic_write(path, data)
        return
    with _whole(path) as (system, place):
        system.pipe_file(place, data)


def upload(file: Path, path: str) -> None:
    """Puts a local file at a path, whole or not at all; a local path takes the file itself."""
    if not is_address(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        os.replace(file, path)
        return
    with _whole(path) as (system, place):
        system.put_file(str(file), place)


def remove(path: str) -> None:
    """Removes a file, or a folder with all that is in it; nothing where there is none."""
    if not is_address(path):
        import shutil

        if os.path.isdir(path):
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)
        return
    with _filesystem(path) as (system, inner):
        if system.exists(inner):
            system.rm(glob.escape(inner), recursive=True)  # rm takes patterns


def remove_empty(folder: str) -> None:
    """Removes the empty ones of a local folder and those in it; object stores have none."""
    if not is_address(folder):
        for place, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):  # not empty
                os.rmdir(place)


@contextmanager
def _whole(path: str) -> Iterator[tuple[Any, str]]:
    """Where to put what becomes a file: object stores show none before it is whole, others get a rename."""
    with _filesystem(path) as (system, inner):
        protocols = (system.protocol,) if isinstance(system.protocol, str) else system.protocol
        if set(protocols) & set(PUT_WHOLE):
            yield system, inner
            return
        folder = posixpath.dirname(inner)
        system.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.retouch-{secrets.token_hex(6)}.tmp"
        try:
            yield system, temporary
            system.mv(temporary, inner)
        except BaseException:
            with suppress(Exception):
                system.rm(temporary)
            raise


@contextmanager
def _filesystem(path: str) -> Iterator[tuple[Any, str]]:
    """fsspec's file system for an address, and the address within it, for calls of it and no other work."""
    try:
        import fsspec  # type: ignore[import-untyped]

        system, inner = fsspec.core.url_to_fs(path)
    except ImportError as error:  # the package for this kind of address
        if path.startswith(("s3:", "s3a:")):
            raise MissingExtraError(path, "s3") from error
        raise DataError(f"{path}: expected the package for such addresses, got none: {error}") from error
    except ValueError as error:
        raise DataError(f"{path}: expected an address that fsspec knows, got: {error}") from error
    with _told(path):
        yield system, inner


@contextmanager
def _told(path: str) -> Iterator[None]:
    """What a store raises becomes one line."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename, error.strerror = path, first_line(error)
        raise
    except DataError:
        raise
    except Exception as error:  # each store has exceptions of its own
        raise DataError(f"{path}: the store refuses: {first_line(error)}") from error


def stream(data: bytes, name: str) -> io.BytesIO:
    """Bytes as an open file of a name, which errors then tell."""
    file = io.BytesIO(data)
    file.name = name
    return file
