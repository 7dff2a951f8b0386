"""Photos x masks -> the list of jobs, by names alone: no picture is read.

A photo's *key* is its path in IMAGES without the suffix; its mask is the one whose key is the same (or the photo's
whole name, as in ``a.jpg.png``). Its output has the photo's own path, so that ``a.jpg`` and ``a.png`` are two; that of
what is only read, as ``a.heic``, ends in .png.
"""

import fnmatch
import os
import posixpath
import re
import tarfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from retouch.batch import lists, storage
from retouch.errors import DataError
from retouch.photo import FOREIGN, SUFFIXES, written_name
from retouch.sources import Source, members

SHOWN = 10  # names in a message; the rest is a number
# Pictures that cannot be read are jobs too, which fail: they are not passed over.
PICTURES = (*SUFFIXES, *(suffix for _, usual in FOREIGN.values() for suffix in usual))
BESIDE = ".mask"  # what the key of a mask ends in that lies beside its photo: NAME.mask.png


@dataclass(frozen=True, slots=True)
class Job:
    """One photo to complete.

    Args:
        image, mask: where their bytes lie.
        output: path in OUTPUT; of a photo in a shard, ``SHARD/MEMBER``.
        model: as `retouch.load` takes it.
    """

    image: Source
    mask: Source
    output: str
    model: str

    @property
    def shard(self) -> str:
        """Path in OUTPUT of the shard that the output belongs into; empty for a file of its own."""
        return self.output[: -len(self.member) - 1] if self.member else ""

    @property
    def member(self) -> str:
        """The output's name in that shard."""
        return written_name(self.image.name)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and what cannot be: photos without a mask, masks without a photo.

    These are names; of a list, its lines with the file that is not there.
    """

    jobs: tuple[Job, ...]
    maskless: tuple[str, ...] = ()
    photoless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """A picture: where it lies, its key, and its path below the folder that was given."""

    source: Source
    key: str
    name: str


def plan(images: str, masks: str, output: str, model: str) -> Plan:
    """Pairs photos with masks.

    Args:
        images: a folder (searched with all below it), a photo, a tar shard, a pattern, or a list (.csv, .jsonl),
            which names the masks too.
        masks: the same kinds; or one mask for all photos; or a name, of the folder of masks beside each photo; or
            the same as ``images``: then NAME.mask.EXT beside each photo. Empty for a list.
        output: a folder outside of both.
        model: for all photos, except where a list names others.

    Raises:
        DataError: nothing there, an output among the inputs, two photos with one output, an ambiguous mask.
    """
    images, output = storage.plain(images), storage.plain(output)
    if images.lower().endswith(lists.KINDS):
        if masks:
            raise DataError(
                f"expected LIST OUTPUT, as {images} names the masks too; got MASKS as well: {masks}"
            )
        found = _listed(images, model)
    else:
        masks = storage.plain(masks)
        for given in (images, masks):
            if _searches(given, output):
                raise DataError(
                    f"expected an output outside of {given}, whose pictures are read; got {output}"
                )
        found = _paired(images, masks, model)
    _check_outputs(found.jobs, output)
    return found


def _searches(given: str, output: str) -> bool:
    """Whether OUTPUT lies where pictures are searched with all below: in a folder, or in one that a pattern finds."""
    if storage.is_folder(given):  # its name may hold brackets
        return storage.is_inside(output, given)
    if not any(c in given for c in storage.MAGIC):
        return False
    root, pattern, _ = _parts(given)
    if not storage.is_inside(output, root or "."):
        return False
    parts = posixpath.relpath(storage.real(output), storage.real(root or ".")).split("/")
    wanted = pattern.split("/")
    found = len(parts) >= len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))
    return "**" in wanted or found


def _listed(path: str, model: str) -> Plan:
    """The lines of a list. Whether local files are there is seen at once, as it is of folders."""
    jobs, maskless, photoless = list[Job](), list[str](), list[str]()
    for entry in lists.read(path):
        lacks = [p for p in (entry.image, entry.mask) if not storage.is_address(p) and not storage.is_file(p)]
        if entry.image in lacks:
            photoless.append(f"{entry.where}: {entry.image}")
        elif lacks:
            maskless.append(f"{entry.where}: {entry.mask}")
        else:
            image, mask = (Source(p, "", 0, -1) for p in (entry.image, entry.mask))
            jobs.append(Job(image, mask, entry.output, entry.model or model))
    return Plan(tuple(jobs), tuple(maskless), tuple(photoless))


def _paired(images: str, masks: str, model: str) -> Plan:
    photos = list(_found(images, "photos"))
    if masks == images:
        kept = [m for m in photos if m.key.endswith(BESIDE)]
        white = [_Found(m.source, m.key.removesuffix(BESIDE), m.name) for m in kept]
        if not kept:
            raise DataError(f"{masks}: expected a mask beside each photo, NAME{BESIDE}.EXT, got none")
    elif masks.lower().endswith(PICTURES) and storage.is_file(masks):
        white, kept = [], [_Found(Source(masks, "", 0, -1), "", masks)]
    elif "/" not in masks and not _is_there(masks):  # beside each photo, in a folder of this name
        kept = [m for m in photos if posixpath.basename(posixpath.dirname(m.name)) == masks]
        white = [_Found(m.source, _without_folder(m.key), m.name) for m in kept]
        if not kept:
            raise DataError(f"{masks}: expected masks, got no such file or folder, here or beside the photos")
    else:
        white = kept = list(_found(masks, "masks"))
    folders = cache(storage.real)  # many pictures lie in one

    def place(source: Source) -> tuple[str, str, str]:
        folder, name = posixpath.split(source.path)
        return folders(folder), name, source.name

    taken = {place(mask.source) for mask in kept}
    if not white:  # the mask itself may be a link
        taken.add((*posixpath.split(storage.real(masks)), ""))
    if (*posixpath.split(storage.real(images)), "") in taken:
        raise DataError(f"expected photos and masks, got {images} for both")
    photos = [photo for photo in photos if place(photo.source) not in taken]
    everyone = kept[0].source if kept and not white else None
    return _matched(photos, white, everyone, model)


def _matched(photos: Sequence[_Found], masks: Sequence[_Found], everyone: Source | None, model: str) -> Plan:
    """Each photo with its mask, or with the one that is for everyone."""
    by_key: dict[str, list[_Found]] = defaultdict(list)
    for mask in masks:
        by_key[mask.key].append(mask)
    jobs, maskless, used = list[Job](), list[str](), set[Source]()
    for photo in photos:
        whole = unicodedata.normalize("NFC", posixpath.basename(photo.name))
        fitting = by_key.get(posixpath.join(posixpath.dirname(photo.key), whole))
        fitting = fitting or by_key.get(photo.key, [])
        if len(fitting) > 1:  # a.png's before that of a.jpg
            fitting = [m for m in fitting if _suffix(m.name) == _suffix(photo.name)] or fitting
        if len(fitting) > 1:  # one of them with the very accents of the photo's name
            fitting = [m for m in fitting if _stem(m.name) == _stem(photo.name)] or fitting
        if len(fitting) > 1:
            both = " and ".join(m.source.label for m in fitting[:2])
            raise DataError(f"{photo.source.label}: expected one mask, got {both}")
        own = everyone or (fitting[0].source if fitting else None)
        if own is None:
            maskless.append(photo.source.label)
        else:
            used.add(own)
            jobs.append(Job(photo.source, own, written_name(photo.name), model))
    return Plan(tuple(jobs), tuple(maskless), tuple(m.source.label for m in masks if m.source not in used))


def _found(spec: str, what: str) -> Iterator[_Found]:
    """The pictures that a folder, a file, a shard or a pattern holds."""
    root, tail = spec, ""
    if storage.is_folder(spec):
        below = storage.names(spec)
    elif storage.is_file(spec):
        root, below = posixpath.dirname(spec), [posixpath.basename(spec)]
    elif any(c in spec for c in storage.MAGIC):
        root, pattern, tail = _parts(spec)
        below = [name for match in storage.matches(root, pattern) for name in _files(root, match)]
    else:
        raise DataError(f"{spec}: expected {what}, got no such file or folder")
    empty = True
    for name in below:
        for source, inner in _sources(storage.join(root, name), name):
            empty = False
            # The photos of a shard that stands alone pair by their own names, those of many by the shard's too.
            key = source.name if source.name and source.path == spec else inner
            key = posixpath.normpath(key)  # ./a.jpg, as of a whole folder that was packed, is a.jpg
            key = unicodedata.normalize("NFC", key)  # é is one character, or e and an accent, as on a Mac
            fits = tail and key.endswith(tail)  # not so in a folder that the pattern has found
            yield _Found(source, key.removesuffix(tail) if fits else posixpath.splitext(key)[0], inner)
    if empty:
        kinds = f"({' '.join(SUFFIXES)}) or .tar shards of them"
        raise DataError(f"{spec}: expected {what} {kinds}, got none")


def _files(root: str, name: str) -> list[str]:
    """What a pattern has found: a file, or all files of a folder."""
    path = storage.join(root, name)
    return [storage.join(name, below) for below in storage.names(path)] if storage.is_folder(path) else [name]


def _sources(path: str, name: str) -> Iterator[tuple[Source, str]]:
    """The photo of a file or those of a shard, each with its path in OUTPUT."""
    if storage.is_special(path):
        return
    if not path.lower().endswith(".tar"):
        if path.lower().endswith(PICTURES):
            yield Source(path, "", 0, -1), name
        return
    try:
        with storage.opened(path) as file, tarfile.open(fileobj=file, mode="r:") as shard:
            for member in members(shard):
                beside = posixpath.basename(member.name).startswith("._")  # what a Mac packs beside a file
                if member.isreg() and member.name.lower().endswith(SUFFIXES) and not beside:
                    yield Source(path, member.name, member.offset_data, member.size), f"{name}/{member.name}"
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: expected a tar shard of pictures, got {error}") from error


def _parts(spec: str) -> tuple[str, str, str]:
    """The folder before a pattern's first wildcard, the pattern, and what stands behind its last: ``_mask.png``."""
    parts = spec.split("/")
    first = next(i for i, part in enumerate(parts) if any(c in part for c in storage.MAGIC))
    tail = re.split(r"[*?\]]", parts[-1])[-1]
    tail = unicodedata.normalize("NFC", tail) if tail != parts[-1] else ""
    return "/".join(parts[:first]), "/".join(parts[first:]), tail


def _without_folder(key: str) -> str:
    """``x/masks/a`` -> ``x/a``."""
    folder, name = posixpath.split(key)
    return posixpath.join(posixpath.dirname(folder), name)


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _is_there(path: str) -> bool:
    return any(c in path for c in storage.MAGIC) or storage.is_file(path) or storage.is_folder(path)


def _check_outputs(jobs: Sequence[Job], output: str) -> None:
    """No two photos may have one output, and none that of a photo or mask that is read."""
    owner: dict[str, str] = {}
    inputs = {storage.absolute(source.path) for job in jobs for source in (job.image, job.mask)}
    root = storage.absolute(output)
    for job in jobs:
        label = job.image.label
        if job.output.startswith("/") or ".." in job.output.split("/"):
            raise DataError(f"{label}: expected a name inside of the output, got {job.output}")
        other = owner.setdefault(os.path.normcase(posixpath.normpath(job.output)), label)
        if other is not label:
            raise DataError(
                f"expected an output for each photo, got {job.output} for {other} and {label} (a list of jobs with a "
                "column output names them apart)"
            )
        if storage.join(root, job.shard or job.output) in inputs:
            raise DataError(
                f"expected an output apart from what is read, got {job.shard or job.output} for both"
            )


def some(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
