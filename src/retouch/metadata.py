"""What a file tells beside its pixels: found in an opened picture, and made ready for an output.

All of it goes on as bytes. Only what stops being true of a retouched, upright picture is changed; `exif.py` does
that for EXIF. Sources: the PNG specification (3rd edition), XMP part 3, and Adobe's Photoshop file format for IPTC.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import Base as Tag

from retouch import exif, quiet

IPTC = 0x0404  # its number among a JPEG's Photoshop resources
XMP_KEYWORD = b"XML:com.adobe.xmp"
COLOURS = (b"cICP", b"cHRM", b"gAMA", b"sRGB")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
SRGB_GAMMA, SRGB_PRIMARIES = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)  # times 100,000
SRGB, UNTOLD = (1, 13), {0, 2}  # primaries and transfer as numbers (H.273); what says nothing of them
XMP_LONGEST = 16 << 20  # bytes unpacked
# XMP of a telephone that finds a video, depths or a gain map behind its photograph: an output has none.
BEHIND = (b"Container:Directory", b"GCamera:MicroVideo", b"GCamera:MotionPhoto")

Chunks = tuple[tuple[bytes, bytes], ...]  # a PNG's chunks: name, content


def exif_of(image: Image.Image, notes: list[str]) -> tuple[bytes | None, int]:
    """(EXIF of the upright picture, the orientation that the pixels still have to be turned by)."""
    kept, orientation = None, 1
    try:
        with quiet.pillow:
            if isinstance(image, TiffImagePlugin.TiffImageFile):  # its decoder turns it
                tags = exif.descriptive(image.getexif())
                raw = tags.tobytes() if exif.any_tag(tags) else None
            else:
                raw = image.info.get("exif")
                if raw is None and "Raw profile type exif" in image.info:  # old ImageMagick's way into PNG
                    raw = image.getexif().tobytes()
            if not raw:
                return None, 1
            kept, orientation = exif.upright(raw)
    except Exception:  # whatever a damaged EXIF leads its parser to must not stop the read
        pass
    if kept is None:
        notes.append("damaged EXIF is left out")
    return kept, 1 if image.format == "HEIF" else orientation  # whose decoder has turned it


def dpi_of(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch, across and down, of the picture as it is stored."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and Tag.XResolution not in image.tag_v2:
        return None  # which Pillow makes 1
    try:
        across, down = map(float, image.info["dpi"])
    except (TypeError, ValueError, LookupError, ArithmeticError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None


def others_of(image: Image.Image, stream: BinaryIO | None, notes: list[str]) -> dict[str, Any]:
    """``xmp``, ``iptc``, ``comment`` and ``chunks`` for a `Photo`; `stream` is the picture's file, if it has one."""
    xmp, iptc, comment, chunks = image.info.get("xmp"), None, image.info.get("comment"), None
    if isinstance(image, PngImagePlugin.PngImageFile) and stream is not None:
        xmp, chunks = _png_chunks(stream, notes)
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        iptc = image.tag_v2._tagdata.get(Tag.IPTCNAA)  # as Pillow's reader has it: its type is often wrong
    elif isinstance(resources := image.info.get("photoshop"), dict):
        iptc = resources.get(IPTC)
    if (nclx := image.info.get("nclx_profile")) and not image.info.get("icc_profile"):
        told = nclx["color_primaries"], nclx["transfer_characteristics"]
        if told != SRGB and not UNTOLD.intersection(told) and max(told) < 256:
            chunks = ((b"cICP", bytes([*told, 0, 1])),)  # of RGB, from 0 to the full range
    xmp, iptc, comment = (
        value if isinstance(value, bytes) and value else None for value in (xmp, iptc, comment)
    )
    if xmp is not None and any(mark in xmp for mark in BEHIND):
        xmp = None
        notes.append("XMP of what stands behind the photograph (a video, depths) is left out")
    return {"xmp": xmp and _upright(xmp), "iptc": iptc, "comment": comment, "chunks": chunks or None}


def _png_chunks(stream: BinaryIO, notes: list[str]) -> tuple[bytes | None, Chunks]:
    """(XMP, all other texts and what tells the colours) of a PNG, wherever they stand; damaged ones are left out."""
    xmp, found, left = None, [], set[str]()
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if name not in COLOURS + TEXTS:
            stream.seek(length + 4, os.SEEK_CUR)
            continue
        body, check = stream.read(length), stream.read(4)
        keyword = body.partition(b"\0")[0]
        if zlib.crc32(name + body).to_bytes(4, "big") != check:
            left.add(f"a damaged {name.decode()} chunk")
        elif name == b"iTXt" and keyword == XMP_KEYWORD:
            xmp = _international_text(body)
        elif name in COLOURS or not keyword.startswith(b"Raw profile type "):
            found.append((name, body))
        elif keyword not in (b"Raw profile type exif", b"Raw profile type APP1", b"Raw profile type icc"):
            left.add("a raw profile among a PNG's texts")
    notes += [f"{what} is left out" for what in sorted(left)]
    return xmp, tuple(found)


def _international_text(body: bytes) -> bytes | None:
    """The text of an iTXt chunk; None where it is damaged."""
    _, _, rest = body.partition(b"\0")  # keyword
    packed, (_, _, rest) = rest[:1] == b"\1", rest[2:].partition(b"\0")  # two flags, language
    _, _, text = rest.partition(b"\0")  # translated keyword
    try:
        return zlib.decompressobj().decompress(text, XMP_LONGEST) if packed else text
    except zlib.error:
        return None


def _upright(xmp: bytes) -> bytes:
    """XMP of an upright picture, without thumbnails, which show the photograph before its retouching."""
    for name in (b"xmp:Thumbnails", b"xap:Thumbnails"):
        start = xmp.find(b"<" + name)
        end = xmp.rfind(b"</" + name + b">")
        if 0 <= start < end:
            xmp = xmp[:start] + xmp[end + len(name) + 3 :]
    upright, place = bytearray(xmp), 0
    while (place := upright.find(b"tiff:Orientation", place)) >= 0:
        place += len(b"tiff:Orientation")
        value = upright[place : place + 8].lstrip(b"='\"> \t\r\n")
        if value[:1].isdigit():
            upright[upright.index(value[0], place)] = ord("1")
    return bytes(upright)


def colours_beyond_srgb(chunks: Chunks) -> bool:
    """Whether a PNG's chunks tell of colours other than sRGB, which is what a file without them has."""
    told = dict(chunks)
    if b"cICP" in told:
        return told[b"cICP"] != b"\x01\x0d\x00\x01"  # H.273: Rec. 709's primaries, sRGB's curve
    if b"sRGB" in told:
        return False
    gamma = int.from_bytes(told.get(b"gAMA", SRGB_GAMMA.to_bytes(4, "big")), "big")
    primaries = told.get(b"cHRM", struct.pack(">8L", *SRGB_PRIMARIES))
    near = len(primaries) == 32 and all(
        abs(one - other) <= 100
        for one, other in zip(struct.unpack(">8L", primaries), SRGB_PRIMARIES, strict=True)
    )
    return abs(gamma - SRGB_GAMMA) > 1000 or not near


def has_texts(chunks: Chunks) -> bool:
    """Whether a PNG's chunks hold texts."""
    return any(name in TEXTS for name, _ in chunks)


def png_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file: length, name, content, checksum."""
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def png_with(data: bytes, chunks: Sequence[tuple[bytes, bytes]], xmp: bytes | None) -> bytes:
    """A PNG file with more chunks, behind its header: before palette and pixels, as those of colours have to be."""
    more = [png_chunk(name, body) for name, body in chunks]
    if xmp:
        more.append(png_chunk(b"iTXt", XMP_KEYWORD + bytes(5) + xmp))
    return b"".join([data[:33], *more, data[33:]]) if more else data


def jpeg_iptc(iptc: bytes) -> bytes:
    """The segment of a JPEG file that holds IPTC: Photoshop's resources, with this one alone."""
    head = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHL", IPTC, 0, len(iptc))
    body = head + iptc + bytes(len(iptc) % 2)
    return b"\xff\xed" + struct.pack(">H", 2 + len(body)) + body
