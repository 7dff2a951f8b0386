"""From files to files: what the commands and ``retouch.complete`` do with one photograph or mask."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from retouch import engine, masks
from retouch import image as images
from retouch.engine import Blend
from retouch.errors import MaskError
from retouch.image import Photo, Source
from retouch.models import Model, load


@dataclass(frozen=True, slots=True)
class Completed:
    """What was done.

    Args:
        photo: the completed photo; its ``notes`` say what was converted.
        model: the name of the model.
        share: of the photo's pixels, the part that was missing, before dilation.
        seconds: from the first byte read to the last one written.
    """

    photo: Photo
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
    seed: int = 0,
    dilate: int = 0,
    feather: int = 0,
    blend: Blend = "feather",
) -> PIL.Image.Image:
    """Completes one photograph: ``retouch.load`` and a call, in one step.

    Args:
        image, mask, seed, dilate, feather, blend: as for a ``Model``.
        model: as for ``retouch.load``, or what that returned, which saves reading the weights again.
        output: also write the picture there, in the format of its suffix, with the photo's metadata.
        overwrite: replace ``output`` where it exists.
        threads: as for ``retouch.load``.

    Raises:
        FileNotFoundError, FileExistsError, ImageError, MaskError, ModelError, MissingExtraError.
    """
    done = run(
        image,
        mask,
        model=model,
        output=output,
        overwrite=overwrite,
        threads=threads,
        seed=seed,
        dilate=dilate,
        feather=feather,
        blend=blend,
    )
    return images.to_pil(done.photo)


def run(
    image: Source,
    mask: Source,
    *,
    model: str | os.PathLike[str] | Model | None,
    output: str | os.PathLike[str] | None,
    overwrite: bool,
    threads: int | None,
    seed: int,
    dilate: int,
    feather: int,
    blend: Blend,
    progress: Callable[[int, int], None] | None = None,
) -> Completed:
    """As ``complete``, and tells what was done; ``progress`` is called with windows done, and all windows.

    What can be refused is refused before any work is done. A photo without a hole is copied byte for byte
    if the output has its format.
    """
    started = time.perf_counter()
    photo = images.read(image)
    hole = images.read_mask(mask, photo.size)
    if output is not None:
        images.check_output(output, photo, overwrite=overwrite)
    ready = model if isinstance(model, Model) else load(model, threads=threads)
    completed = engine.complete(
        photo,
        hole,
        ready.predictor,
        seed=seed,
        dilate=dilate,
        feather=feather,
        blend=blend,
        progress=progress,
    )
    share = float(hole.mean())
    if output is not None:
        if share == 0 and isinstance(image, str | os.PathLike) and images.format_of(output) == photo.format:
            images.atomic_write(output, Path(image).read_bytes(), overwrite=overwrite)
        else:
            images.write(completed, output, overwrite=overwrite)
    return Completed(completed, ready.name, share, time.perf_counter() - started)


def completed_path(image: str | os.PathLike[str]) -> Path:
    """Where a completion goes by default: ``NAME-completed.EXT`` beside the photo."""
    path = Path(image)
    return path.with_name(f"{path.stem}-completed{path.suffix}")


def write_mask(
    kind: str,
    output: str | os.PathLike[str],
    size: tuple[int, int],
    *,
    ratio: tuple[float, float] | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> float:
    """Draws a mask of a size (height, width) and writes it, white = fill; returns the share that is white.

    Raises:
        MaskError: an unknown kind, a ratio that this kind cannot meet, or an output that would blur the mask.
        FileNotFoundError, FileExistsError, ImageError: the output cannot be written.
    """
    if images.format_of(output) == "JPEG":
        raise MaskError(f"expected a lossless mask such as a .png, got {os.fspath(output)}")
    hole = masks.draw(kind, *size, ratio=ratio, seed=seed)
    images.write(images.read(masks.to_image(hole)), output, overwrite=overwrite)
    return float(hole.mean())


def picture_size(like: str | os.PathLike[str] | None, size: str | None) -> tuple[int, int]:
    """(height, width) as a photo's, upright, or as ``"WIDTHxHEIGHT"`` says; one of the two is given.

    Raises:
        FileNotFoundError, ImageError: the photo cannot be read.
        MaskError: not exactly one is given, or the size is none.
    """
    if (like is None) == (size is None):
        raise MaskError("expected the photo that the mask is for (--like) or its size (--size), and not both")
    if like is not None:
        return images.read(like).size
    width, _, height = str(size).lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) * int(height)):
        raise MaskError(f"expected a size such as 640x480, got {size!r}")
    if int(width) * int(height) > images.MAX_PIXELS:
        raise MaskError(f"expected at most {images.MAX_PIXELS:,} pixels, got {size}")
    return int(height), int(width)
