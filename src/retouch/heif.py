"""HEIC and AVIF, the photographs of telephones: opened, with what the libraries do not tell of them.

Both are read and not written. Pillow reads AVIF in 8 bits, OpenCV in 10 and 12; pillow-heif, an extra, reads HEIC.
Sources: HEIF (ISO/IEC 23008-12) and AV1's binding to it: the boxes of size (ispe), depth (av1C) and colours (colr).
"""

import importlib.util
import re
from typing import BinaryIO

import numpy as np
from PIL import Image

from retouch import formats
from retouch.errors import ImageSizeError, ImageTypeError, MissingExtraError, needs

PACKAGE = "pillow_heif"
FORMATS = ("AVIF", "HEIF")  # as Pillow and its plug-in call them
# Properties by their names, the photograph's own before those of its alpha: sizes; the flags of its depth; its colours.
SIZE = re.compile(rb"ispe\0{4}(.{4})(.{4})", re.DOTALL)
PADDING = 63  # pixels that an encoder may add to a side, and have cropped
AV1 = re.compile(rb"av1C\x81.(.)", re.DOTALL)
COLOURS = re.compile(rb"colrnclx(..)(..)", re.DOTALL)


def installed() -> bool:
    """Whether HEIC can be read here."""
    return importlib.util.find_spec(PACKAGE) is not None


def opened(stream: BinaryIO, kind: str, name: str, max_pixels: int) -> Image.Image:
    """A PIL image of an AVIF or HEIC file (``kind``), with its header read and no pixel decoded.

    Its `info` has ``bit_depth`` and, where the colours are told by numbers, ``nclx_profile``, as pillow-heif's has.

    Raises:
        ImageTypeError: what reads them is not installed.
        ImageSizeError: there is more to decode than these pixels, however few the picture is cropped to.
    """
    data = stream.read()
    stream.seek(0)
    for width, height in SIZE.findall(data):
        _check_size(int.from_bytes(width), int.from_bytes(height), name, max_pixels)
    if kind == "AVIF":
        from PIL import AvifImagePlugin  # few pictures need it, and it loads a library

        if not AvifImagePlugin.SUPPORTED:
            raise ImageTypeError(f"expected a Pillow that reads AVIF, got one built without it: {name}")
        image: Image.Image = AvifImagePlugin.AvifImageFile(stream)
        depth, colours = AV1.search(data), COLOURS.search(data)
        flags = depth[1][0] if depth else 0
        image.info["bit_depth"] = 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
        if colours:
            primaries, transfer = map(int.from_bytes, colours.groups())
            image.info["nclx_profile"] = {"color_primaries": primaries, "transfer_characteristics": transfer}
        return image
    try:
        with needs("heic", "reading HEIC"):
            pillow_heif = importlib.import_module(PACKAGE)
    except MissingExtraError as error:
        raise ImageTypeError(f"{error}: {name}") from error
    image = pillow_heif.HeifImageFile(stream)
    if grid := image.info.get("tiling"):  # what its tiles are put together to may be larger than it says
        _check_size(grid["image_width"], grid["image_height"], name, max_pixels)
    # EXIF as it stands in the file: the plug-in has set its orientation to 1, but not turned its width and height.
    image.info["exif"] = pillow_heif.open_heif(data).info["exif"]
    return image


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if (width - PADDING) * (height - PADDING) > max_pixels:
        raise ImageSizeError(f"expected at most {max_pixels:,} pixels, got {width} x {height} in {name}")


def deep_channels(image: Image.Image) -> int:
    """How many channels of 10 or 12 bits an opened file has; 0: they have 8."""
    if image.format not in FORMATS or image.info.get("bit_depth", 8) <= 8:
        return 0
    return {"L": 1, "I;16": 1, "RGB": 3, "RGBA": 4}.get(image.mode, 0)


def decode16(image: Image.Image, data: bytes, channels: int, name: str) -> np.ndarray:
    """(H, W, channels) uint16 of an opened file of 10 or 12 bits, whose white becomes 65535.

    Raises:
        ImageError: it cannot be decoded.
    """
    if image.format == "AVIF":
        pixels = formats.decode16(data, channels, name)
    else:
        pillow_heif = importlib.import_module(PACKAGE)
        stored = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
        pixels = np.asarray(stored).reshape(image.height, image.width, channels)
    return formats.widened(pixels, image.info["bit_depth"])
