"""Lines of JSON objects: read, and appended one by one.

A process that is killed leaves whole lines and at most one that was cut off, without a line break: who reads leaves
that one out, and who appends takes it away first.
"""

import errno
import io
import json
import os
from collections.abc import Iterator
from typing import Any

from retouch.errors import DataError

Row = dict[str, Any]


def rows(data: bytes, path: str | os.PathLike[str]) -> Iterator[tuple[str, Row]]:
    """The rows of a file with these bytes, each with the words for where it stands; no empty lines, none cut off.

    Raises:
        DataError: a line is no JSON object; ``path`` and the line are named.
    """
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: expected a line of JSON, got {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected a JSON object, got {type(row).__name__}")
        yield where, row


def line(row: Row) -> bytes:
    """A row as a line of UTF-8; what no UTF-8 can hold, as in names of files, is escaped.

    Raises:
        ValueError: NaN or infinity.
    """
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def append(file: io.FileIO, row: Row) -> None:
    """Appends a row to an open, unbuffered file by a single write; what of it a full disk took is cut off again.

    Raises:
        OSError: the disk is full, or refuses; it names the file.
        ValueError: NaN or infinity.
    """
    data = line(row)
    try:
        written = os.write(file.fileno(), data)
    except OSError as error:
        error.filename = str(file.name)
        raise
    if written < len(data):
        file.truncate(os.fstat(file.fileno()).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file.name))


def drop_torn_line(file: io.FileIO) -> None:
    """Cuts a file, open to read and to append, after its last line break."""
    size = end = file.seek(0, os.SEEK_END)
    while end and not _line_ends_at(file, end):
        end -= 1
    if end != size:
        file.truncate(end)


def _line_ends_at(file: io.FileIO, end: int) -> bool:
    file.seek(end - 1)
    return file.read(1) == b"\n"
