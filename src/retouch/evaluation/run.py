"""Models x photographs x holes -> ``results.jsonl``: every model completes through the engine that users have.

A *job* is one photo, one kind of hole and one model; its row is written as soon as it is done. The order of the
photos is drawn from the seed, and the hole of photo n from (seed, n): a run with fewer photos measures a part of
what a run with more does, on the same holes, and whatever stands in the file is not measured again, but for failures.
Jobs share nothing but the folder, so that processes can work side by side.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from cyclopts import Parameter

import retouch
from retouch import masks, sources
from retouch.cards import DEFAULT
from retouch.errors import DataError, MaskError
from retouch.evaluation import cases, protocols, results
from retouch.evaluation.cases import ORIGINAL, Job, Terms
from retouch.evaluation.results import Row
from retouch.evaluation.summary import extremes, ranked
from retouch.options import Cores, Output, Whole, as_paths, as_texts, at_least
from retouch.sources import Source
from retouch.workers import cores, in_processes

BACKBONES = ("alex", "vgg", "squeeze")  # of LPIPS, as torchmetrics names them
SUM = 12  # digits of a sum that a row keeps
Sums = Mapping[str, Mapping[str, str]]  # "model" and "masks" -> name -> sum
FIXED = ("fingerprint", "size", "seed", "protocol", "lpips", "features")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured.

    Args:
        data: Folders of photographs or tar shards; may be repeated.
        output: Folder of the results; what was measured is not measured again, failures are.
        model: Names from "retouch models", .onnx or .py files, training runs, folders of pictures completed elsewhere.
        masks: KIND:LEAST-MOST, or a folder of masks named as the photos; default: strokes, 0.1-0.2 to 0.3-0.4.
        protocol: A paper's terms: wgan, dcgan_direct, dcgan_search, glcic, recurrent.
        photos: How many photographs, drawn by the seed; all by default.
        size: Take the middle square of each photograph, so many pixels wide.
        seed: Draws the order, the holes and what models draw.
        pictures: Keep those of so many photographs for the report.
        workers: Processes.
        threads: Cores for each process; by default all, shared out.
        lpips: Folder with weights for LPIPS; or alex, vgg, squeeze with torchvision.
        features: VGG-19 in safetensors: perceptual, Fréchet, kernel distance (50 photos up).
    """

    data: tuple[str, ...]
    output: Output
    model: Annotated[tuple[str, ...], Parameter(show_default=False)] = (DEFAULT,)
    masks: Annotated[tuple[str, ...], Parameter(show_default=False)] = ()
    protocol: str | None = None
    photos: Whole | None = None
    size: Whole | None = None
    seed: Whole = 0
    pictures: Whole = 12
    workers: Whole = 1
    threads: Cores | None = None
    lpips: str | None = None
    features: Path | None = None

    def __post_init__(self) -> None:
        as_texts(self, DataError, "data", "model", "masks")
        as_paths(self, DataError, "output", "features")
        at_least(self, photos=1, size=1, seed=0, pictures=0, workers=1, threads=1)

    @property
    def cores(self) -> int:
        return self.threads or max(1, cores() // self.workers)


@dataclass(frozen=True, slots=True)
class Finished:
    """Rows made now, rows that were there, how many of now are failures, and what the first of them says."""

    made: int
    found: int
    failures: int
    first: str = ""


def evaluate(settings: Settings, progress: Callable[[int, int, int], None] | None = None) -> Finished:
    """Measures what is not in the results yet.

    Args:
        progress: called with rows done, all rows, failures, first before any work.

    Raises:
        DataError: no photos, a protocol that is unknown or contradicted, an output of other settings.
        MaskError, ModelError, MissingExtraError, FileNotFoundError: a ratio, model or network that is none.
        OSError: the disk refuses. What was measured stays; the same command goes on from there.
    """
    settings = _with_protocol(settings)
    settings = replace(settings, model=tuple(map(_as_it_lies, settings.model)))
    folders = [spec for spec in settings.masks if spec.partition(":")[0] not in masks.KINDS]
    elsewhere = [name for name in settings.model if cases.completed_elsewhere(name)]
    index = sources.index(settings.data, beside=[settings.output, *folders, *elsewhere])
    if len(set(index)) < len(index):
        raise DataError("expected each photo once, got some of them twice in --data")
    named: dict[str, str] = {}
    for spec in settings.masks:
        _check_masks(spec)
        other = named.setdefault(cases.masks_name(spec), spec)
        if other != spec:
            raise DataError(
                f"expected masks of different names, which the results tell apart, got {other} and {spec}"
            )
    cases.model_of.cache_clear()  # files may have changed since the last evaluation
    weights = {name: _sum(name, settings) for name in settings.model}
    holes = {
        cases.masks_name(spec): _sum_of_files(spec) if spec in folders else "" for spec in settings.masks
    }
    sums = {"model": weights, "masks": holes}
    for name in elsewhere:
        _check_elsewhere(name, settings, index, weights[name])
    if settings.lpips and settings.lpips not in BACKBONES and not Path(settings.lpips).is_dir():
        raise DataError(f"expected --lpips as {', '.join(BACKBONES)} or a folder, got {settings.lpips}")
    cases.networks(settings.lpips, settings.features, settings.cores)
    about = _about(settings, index)
    if not results.path_of(settings.output).exists():
        for name in ("masks", "pictures"):
            if (settings.output / name).is_dir():
                raise DataError(
                    f"{settings.output}: expected a new output, got {name} of another evaluation there"
                )
    with results.appending(settings.output, about, FIXED) as (there, append):
        _check_same(there, sums, settings.output)
        before = {results.key(row): row for row in there}
        every = list(_jobs(settings, index, sums))
        measured = {key for key, row in before.items() if "error" not in row}
        jobs = [job for job in every if results.key(job.about) not in measured]
        wanted, count = len(every), len(every) - len(jobs)
        failures, first = 0, ""
        if progress:
            progress(count, wanted, failures)
        for row in _rows(settings, jobs):
            if row != before.get(results.key(row)):  # the same failure once more
                append(row)
            if "error" in row:
                first = first or f"{row['name']}: {row['error']}"
            count, failures = count + 1, failures + ("error" in row)
            if progress:
                progress(count, wanted, failures)
    for _ in _rows(settings, _telling(settings, index, sums)):  # measured before: for their pictures alone
        pass
    return Finished(len(jobs), wanted - len(jobs), failures, first)


def _sum(model: str, settings: Settings) -> str:
    """What tells a model's weights from others; a model that is none ends the evaluation before it begins."""
    if cases.completed_elsewhere(model):
        return _sum_of_files(model)
    return cases.model_of(model, settings.cores).sha256[:SUM]


def _as_it_lies(model: str) -> str:
    """One name for ``mine``, ``mine/`` and ``./mine``, where that is a folder of pictures; no model's name."""
    if not cases.completed_elsewhere(model):
        return model
    plain = os.path.normpath(model)
    return plain if cases.completed_elsewhere(plain) else os.path.join(".", plain)


def _check_elsewhere(folder: str, settings: Settings, index: tuple[Source, ...], fingerprint: str) -> None:
    """Refuses pictures completed elsewhere that are not there for every photo and kind of holes, one for each."""
    for spec in dict.fromkeys(settings.masks):
        there = cases.pictures_for(folder, spec)
        if there == folder and len(set(settings.masks)) > 1:
            name = cases.slug(cases.masks_name(spec))
            raise DataError(
                f"{folder}: expected a folder for each of several kinds of holes, got no {name} in it"
            )
        taken: dict[str, Source] = {}
        lacking: dict[str, DataError] = {}
        for _, source in _photos(settings, index):
            try:
                picture = cases.named_as(source, there, fingerprint)
            except DataError as error:
                lacking[source.label] = error
                continue
            other = taken.setdefault(picture, source)
            if other != source:
                raise DataError(
                    f"{there}: expected a picture for each photo, got one for {other.label} and {source.label}"
                )
        for label, first in lacking.items():
            raise DataError(
                f"{len(lacking)} photos lack their picture, {label} the first: {first}"
            ) from first


def _sum_of_files(folder: str) -> str:
    return sources.fingerprint(sources.index((folder,)), contents=True)[:SUM]


def _with_protocol(settings: Settings) -> Settings:
    if settings.protocol is None:
        return replace(settings, masks=settings.masks or protocols.BINS)
    if settings.masks or settings.size is not None:
        raise DataError("expected --protocol without --masks and --size, which it fixes; got both")
    fixed = protocols.protocol(settings.protocol)
    return replace(settings, masks=fixed.masks, size=fixed.size, photos=settings.photos or fixed.photos)


def _about(settings: Settings, index: tuple[Source, ...]) -> Row:
    """The first line of the results."""
    return {
        "format": results.FORMAT,
        "retouch": retouch.__version__,
        "data": list(settings.data),
        "photos_there": len(index),
        "fingerprint": sources.fingerprint(index),
        "size": settings.size,
        "seed": settings.seed,
        "protocol": settings.protocol,
        "lpips": settings.lpips and (settings.lpips if settings.lpips in BACKBONES else "squeeze from files"),
        "features": settings.features and Path(settings.features).name,
    }


def _check_same(rows: list[Row], sums: Sums, output: Path) -> None:
    """Refuses other weights, or other masks (of a folder that has a kind's name, too), than those of rows there."""
    for row in rows:
        for kind, known in sums.items():
            if row[kind] in known and row.get(f"{kind}_sum", "") != known[row[kind]]:
                raise DataError(
                    f"{output}: expected {kind} {row[kind]} as in what is there, got other files of that name: "
                    "name another --output"
                )


def _jobs(settings: Settings, index: tuple[Source, ...], sums: Sums) -> Iterator[Job]:
    """All of them, photo by photo in the seed's order."""
    names = sources.names(index, settings.data)
    for place, (number, source) in enumerate(_photos(settings, index)):
        keep = place < settings.pictures
        if settings.features:
            yield Job(number, source, names[number], "", ORIGINAL, False)
        for spec, model in itertools.product(dict.fromkeys(settings.masks), dict.fromkeys(settings.model)):
            yield Job(number, source, names[number], spec, model, keep, _own(sums, spec, model))


def _photos(settings: Settings, index: tuple[Source, ...]) -> Iterator[tuple[int, Source]]:
    """Those that are measured, in the seed's order, with their places in the index."""
    order = np.random.default_rng(settings.seed).permutation(len(index))[: settings.photos]
    return ((int(number), index[number]) for number in order)


def _own(sums: Sums, spec: str, model: str) -> dict[str, str]:
    names = {"model": model, "masks": cases.masks_name(spec)}
    return {f"{kind}_sum": known[names[kind]] for kind, known in sums.items() if known.get(names[kind])}


def _telling(settings: Settings, index: tuple[Source, ...], sums: Sums) -> list[Job]:
    """The best, the median and the worst photo for each kind of hole, where their pictures are not kept yet.

    Of the models asked for: what another is now, its rows do not say.
    """
    rows = results.read(settings.output).measured if settings.pictures else []
    order = [name for name in ranked(rows) if name != ORIGINAL]
    names = sources.names(index, settings.data)
    jobs = []
    for spec in dict.fromkeys(settings.masks):
        group = [row for row in rows if row["masks"] == cases.masks_name(spec)]
        there = {row["model"] for row in group}
        ahead = next((name for name in order if name in there), "")
        asked = [name for name in order if name in settings.model]
        for photo, name in itertools.product(extremes(group, ahead), asked):
            job = Job(photo, index[photo], names[photo], spec, name, True, _own(sums, spec, name))
            if not (settings.output / cases.picture_of(job.about)).exists():
                jobs.append(job)
    return jobs


def _check_masks(spec: str) -> None:
    kind, colon, ratio = spec.partition(":")
    if kind in masks.KINDS:
        if colon:
            masks.parse_ratio(ratio)
    elif not Path(spec).is_dir():
        raise MaskError(
            f"expected masks as KIND:LEAST-MOST with one of {', '.join(masks.KINDS)}, or a folder, got {spec!r}"
        )


def _rows(settings: Settings, jobs: list[Job]) -> Iterator[Row]:
    """The rows as they are made; in this process where there is one worker."""
    terms = Terms(
        settings.output, settings.size, settings.seed, settings.lpips, settings.features, settings.cores
    )
    if settings.workers == 1 or len(jobs) < 2:
        cv2.setNumThreads(settings.cores)
        for job in jobs:
            yield cases.measured(terms, job)
    else:
        arguments = ((terms, job) for job in jobs)
        yield from in_processes(settings.workers, settings.cores, cases.measured, arguments)
