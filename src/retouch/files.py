"""From files to files: what the commands and ``retouch.complete`` do with one photograph."""

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from retouch import engine
from retouch import image as images
from retouch.engine import Blend
from retouch.errors import ImageError, MaskError, ModelError, RetouchWarning
from retouch.image import Photo, Source
from retouch.models import Model, Search, load
from retouch.photo import written_name


@dataclass(frozen=True, slots=True)
class Completed:
    """What was done.

    Args:
        photo: the completed photo.
        notes: what was converted or is not kept, one readable line each.
        output: where it was written, if it was.
        model: the name of the model.
        share: of the photo's pixels, the part that was missing, before dilation.
        seconds: it took; the first of several, with reading the photo and loading the model.
    """

    photo: Photo
    notes: tuple[str, ...]
    output: Path | None
    model: str
    share: float
    seconds: float


def complete(
    image: Source,
    mask: Source,
    *,
    model: str | os.PathLike[str] | Model | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    threads: int | None = None,
    search: Search | None = None,
    seed: int = 0,
    dilate: int = 0,
    feather: int = engine.FEATHER,
    blend: Blend = "feather",
) -> PIL.Image.Image:
    """Completes one photograph: ``retouch.load`` and a call, in one step.

    Args:
        image, mask, seed, dilate, feather, blend: as for a ``Model``.
        model: as for ``retouch.load``, or what that returned, which saves reading the weights again.
        output: also write the picture there, in the format of its suffix, with the photo's metadata.
        overwrite: replace ``output`` where it exists.
        threads, search: as for ``retouch.load``; not with a model that is loaded, which has its own.

    Returns:
        The completed picture; 16-bit colour is rounded to 8 bits, as Pillow has no more. The file has all.

    Raises:
        FileNotFoundError, FileExistsError, ImageError, MaskError, ModelError, OptionError, MissingExtraError.

    Warns:
        RetouchWarning: of what was converted, or is not kept in ``output``.
    """
    (done,) = run(
        image,
        mask,
        model=model,
        output=output,
        overwrite=overwrite,
        threads=threads,
        search=search,
        seed=seed,
        dilate=dilate,
        feather=feather,
        blend=blend,
    )
    for note in done.notes:
        warnings.warn(note, RetouchWarning, stacklevel=2)
    return images.to_pil(done.photo)


def run(
    image: Source,
    mask: Source,
    *,
    model: str | os.PathLike[str] | Model | None,
    output: str | os.PathLike[str] | None,
    overwrite: bool,
    threads: int | None,
    search: Search | None,
    seed: int,
    dilate: int,
    feather: int,
    blend: Blend,
    variants: int = 1,
    progress: Callable[[float, int], None] | None = None,
) -> list[Completed]:
    """As ``complete``, and tells what was done; ``progress`` is called with the windows done, and all, of all variants.

    What can be refused is refused before any work is done. A photo without a hole, given as a path or
    as bytes, is copied byte for byte if the output has its format.

    Args:
        variants: different completions that are wanted, of models that search the best first; a deterministic
            model has one. More than one are written to ``output`` with -1, -2, ... before its suffix.
    """
    started = time.perf_counter()
    if _same(image, mask):
        raise MaskError(f"expected a photo and its mask, got {os.fspath(image)} for both")  # type: ignore[arg-type]
    photo = images.read(image)
    hole = images.read_mask(mask, photo.size)
    share = float(hole.mean())
    if isinstance(model, Model) and (threads, search) != (None, None):
        raise ModelError(
            "expected threads and search for a model that is named, got them with one that is loaded"
        )
    ready = model if isinstance(model, Model) else load(model, threads=threads, search=search)
    answers = ready.answers(variants if share else 1)
    targets = _targets(output, len(answers))
    for wanted in filter(None, targets):
        if _same(wanted, mask):
            raise ImageError(f"expected an output apart from the mask, got {wanted} for both")
        images.check_output(wanted, photo, overwrite=overwrite)
    source = _bytes(image) if share == 0 else None
    completions: list[Completed] = []
    for number, (answer, target) in enumerate(zip(answers, targets, strict=True)):
        completed = engine.complete(
            photo,
            hole,
            answer,
            seed=seed,
            dilate=dilate,
            feather=feather,
            blend=blend,
            progress=progress and engine.among(progress, number, len(answers)),
        )
        notes = completed.notes
        if target is not None:
            notes = images.write(completed, target, overwrite=overwrite, source=source)
        now = time.perf_counter()
        completions.append(Completed(completed, notes, target, ready.name, share, now - started))
        started = now
    return completions


def _bytes(image: Source) -> bytes | None:
    """The content of a photo's file; None for what was read already, or is no file."""
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    return bytes(image) if isinstance(image, bytes | bytearray | memoryview) else None


def _same(one: object, other: object) -> bool:
    """Whether both are paths, and of one file."""
    paths = [path for path in (one, other) if isinstance(path, str | os.PathLike)]
    return len(paths) == 2 and all(map(os.path.exists, paths)) and os.path.samefile(*paths)


def _targets(output: str | os.PathLike[str] | None, count: int) -> list[Path | None]:
    """Where so many completions go: ``output`` itself, or NAME-1.EXT, NAME-2.EXT, ..."""
    if output is None or count == 1:
        return [None if output is None else Path(output)] * count
    path = Path(output)
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]


def completed_path(image: str | os.PathLike[str]) -> Path:
    """Where a completion goes by default: ``NAME-completed.EXT`` beside the photo, with .png for what is only read.

    Raises:
        ImageError: the photo has no name, or one without a suffix.
    """
    path = Path(image)
    if not path.name:
        raise ImageError(f"expected the file of a photo, got {os.fspath(image)!r}")
    if not path.suffix:
        raise ImageError(
            f"expected an output (--output) for a photo whose name has no suffix, got none: {path}"
        )
    path = Path(written_name(os.fspath(path)))
    return path.with_name(f"{path.stem}-completed{path.suffix}")
