"""``manifest.jsonl`` in OUTPUT: a line per photo as it finishes, and what a later run makes of it.

Where files cannot be appended to, in object stores, lines go out in files ``manifest-N-RUN.jsonl`` every few seconds;
a kill then loses the last of them, whose photos are done again. A store has no lock: RUN, drawn by each run, keeps two
at once from writing over each other's lines, though not from doing the same photos.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retouch import jsonl
from retouch.batch import storage
from retouch.batch.work import PARTS, Row
from retouch.errors import DataError
from retouch.writing import lock

NAME = "manifest.jsonl"
BEGUN = f"{PARTS}/begun.jsonl"  # outputs that the run which goes on, or was killed, may write
TERMS = ("model", "seed", "dilate", "feather", "blend")  # what decides an output beside photo and mask
EVERY = 10.0  # seconds between two files of lines where none can be appended to


@dataclass(frozen=True, slots=True)
class Kept:
    """What a line says of a photo that was completed: the size and sum of its output, the values of TERMS, and the
    sums of photo and mask, and of the model's weights, which older lines lack; classical methods have no weights."""

    size: int
    sha256: str
    terms: tuple[str | int, ...]
    inputs: tuple[str, str] | None
    weights: str

    def is_in(self, data: bytes) -> bool:
        return len(data) == self.size and hashlib.sha256(data).hexdigest() == self.sha256


def read(output: str) -> dict[str, Kept | None] | None:
    """What a manifest says of each photo, by output: None if it failed. None where there is no manifest.

    Raises:
        DataError: it is not what `retouch batch` writes.
    """
    paths = [storage.join(output, name) for name in storage.matches(output, "manifest*.jsonl")]
    kept: dict[str, Kept | None] = {}
    for path in paths:
        for where, row in jsonl.rows(storage.read(path), path):
            if row.get("status") == "failed":  # the last line about a photo counts
                kept[str(row.get("output"))] = None
                continue
            try:
                terms = tuple(row[name] for name in TERMS)
                inputs = (row["image_sha256"], row["mask_sha256"]) if "mask_sha256" in row else None
                weights = row.get("model_sha256", "")
                kept[row["output"]] = Kept(int(row["bytes"]), str(row["sha256"]), terms, inputs, weights)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{where}: expected a line of retouch batch, got one without {error}"
                ) from error
    return kept if paths else None


def begin(output: str, outputs: Iterable[str]) -> None:
    """Writes down which outputs a run may write, or one that was killed has: no line of the manifest tells of them.

    Raises:
        OSError, DataError: the disk or store refuses.
    """
    lines = b"".join(jsonl.line({"output": name}) for name in outputs)
    storage.write(storage.join(output, BEGUN), lines)


def begun(output: str) -> set[str]:
    """The outputs of a run that was killed or stopped.

    Raises:
        DataError: it is not what `begin` writes.
    """
    path = storage.join(output, BEGUN)
    if not storage.is_file(path):
        return set()
    return {str(row.get("output")) for _, row in jsonl.rows(storage.read(path), path)}


def end(output: str, untold: set[str]) -> None:
    """Every output has its line in the manifest now, but for some of ``untold``, which another run may still do."""
    if untold and (rest := untold.difference(read(output) or {})):
        begin(output, sorted(rest))
    else:
        storage.remove(storage.join(output, BEGUN))


@contextmanager
def appending(output: str) -> Iterator[Callable[[Row], None]]:
    """Opens the manifest to add rows to it; it belongs to this process alone until it is closed, though not in a store.

    Raises:
        DataError: another process writes there; a store has no lock to tell that by.
        OSError: the disk refuses; what stands in the file stays whole.
    """
    if storage.is_address(output):
        yield from _appending_files(output)
        return
    path = Path(output) / NAME
    storage.make_folder(output)
    with open(path, "ab+", buffering=0) as file:
        lock(file.fileno(), path)
        jsonl.drop_torn_line(file)
        yield lambda row: jsonl.append(file, row)


def _appending_files(output: str) -> Iterator[Callable[[Row], None]]:
    rows: list[Row] = []
    found = (re.match(r"manifest-(\d+)", name) for name in storage.matches(output, "manifest-*.jsonl"))
    number = max((int(match[1]) for match in found if match), default=0)  # some may have been removed
    written, token = time.monotonic(), secrets.token_hex(4)

    def flush() -> None:
        nonlocal number, written
        number, written = number + 1, time.monotonic()
        path = storage.join(output, f"manifest-{number:06d}-{token}.jsonl")
        storage.write(path, b"".join(map(jsonl.line, rows)))
        rows.clear()

    def append(row: Row) -> None:
        rows.append(row)
        if time.monotonic() - written >= EVERY:
            flush()

    flush()  # the store can be written to, and a later run knows that this one began
    try:
        yield append
    finally:
        if rows:
            flush()
