"""XMP, IPTC, comments, and a PNG's own texts and colours: kept, or said to be lost."""

import io
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from files import png_chunk
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, IptcImagePlugin, PngImagePlugin

from retouch import complete, metadata
from retouch.encode import check_holds, encode
from retouch.image import Photo, read

COLOUR = np.random.default_rng(3).integers(0, 256, (19, 23, 3), np.uint8)
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" xmp:Rating="4">
<tiff:Orientation> 8 </tiff:Orientation><xmp:Thumbnails><rdf:Alt>
<xmpGImg:image>AAAA</xmpGImg:image></rdf:Alt></xmp:Thumbnails><dc:title>\xc3\x9cbersee</dc:title>
</rdf:Description></x:xmpmeta>"""
UPRIGHT = XMP.replace(b'="6"', b'="1"').replace(b" 8 ", b" 1 ")
UPRIGHT = UPRIGHT[: UPRIGHT.index(b"<xmp:T")] + UPRIGHT[UPRIGHT.index(b"<dc:") :]
CAPTION = b"\x1c\x02\x78\x00\x0bThe harbour"  # record 2, dataset 120
GAMMA = (b"gAMA", struct.pack(">L", 100_000))
TEXTS = (
    (b"tEXt", b"Author\0Nobody"),
    (b"zTXt", b"Comment\0\0" + zlib.compress(b"packed " * 99)),
    (b"iTXt", b"parameters\0\0\0\0\0" + "a lake, Übersee".encode()),
)


def saved(format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, format, **options)
    return stream.getvalue()


def png_of(*chunks: tuple[bytes, bytes], place: int = 33) -> bytes:
    """A PNG with more chunks: behind its header, or where its last chunk begins (-12)."""
    data = saved("PNG")
    return data[:place] + b"".join(png_chunk(*chunk) for chunk in chunks) + data[place:]


def chunks_of(data: bytes) -> list[tuple[bytes, bytes]]:
    """All chunks of a PNG, each with a right checksum."""
    found, place = [], 8
    while place < len(data):
        (length,) = struct.unpack_from(">L", data, place)
        name, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert png_chunk(name, body) == data[place : place + 12 + length]
        found.append((name, body))
        place += 12 + length
    return found


# ---- kept -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("target", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_xmp_goes_into_every_format(source: str, target: str) -> None:
    if source == "PNG":
        data = png_of((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))
    else:
        data = saved(source, **({"tiffinfo": {700: XMP}} if source == "TIFF" else {"xmp": XMP}))
    photo = read(data)
    wanted = UPRIGHT.replace(b'tiff:Orientation="1"', b"") if source == "TIFF" else UPRIGHT  # Pillow turns it
    assert photo.xmp == wanted and photo.notes == () and photo.chunks is None
    output = encode(photo, target)
    assert read(output).xmp == wanted
    with Image.open(io.BytesIO(output)) as picture:
        if target == "PNG":
            picture.load()  # its texts may stand behind the pixels
        assert picture.info["xmp"] == wanted


def test_packed_xmp_of_a_png_and_one_that_is_damaged() -> None:
    head = b"XML:com.adobe.xmp\0\1\0en\0title\0"
    assert read(png_of((b"iTXt", head + zlib.compress(XMP)), place=-12)).xmp == UPRIGHT
    assert read(png_of((b"iTXt", head + b"no deflate"))).xmp is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("place", [33, -12])
def test_texts_and_colours_of_a_png_are_kept_to_the_byte(dtype: type, place: int) -> None:
    deep = encode(read(COLOUR.astype(dtype)), "PNG")
    chunks = (GAMMA, *TEXTS) if place == 33 else TEXTS
    photo = read(deep[:place] + b"".join(png_chunk(*chunk) for chunk in chunks) + deep[place:])
    assert photo.chunks == chunks
    output = encode(photo, "PNG")
    kept = chunks_of(output)
    assert tuple(kept[1 : 1 + len(chunks)]) == chunks and kept[-1] == (b"IEND", b"")
    picture = PngImagePlugin.PngImageFile(io.BytesIO(output))
    picture.load()
    assert picture.text["parameters"] == "a lake, Übersee" and picture.text["Author"] == "Nobody"
    assert picture.info.get("gamma") == (1.0 if place == 33 else None)


def test_colours_stand_before_the_palette(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).quantize(9).save(stream, "PNG")
    data = stream.getvalue()
    output = encode(read(data[:33] + png_chunk(*GAMMA) + data[33:]), "PNG")
    assert [name for name, _ in chunks_of(output)][:3] == [b"IHDR", b"gAMA", b"PLTE"]


@pytest.mark.parametrize("target", ["JPEG", "TIFF"])
def test_iptc_and_comment_of_a_jpeg(target: str) -> None:
    resources = (
        b"8BIM\x04\x0c\0\0" + struct.pack(">L", 4) + b"thum"
    )  # a thumbnail of the photograph as it was
    resources += b"8BIM\x04\x04\0\0" + struct.pack(">L", len(CAPTION)) + CAPTION + bytes(len(CAPTION) % 2)
    segment = b"Photoshop 3.0\0" + resources
    extra = b"\xff\xed" + struct.pack(">H", 2 + len(segment)) + segment
    photo = read(saved("JPEG", extra=extra, comment=b"taken in spring"))
    assert (photo.iptc, photo.comment) == (CAPTION, b"taken in spring")
    output = encode(photo, target)
    again = read(output)
    assert again.iptc == CAPTION and b"thum" not in output
    assert again.comment == (b"taken in spring" if target == "JPEG" else None)
    with Image.open(io.BytesIO(output)) as picture:
        assert IptcImagePlugin.getiptcinfo(picture) == {(2, 120): b"The harbour"}


def test_iptc_of_a_tiff_that_declares_words() -> None:
    words = CAPTION + bytes(-len(CAPTION) % 4)
    stream, values = io.BytesIO(), struct.unpack(f"<{len(words) // 4}L", words)
    tifffile.imwrite(stream, COLOUR, extratags=[(33723, "I", len(values), values, True)], byteorder="<")
    assert read(stream.getvalue()).iptc == words


def test_a_completed_file_keeps_them(tmp_path: Path) -> None:
    source, output = tmp_path / "photo.png", tmp_path / "out.png"
    source.write_bytes(png_of(GAMMA, *TEXTS, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)))
    mask = np.zeros(COLOUR.shape[:2], np.uint8)
    mask[4:9, 5:11] = 255
    complete(source, mask, model="telea", output=output)
    assert (read(output).chunks, read(output).xmp) == ((GAMMA, *TEXTS), UPRIGHT)


# ---- left out, and said -----------------------------------------------------------------------------------


def full() -> Photo:
    metadata_ = {"xmp": XMP, "iptc": CAPTION, "comment": b"spring", "chunks": (GAMMA, *TEXTS)}
    return replace(read(COLOUR), **metadata_)


@pytest.mark.parametrize(
    ("target", "lost"),
    [
        ("PNG", ["IPTC", "comment"]),
        ("JPEG", ["every known pixel", "colour space", "texts"]),
        ("WEBP", ["IPTC", "comment", "colour space", "texts"]),
        ("TIFF", ["comment", "colour space", "texts"]),
        ("BMP", ["XMP", "IPTC", "comment", "colour space", "texts"]),
    ],
)
def test_what_a_format_cannot_keep_is_said(target: str, lost: list[str]) -> None:
    lines = check_holds(target, full(), "")
    assert len(lines) == len(lost)
    assert all(word in line for word, line in zip(lost, lines, strict=True)), lines
    again = read(encode(full(), target))
    held = {field: getattr(again, field) is not None for field in ("xmp", "iptc", "comment", "chunks")}
    words = " ".join(lines)
    assert held == {
        "xmp": "XMP" not in words,
        "iptc": "IPTC" not in words,
        "comment": "comment" not in words,
        "chunks": "texts" not in words,
    }


@pytest.mark.parametrize(
    ("field", "most"), [("xmp", 65504), ("iptc", 65506), ("comment", 65533), ("exif", 65527)]
)
def test_what_is_too_long_for_a_jpeg_is_said(field: str, most: int) -> None:
    photo = replace(read(saved("JPEG")), **{field: b"II*\0\x08\0\0\0" + bytes(most - 8)})
    assert check_holds("JPEG", photo, "") == ()
    assert len(getattr(read(encode(photo, "JPEG")), field)) == most
    longer = replace(photo, **{field: b"II*\0\x08\0\0\0" + bytes(most - 7)})
    (line,) = check_holds("JPEG", longer, "")
    assert f"of more than {most} bytes, this one has {most + 1}" in line
    assert getattr(read(encode(longer, "JPEG")), field) is None


SRGB_CHROMA = struct.pack(">8L", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


@pytest.mark.parametrize(
    ("chunks", "beyond"),
    [
        ((), False),
        (((b"sRGB", b"\0"), GAMMA), False),
        (((b"gAMA", struct.pack(">L", 45455)), (b"cHRM", SRGB_CHROMA)), False),
        ((GAMMA,), True),
        (((b"cHRM", struct.pack(">8L", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)),), True),
        (((b"cHRM", b"short"),), True),
        (((b"cICP", b"\x09\x10\x00\x01"), (b"sRGB", b"\0")), True),
        (((b"cICP", b"\x01\x0d\x00\x01"), GAMMA), False),
    ],
)
def test_colours_that_only_a_png_tells(chunks: tuple, beyond: bool) -> None:
    assert metadata.colours_beyond_srgb(chunks) is beyond
    photo = replace(read(COLOUR), chunks=chunks or None)
    assert ("colour space" in "".join(check_holds("TIFF", photo, ""))) is beyond
    assert check_holds("TIFF", replace(photo, icc=b"profile"), "") == ()


def test_profiles_in_texts_damage_and_what_stands_behind_the_photograph() -> None:
    chunks = [(b"zTXt", f"Raw profile type {kind}\0\0x".encode()) for kind in ("exif", "icc", "iptc")]
    photo = read(png_of(*chunks))
    assert photo.chunks is None
    assert photo.notes[-1] == "a raw profile among a PNG's texts is left out"
    data = png_of(TEXTS[0], place=-12)
    photo = read(data.replace(b"Nobody", b"nobody"))
    assert (photo.chunks, photo.notes) == (None, ("a damaged tEXt chunk is left out",))
    photo = read(saved("JPEG", xmp=XMP.replace(b"xmp:Rating", b"GCamera:MotionPhoto")))
    assert photo.xmp is None and "behind the photograph" in photo.notes[0]


def test_many_damaged_texts_are_one_note_and_many_orientations_no_long_wait() -> None:
    data = png_of(*[TEXTS[0]] * 500, place=-12).replace(b"Nobody", b"nobody")
    assert read(data).notes == ("a damaged tEXt chunk is left out",)
    xmp = b'tiff:Orientation="6"' * 300_000
    assert read(png_of((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))).xmp == xmp.replace(b"6", b"1")


@given(
    st.lists(
        st.sampled_from(
            [b"tiff:Orientation", b"='\"> ", b"6", b"<xmp:Thumbnails", b"</xmp:Thumbnails>", b"x"]
        )
    )
)
def test_any_xmp_is_read(parts: list[bytes]) -> None:
    xmp = b"<" + b"".join(parts)
    kept = read(saved("WEBP", xmp=xmp)).xmp
    assert kept is not None and len(kept) <= len(xmp)
    assert not re.search(rb"tiff:Orientation([='\"> ]{5})?6", kept)
    assert not re.search(rb"<xmp:Thumbnails.*</xmp:Thumbnails>", kept)
