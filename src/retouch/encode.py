"""`Photo` to PIL images, bytes and whole files; refused before the work where no output could hold it."""

import io
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from retouch import formats, metadata, writing
from retouch.errors import ImageError
from retouch.photo import FORMATS, Photo

LONGEST = {"JPEG": 65500, "WEBP": 16383}  # sides in pixels, by the formats (JPEG: by its library)
# Bytes that fit one segment of a JPEG beside its own name.
SEGMENT = {"exif": 65527, "xmp": 65504, "iptc": 65506, "comment": 65533}
NARROWED = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)  # 16 bits to 8, rounded


def to_pil(photo: Photo) -> Image.Image:
    """A PIL image with ICC profile, EXIF, XMP and resolution in its `info`.

    16-bit grey becomes mode I;16. Pillow has no other 16-bit mode: colour and grey with alpha become 8 bits.
    """
    pixels = photo.pixels
    if photo.depth == 16 and photo.mode != "L":
        pixels = NARROWED[pixels]
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    if photo.mode == "1":
        image = image.convert("1", dither=Image.Dither.NONE)
    if photo.palette is not None:
        image.putpalette(photo.palette[:, :3].tobytes())
        if photo.has_alpha:
            image.info["transparency"] = photo.palette[:, 3].tobytes()
    image.info.update(_metadata(photo))
    return image


def _metadata(photo: Photo) -> dict[str, Any]:
    fields = {"icc_profile": photo.icc, "dpi": photo.dpi, "xmp": photo.xmp}
    if photo.exif:
        fields["exif"] = b"Exif\0\0" + photo.exif
    return {key: value for key, value in fields.items() if value}


def format_of(path: str | os.PathLike[str]) -> str:
    """The format, a key of `FORMATS`, that a path's suffix means.

    Raises:
        ImageError: the suffix means none of them.
    """
    suffix = Path(path).suffix.lower()
    for name, suffixes in FORMATS.items():
        if suffix in suffixes:
            return name
    usual = ", ".join(suffixes[0] for suffixes in FORMATS.values())
    raise ImageError(
        f"expected an output that ends in {usual}, got {suffix or 'no suffix'}: {os.fspath(path)}"
    )


def _holds(name: str, photo: Photo) -> bool:
    """Whether a format keeps the mode, depth and size. JPEG and WebP widen palettes, grey and 1 bit."""
    see_through_palette = photo.palette is not None and photo.has_alpha
    modes = {
        "PNG": True,
        "TIFF": not see_through_palette and (photo.mode, photo.depth) != ("LA", 16),
        "BMP": not see_through_palette and photo.mode != "LA" and photo.depth == 8,
        "WEBP": photo.depth == 8,
        "JPEG": photo.depth == 8 and not photo.has_alpha,
    }
    return modes[name] and max(photo.size) <= LONGEST.get(name, 1 << 31)


def check_holds(name: str, photo: Photo, got: str) -> tuple[str, ...]:
    """Refuses a format (a key of `FORMATS`) that cannot hold the photo; ``got`` says what was asked for.

    Returns:
        What the format will not keep of the photo, one readable line each.

    Raises:
        ImageError: naming the formats that can.
    """
    if not _holds(name, photo):
        able = ", ".join(FORMATS[other][0] for other in FORMATS if _holds(other, photo))
        what = f"{photo.width} x {photo.height} pixels of {photo.depth}-bit {photo.mode}"
        what += " with transparency" if photo.has_alpha else ""
        raise ImageError(f"expected an output of {able} to hold {what}, got {got}")
    lost = []
    if photo.format not in FORMATS:
        lost.append(f"{photo.format} is written as {name}")
    if name == "JPEG" and photo.lossless:
        lost.append(f"a JPEG does not keep every known pixel exactly, as the {photo.format} did")
    return (*lost, *_kept(name, photo)[1])


def _kept(name: str, photo: Photo) -> tuple[Photo, list[str]]:
    """The photo with the metadata that a format can keep, and a line for each that it cannot."""
    lost: dict[str, str] = {}
    if name == "BMP":
        lost |= {"icc": "ICC profile", "exif": "EXIF", "xmp": "XMP"}
    if name == "WEBP" and photo.mode in ("1", "L", "LA"):  # it has no grey
        lost["icc"] = "ICC profile of grey"
    if name not in ("JPEG", "TIFF"):
        lost["iptc"] = "IPTC"
    if name != "JPEG":
        lost["comment"] = "comment of a JPEG"
    for field, most in SEGMENT.items() if name == "JPEG" else ():
        if (length := len(getattr(photo, field) or b"")) > most:
            what = "comment" if field == "comment" else field.upper()
            lost[field] = f"{what} of more than {most} bytes, this one has {length}"
    lines = [f"a {name} keeps no {what}" for field, what in lost.items() if getattr(photo, field)]
    if name != "PNG" and photo.chunks:
        lost["chunks"] = ""
        if photo.icc is None and metadata.colours_beyond_srgb(photo.chunks):
            lines.append(f"a {name} keeps no colour space without ICC profile")
        if metadata.has_texts(photo.chunks):
            lines.append(f"a {name} keeps no texts of a PNG")
    none: dict[str, Any] = dict.fromkeys(lost)
    return replace(photo, **none), lines


def check_output(path: str | os.PathLike[str], photo: Photo, *, overwrite: bool = False) -> tuple[str, ...]:
    """Refuses an output that could not be written in the end, before any work is done.

    Returns:
        As `check_holds`.

    Raises:
        ImageError: an unknown suffix, a format that cannot hold the photo, a folder that is not writable.
        FileExistsError: the file exists and `overwrite` is false.
        FileNotFoundError: its folder does not exist.
    """
    if os.path.isdir(path):
        raise ImageError(f"expected an output file, got a folder: {path}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise ImageError(f"expected an output file, got a device or a pipe: {path}")
    name = format_of(path)
    lost = check_holds(name, photo, os.fspath(path))
    if not overwrite:
        writing.check_new(path)
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"expected an existing output folder, found none at {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImageError(f"expected a writable output folder, got {folder}")
    return lost


def encode(photo: Photo, format: str) -> bytes:
    """The photo as a file of `format` (a key of `FORMATS`, in any case), metadata and all.

    PNG, TIFF and BMP are lossless. A JPEG takes the source's own tables and subsampling, or quality 95 with
    4:4:4 where the source was no JPEG. A WebP is lossless where the source was, else quality 95.

    Raises:
        ImageError: the format is unknown or cannot hold the photo, or its encoder fails.
    """
    name = format.upper()
    if name not in FORMATS:
        raise ImageError(f"expected a format of {', '.join(FORMATS)}, got {format!r}")
    check_holds(name, photo, name)
    photo, _ = _kept(name, photo)
    try:
        if name == "TIFF":
            return formats.tiff(photo)
        if name == "BMP" and photo.mode == "RGBA":
            return _bmp_with_alpha(photo)
        if name == "PNG" and photo.depth == 16:
            data = formats.png16(photo)
        else:
            stream = io.BytesIO()
            _pil_for(name, photo).save(stream, name, **_options(name, photo))
            data = stream.getvalue()
        return metadata.png_with(data, photo.chunks or (), photo.xmp) if name == "PNG" else data
    except (OSError, ValueError, cv2.error) as error:
        reason = " ".join(str(error).split())
        raise ImageError(
            f"cannot encode {photo.width} x {photo.height} pixels as {name}: {reason}"
        ) from error


def _pil_for(name: str, photo: Photo) -> Image.Image:
    image = to_pil(photo)
    if name in ("JPEG", "WEBP") and photo.mode == "1":
        return image.convert("L")
    if name in ("JPEG", "WEBP") and photo.mode == "P":
        return image.convert("RGBA" if photo.has_alpha else "RGB")
    return image


def _options(name: str, photo: Photo) -> dict[str, Any]:
    options = _metadata(photo)
    if name == "WEBP":  # exact: the colour under transparent pixels stays, too
        options |= {"exact": True, "lossless": photo.lossless} | ({} if photo.lossless else {"quality": 95})
    if name == "JPEG":
        options |= {
            "comment": photo.comment or b"",
            "extra": metadata.jpeg_iptc(photo.iptc) if photo.iptc else b"",
        }
    if name == "JPEG" and photo.jpeg is None:
        options |= {"quality": 95, "subsampling": 0}
    if name == "JPEG" and photo.jpeg is not None:
        options |= {
            "qtables": [list(table) for table in photo.jpeg.quantization],
            "subsampling": photo.jpeg.subsampling,
            "progressive": photo.jpeg.progressive,
            "keep_rgb": photo.jpeg.rgb,
        }
    return options


def _bmp_with_alpha(photo: Photo) -> bytes:
    """OpenCV writes the header that declares the alpha channel, which Pillow leaves out."""
    done, data = cv2.imencode(".bmp", cv2.cvtColor(photo.pixels, cv2.COLOR_RGBA2BGRA))
    if not done:
        raise ValueError("the encoder gave nothing")
    file = bytearray(data)
    if photo.dpi:  # pixels per metre stand at bytes 38 and 42
        struct.pack_into("<ll", file, 38, *(round(value / 0.0254) for value in photo.dpi))
    return bytes(file)


def as_file(photo: Photo, format: str, source: bytes | None = None) -> tuple[bytes, tuple[str, ...]]:
    """As `encode`; where nothing was filled, the photo's own file, byte for byte, if it has the format.

    Args:
        source: the content of that file; None where something was filled, or there is no file.

    Returns:
        The file, and what was converted or is not kept, one readable line each: of a copy nothing.
    """
    if source is not None and format == photo.format:
        return source, ()
    return encode(photo, format), (*photo.notes, *check_holds(format, photo, format))


def write(
    photo: Photo, path: str | os.PathLike[str], *, overwrite: bool = False, source: bytes | None = None
) -> tuple[str, ...]:
    """Writes the photo in the format of the path's suffix: the whole file, or nothing.

    Args:
        source: as for `as_file`.

    Returns:
        What was converted or is not kept, as `as_file` tells it.

    Raises:
        FileExistsError, FileNotFoundError, ImageError: as `check_output` and `encode`; also for a full disk.
    """
    check_output(path, photo, overwrite=overwrite)
    data, notes = as_file(photo, format_of(path), source)
    try:
        writing.atomic_write(path, data, overwrite=overwrite)
    except FileExistsError:
        raise
    except OSError as error:
        raise ImageError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
    return notes
