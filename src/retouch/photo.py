"""What a picture is here: the pixels as its file stores them, and all that its output has to keep."""

import os
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

Mode = Literal["1", "L", "LA", "P", "RGB", "RGBA"]

FORMATS: dict[str, tuple[str, ...]] = {  # what is written: the suffixes that mean it, the usual one first
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
}
READ = FORMATS | {  # what is read; of that, what is not written becomes PNG
    "AVIF": (".avif",),
    "HEIC": (".heic", ".heif", ".hif"),
}
NAMES = "PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC"  # for people
STARTS: dict[str, re.Pattern[bytes]] = {  # what is read: how its files begin, whatever they are named
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "WEBP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "BMP": re.compile(rb"BM"),
    # One box format: what is in it is told by the first of its brands, or by others where that one is general.
    "AVIF": re.compile(rb"....ftyp(avi[fs]|m(if|sf)1....(....){0,12}avi[fs])", re.DOTALL),
    "HEIC": re.compile(rb"....ftyp(he[iv][cmsx]|m(if|sf)1)", re.DOTALL),
}
LONGEST_START = 68  # bytes
SUFFIXES = tuple(suffix for usual in READ.values() for suffix in usual)
# What cannot be read: a mark in the first 16 bytes, and the suffixes that mean it.
FOREIGN: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "GIF": (b"GIF8", (".gif",)),
    "JPEG XL": (b"JXL \r\n", (".jxl",)),
    "JPEG 2000": (b"jP  \r\n", (".jp2",)),
    "Photoshop": (b"8BPS", (".psd",)),
}


@dataclass(frozen=True, slots=True)
class JpegTables:
    """How a JPEG was compressed, so that its output loses nothing that it had not lost before.

    Args:
        quantization: one table of 64 steps per component, the last one for all further components.
        subsampling: of the chroma, in Pillow's numbers: 0 = 4:4:4, 1 = 4:2:2, 2 = 4:2:0.
        progressive: stored in several passes.
        rgb: red, green and blue are stored as they are, not as luma and chroma.
    """

    quantization: tuple[tuple[int, ...], ...]
    subsampling: int
    progressive: bool
    rgb: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """One picture, turned upright.

    Args:
        pixels: (H, W, C) uint8 or uint16, read-only; C = 1 (modes 1, L, P), 2 (LA), 3 (RGB) or 4 (RGBA).
            Mode P holds indices into `palette`; mode 1 holds 0 and 255.
        mode: Pillow's name for the channels; the dtype alone tells 16 bits.
        palette: (N, 4) uint8 RGBA for mode P, N <= 256, every index below N.
        icc: the ICC profile.
        exif: EXIF as a TIFF structure (no leading ``Exif\\0\\0``), orientation already applied.
        dpi: pixels per inch, across and down.
        xmp: XMP, true of the upright picture, without thumbnails.
        iptc: IPTC as a JPEG or a TIFF holds it.
        comment: of a JPEG.
        chunks: name and content of a PNG's own chunks that tell its colours (gAMA, cHRM, sRGB, cICP) and texts.
        format: one of `READ`: what the input was (PNG where it was none of them, as for an array).
        lossless: whether the input was stored without loss.
        jpeg: the compression of a JPEG input.
        notes: what could not be taken as it was, one readable line each.
    """

    pixels: np.ndarray
    mode: Mode
    palette: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] | None = None
    format: str = "PNG"
    lossless: bool = True
    jpeg: JpegTables | None = None
    notes: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """The format, one of `FORMATS`, that its output has where no other is asked for."""
        return self.format if self.format in FORMATS else "PNG"

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def depth(self) -> int:
        """Bits per channel: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def has_alpha(self) -> bool:
        """Whether some pixel could be transparent."""
        if self.palette is not None:
            return bool((self.palette[:, 3] < 255).any())
        return self.mode in ("LA", "RGBA")


def written_name(name: str) -> str:
    """The name that a photo's output has by default: its own, with .png for the suffix of what is only read."""
    stem, suffix = os.path.splitext(name)
    only_read = any(suffix.lower() in usual for kind, usual in READ.items() if kind not in FORMATS)
    return f"{stem}.png" if only_read else name


def mode_of(pixels: np.ndarray) -> Mode:
    """The mode without palette of (H, W, C) pixels."""
    modes: tuple[Mode, ...] = ("L", "LA", "RGB", "RGBA")
    return modes[int(pixels.shape[2]) - 1]
