"""Lists of jobs in files: CSV with a line of column names, or JSONL; columns image, mask, and output, model at will."""

import csv
import io
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from retouch import image as images
from retouch import jsonl
from retouch.batch import storage
from retouch.cards import SUFFIXES, shipped_names
from retouch.classical import CLASSICAL
from retouch.errors import DataError, ImageError, RetouchError
from retouch.models import load
from retouch.own import PYTHON
from retouch.photo import written_name

KINDS = (".csv", ".jsonl")
COLUMNS = ("image", "mask", "output", "model")
NEEDED = COLUMNS[:2]
LONGEST = 255  # bytes that a file's or folder's name may have on the usual file systems


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: paths or addresses of photo and mask, the output's path in OUTPUT, a model or nothing; its place."""

    image: str
    mask: str
    output: str
    model: str
    where: str


def read(path: str) -> list[Entry]:
    """Reads a list. Relative paths in it start from its own folder.

    Raises:
        DataError: no such file, or a wrong column or value; its line is named.
    """
    try:
        text = storage.read(path).decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: expected a list of photos and masks, got no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, got {error}") from error
    rows = _csv(text, path) if path.lower().endswith(".csv") else _jsonl(text, path)
    lines = [(where, _entry(row, where, posixpath.dirname(path))) for where, row in rows]
    if not lines:
        raise DataError(f"{path}: expected lines with photos and masks, got none")
    folders = {folder for _, entry in lines for folder in _folders(entry.output)}
    owner = dict[str, str]()
    for where, entry in lines:
        if entry.output in folders:
            raise DataError(f"{where}: expected an output that is no folder of another's, got {entry.output}")
        other = owner.setdefault(os.path.normcase(entry.output), where)
        if other != where:
            raise DataError(f"{where}: expected an output of its own, got {entry.output}, as on {other}")
    for model, where in {entry.model: where for where, entry in reversed(lines)}.items():
        _check_model(model, where)
    return [entry for _, entry in lines]


def _check_model(model: str, where: str) -> None:
    """Raises DataError for what no model can be; those that are there are not loaded yet."""
    known = not model or model.startswith("hf:") or model in shipped_names() or model in CLASSICAL
    if known or os.path.isdir(os.path.join(model, "checkpoint")):
        return
    if model.lower().endswith(SUFFIXES) and os.path.isfile(model):
        return
    try:
        load(model)
    except RetouchError as error:
        raise DataError(f"{where}: {error}") from error


def _folders(output: str) -> Iterator[str]:
    """``x/y/a.png`` -> ``x/y``, ``x``."""
    while output := posixpath.dirname(output):
        yield output


def _csv(text: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_columns(reader.fieldnames or (), f"{path}, line 1")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row:
                raise DataError(f"{where}: expected {len(reader.fieldnames or ())} values, got more")
            yield where, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: expected CSV, got {error}") from error


def _jsonl(text: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, row in jsonl.rows(f"{text}\n".encode(), path):
        _check_columns(row, where)
        yield where, row


def _check_columns(names: Any, where: str) -> None:
    wrong = next((name for name in names if name not in COLUMNS), None)
    twice = next((name for name in COLUMNS if list(names).count(name) > 1), None)
    missing = next((name for name in NEEDED if name not in names), None)
    if (wrong, missing, twice) != (None, None, None):
        got = repr(wrong) if wrong is not None else f"none for {missing}" if missing else f"{twice} twice"
        raise DataError(f"{where}: expected the columns image, mask and perhaps output, model; got {got}")


def _entry(row: dict[str, Any], where: str, folder: str) -> Entry:
    for name, value in row.items():
        if not (isinstance(value, str) or (value is None and name not in NEEDED)):
            raise DataError(f"{where}: expected text for {name}, got {value!r}")
        if name in NEEDED and not str(value).strip():
            raise DataError(f"{where}: expected a path for {name}, got none")
    image, mask = (_from(folder, row[name]) for name in NEEDED)
    if image == mask:
        raise DataError(f"{where}: expected a photo and its mask, got {image} for both")
    output = row.get("output") or written_name(_own_name(row["image"]))
    try:
        images.format_of(output)
    except ImageError as error:
        raise DataError(f"{where}: {error}") from error
    if storage.is_address(output) or output.startswith("/") or ".." in output.split("/"):
        raise DataError(f"{where}: expected an output's path inside of OUTPUT, got {output}")
    if not _names_a_file(output):
        kind = f"whole characters, no NUL, at most {LONGEST} bytes between slashes"
        raise DataError(f"{where}: expected an output that can name a file ({kind}), got {output!r}")
    model = row.get("model") or ""
    if model.lower().endswith(PYTHON):
        raise DataError(
            f"{where}: expected a model that is no Python file, which a list may not run; got {model}"
        )
    return Entry(image, mask, posixpath.normpath(output), model, where)


def _names_a_file(output: str) -> bool:
    try:
        return "\0" not in output and all(len(os.fsencode(part)) <= LONGEST for part in output.split("/"))
    except UnicodeEncodeError:
        return False


def _from(folder: str, path: str) -> str:
    """A path as the list gives it, from the list's folder."""
    path = storage.plain(path)
    return path if storage.is_address(path) or path.startswith("/") else storage.join(folder, path)


def _own_name(image: str) -> str:
    """The output of a photo that the list gives none: its own path, or its name where that leads elsewhere."""
    inside = not (storage.is_address(image) or image.startswith("/") or ".." in image.split("/"))
    return posixpath.normpath(image) if inside else posixpath.basename(image)
