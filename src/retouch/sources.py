"""Where photographs lie: folders, tar shards and patterns -> an index (file, offset, size). No PyTorch.

The shards have WebDataset's layout (USTAR, one image per key) and are read in place: the index is made once, and
every photo is then one read of a known part of a file, in any order and from any process.
"""

import glob
import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from retouch.errors import DataError
from retouch.photo import SUFFIXES

# How files begin that tell of a folder that an evaluation or a training run has written.
WRITTEN = {"results.jsonl": b'{"format": ', "stats.jsonl": b'{"step": '}


@dataclass(frozen=True, slots=True)
class Source:
    """Where one photo's bytes lie: a file of its own (``offset`` 0, ``size`` -1), or a part of a shard."""

    path: str
    name: str
    offset: int
    size: int

    @property
    def label(self) -> str:
        """For messages and results: the file, and the photo in it where it is a shard."""
        return f"{self.path}: {self.name}" if self.name else self.path


def index(data: Sequence[str], *, beside: Iterable[str | Path] = ()) -> tuple[Source, ...]:
    """Lists every photo of a set, in an order that depends on the names alone.

    Args:
        data: specifications ``PATH`` or ``PATH=N``; ``PATH`` is a folder (searched recursively for photos and
            ``*.tar`` shards), a shard, a photo, or a pattern such as ``shards/train-*.tar``. Each photo of
            ``PATH=N`` counts N times per epoch (N >= 1), so that folders can be mixed. ``NAME.mask.png`` in a shard,
            or beside ``NAME`` in a folder, is a mask and no photo; nor is what begins with a dot, or what an
            evaluation or a training run has written into a folder below ``PATH``.
        beside: folders that the work writes into, or that hold masks; where one lies in a folder of photos, links
            followed, it is left out.

    Raises:
        DataError: one path that stands alone, in no sequence; one that does not exist, a shard that is none, a
            wrong N, or no photo at all.
    """
    if isinstance(data, str):  # whose letters would be taken for paths, of which / is all of the disk
        raise DataError(f"expected a sequence of paths, got {data!r} alone")
    sources: list[Source] = []
    real = cache(lambda folder: os.path.join(os.path.realpath(folder), ""))
    others = [real(os.fspath(folder)) for folder in beside]
    for spec in data:
        path, times = _split(spec)
        files = _files(path)
        for other in others:
            if not real(path).startswith(other):
                files = [file for file in files if not real(os.path.dirname(file)).startswith(other)]
        found = [source for file in files for source in _sources(file)]
        if not found:
            raise DataError(
                f"{path}: expected photos ({' '.join(SUFFIXES)}) or .tar shards of them, got none"
            )
        sources += found * times
    if not sources:
        raise DataError("expected at least one folder or shard of photos, got none")
    return tuple(sources)


def names(sources: Sequence[Source], data: Sequence[str]) -> list[str]:
    """The photos' paths in the folder or shard of ``data``, or in what all of several lie in, with ``/``.

    They tell all photos of the index apart, and are the same wherever the set lies.
    """
    root = os.path.join(os.path.commonpath([os.path.abspath(_fixed(_split(spec)[0])) for spec in data]), "")
    paths = (os.path.join(os.path.abspath(source.path), "") + source.name for source in sources)
    return [path.removeprefix(root).rstrip(os.sep).replace(os.sep, "/") for path in paths]


def _fixed(path: str) -> str:
    """A folder or shard itself, the folder of a photo, and that of a pattern before its first wildcard."""
    if os.path.isdir(path) or (os.path.isfile(path) and path.lower().endswith(".tar")):
        return path
    path = os.path.dirname(path)
    while not os.path.isdir(path) and glob.has_magic(path):
        path = os.path.dirname(path)
    return path


def fingerprint(sources: Sequence[Source], *, contents: bool = False) -> str:
    """SHA-256 over the names and sizes in an index: tells whether a resumed run sees the same photos.

    Args:
        contents: over what the files hold too: uncompressed pictures of one size are files of one size.
    """
    digest = hashlib.sha256()
    for source in sources:
        size, content = source.size, b""
        with suppress(OSError):  # a link to nothing, say: who reads it will tell
            size = os.path.getsize(source.path) if size < 0 else size
            content = hashlib.sha256(read_bytes(source)).digest() if contents else b""
        line = f"{Path(source.path).name}\0{source.name}\0{source.offset}\0{size}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))  # names may be any bytes
        digest.update(content)
    return digest.hexdigest()


def short(path: str) -> str:
    """The last two names of a path: where photographs lay on some machine says nothing."""
    names = [name for name in Path(path).parts[-2:] if name != os.sep]
    return "/".join(names) or Path(path).resolve().name


def read_bytes(source: Source) -> bytes:
    """The content of one photo's file.

    Raises:
        OSError: the file or shard cannot be read.
    """
    with open(source.path, "rb") as file:
        file.seek(source.offset)
        return file.read(source.size)


def _split(spec: str) -> tuple[str, int]:
    path, equals, times = spec.rpartition("=")
    if not equals or os.path.exists(spec):
        return spec, 1
    if not times.isdecimal() or int(times) < 1:
        raise DataError(f"{spec}: expected PATH or PATH=N with an integer N >= 1, got N = {times!r}")
    return path, int(times)


def below(folder: str) -> list[str]:
    """All files in a folder and below, links followed, as paths relative to it with ``/``, sorted.

    Hidden ones are left out, and folders that hold the link which leads to them.

    Raises:
        DataError: a folder that cannot be read.
    """
    found = list[str]()
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        inside = os.path.relpath(place, folder).replace(os.sep, "/")
        found += [name if inside == "." else f"{inside}/{name}" for name in files if not name.startswith(".")]
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not _holds(os.path.join(place, name), place)
        ]
    return sorted(found)


def _holds(folder: str, place: str) -> bool:
    return os.path.join(os.path.realpath(place), "").startswith(os.path.join(os.path.realpath(folder), ""))


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: expected a readable folder, got: {error.strerror}") from error


def _files(path: str) -> list[str]:
    if os.path.isdir(path):
        names = below(path)
        ours = tuple(f"{os.path.dirname(name)}/" for name in names if _is_ours(path, name))
        stems = {os.path.splitext(name)[0] for name in names}
        wanted = (name for name in names if name.lower().endswith((*SUFFIXES, ".tar")))
        masks = {f"{stem}.mask" for stem in stems}
        return [
            os.path.join(path, name)
            for name in wanted
            if not name.startswith(ours) and os.path.splitext(name)[0] not in masks
        ]
    if os.path.exists(path):
        return [path]
    found = sorted(glob.glob(path, recursive=True))
    if not found:
        raise DataError(
            f"{path}: expected a folder, a .tar shard or a pattern that matches some, got no such file"
        )
    return [name for match in found for name in _files(match)]


def _is_ours(folder: str, name: str) -> bool:
    """Whether a file tells that an evaluation or a training run has written the folder in which it lies."""
    begins = WRITTEN.get(os.path.basename(name))
    if begins is None:
        return False
    with suppress(OSError), open(os.path.join(folder, name), "rb") as file:
        return file.read(len(begins)) == begins
    return False


def members(shard: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """All members of a shard that was opened.

    Raises:
        TarError: it is damaged or cut short, in a header too, where `tarfile` would take that for the end.
    """
    yield from shard
    assert shard.fileobj is not None  # it is open
    shard.fileobj.seek(shard.offset)
    if shard.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"no header at byte {shard.offset:,}")


def _is_photo(name: PurePosixPath) -> bool:
    masked = name.stem.endswith(".mask")
    return name.suffix.lower() in SUFFIXES and not name.name.startswith(".") and not masked


def _sources(path: str) -> list[Source]:
    if not path.lower().endswith(".tar"):
        return [Source(path, "", 0, -1)] if path.lower().endswith(SUFFIXES) else []
    try:
        with tarfile.open(path, "r:") as shard:
            return [
                Source(path, member.name, member.offset_data, member.size)
                for member in members(shard)
                if member.isreg() and _is_photo(PurePosixPath(member.name))
            ]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: expected a tar shard of photos, got {error}") from error
