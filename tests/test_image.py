"""Reading and the composite: what a picture holds comes out as it went in, whatever wrote the file."""

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from files import is_refused_in_one_line, png_chunk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, ImageOps

from retouch import decode, exif, image
from retouch.errors import ImageError, MaskError
from retouch.image import Patch, Photo, composite, read, read_mask, rgb

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (11, 17, 3), dtype=np.uint8)
SMOOTH = cv2.resize(RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8), (70, 50), interpolation=cv2.INTER_CUBIC)
EXIF_KEPT = {0x010F: "Maker", 0x0131: "Camera 1.0"}
WRITABLE = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
WHOLE = (slice(None), slice(None))
EXAMPLES = Path(image.__file__).with_name("examples")


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)
    return stream.getvalue()


def tiff_of(array: np.ndarray, **options: object) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def png_of(array: np.ndarray, before: bytes = b"", behind: bytes = b"", data: bytes | None = None) -> bytes:
    """A PNG of (H, W, C) written here, with chunks before and behind the pixels."""
    height, width, channels = array.shape
    depth, kind = 8 * array.dtype.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in array)
    header = struct.pack(">LLBBBBB", width, height, depth, kind, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(rows) if data is None else data)
    chunks = png_chunk(b"IHDR", header) + before + body + behind + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def deep(channels: int, height: int = 11, width: int = 17) -> np.ndarray:
    return RNG.integers(0, 65536, (height, width, channels), dtype=np.uint16)


def exif_of(orientation: int, *, sides: bool = True) -> bytes:
    """``sides``: in the first directory too; a TIFF has its own there."""
    tags = Image.Exif()
    tags.update(EXIF_KEPT)
    tags[exif.ORIENTATION] = orientation
    if sides:
        tags.update(zip(exif.SIDES, (17, 11), strict=True))
    below = tags.get_ifd(exif.EXIF_IFD)
    below[exif.PIXEL_WIDTH], below[exif.PIXEL_HEIGHT], below[0x927C] = 17, 11, b"maker's note" * 9
    tags.get_ifd(exif.GPS_IFD)[1] = "N"
    return tags.tobytes()


def tags_of(data: bytes | None) -> Image.Exif:
    tags = Image.Exif()
    tags.load(b"Exif\0\0" + (data or b""))
    return tags


# ---- what others wrote ----------------------------------------------------------------------------------


PILLOW_WRITES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "BMP": ("1", "L", "P", "RGB"),
    "WEBP": ("RGB", "RGBA"),
}


@pytest.mark.parametrize(
    ("format", "mode"), [(format, mode) for format, modes in PILLOW_WRITES.items() for mode in modes]
)
def test_pixels_of_pillows_files_are_exact(format: str, mode: str) -> None:
    source = Image.fromarray(deep(1)[..., 0]) if mode == "I;16" else Image.fromarray(COLOUR).convert(mode)
    if mode in ("LA", "RGBA"):
        source.putalpha(Image.fromarray(COLOUR[..., 0]))
    data = saved(source, format, **({"lossless": True, "exact": True} if format == "WEBP" else {}))
    photo = read(data)
    assert (photo.mode, photo.format, photo.lossless) == (mode.replace("I;16", "L"), format, True)
    assert photo.depth == (16 if mode == "I;16" else 8) and photo.size == (11, 17)
    assert not photo.notes and not photo.pixels.flags.writeable
    if mode == "P":
        assert photo.palette is not None
        np.testing.assert_array_equal(photo.palette[photo.pixels[..., 0], :3], source.convert("RGB"))
    else:
        expected = np.asarray(source.convert("L") if mode == "1" else source)
        np.testing.assert_array_equal(photo.pixels, expected.reshape(photo.pixels.shape))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}])
@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_tiff(channels: int, options: dict[str, object], order: str) -> None:
    pixels = deep(channels, 37, 29)
    kind = {"photometric": "rgb" if channels > 1 else "minisblack", "byteorder": order}
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    photo = read(tiff_of(pixels if channels > 1 else pixels[..., 0], **kind, **extra, **options))
    np.testing.assert_array_equal(photo.pixels, pixels)


def test_grey_tiff_where_0_is_white_is_read_as_it_is_seen() -> None:
    for pixels in (deep(1), COLOUR[..., :1]):
        shown = np.iinfo(pixels.dtype).max - pixels
        photo = read(tiff_of(pixels[..., 0], photometric="miniswhite"))
        np.testing.assert_array_equal(photo.pixels, shown)
        np.testing.assert_array_equal(read(image.encode(photo, "TIFF")).pixels, shown)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_of_every_channel_count_and_depth(channels: int, dtype: type) -> None:
    pixels = deep(channels).astype(dtype)
    photo = read(png_of(pixels))
    assert photo.mode == ("L", "LA", "RGB", "RGBA")[channels - 1]
    np.testing.assert_array_equal(photo.pixels, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_becomes_alpha(dtype: type, channels: int) -> None:
    pixels = deep(channels).astype(dtype)
    pixels[3, 4] = 1
    photo = read(png_of(pixels, before=png_chunk(b"tRNS", struct.pack(">H", 1) * channels)))
    assert photo.mode == ("LA" if channels == 1 else "RGBA") and photo.depth == 8 * np.dtype(dtype).itemsize
    np.testing.assert_array_equal(photo.pixels[..., :channels], pixels)
    clear = (pixels == 1).all(axis=2)
    np.testing.assert_array_equal(photo.pixels[..., -1], np.where(clear, 0, np.iinfo(dtype).max))
    if channels == 1 or dtype == np.uint8:
        assert "alpha channel" in photo.notes[0]


@pytest.mark.parametrize(("bits", "packed", "factor"), [(2, b"\x1b", 85), (4, b"\x01\x23", 17)])
def test_a_transparent_grey_of_few_bits_becomes_alpha(bits: int, packed: bytes, factor: int) -> None:
    header = struct.pack(">LLBBBBB", 4, 1, bits, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"tRNS", b"\0\2"), (b"IDAT", zlib.compress(b"\0" + packed)), (b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)
    pillows = Image.open(io.BytesIO(data))
    for photo in (read(data), read(pillows)):
        assert f"grey of {bits} bits is widened to 8" in photo.notes
        assert photo.pixels[0].tolist() == [[factor * n, 0 if n == 2 else 255] for n in range(4)]
    assert pillows.info["transparency"] == 2


def test_a_palette_with_alpha_of_its_own_is_kept() -> None:
    alpha = np.where(COLOUR[..., :1] > 128, 255, 90).astype(np.uint8)
    source = Image.fromarray(np.concatenate([COLOUR, alpha], axis=2)).quantize(32)
    assert source.palette is not None and source.palette.mode == "RGBA"
    photo = read(source)
    assert photo.palette is not None and photo.has_alpha
    np.testing.assert_array_equal(photo.palette[photo.pixels[..., 0]], np.asarray(source.convert("RGBA")))


def test_signed_numbers_are_no_picture() -> None:
    with pytest.raises(ImageError, match="expected whole numbers from 0 up, got signed ones"):
        read(tiff_of(COLOUR[..., 0].astype(np.int8)))


def test_where_on_the_earth_a_tiff_shows_is_kept() -> None:
    scale, keys = (0.5, 0.5, 0.0), (1, 1, 0, 1, 1024, 0, 1, 1)
    tags = [(33550, "d", 3, scale, True), (34735, "H", 8, keys, True), (34737, "s", 0, "WGS 84|", True)]
    photo = read(tiff_of(COLOUR, photometric="rgb", extratags=tags))
    with Image.open(io.BytesIO(image.encode(photo, "TIFF"))) as again:
        assert again.tag_v2[33550] == scale and again.tag_v2[34735] == keys
        assert again.tag_v2[34737] == "WGS 84|"


def test_a_tiff_that_says_no_resolution_has_none() -> None:
    assert read(saved(Image.fromarray(COLOUR), "TIFF")).dpi is None
    assert read(saved(Image.fromarray(COLOUR), "TIFF", dpi=(1, 1))).dpi == (1, 1)


def test_a_mask_of_0_and_1_is_refused() -> None:
    mask = np.eye(4, dtype=np.uint8)
    with pytest.raises(MaskError, match="expected a mask with white at 255, got one of 0 and 1 alone"):
        read_mask(mask, (4, 4))
    assert not read_mask(np.zeros((4, 4), np.uint8), (4, 4)).any()


@pytest.mark.parametrize(
    ("painted", "most"),
    [
        (Image.fromarray(np.array([[[255, 0, 0]], [[0, 0, 0]]], np.uint8)), 76),
        (Image.fromarray(np.array([[[255, 0, 0]], [[0, 0, 0]]], np.uint8)).quantize(2), 76),
        (Image.fromarray(np.array([[0], [127]], np.uint8)), 127),
        (Image.fromarray(np.array([[1], [2]], np.uint8)), 2),
        (Image.fromarray(np.array([[0], [30000]], np.uint16)), 117),
    ],
)
def test_a_mask_painted_but_not_white_is_refused(painted: Image.Image, most: int) -> None:
    with pytest.raises(MaskError, match=rf"\Aexpected a mask with white .*, got none brighter than {most}\Z"):
        read_mask(painted, (2, 1))


def test_labels_in_a_palette_that_gives_them_one_colour_are_refused() -> None:
    """As Pillow writes labels that were given no palette: one colour, black."""
    labels = Image.frombytes("P", (4, 4), bytes([1, *[0] * 15]))
    for mask in (labels, saved(labels, "PNG")):
        with pytest.raises(MaskError, match=r"with white .*, got a palette without colours for its labels\Z"):
            read_mask(mask, (4, 4))
    assert not read_mask(Image.frombytes("P", (4, 4), bytes(16)), (4, 4)).any()


def test_what_compression_leaves_in_a_black_mask_is_no_hole() -> None:
    faint = Image.fromarray(np.random.default_rng(0).integers(0, 20, (16, 16), np.uint8))
    assert not read_mask(saved(faint, "JPEG"), (16, 16)).any()
    with pytest.raises(MaskError, match="none brighter"):
        read_mask(saved(faint, "PNG"), (16, 16))


@pytest.mark.parametrize("grey", [0, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_a_mask_that_is_in_its_transparency_alone_is_refused(grey: int, mode: str) -> None:
    layer = Image.new("LA", (4, 4), (grey, 0))
    assert read_mask(layer.convert(mode), (4, 4)).all() == (grey == 255)
    layer.putpixel((1, 1), (grey, 255))
    mask = Image.frombytes("P", (4, 4), bytes([1, *[0] * 15])) if mode == "P" else layer.convert(mode)
    if mode == "P":
        mask.putpalette([grey] * 3 + [0] + [grey] * 3 + [255], "RGBA")
    with pytest.raises(MaskError, match="white on black, got one whose transparency alone differs: flatten"):
        read_mask(mask, (4, 4))
    layer.putpixel((2, 2), (255 - grey, 90))
    assert read_mask(layer, (4, 4)).sum() == (15 if grey else 1)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_strokes_on_transparent_white_are_refused(mode: str) -> None:
    """As programs whose new layers are transparent white save strokes of black or red: all else would be filled."""
    layer = Image.new("LA", (4, 4), (255, 0))
    layer.putpixel((1, 1), (0, 255))
    mask = layer.convert(mode)
    if mode == "P":
        mask = Image.frombytes("P", (4, 4), bytes([1, *[0] * 15]))
        mask.putpalette([255, 255, 255, 0, 200, 0, 0, 255], "RGBA")
    with pytest.raises(MaskError, match="white on black, got one whose white is all transparent: flatten"):
        read_mask(mask, (4, 4))
    layer.putpixel((2, 2), (255, 1))
    assert read_mask(layer, (4, 4)).sum() == 15


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "I;16"])
def test_a_photograph_is_no_mask(mode: str) -> None:
    """Arguments that were swapped, or the photograph with its hole erased: its bright pixels would be filled."""
    picture = Image.open(EXAMPLES / "rocket.jpg")
    ImageDraw.Draw(picture).rectangle((30, 30, 60, 90), "white")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    elif mode != "RGB":
        picture = picture.convert(mode)
    size = picture.height, picture.width
    with pytest.raises(MaskError, match=r"white on black, got a picture that is neither in \d\d%"):
        read_mask(picture, size)


@pytest.mark.parametrize(
    "mask",
    [
        Image.new("L", (64, 64), 100),
        Image.linear_gradient("L").point(lambda v: 90 if v < 100 else 160),  # of two greys
        Image.linear_gradient("L").point(lambda v: min(255, max(0, 2 * v - 128))),  # soft over half of it
    ],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_mask_may_be_grey_or_soft(mask: Image.Image, form: str) -> None:
    hole = read_mask(saved(mask, form), (mask.height, mask.width))
    np.testing.assert_array_equal(hole, np.asarray(Image.open(io.BytesIO(saved(mask, form)))) >= 128)


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 250, 10))])
def test_palette_transparency_is_kept(transparency: int | bytes) -> None:
    source = Image.fromarray(COLOUR).quantize(25)
    photo = read(saved(source, "PNG", transparency=transparency))
    assert photo.palette is not None and photo.has_alpha
    again = Image.open(io.BytesIO(image.encode(photo, "PNG")))
    assert again.mode == "P"
    expected = Image.open(io.BytesIO(saved(source, "PNG", transparency=transparency))).convert("RGBA")
    np.testing.assert_array_equal(again.convert("RGBA"), expected)


@pytest.mark.parametrize("mode", ["PA", "YCbCr", "HSV", "La", "RGBa", "RGBX"])
def test_uncommon_modes_are_converted_and_said_so(mode: str) -> None:
    through = {"RGBa": "RGBA", "La": "LA", "PA": "P"}.get(mode)
    source = Image.fromarray(COLOUR).convert(through).convert(mode) if through else Image.fromarray(COLOUR)
    photo = read(source.convert(mode))
    assert photo.mode in ("RGB", "RGBA", "LA") and f"{mode} is converted" in photo.notes[0]


def test_32_bit_grey_is_read_where_it_fits_16_bits() -> None:
    wide = deep(1)[..., 0].astype(np.int32)
    photo = read(Image.fromarray(wide))
    assert photo.depth == 16
    np.testing.assert_array_equal(photo.pixels[..., 0], wide)
    for value in (-1, 65536):
        with pytest.raises(ImageError, match="mode I "):
            read(Image.fromarray(np.full((2, 2), value, np.int32)))
    with pytest.raises(ImageError, match="mode F "):
        read(saved(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))


def test_16_bit_tiff_that_no_library_reads_rightly_is_refused() -> None:
    planes = tiff_of(deep(3).transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    with pytest.raises(ImageError, match="separate planes"):
        read(planes)
    with pytest.raises(ImageError, match="multiplied"):
        read(tiff_of(deep(4), photometric="rgb", extrasamples=["assocalpha"]))


def test_8_bit_planes_are_read() -> None:
    planes = tiff_of(COLOUR.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read(planes).pixels, COLOUR)


def test_16_bits_that_pillow_has_cut_already_are_said() -> None:
    with Image.open(io.BytesIO(png_of(deep(3)))) as cut:
        assert "16 bits a channel are cut to 8" in read(cut).notes


# ---- several frames, CMYK, JPEG -------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "MPO"])
def test_first_of_several_frames(format: str) -> None:
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if format == "WEBP" else {}
    photo = read(saved(frames[0], format, save_all=True, append_images=frames[1:], **lossless))
    assert photo.notes == ("frame 1 of 3 is read, no other",)
    assert photo.format == format.replace("MPO", "JPEG")
    assert np.abs(photo.pixels[..., :3].astype(int) - (255, 0, 0)).max() < 3


def cmyk_profile() -> bytes:
    """A CMYK profile of an odd press: cyan prints blue, black black, magenta and yellow nothing."""
    lab = b""
    for mix in range(16):  # the corners of the cube of inks, cyan slowest, black fastest
        cyan, black = mix >> 3, mix & 1
        lab += bytes([0, 128, 128] if black else [150, 128, 60] if cyan else [255, 128, 128])
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + (np.eye(3).ravel() * 65536).astype(">i4").tobytes()
    table += bytes(range(256)) * 4 + lab + bytes(range(256)) * 3
    white = b"XYZ " + bytes(4) + struct.pack(">lll", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">L", 5) + b"blue\0" + bytes(78)
    bodies = {b"desc": text, b"wtpt": white, b"A2B0": table}
    place, entries, payload = 128 + 4 + 12 * len(bodies), b"", b""
    for name, body in bodies.items():
        body += bytes(-len(body) % 4)
        entries += name + struct.pack(">LL", place + len(payload), len(body))
        payload += body
    header = struct.pack(">L4sL4s4s4s", place + len(payload), b"lcms", 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">lll", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">L", len(bodies)) + entries + payload


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_converted_and_said_so(format: str) -> None:
    source = Image.fromarray(SMOOTH).convert("CMYK")
    plain = read(saved(source, format))
    assert plain.mode == "RGB" and "plain formula" in plain.notes[0] and plain.jpeg is None
    assert np.abs(plain.pixels.astype(int) - SMOOTH).mean() < 6
    inks = np.zeros((4, 40, 40), np.uint8)  # one ink in each square
    for ink in range(4):
        inks[ink, 10 * ink : 10 * ink + 10] = 255
    press = Image.merge("CMYK", [Image.fromarray(ink) for ink in inks])
    managed = read(saved(press, format, icc_profile=cmyk_profile()))
    assert "through its ICC profile" in managed.notes[0] and managed.icc is None
    cyan, magenta, yellow, black = managed.pixels[5::10, 20].astype(int)
    assert cyan[2] > cyan[0] + 80 and min(*magenta, *yellow) > 245 and max(black) < 10
    broken = read(saved(source, format, icc_profile=b"no profile" * 20))
    assert "plain formula" in broken.notes[0] and broken.icc is None


def test_16_bit_cmyk_is_cut_and_said_so() -> None:
    photo = read(tiff_of(deep(4), photometric="separated"))
    assert photo.mode == "RGB" and photo.depth == 8 and "16 bits a channel are cut to 8" in photo.notes


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [30, 90, 100])
def test_jpeg_keeps_tables_and_subsampling(subsampling: int, progressive: bool, quality: int) -> None:
    options = {"subsampling": subsampling, "progressive": progressive, "quality": quality}
    data = saved(Image.fromarray(SMOOTH), "JPEG", **options)
    photo = read(data)
    again = image.encode(photo, "JPEG")
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(again)) as after:
        assert after.quantization == before.quantization
        assert after.layer == before.layer
        assert after.info.get("progressive") == before.info.get("progressive")
    assert not photo.lossless and read(again).jpeg == photo.jpeg
    # What a second generation changes stays far below what the first one did.
    first, second = (
        np.abs(read(data).pixels.astype(int) - other).mean() for other in (SMOOTH, read(again).pixels)
    )
    assert second <= 0.9 * first + 0.2


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_turned_jpeg_loses_no_more_than_an_upright_one(subsampling: int) -> None:
    """The steps of its 8 x 8 blocks, which differ across and down, turn with it."""
    picture = Image.fromarray(SMOOTH).resize((48, 32))  # whole blocks, which stay whole ones
    table = [1 + 3 * (i % 8) + 9 * (i // 8) for i in range(64)]
    change = {}
    for orientation in (1, 6):
        options = {"qtables": [table, table], "subsampling": subsampling, "exif": exif_of(orientation)}
        photo = read(saved(picture, "JPEG", **options))
        again = read(image.encode(photo, "JPEG"))
        change[orientation] = np.abs(again.pixels.astype(int) - photo.pixels).mean()
    assert change[6] <= 1.5 * change[1] + 0.1


def test_jpeg_of_red_green_and_blue_stays_so() -> None:
    data = saved(Image.fromarray(COLOUR), "JPEG", quality=100, keep_rgb=True)
    photo = read(data)
    again = read(image.encode(photo, "JPEG"))
    assert photo.jpeg is not None and photo.jpeg.rgb and again.jpeg == photo.jpeg
    assert np.abs(again.pixels.astype(int) - photo.pixels).max() <= 1


def test_jpeg_with_other_subsampling_loses_nothing_more() -> None:
    flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411]
    photo = read(cv2.imencode(".jpg", SMOOTH, flags)[1].tobytes())
    assert photo.jpeg is not None and photo.jpeg.subsampling == 0
    assert read(image.encode(photo, "JPEG")).jpeg == photo.jpeg


def test_grey_jpeg_and_other_sources() -> None:
    grey = read(saved(Image.fromarray(SMOOTH[..., 0]), "JPEG", quality=70))
    assert grey.mode == "L" and grey.jpeg is not None and len(grey.jpeg.quantization) == 1
    assert read(image.encode(grey, "JPEG")).jpeg == grey.jpeg
    with Image.open(io.BytesIO(image.encode(read(SMOOTH), "JPEG"))) as made:
        expected = Image.open(io.BytesIO(saved(made, "JPEG", quality=95, subsampling=0)))
        assert made.quantization == expected.quantization and made.layer == expected.layer
    with Image.open(io.BytesIO(saved(Image.fromarray(SMOOTH), "JPEG", quality=40))) as opened:
        assert read(opened).jpeg == read(saved(Image.fromarray(SMOOTH), "JPEG", quality=40)).jpeg


# ---- EXIF, ICC, resolution ------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "PNG16", "TIFF16", "PIL"])
def test_orientation_is_applied_once(format: str, orientation: int) -> None:
    data, pixels = exif_of(orientation), COLOUR
    if format == "TIFF16":
        pixels = deep(3)
        data = tiff_of(pixels, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    elif format == "PNG16":
        pixels = deep(3)
        data = png_of(pixels, behind=png_chunk(b"eXIf", data[6:]))
    elif format == "TIFF":
        data = tiff_of(pixels, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    elif format != "PIL":
        options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(format, {})
        data = saved(Image.fromarray(pixels), format, exif=data, **options)
    source: bytes | Image.Image = data
    if format == "PIL":
        source = Image.fromarray(pixels)
        source.info["exif"] = data
    photo = read(source)
    # Pillow turns the index of every pixel: an independent answer for any depth.
    marker = Image.fromarray(np.arange(11 * 17, dtype=np.uint8).reshape(11, 17))
    marker.getexif()[exif.ORIENTATION] = orientation
    order = np.asarray(ImageOps.exif_transpose(marker)).astype(int)
    upright = pixels.reshape(-1, 3)[order.ravel()].reshape(*order.shape, 3)
    worst = 8 if format == "JPEG" else 0
    assert photo.size == order.shape
    assert np.abs(photo.pixels.astype(int) - upright).max() <= worst
    if not format.startswith("TIFF"):
        tags = tags_of(photo.exif)
        assert tags[exif.ORIENTATION] == 1 and {key: tags[key] for key in EXIF_KEPT} == EXIF_KEPT
        below = tags.get_ifd(exif.EXIF_IFD)
        assert below[0x927C] == b"maker's note" * 9
        assert (below[exif.PIXEL_WIDTH], below[exif.PIXEL_HEIGHT]) == photo.size[::-1]
        assert tuple(map(tags.get, exif.SIDES)) == photo.size[::-1]
        assert tags.get_ifd(exif.GPS_IFD) == {1: "N"}
    again = read(image.encode(photo, photo.format))
    assert again.size == photo.size
    assert format == "JPEG" or (again.pixels == photo.pixels).all()


def with_thumbnail(order: str, second_orientation: int) -> tuple[bytes, bytes]:
    """EXIF with a second directory that holds a thumbnail, and the thumbnail."""
    picture = b"\xff\xd8 a small picture \xff\xd9"
    start = 8 + 2 + 12 + 4
    image_at = start + 2 + 3 * 12 + 4
    first = struct.pack(order + "HHHLHHL", 1, exif.ORIENTATION, 3, 1, 6, 0, start)
    second = struct.pack(order + "HHHLHH", 3, exif.ORIENTATION, 3, 1, second_orientation, 0)
    second += struct.pack(order + "HHLL", exif.THUMBNAIL, 4, 1, image_at)
    second += struct.pack(order + "HHLL", exif.THUMBNAIL_BYTES, 4, 1, len(picture)) + bytes(4)
    return {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(
        order + "L", 8
    ) + first + second + picture, picture


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_of_the_unretouched_picture_goes(order: str) -> None:
    data, picture = with_thumbnail(order, 6)
    assert picture in data
    changed, orientation = exif.upright(b"Exif\0\0" + data)
    assert orientation == 6 and changed and len(changed) == len(data) and picture not in changed
    assert tags_of(changed)[exif.ORIENTATION] == 1


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 400), st.sampled_from(["<", ">"]))
def test_no_exif_stops_the_read(noise: bytes, place: int, order: str) -> None:
    whole, _ = with_thumbnail(order, 1)
    damaged = whole[:place] + noise + whole[place + len(noise) :] if place < len(whole) else noise
    changed, orientation = exif.upright(damaged)
    assert 1 <= orientation <= 8 and (changed is None or len(changed) == len(damaged))
    data = png_of(COLOUR, behind=png_chunk(b"eXIf", damaged))
    photo = read(data)
    assert sorted(photo.size) == [11, 17]
    assert photo.exif is not None or not damaged or "damaged EXIF" in photo.notes[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damage_behind_the_orientation_leaves_it(kind: str) -> None:
    """Viewers turn such a picture, and its mask is painted on what they show."""
    whole, _ = with_thumbnail("<", 6)
    cut = whole[: whole.index(struct.pack("<HHL", exif.THUMBNAIL, 4, 1)) + 3]
    photo = read(saved(Image.fromarray(COLOUR), kind, exif=b"Exif\0\0" + cut))
    assert photo.size == (17, 11) and photo.exif is None and photo.notes == ("damaged EXIF is left out",)


@pytest.mark.parametrize(("bits", "becomes"), [(2, 8), (4, 8), (12, 16)])
def test_tiffs_of_other_grey(bits: int, becomes: int) -> None:
    """As scanners write it: white is 4095 in 12 bits, and would be nearly black in 16."""
    top, most = 2**bits - 1, 2**becomes - 1
    values = np.array([[0, 1, top // 2 + 1, top]])
    count = 4 * bits // 8
    data = int("".join(f"{value:0{bits}b}" for value in values[0]), 2).to_bytes(count, "big")
    fields = ((256, 4), (257, 1), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, count))
    directory = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in fields)
    start = b"II*\0" + struct.pack("<L", 8 + len(data)) + data
    photo = read(start + struct.pack("<H", len(fields)) + directory + bytes(4))
    said = f"{bits} bits are widened to 16" if bits == 12 else f"grey of {bits} bits is widened to 8"
    assert photo.depth == becomes and photo.notes == (said,)
    assert np.array_equal(photo.pixels[..., 0], np.rint(values * most / top))


@pytest.mark.parametrize("kind", ["uint16", "PIL"])
def test_a_mask_of_8_bits_in_16_is_refused(kind: str) -> None:
    """It would fill nothing."""
    white = np.full((4, 5), 255)
    mask = Image.fromarray(white.astype(np.int32)) if kind == "PIL" else white.astype(np.uint16)
    with pytest.raises(MaskError, match="white at 65535, got none above 255"):
        read_mask(mask, (4, 5))
    assert not read_mask(np.zeros((4, 5), np.uint16), (4, 5)).any()


def test_dpi_turns_with_a_tiff() -> None:
    data = saved(Image.new("L", (20, 10)), "TIFF", dpi=(204, 98), tiffinfo={exif.ORIENTATION: 6})
    photo = read(data)
    assert (photo.size, photo.dpi) == ((20, 10), (98, 204))


def test_damaged_exif_in_jpeg_and_tiff() -> None:
    for data in (
        saved(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40),
        saved(Image.fromarray(COLOUR), "WEBP", exif=b"Exif\0\0nonsense"),
        tiff_of(COLOUR, photometric="rgb", extratags=[(exif.EXIF_IFD, 4, 1, 1 << 30, True)]),
    ):
        assert read(data).size == (11, 17)


@pytest.mark.parametrize("coding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("stored", ["TIFF", "JPEG"])
@pytest.mark.parametrize("asked", ["TIFF", "JPEG", "PNG"])
def test_exif_text_keeps_its_bytes(coding: str, stored: str, asked: str) -> None:
    text = "(c) Jurgen" if coding == "ascii" else "© Jürgen Müller"
    raw = text.encode(coding) + b"\0"
    long = len(raw).to_bytes(4, "little")
    place = (8 + 2 + 2 * 12 + 4).to_bytes(4, "little")
    below = (8 + 2 + 2 * 12 + 4 + len(raw)).to_bytes(4, "little")
    tags = b"II*\0\x08\0\0\0\x02\0" + struct.pack("<HH", 33432, 2) + long + place
    tags += struct.pack("<HHL", exif.EXIF_IFD, 4, 1) + below + bytes(4) + raw
    tags += (
        struct.pack("<HHH", 1, 42032, 2) + long + (int.from_bytes(below, "little") + 18).to_bytes(4, "little")
    )
    tags += bytes(4) + raw  # 42032: the camera's owner, in the directory below
    data = saved(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\0\0" + tags)
    if stored == "TIFF":
        data = image.encode(read(data), "TIFF")
    file = image.encode(read(data), asked)
    assert file.count(raw) == 2
    with Image.open(io.BytesIO(file)) as opened:
        assert opened.getexif()[33432] == text.encode(coding).decode("latin-1")
        assert opened.getexif().get_ifd(exif.EXIF_IFD)[42032] == text.encode(coding).decode("latin-1")


def test_exif_of_a_type_that_no_tiff_has_is_left_out() -> None:
    tags = (
        b"II*\0\x08\0\0\0\x01\0"
        + struct.pack("<HHLL", 0x010F, 5, 1, 26)
        + bytes(4)
        + struct.pack("<LL", 3, 2)
    )
    photo = read(saved(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\0\0" + tags))
    assert photo.exif is not None
    again = read(image.encode(photo, "TIFF"))
    assert (again.pixels == photo.pixels).all()


@pytest.mark.parametrize(
    ("array", "options", "note"),
    [
        (np.zeros((5, 7, 4), np.uint8), {"extrasamples": [0]}, "1 channel beyond RGB left out"),
        (np.zeros((5, 7, 4), np.uint16), {"extrasamples": [0]}, "1 channel beyond RGB left out"),
        (
            np.zeros((5, 7, 2), np.uint8),
            {"extrasamples": [0], "photometric": "minisblack"},
            "1 channel beyond L left out",
        ),
        (
            np.zeros((5, 7, 4), np.uint8),
            {"extrasamples": [1]},
            "alpha was multiplied into the colours, and is taken out of them",
        ),
        (np.zeros((5, 7, 4), np.uint8), {"extrasamples": [2]}, None),
    ],
)
def test_what_a_tiff_holds_beyond_its_colours_is_said(
    array: np.ndarray, options: dict, note: str | None
) -> None:
    photo = read(tiff_of(array, **{"photometric": "rgb", **options}))
    assert photo.notes == ((note,) if note else ())


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("format", "dtype"),
    [*((format, np.uint8) for format in WRITABLE), ("PNG", np.uint16), ("TIFF", np.uint16)],
)
def test_icc_exif_and_resolution_are_kept(format: str, dtype: type) -> None:
    kept, _ = exif.upright(exif_of(1))
    photo = replace(read(COLOUR.astype(dtype)), icc=SRGB, exif=kept, dpi=(300.0, 150.0))
    again = read(image.encode(photo, format))
    if format != "BMP":
        assert again.icc == SRGB
        tags = tags_of(again.exif)
        assert {key: tags[key] for key in EXIF_KEPT} == EXIF_KEPT
        assert tags.get_ifd(exif.EXIF_IFD)[0x927C] == b"maker's note" * 9
        assert tags.get_ifd(exif.GPS_IFD) == {1: "N"}
    if format in ("JPEG", "PNG", "WEBP"):
        assert again.exif == kept  # to the byte
    if format != "WEBP":
        assert again.dpi == pytest.approx((300, 150), abs=0.02)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_printer_s_profile_of_three_megabytes_is_kept(format: str) -> None:
    profile = np.random.default_rng(0).bytes(3_000_000)
    photo = read(saved(Image.fromarray(COLOUR), format, icc_profile=profile))
    assert photo.icc == profile and read(image.encode(photo, format)).icc == profile


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_large_profiles_and_texts_of_a_png(dtype: type) -> None:
    icc = np.random.default_rng(0).bytes(1_500_000)
    photo = replace(read(np.zeros((3, 4, 3), dtype)), icc=icc)
    data = image.encode(photo, "PNG")
    assert read(data).icc == icc
    texts = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000)))
    texts += png_chunk(b"iTXt", b"b\0\1\0\0\0" + zlib.compress(b"b" * 2_000_000))
    for place in (33, len(data) - 12):  # behind the header, and before the end
        assert read(data[:place] + texts + data[place:]).icc == icc


def test_resolution_turns_with_the_picture() -> None:
    data = saved(Image.fromarray(COLOUR), "JPEG", exif=exif_of(6), dpi=(300, 150))
    assert read(data).dpi == (150, 300)


# ---- bad input ------------------------------------------------------------------------------------------


def test_missing_folder_empty_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"found nothing at .*none\.png"):
        read(tmp_path / "none.png")
    with pytest.raises(FileNotFoundError):
        read("x" * 5000)
    with pytest.raises(ImageError, match=r"got a folder: .*"):
        read(tmp_path)
    with pytest.raises(ImageError, match="got an empty file"):
        (tmp_path / "empty.png").touch()
        read(tmp_path / "empty.png")
    for name, content in {
        "a.jpg": b"hello world",
        "c.webp": b"RIFF0000WAVE",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            ImageError, match=f"expected a PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC picture, got .*{name}"
        ):
            read(tmp_path / name)
    for format in ("GIF", "JPEG2000"):
        data = saved(Image.fromarray(COLOUR), format)
        with pytest.raises(ImageError, match=f"got {format.replace('G2', 'G 2')}: "):
            read(data)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageError, match="device or pipe"):
        read(tmp_path / "pipe")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PNG16", "TIFF16"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.97])
def test_truncated(format: str, share: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    photo = read(noise.astype(np.uint16) * 257 if format.endswith("16") else noise)
    data = image.encode(photo, format.removesuffix("16"))
    is_refused_in_one_line(tmp_path / "cut.img", data[: int(len(data) * share)], capfd)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*WRITABLE, "PNG16", "TIFF16"]), st.data())
def test_damage_gives_a_picture_or_one_line(format: str, data: st.DataObject) -> None:
    photo = read(COLOUR.astype(np.uint16) * 257 if format.endswith("16") else COLOUR)
    whole = bytearray(image.encode(photo, format.removesuffix("16")))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(whole), max_pixels=10_000)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert found.height * found.width <= 10_000 and found.pixels.shape[:2] == found.size


@pytest.mark.parametrize("array", [deep(2), np.zeros((4, 5, 3), np.float32)])
def test_a_tiff_of_another_kind_is_not_called_damaged(array: np.ndarray) -> None:
    options = {"photometric": "rgb"} if array.shape[2] == 3 else {"extrasamples": ["unassalpha"]}
    with pytest.raises(ImageError, match=r"\Aexpected a TIFF of 8 or 16 bits .* got another kind in"):
        read(tiff_of(array, **options))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_sides_that_no_library_reads(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = image.encode(read(np.zeros((1, 1_048_577, 3), np.uint16)), format)
    with pytest.raises(ImageError, match=r"\Aexpected 16-bit sides of at most 1,000,000 px, got 1048577 x 1"):
        read(data)
    assert capfd.readouterr() == ("", "")


def test_pixels_that_end_early_are_damage() -> None:
    pixels = deep(3)
    short = zlib.compress(bytes(200))
    for data in (
        png_of(pixels, data=short),
        png_of(pixels).replace(b"IDAT", b"IDAt"),
        tiff_of(pixels, photometric="rgb")[:-40],
    ):
        with pytest.raises(ImageError, match="damaged"):
            read(data)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(png_of(COLOUR))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match=r"cannot read .*locked\.png: Permission denied"):
        read(path)


BOMBS = """
import struct, zlib
from retouch.errors import ImageError
from retouch.image import read
def peak():  # MB, since this program began; getrusage's would count from the test run that started it
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024
def chunk(name, body):
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))
side = 10001
packer = zlib.compressobj(9)
pixels = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
png = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">LLBBBBB", side, side, 8, 0, 0, 0, 0))
png += chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
entries = [(256, 60000), (257, 60000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 9), (279, 9)]
tiff = b"II*\\0\\x08\\0\\0\\0" + struct.pack("<H", len(entries))
tiff += b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in entries) + bytes(4)
bmp = b"BM" + struct.pack("<LLL", 1000, 0, 54)
bmp += struct.pack("<LllHHLLllLL", 40, 40000, 40000, 1, 24, *[0] * 6)
jpeg = b"\\xff\\xd8"
jpeg += b"\\xff\\xc0" + struct.pack(">HBHHB", 11, 8, 65000, 65000, 1) + b"\\1\\x11\\0"
jpeg += b"\\xff\\xda" + struct.pack(">H", 8) + bytes(6)
webp = b"RIFF" + struct.pack("<L", 40) + b"WEBPVP8X" + struct.pack("<LL", 10, 0)
webp += (16382).to_bytes(3, "little") * 2 + b"VP8L" + struct.pack("<L", 10) + b"/" + bytes(9)
assert len(png) < 120_000
before = peak()
for data in (png, tiff, bmp, jpeg, webp):
    try:
        read(data)
    except ImageError as error:
        assert "at most 100,000,000 pixels" in str(error), error
    else:
        raise SystemExit("a bomb was read")
print(peak() - before)
assert read(png, max_pixels=side * side).size == (side, side)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bombs_are_refused_before_their_memory_is_spent() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", BOMBS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused, decoded = map(int, done.stdout.split())
    assert refused < 10 < 90 < decoded  # MB


def test_pillows_own_limit_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    for format, limit in {"PNG": 20, "JPEG": 20, "BMP": 20, "TIFF": 100, "WEBP": 100}.items():
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # of the 187, most are too many
        assert read(image.encode(read(COLOUR), format)).size == (11, 17)
        assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match=r"at most 186 pixels, got 17 x 11 in the given bytes"):
        read(png_of(COLOUR), max_pixels=186)
    with pytest.raises(ImageError, match="in the given PIL image"):
        read(Image.fromarray(COLOUR), max_pixels=186)


# ---- arrays and other sources ---------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "f2", "f4", "f8"])
def test_arrays(channels: int, dtype: str) -> None:
    array = np.asarray(RNG.random((6, 5, channels) if channels else (6, 5)))
    array = (array if dtype[0] == "f" else array * (255 if dtype == "u1" else 65535)).astype(dtype)
    before = array.copy()
    photo = read(array)
    assert photo.mode == ("L", "L", "LA", "RGB", "RGBA")[channels] and photo.format == "PNG"
    assert photo.pixels.dtype == (np.uint16 if "u2" in dtype else np.uint8)
    expected = np.rint(array.astype(np.float32) * 255) if dtype[0] == "f" else array
    np.testing.assert_array_equal(photo.pixels, expected.reshape(photo.pixels.shape))
    hole = np.ones((6, 5), bool)
    composite(photo, hole, [Patch(*WHOLE, np.zeros((6, 5, 3), np.float32))])
    assert (array == before).all() and array.flags.writeable and not photo.pixels.flags.writeable


def test_a_view_with_steps_is_an_array_like_any() -> None:
    turned = COLOUR[::-1, ::2, ::-1]
    np.testing.assert_array_equal(read(image.encode(read(turned), "PNG")).pixels, turned)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), bool),
        np.zeros((4, 4), np.int32),
        np.zeros((4, 4), np.uint32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.full((4, 4), 1.5),
        np.full((4, 4), -0.1),
        np.full((4, 4), np.nan),
        np.full((4, 4), "text"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_are_no_picture(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"expected .* got "):
        read(array)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_subclasses_of_arrays_are_arrays() -> None:
    """A masked array's hidden values count; a matrix may become an array of three dimensions."""
    grey = np.linspace(0, 1, 12).reshape(3, 4)
    hidden = np.ma.masked_invalid(np.where(grey > 0.5, np.nan, grey))
    with pytest.raises(ImageError, match=r"expected floats in \[0, 1\], got nan to nan"):
        read(hidden)
    np.testing.assert_array_equal(read(np.asmatrix(grey)).pixels, read(grey).pixels)
    for hole in (np.asmatrix(grey > 0.5), np.ma.masked_array(grey > 0.5, mask=grey > 0.7)):
        found = image.read_mask(hole, (3, 4))
        assert type(found) is np.ndarray and np.array_equal(found, grey > 0.5)
        assert not np.shares_memory(found, hole)


def test_every_kind_of_source(tmp_path: Path) -> None:
    data = png_of(COLOUR)
    path = tmp_path / "a photo with a foreign ending.txt"
    path.write_bytes(data)
    with path.open("rb") as file, Image.open(path) as opened:
        for source in (
            path,
            str(path),
            data,
            bytearray(data),
            memoryview(data),
            io.BytesIO(data),
            file,
            opened,
            Image.fromarray(COLOUR),
            COLOUR,
        ):
            np.testing.assert_array_equal(read(source).pixels, COLOUR)
    with pytest.raises(ImageError, match="binary mode"):
        read(io.StringIO("text"))  # type: ignore[arg-type]
    with open(path, encoding="utf-8") as text, pytest.raises(ImageError, match="binary mode, got one of str"):
        read(text)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="got NoneType"):
        read(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("buffering", [0, -1])
def test_an_open_file_is_read_from_its_beginning(tmp_path: Path, buffering: int) -> None:
    """One that was just written, or read before, too; a pipe from where it is."""
    with open(tmp_path / "photo", "w+b", buffering=buffering) as file:  # type: ignore[call-overload]
        file.write(png_of(COLOUR))
        for _ in range(2):
            np.testing.assert_array_equal(read(file).pixels, COLOUR)
    end, start = os.pipe()
    with open(start, "wb") as writing, open(end, "rb", buffering=buffering) as pipe:
        writing.write(png_of(COLOUR))
        writing.close()
        np.testing.assert_array_equal(read(pipe).pixels, COLOUR)


def test_threads_may_read_at_once() -> None:
    files = [
        saved(Image.fromarray(SMOOTH), format, exif=exif_of(6, sides=format != "TIFF"))
        for format in ("JPEG", "PNG", "TIFF")
    ]
    sizes: list[tuple[int, int]] = []

    def work() -> None:
        for data in files * 5:
            sizes.append(read(data).size)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sizes) == 60 and set(sizes) == {(70, 50)}


# ---- masks ----------------------------------------------------------------------------------------------


def test_white_is_filled_from_128_on() -> None:
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    expected = np.array([[False, False, True, True]])
    colour = np.repeat(grey[..., None], 3, axis=2)
    see_through = np.concatenate([colour, np.zeros_like(grey)[..., None]], axis=2)
    deep_grey = np.array([[0, 32767, 32768, 65535]], np.uint16)
    floats = np.array([[0, 0.497, 0.503, 1]])
    for source in (grey, colour, see_through, deep_grey, np.repeat(deep_grey[..., None], 3, axis=2), floats):
        np.testing.assert_array_equal(read_mask(source, (1, 4)), expected)
    for picture in (Image.fromarray(colour).quantize(4), Image.fromarray(grey).convert("1", dither=0)):
        for form in ("PNG", "TIFF", "BMP"):
            np.testing.assert_array_equal(read_mask(saved(picture, form), (1, 4)), expected)
    given_mask = expected.copy()
    mine = read_mask(given_mask, (1, 4))
    mine[...] = False
    assert (given_mask == expected).all()
    np.testing.assert_array_equal(read_mask(expected[..., None], (1, 4)), expected)


def test_luma_decides_about_colours() -> None:
    mask = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]], np.uint8)
    expected = np.array([[False, True, False, True]])
    np.testing.assert_array_equal(read_mask(mask, (1, 4)), expected)
    np.testing.assert_array_equal(
        read_mask(saved(Image.fromarray(mask).quantize(4), "PNG"), (1, 4)), expected
    )


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(png_of(np.zeros((11, 17, 1), np.uint8)))
    with pytest.raises(MaskError, match=r"the image's size, 20 x 10, got one of 17 x 11: .*mask\.png\Z"):
        read_mask(path, (10, 20))
    with pytest.raises(MaskError, match=r"got one of 4 x 3\Z"):
        read_mask(np.zeros((3, 4), bool), (4, 3))
    with pytest.raises(MaskError, match="shape"):
        read_mask(np.zeros((3, 4, 2), bool), (3, 4))


def test_a_mask_is_turned_by_its_own_exif() -> None:
    mask = np.zeros((11, 17), np.uint8)
    mask[0, 0] = 255
    data = saved(Image.fromarray(mask), "PNG", exif=exif_of(6))
    hole = read_mask(data, (17, 11))
    assert hole[0, 10] and hole.sum() == 1


# ---- crops and the composite ----------------------------------------------------------------------------


def photo_of(mode: str, dtype: type = np.uint8, height: int = 24, width: int = 31, seed: int = 0) -> Photo:
    rng = np.random.default_rng(seed)
    channels = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    pixels = rng.integers(0, int(np.iinfo(dtype).max) + 1, (height, width, channels), dtype=dtype)
    palette = None
    if mode == "1":
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    if mode == "P":
        palette = rng.integers(0, 256, (40, 4), dtype=np.uint8)
        palette[:, 3] = np.where(np.arange(40) % 4 == 0, 0, 255)
        pixels %= 40
    return Photo(pixels, mode, palette)  # type: ignore[arg-type]


KINDS = [
    ("1", np.uint8),
    ("L", np.uint8),
    ("L", np.uint16),
    ("LA", np.uint8),
    ("LA", np.uint16),
    ("P", np.uint8),
    ("RGB", np.uint8),
    ("RGB", np.uint16),
    ("RGBA", np.uint8),
    ("RGBA", np.uint16),
]


@pytest.mark.parametrize(("mode", "dtype"), KINDS)
def test_crops_and_back_are_exact(mode: str, dtype: type) -> None:
    photo = photo_of(mode, dtype)
    crop = rgb(photo, slice(3, 20), slice(5, 30))
    assert crop.shape == (17, 25, 3) and crop.dtype == np.float32 and crop.flags.c_contiguous
    assert crop.min() >= 0 and crop.max() <= 1
    everywhere = np.ones(photo.size, bool)
    same = composite(photo, everywhere, [Patch(slice(3, 20), slice(5, 30), crop)])
    if photo.palette is None:
        np.testing.assert_array_equal(same.pixels, photo.pixels)
    else:  # a see-through entry becomes the nearest opaque one
        opaque = photo.palette[photo.pixels[..., 0], 3] == 255
        np.testing.assert_array_equal(
            rgb(same, *WHOLE)[opaque], photo.palette[photo.pixels[..., 0], :3][opaque] / np.float32(255)
        )
        assert (photo.palette[same.pixels[3:20, 5:30, 0], 3] == 255).all()


def test_crop_values() -> None:
    np.testing.assert_array_equal(rgb(photo_of("L"), *WHOLE)[..., 1] * 255, photo_of("L").pixels[..., 0])
    wide = photo_of("RGBA", np.uint16)
    np.testing.assert_array_equal(rgb(wide, *WHOLE), wide.pixels[..., :3] / np.float32(65535))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_known_pixels_and_alpha_are_bit_exact(
    kind: tuple[str, type], height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    photo = photo_of(*kind, height, width, seed)
    hole = rng.random((height, width)) < rng.random()
    patches = []
    for _ in range(rng.integers(0, 4)):
        top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
        rows, cols = slice(top, int(rng.integers(top, height)) + 1), slice(left, width)
        shape = (rows.stop - top, width - left)
        weight = rng.random(shape, np.float32) if rng.random() < 0.5 else None
        patches.append(Patch(rows, cols, rng.normal(0.5, 1, (*shape, 3)).astype(np.float32), weight))
    before, hole_before = photo.pixels.copy(), hole.copy()
    done = composite(photo, hole, iter(patches))
    assert done.pixels is not photo.pixels and not done.pixels.flags.writeable
    np.testing.assert_array_equal(done.pixels[~hole], photo.pixels[~hole])
    if photo.mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(done.pixels[..., -1], photo.pixels[..., -1])
    if photo.mode == "1":
        assert set(np.unique(done.pixels)) <= {0, 255}
    assert photo.palette is None or done.pixels.max() < len(photo.palette)
    np.testing.assert_array_equal(photo.pixels, before)
    np.testing.assert_array_equal(hole, hole_before)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rounding_weights_and_order(dtype: type) -> None:
    top = int(np.iinfo(dtype).max)
    photo = Photo(np.full((1, 5, 3), 100, dtype), "RGB")
    hole = np.array([[True, True, True, True, False]])
    levels = np.array([10.4, 10.6, -3, top + 9, 10], np.float64)
    colours = np.repeat((levels / top).astype(np.float32)[None, :, None], 3, axis=2)
    done = composite(photo, hole, [Patch(*WHOLE, colours)])
    assert done.pixels[0, :, 0].tolist() == [10, 11, 0, top, 100]
    weight = np.array([[0, 0.25, 0.5, 1, 1]], np.float32)
    dark = np.zeros((1, 5, 3), np.float32)
    assert composite(photo, hole, [Patch(*WHOLE, dark, weight)]).pixels[0, :, 0].tolist() == [
        100,
        75,
        50,
        0,
        100,
    ]
    twice = composite(photo, hole, [Patch(*WHOLE, colours), Patch(slice(0, 1), slice(1, 3), dark[:, :2])])
    assert twice.pixels[0, :, 0].tolist() == [10, 0, 0, top, 100]


def test_grey_takes_the_luma_and_a_palette_its_nearest() -> None:
    red = np.zeros((2, 2, 3), np.float32)
    red[..., 0] = 1
    hole = np.array([[True, False], [True, True]])
    grey = Photo(np.zeros((2, 2, 1), np.uint8), "L")
    assert composite(grey, hole, [Patch(*WHOLE, red)]).pixels[..., 0].tolist() == [[76, 0], [76, 76]]
    palette = np.array([(255, 0, 0, 0), (0, 0, 255, 255), (200, 30, 0, 255), (0, 0, 255, 255)], np.uint8)
    chosen = Photo(np.full((2, 2, 1), 3, np.uint8), "P", palette)
    assert composite(chosen, hole, [Patch(*WHOLE, red)]).pixels[..., 0].tolist() == [[2, 3], [2, 2]]
    untouched = composite(chosen, hole, [Patch(*WHOLE, red, np.zeros((2, 2), np.float32))])
    assert (untouched.pixels == 3).all()


def test_what_does_not_fit_is_refused() -> None:
    photo = photo_of("RGB")
    hole = np.ones(photo.size, bool)
    fits = np.zeros((*photo.size, 3), np.float32)
    with pytest.raises(MaskError, match="expected a hole of bool"):
        composite(photo, hole[1:], [])
    with pytest.raises(MaskError, match="uint8"):
        composite(photo, hole.astype(np.uint8), [])
    with pytest.raises(ImageError, match="expected a patch of shape"):
        composite(photo, hole, [Patch(*WHOLE, fits[1:])])
    with pytest.raises(ImageError, match="expected a patch of shape"):
        composite(photo, hole, [Patch(slice(0, 40), slice(None), np.zeros((40, 31, 3), np.float32))])
    with pytest.raises(ImageError, match="expected a weight of shape"):
        composite(photo, hole, [Patch(*WHOLE, fits, np.zeros((2, 2), np.float32))])
    with pytest.raises(ImageError, match="finite"):
        composite(photo, hole, [Patch(*WHOLE, np.full_like(fits, np.nan))])


def test_all_names_are_there() -> None:
    assert all(hasattr(image, name) for name in image.__all__)
    assert decode.MAX_PIXELS == image.MAX_PIXELS == 100_000_000
