"""One case of an evaluation: a photograph, a hole and a model -> completed, measured, a row of the results."""

import base64
import hashlib
import math
import os
import re
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath

import cv2
import numpy as np

from retouch import engine, masks, metrics, sources
from retouch import image as images
from retouch.cards import shipped_names
from retouch.classical import CLASSICAL
from retouch.errors import DataError, ImageError, MaskError, needs, said
from retouch.evaluation.results import Row
from retouch.image import Patch
from retouch.models import Model, load
from retouch.photo import SUFFIXES, Photo
from retouch.sources import Source

ORIGINAL = "original"  # the model of the lines that hold the features of the photos themselves
DIGITS = 7  # significant digits of a figure


@dataclass(frozen=True, slots=True)
class Terms:
    """What all cases of an evaluation have in common: see ``evaluate.Settings``."""

    output: Path
    size: int | None
    seed: int
    lpips: str | None
    features: Path | None
    threads: int


@dataclass(frozen=True, slots=True)
class Job:
    """One line of the results to be made.

    Args:
        number: of the photo in the index.
        source: where it is.
        name: of the photo in the results.
        masks: as asked for; empty for the features of the photo itself.
        model: name, a folder of pictures completed elsewhere, or ``ORIGINAL``.
        keep: whether to keep the pictures.
        sums: of the model's weights and of the files in a folder of masks, where there are such, by ``SUMS``.
    """

    number: int
    source: Source
    name: str
    masks: str
    model: str
    keep: bool
    sums: Mapping[str, str] = field(default_factory=dict)

    @property
    def about(self) -> Row:
        return {
            "photo": self.number,
            "name": self.name.encode("utf-8", "backslashreplace").decode(),
            "masks": masks_name(self.masks),
            "model": self.model,
            **self.sums,
        }


def masks_name(spec: str) -> str:
    """``strokes:0.1-0.2`` as tables have it: ``strokes 0.1-0.2``; a folder by its name; no mask is no name."""
    kind, _, ratio = spec.partition(":")
    named = kind in masks.KINDS or not spec
    return f"{kind} {ratio}".strip() if named else Path(os.path.abspath(spec)).name


def slug(name: str) -> str:
    """A name as a part of a path; what a path cannot show is told apart by a sum."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")
    known = plain == name.replace(" ", "-")
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()  # of a name of any bytes
    return plain if known else f"{plain}-{digest[:6]}"


def measured(terms: Terms, job: Job) -> Row:
    """The row of a job. What is wrong with a photo or a completion is in its ``error``.

    Raises:
        DataError: the model's weights are others than when the evaluation began.
        OSError: a mask or picture cannot be written.
    """
    row = job.about
    try:
        photo = photo_of(job.source, terms.size)
        if job.model == ORIGINAL:
            pixels = _batched(photo)
            network = networks(terms.lpips, terms.features, terms.threads)  # the same as of all other rows
            return row | _figures(network(pixels, pixels), only="features")
        hole = hole_of(terms, job, photo.size)
    except (ImageError, DataError, MaskError, MemoryError) as error:
        return row | {"error": said(error)}
    predictor = None if completed_elsewhere(job.model) else _predictor(terms, job)
    try:
        started = time.perf_counter()
        if predictor is None:
            completed, timed = _from_elsewhere(job, photo, hole), Row()
        else:
            completed = engine.complete(photo, hole, predictor, seed=terms.seed)
            timed = {"seconds": round(time.perf_counter() - started, 4)}
        row |= {"height": photo.height, "width": photo.width, "hole": float(hole.mean())}
        row |= _distances(terms, photo, completed, hole)
    except Exception as error:  # a model's failure on a photo is a result, and no end of the evaluation
        return row | {"error": said(error)}
    if job.keep:
        _keep(terms.output / picture_of(row), photo, hole, completed)
    return row | timed


def completed_elsewhere(model: str) -> bool:
    """Whether a model is a folder of pictures that another program completed: no model's name, and no training run."""
    if not os.path.isdir(model) or os.path.isdir(os.path.join(model, "checkpoint")):
        return False
    return model not in CLASSICAL and model not in shipped_names()


def pictures_for(folder: str, masks: str) -> str:
    """Where pictures that were completed elsewhere lie: in a folder that has these holes' name, if there is one."""
    inside = os.path.join(folder, slug(masks_name(masks)))
    return inside if os.path.isdir(inside) else folder


def _predictor(terms: Terms, job: Job) -> engine.Predictor:
    """The job's model.

    Raises:
        DataError: its weights are others than when the evaluation began.
    """
    model = model_of(job.model, terms.threads)
    if not model.sha256.startswith(job.sums.get("model_sum", "")):
        raise DataError(
            f"{job.model}: expected the weights that this evaluation began with, got others (a run that trains on?): "
            "name another --output"
        )
    return model.predictor


def _from_elsewhere(job: Job, photo: Photo, hole: np.ndarray) -> Photo:
    """What the picture in the job's folder shows in the hole, in the photo: what it did to known pixels is left out.

    Raises:
        DataError: there is none, or more than one.
        ImageError: it cannot be read, or has another size than the photo.
    """
    name = named_as(job.source, pictures_for(job.model, job.masks), job.sums["model_sum"])
    picture = images.read(name)
    if picture.size != photo.size:
        sizes = [f"{one.width} x {one.height} px" for one in (photo, picture)]
        raise ImageError(f"expected {sizes[0]} as the photo has, got {sizes[1]} in {name}")
    everywhere = slice(None), slice(None)
    return images.composite(photo, hole, [Patch(*everywhere, images.rgb(picture, *everywhere), None)])


def photo_of(source: Source, size: int | None) -> Photo:
    """The photo, or the middle square of it at a size in px.

    Raises:
        ImageError: it cannot be read, or is smaller than that.
    """
    try:
        photo = images.read(sources.read_bytes(source))
    except OSError as error:
        raise ImageError(f"cannot read {source.label}: {error.strerror or error}") from error
    if size is None:
        return photo
    side = min(photo.size)
    if side < size:  # enlarging it would measure the enlargement
        raise ImageError(f"expected at least {size} px a side, got {photo.width} x {photo.height}")
    top, left = (photo.height - side) // 2, (photo.width - side) // 2
    square = images.rgb(photo, slice(top, top + side), slice(left, left + side))
    if side > size:
        square = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
    return images.read(np.rint(square * 255).astype(np.uint8))


def hole_of(terms: Terms, job: Job, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: from the folder that was named, or as saved before, or drawn and saved.

    Raises:
        DataError: a folder of masks has none for the photo.
        MaskError: one of another size, a bin that cannot be met, or nothing to fill.
        OSError: it cannot be saved.
    """
    kind, _, ratio = job.masks.partition(":")
    saved = terms.output / "masks" / slug(masks_name(job.masks)) / f"{job.number:06d}.png"
    if kind not in masks.KINDS:
        hole = images.read_mask(named_as(job.source, job.masks, job.sums.get("masks_sum", "")), size)
    elif saved.exists():
        hole = images.read_mask(saved, size)
    else:
        bounds = masks.parse_ratio(ratio) if ratio else None
        hole = masks.draw(kind, *size, ratio=bounds, seed=np.random.default_rng((terms.seed, job.number)))
        _write(saved, masks.to_image(hole))
    if not hole.any():
        raise MaskError("expected a hole, got a mask without one")
    return hole


def named_as(source: Source, folder: str, fingerprint: str) -> str:
    """The picture in a folder that is named as the photo, with as much of the photo's path as is there, too.

    Args:
        fingerprint: of its files.

    Raises:
        DataError: there is none, or more than one.
    """
    there = _pictures_in(folder, fingerprint)
    # é is one character, or two, as on a Mac
    named = unicodedata.normalize("NFC", os.path.join(source.path, source.name))
    parts = PurePath(named).with_suffix("").parts
    keys = ["/".join(parts[start:]) for start in range(len(parts))]
    found = next((there[key] for key in keys if key in there), [])
    if len(found) != 1:
        got = " and ".join(found[:2]) or "none"
        raise DataError(f"expected a picture named {parts[-1]} in {folder}, got {got}")
    return os.path.join(folder, found[0])


@lru_cache(maxsize=8)
def _pictures_in(folder: str, fingerprint: str) -> Mapping[str, list[str]]:
    """Path without suffix -> the pictures of that name, below a folder whose files have this fingerprint."""
    del fingerprint  # for the cache alone
    found: dict[str, list[str]] = {}
    for path in sources.below(folder):
        if path.lower().endswith(SUFFIXES):
            key = unicodedata.normalize("NFC", str(PurePosixPath(path).with_suffix("")))
            found.setdefault(key, []).append(path)
    return found


def _batched(photo: Photo) -> np.ndarray:
    """(1, 3, H, W) float32 in [0, 1]."""
    pixels = images.rgb(photo, slice(None), slice(None))
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def _distances(terms: Terms, photo: Photo, completed: Photo, hole: np.ndarray) -> Row:
    image, completion = _batched(photo), _batched(completed)
    network = networks(terms.lpips, terms.features, terms.threads)
    return _figures(metrics.measure(image, completion, hole[None, None]) | network(image, completion))


def _figures(values: Mapping[str, np.ndarray], *, only: str | None = None) -> Row:
    """The values of one picture for JSON: without what is not a number, features as base64 of float16."""
    row: Row = {}
    for name, (value, *_) in values.items():
        if only not in (None, name):
            continue
        if name == "features":
            row[name] = base64.b64encode(value.astype(np.float16).tobytes()).decode("ascii")
        elif math.isfinite(value):
            row[name] = float(f"{float(value):.{DIGITS}g}")
    return row


def features(row: Row) -> np.ndarray:
    """(D,) float16: the features in a row."""
    return np.frombuffer(base64.b64decode(row["features"]), np.float16)


def picture_of(row: Row) -> str:
    """Where a row's completed picture is kept, as a path in the folder of the results."""
    return f"pictures/{int(row['photo']):06d}/{slug(row['masks'])}/{slug(row['model'])}-completed.png"


def _keep(result: Path, photo: Photo, hole: np.ndarray, completed: Photo) -> None:
    """Saves original, damaged and completed picture as PNG."""
    pixels = np.rint(images.rgb(photo, slice(None), slice(None)) * 255).astype(np.uint8)
    damaged = np.where(hole[..., None], np.uint8(255), pixels)
    for path, picture in (
        (result.parents[1] / "original.png", pixels),
        (result.parent / "damaged.png", damaged),
    ):
        if not path.exists():
            _write(path, picture)
    _write(result, np.rint(images.rgb(completed, slice(None), slice(None)) * 255).astype(np.uint8))


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write(images.read(pixels), path, overwrite=True)


@lru_cache(maxsize=64)
def model_of(name: str, threads: int) -> Model:
    return load(name, threads=threads)


@lru_cache(maxsize=1)
def networks(
    lpips: str | None, features: Path | None, threads: int
) -> "Callable[..., dict[str, np.ndarray]]":
    """The metrics that need PyTorch, which is imported only where they are asked for."""
    if lpips is None and features is None:
        return lambda image, completion: {}
    with needs("train", "LPIPS or a feature network"):
        from retouch.methods import perceptual
    return perceptual.distances(lpips, features, threads)
