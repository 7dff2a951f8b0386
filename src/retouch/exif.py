"""EXIF as bytes: what stops being true of a retouched, upright picture is changed, all else stays as it was.

Pillow rewrites EXIF at the cost of makers' notes, which are full of absolute offsets. Source: EXIF 2.32.
"""

import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from retouch import quiet

ORIENTATION, EXIF_IFD, GPS_IFD = 0x0112, 0x8769, 0x8825
THUMBNAIL, THUMBNAIL_BYTES = 0x0201, 0x0202
SIDES = (0x0100, 0x0101)  # width and height as some telephones write them into the first directory, too
PIXEL_WIDTH, PIXEL_HEIGHT = 0xA002, 0xA003
# What describes the picture rather than its storage, where EXIF is taken from a TIFF's own directory.
DESCRIPTIVE = (
    Tag.DocumentName, Tag.ImageDescription, Tag.Make, Tag.Model, Tag.PageName, Tag.Software, Tag.DateTime,
    Tag.Artist, Tag.HostComputer, Tag.Copyright, EXIF_IFD, GPS_IFD,
    33550, 33922, 34264, 34735, 34736, 34737,  # where on the earth, as GeoTIFF says it
)  # fmt: skip


def upright(exif: bytes) -> tuple[bytes | None, int]:
    """EXIF of the same picture turned upright, and the orientation (1 to 8) that it asked for.

    Only what stops being true is changed, in place, so that makers' notes (full of absolute offsets) survive:
    the orientation becomes 1, width and height swap where the picture turns by 90 degrees, and the embedded
    thumbnail goes, because it shows the photograph before its retouching.

    Args:
        exif: a TIFF structure, with or without the leading ``Exif\\0\\0``.

    Returns:
        The EXIF without ``Exif\\0\\0``, of the same length, or None where it is damaged; and the orientation, which
        damage behind it leaves as it is: every viewer turns such a picture.
    """
    data, orientation = bytearray(exif.removeprefix(b"Exif\0\0")), 1
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]), "")
    if not order:
        return None, 1
    try:
        first, below = struct.unpack_from(order + "L", data, 4)[0], 0
        for tag, kind, place in _entries(data, first, order):
            if tag == ORIENTATION and kind == 3:
                (asked,) = struct.unpack_from(order + "H", data, place)
                orientation = asked if 1 <= asked <= 8 else 1
                struct.pack_into(order + "H", data, place, 1)
            elif tag == EXIF_IFD:
                (below,) = struct.unpack_from(order + "L", data, place)
        if orientation >= 5:
            _swap_sides(data, first, order, SIDES)
        if orientation >= 5 and below:
            _swap_sides(data, below, order, (PIXEL_WIDTH, PIXEL_HEIGHT))
        _drop_thumbnail(data, first, order)
    except struct.error:
        return None, orientation
    return bytes(data), orientation


def _entries(data: bytearray, start: int, order: str) -> Iterator[tuple[int, int, int]]:
    """(tag, type, place of the value field) of one EXIF directory."""
    (count,) = struct.unpack_from(order + "H", data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, place)
        yield tag, kind, place + 8


def _swap_sides(data: bytearray, start: int, order: str, sides: tuple[int, int]) -> None:
    places = {tag: place for tag, _, place in _entries(data, start, order)}
    if places.keys() >= set(sides):
        # The type stands 6 bytes before the value and may differ (SHORT or LONG): swap whole fields.
        width, height = (slice(places[tag] - 6, places[tag] + 4) for tag in sides)
        data[width], data[height] = data[height], data[width]


def _drop_thumbnail(data: bytearray, first: int, order: str) -> None:
    (count,) = struct.unpack_from(order + "H", data, first)
    link = first + 2 + 12 * count
    second = struct.unpack_from(order + "L", data, link)[0] if link + 4 <= len(data) else 0
    if not second:
        return
    struct.pack_into(order + "L", data, link, 0)
    if second + 2 <= len(data):
        fields = {
            tag: struct.unpack_from(order + "L", data, place)[0]
            for tag, _, place in _entries(data, second, order)
        }
        start, length = fields.get(THUMBNAIL, 0), fields.get(THUMBNAIL_BYTES, 0)
        if start and start + length <= len(data):
            data[start : start + length] = bytes(length)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, C) upright, as EXIF orientation 1 to 8 asks. Source: EXIF 2.32, tag 0x0112."""
    turned = cv2.transpose(pixels) if orientation >= 5 else pixels
    if (axis := {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)) is not None:
        turned = cv2.flip(turned, axis)
    return turned.reshape(*turned.shape[:2], pixels.shape[2])


class _Text(str):
    """What Pillow read as Latin-1, whatever it is, and would write in ASCII: the bytes as they were."""

    def encode(self, *_: str) -> bytes:
        return super().encode("latin-1")


def descriptive(whole: Image.Exif) -> Image.Exif:
    """Only those tags of `whole` that describe the picture, not how a file stores it."""
    kept = Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in (EXIF_IFD, GPS_IFD):
            kept.get_ifd(tag).update({key: _as_read(value) for key, value in whole.get_ifd(tag).items()})
        elif tag in whole:
            kept[tag] = _as_read(whole[tag])
    return kept


def _as_read(value: Any) -> Any:
    return _Text(value) if isinstance(value, str) else value


def any_tag(exif: Image.Exif) -> bool:
    """Whether there is a tag at all; Pillow does not count those of directories that were added."""
    return bool(len(exif) or exif.get_ifd(EXIF_IFD) or exif.get_ifd(GPS_IFD))


def tiff_tags(exif: bytes) -> dict[int, Any]:
    """The descriptive part of EXIF bytes, for a TIFF's own directory: tag to value, directories as dicts.

    Empty where a tag has a type that cannot be written, as damaged EXIF is left out of what is read.
    """
    try:
        with quiet.pillow:
            return _tags(exif)
    except Exception:  # whatever a damaged EXIF leads Pillow to
        return {}


def _tags(exif: bytes) -> dict[int, Any]:
    whole = Image.Exif()
    whole.load(b"Exif\0\0" + exif)
    kept = descriptive(whole)
    below = {tag: kept.get_ifd(tag) for tag in (EXIF_IFD, GPS_IFD)}
    tags = {**kept, **{tag: fields for tag, fields in below.items() if fields}}
    directory = ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
    directory.tobytes()  # raises where one cannot be written
    return tags
