"""``results.jsonl``: one line about the evaluation, then one line per photo, holes and model, as each is done.

A process that is killed leaves whole lines and at most one that was cut off; who reads on drops that one. Lines
are written by single appending writes, each under a lock, so that a second process may add other models meanwhile.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retouch.errors import DataError

NAME = "results.jsonl"
FORMAT = 1
KEYS = ("photo", "masks", "model")  # what a line is known by
SUMS = ("model_sum", "masks_sum")  # of weights and of a folder of masks: what tells that they have changed
TEXTS = ("name", "masks", "model", "error", "features", "picture", *SUMS)  # "picture": of earlier versions
SIZES = {"hole", "height", "width"}  # what is known of every completed photo
Row = dict[str, Any]
Key = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Results:
    """What a results file holds.

    Args:
        about: the first line: what was measured, and how.
        rows: the others, of each key the last: a failure may have been tried again. ``error`` in one means that the
            photo could not be measured.
    """

    about: Row
    rows: list[Row]

    @property
    def measured(self) -> list[Row]:
        return [row for row in self.rows if "error" not in row]

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if "error" in row]


def key(row: Row) -> Key:
    return int(row["photo"]), str(row["masks"]), str(row["model"])


def path_of(folder: str | os.PathLike[str]) -> Path:
    """The results file of an output folder, or the file itself."""
    path = Path(folder)
    return path / NAME if path.is_dir() or path.suffix != ".jsonl" else path


def read(folder: str | os.PathLike[str]) -> Results:
    """Reads a results file, or that of a folder; a last line that was cut off is left out.

    Raises:
        DataError: there is none, or it is not what ``retouch evaluate`` writes.
    """
    path = path_of(folder)
    try:
        whole = path.read_bytes().rpartition(b"\n")[0]
        text = whole.decode("utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: expected the results of retouch evaluate, got no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected lines of JSON, got {error}") from error
    lines = [parsed(line, f"{path}, line {n}") for n, line in enumerate(text.split("\n"), 1)] if whole else []
    if not lines or lines[0].get("format") != FORMAT:
        raise DataError(f"{path}: expected results of format {FORMAT}, got others")
    wrong = next((n for n, row in enumerate(lines[1:], 2) if not _is_row(row)), None)
    if wrong is not None:
        raise DataError(
            f"{path}, line {wrong}: expected {', '.join(KEYS)} and figures as retouch evaluate writes, got others"
        )
    return Results(lines[0], list({key(row): row for row in lines[1:]}.values()))


def _is_row(row: Row) -> bool:
    """Whether a line has its keys, and every value is of its kind: figures are numbers."""
    if not set(KEYS) <= set(row) or type(row["photo"]) is not int:
        return False
    if not all(
        isinstance(row[name], str) if name in TEXTS else type(row[name]) in (int, float) for name in row
    ):
        return False
    return not row["masks"] or "error" in row or set(row) >= SIZES


def parsed(line: str, where: str) -> Row:
    """A line as a row.

    Raises:
        DataError: it is no JSON object; ``where`` says where it stands.
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a line of JSON, got {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


@contextmanager
def appending(
    folder: Path, about: Row, fixed: tuple[str, ...]
) -> Iterator[tuple[list[Row], Callable[[Row], None]]]:
    """Opens a folder's results to add to them: gives the rows that are there, and a function that adds one.

    Args:
        about: the first line, where the file is new.
        fixed: what of ``about`` must be the same in a file that is there.

    Raises:
        DataError: the file belongs to another evaluation, or is none of ours.
        OSError: the disk refuses; what stands in the file stays whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def append(row: Row) -> None:
        with _alone(descriptor):
            append_line(descriptor, row, path)

    try:
        with _alone(descriptor):
            _check_ours(path)
            drop_torn_line(path)
            rows: list[Row] = []
            if os.fstat(descriptor).st_size:
                rows = _rows_of_same(path, about, fixed)
            else:
                append_line(descriptor, about, path)
        yield rows, append
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        os.close(descriptor)


@contextmanager
def _alone(descriptor: int) -> Iterator[None]:
    """Waits until no other process is at what is open, and keeps the others waiting meanwhile."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _rows_of_same(path: Path, about: Row, fixed: tuple[str, ...]) -> list[Row]:
    """The rows of a file that is there.

    Raises:
        DataError: its first line says otherwise than ``about`` what is ``fixed``.
    """
    there = read(path)
    for name in fixed:
        if there.about.get(name) != about[name]:
            raise DataError(
                f"{path}: expected {name} {there.about.get(name)!r} as in what is there, got {about[name]!r}: "
                "name another --output"
            )
    return there.rows


def _check_ours(path: Path) -> None:
    """Refuses a file whose first line is not what evaluations write, also where that line was cut off.

    Raises:
        DataError: it is none of ours; nothing of it is touched.
    """
    with path.open("rb") as file:
        line = file.readline()
    if not line.endswith(b"\n"):
        begun = f'{{"format": {FORMAT}, '.encode()
        ours = line.startswith(begun) or begun.startswith(line)
    else:
        ours = parsed(line.decode("utf-8", "replace"), f"{path}, line 1").get("format") == FORMAT
    if not ours:
        raise DataError(f"{path}: expected results of format {FORMAT}, got others")


def append_line(descriptor: int, row: Row, path: Path) -> None:
    """Appends a row to an open file by a single write; what of it a full disk took is cut off again.

    Raises:
        OSError: the disk is full, or refuses.
    """
    line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"
    try:
        written = os.write(descriptor, line)
    except OSError as error:
        error.filename = str(path)
        raise
    if written < len(line):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def drop_torn_line(path: Path) -> None:
    """Cuts a file after its last line break."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end and not _line_ends_at(file, end):
            end -= 1
        if end != size:
            file.truncate(end)


def _line_ends_at(file: Any, end: int) -> bool:
    file.seek(end - 1)
    return bool(file.read(1) == b"\n")
