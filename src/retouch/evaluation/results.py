"""``results.jsonl``: one line about the evaluation, then one line per photo, holes and model, as each is done.

Lines are written by single appending writes, each under a lock, so that a second process may add other models
meanwhile.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from retouch import jsonl
from retouch.errors import DataError

NAME = "results.jsonl"
FORMAT = 1
KEYS = ("photo", "masks", "model")  # what a line is known by
SUMS = ("model_sum", "masks_sum")  # of weights and of a folder of masks: what tells that they have changed
TEXTS = ("name", "masks", "model", "error", "features", "picture", *SUMS)  # "picture": of earlier versions
SIZES = {"hole", "height", "width"}  # what is known of every completed photo
Row = jsonl.Row
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
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: expected the results of retouch evaluate, got no such file") from None
    lines = list(jsonl.rows(data, path))
    if not lines or lines[0][1].get("format") != FORMAT:
        raise DataError(f"{path}: expected results of format {FORMAT}, got others")
    for where, row in lines[1:]:
        if not _is_row(row):
            raise DataError(
                f"{where}: expected {', '.join(KEYS)} and figures as retouch evaluate writes, got others"
            )
    return Results(lines[0][1], list({key(row): row for _, row in lines[1:]}.values()))


def _is_row(row: Row) -> bool:
    """Whether a line has its keys, and every value is of its kind: figures are numbers."""
    if not set(KEYS) <= set(row) or type(row["photo"]) is not int:
        return False
    if not all(
        isinstance(row[name], str) if name in TEXTS else type(row[name]) in (int, float) for name in row
    ):
        return False
    return not row["masks"] or "error" in row or set(row) >= SIZES


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
    with open(path, "ab+", buffering=0) as file:

        def append(row: Row) -> None:
            with _alone(file):
                jsonl.append(file, row)

        try:
            with _alone(file):
                _check_ours(path)
                jsonl.drop_torn_line(file)
                rows: list[Row] = []
                if os.fstat(file.fileno()).st_size:
                    rows = _rows_of_same(path, about, fixed)
                else:
                    jsonl.append(file, about)
            yield rows, append
        except OSError as error:
            error.filename = error.filename or str(path)
            raise


@contextmanager
def _alone(file: io.FileIO) -> Iterator[None]:
    """Waits until no other process is at an open file, and keeps the others waiting meanwhile."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


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
        ours = any(row.get("format") == FORMAT for _, row in jsonl.rows(line, path))
    if not ours:
        raise DataError(f"{path}: expected results of format {FORMAT}, got others")
