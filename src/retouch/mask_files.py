"""Masks as files: one, or one for each photograph of a folder."""

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePath

import numpy as np

from retouch import image as images
from retouch import masks, sources, writing
from retouch.errors import DataError, ImageError, MaskError, said


def write_mask(
    kind: str,
    output: str | os.PathLike[str],
    size: tuple[int, int],
    *,
    ratio: tuple[float, float] | None,
    seed: int,
    overwrite: bool,
) -> float:
    """Draws a mask of a size (height, width) and writes it, white = fill; returns the share that is white.

    Raises:
        MaskError: an unknown kind, a ratio that this kind cannot meet, or an output that would blur the mask.
        FileNotFoundError, FileExistsError, ImageError: the output cannot be written.
    """
    if images.format_of(output) == "JPEG":
        raise MaskError(f"expected a lossless mask such as a .png, got {os.fspath(output)}")
    any_picture = images.read(np.zeros((1, 1), np.uint8))
    images.check_output(output, any_picture, overwrite=overwrite)  # before the work
    hole = masks.draw(kind, *size, ratio=ratio, seed=seed)
    images.write(images.read(masks.to_image(hole)), output, overwrite=overwrite)
    return float(hole.mean())


def write_masks(
    kind: str,
    photos: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    ratio: tuple[float, float] | None,
    seed: int,
    overwrite: bool,
    progress: Callable[[int, int, int], None] | None = None,
) -> tuple[list[float], list[str]]:
    """Draws a mask for each photo of a folder, ``OUTPUT/NAME.png`` for its NAME.EXT: the one that ``evaluate`` draws.

    Of a shard in that folder they are ``OUTPUT/SHARD.tar/NAME.png``, as ``batch`` pairs them.

    Args:
        progress: called with photos done, all photos, failures.

    Returns:
        The share that is white of each, and a line for each photo that has none as it cannot be read, or is too small.

    Raises:
        DataError: no photos, or two that would have one mask.
        MaskError: an unknown kind.
        FileExistsError, OSError: an output cannot be written.
    """
    masks.draw(kind, 64, 64, seed=seed)  # an unknown kind, or no seed: refused before any work
    index = sources.index((os.fspath(photos),), beside=[Path(output)])
    targets: dict[Path, sources.Source] = {}
    for source in index:
        name = PurePath(os.path.relpath(source.path, photos), source.name)
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"{source.label}: expected a name inside of the output, got {name}")
        target = Path(output, name).with_suffix(".png")
        other = targets.setdefault(target, source)
        if other is not source:
            raise DataError(
                f"expected a mask for each photo, got {target} for {other.label} and {source.label}"
            )
        if not overwrite:
            writing.check_new(target)
    shares, failed = list[float](), list[str]()
    for number, (target, source) in enumerate(targets.items()):
        if progress:
            progress(number, len(targets), len(failed))
        try:
            size = images.read(sources.read_bytes(source)).size
            hole = masks.draw(kind, *size, ratio=ratio, seed=np.random.default_rng((seed, number)))
        except (ImageError, MaskError, OSError) as error:
            failed.append(f"{source.label}: {said(error)}")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        images.write(images.read(masks.to_image(hole)), target, overwrite=overwrite)
        shares.append(float(hole.mean()))
    if progress:
        progress(len(targets), len(targets), len(failed))
    return shares, failed


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
    sides = re.fullmatch(r"0*([1-9]\d{0,19})x0*([1-9]\d{0,19})", str(size).lower(), re.ASCII)
    if not sides:
        raise MaskError(f"expected a size such as 640x480, got {str(size)[:50]!r}")
    width, height = map(int, sides.groups())
    if width * height > images.MAX_PIXELS:
        raise MaskError(f"expected at most {images.MAX_PIXELS:,} pixels, got {size}")
    return height, width
