"""HEIC and AVIF: read as their decoders give them, written as PNG, refused in one line."""

import io
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from files import avif, heic, is_refused_in_one_line
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import AvifImagePlugin, Image, ImageCms, ImageOps
from skimage.data import astronaut

from retouch import exif, heif, image
from retouch.decode import kind_of
from retouch.errors import ImageError, ImageSizeError, ImageTypeError
from retouch.files import completed_path
from retouch.image import Patch, composite, read, read_mask
from retouch.photo import FORMATS, written_name

PHOTO = cv2.resize(astronaut(), (70, 50), interpolation=cv2.INTER_AREA)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="%d"/>'
HEAD = 600  # bytes in which the boxes are; pixels follow


def tags(orientation: int) -> bytes:
    """EXIF as a telephone writes it."""
    made = Image.Exif()
    made[exif.ORIENTATION], made[0x010F] = orientation, "Maker"
    below = made.get_ifd(exif.EXIF_IFD)
    below[exif.PIXEL_WIDTH], below[exif.PIXEL_HEIGHT], below[0x927C] = 70, 50, b"maker's note" * 9
    return made.tobytes()


def deep_avif(pixels: np.ndarray, bits: int) -> bytes:
    """Of uint16 with values of so many bits: grey, RGB or RGBA."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".avif", pixels, [cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100])
    assert done
    return data.tobytes()


def deep_heic(pixels: np.ndarray, bits: int, **options: object) -> bytes:
    mode = ("L" if pixels.ndim == 2 else "RGBA" if pixels.shape[2] == 4 else "RGB") + f";{bits}"
    size = pixels.shape[1::-1]
    stream = io.BytesIO()
    made = pillow_heif.from_bytes(mode, size, pixels.tobytes())
    made.save(stream, quality=-1, chroma=444, matrix_coefficients=0, **options)
    return stream.getvalue()


def pillow_reads(data: bytes) -> Image.Image:
    opener = AvifImagePlugin.AvifImageFile if kind_of(data) == "AVIF" else pillow_heif.HeifImageFile
    with opener(io.BytesIO(data)) as picture:
        picture.load()
        return picture.copy()


BOTH = pytest.mark.parametrize("make", [avif, heic])


# ---- what is read -----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pixels_are_those_of_the_decoder(make, mode: str) -> None:
    source = Image.fromarray(PHOTO).convert(mode)
    if mode == "RGBA":
        source.putalpha(Image.fromarray(PHOTO[..., 0]))
    data = make(source)
    photo = read(data)
    kind = "AVIF" if make is avif else "HEIC"
    assert (photo.format, photo.mode, photo.depth, photo.lossless, photo.notes) == (kind, mode, 8, False, ())
    assert photo.size == (50, 70) and not photo.pixels.flags.writeable
    np.testing.assert_array_equal(photo.pixels.squeeze(), np.asarray(pillow_reads(data)))
    assert np.abs(photo.pixels.squeeze() - np.asarray(source, int)).mean() < 6


@BOTH
def test_known_pixels_are_exact_in_what_is_written(make) -> None:
    photo = read(make(Image.fromarray(PHOTO)))
    hole = np.zeros(photo.size, bool)
    hole[10:20, 30:50] = True
    black = Patch(slice(0, 50), slice(0, 70), np.zeros((50, 70, 3), np.float32))
    data, notes = image.as_file(composite(photo, hole, [black]), photo.written)
    assert notes == (f"{photo.format} is written as PNG",) and kind_of(data) == "PNG"
    done = read(data)
    np.testing.assert_array_equal(done.pixels[~hole], photo.pixels[~hole])
    assert not done.pixels[hole].any()


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("channels", [0, 3, 4])
@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_10_and_12_bits_are_kept_in_16(kind: str, channels: int, bits: int) -> None:
    white = (1 << bits) - 1
    rows, cols = np.indices((50, 70))
    pixels = (rows * 70 + cols) * white // 3499
    if channels:
        pixels = np.stack([pixels, pixels[::-1], pixels[:, ::-1], np.full_like(pixels, white)], 2)
        pixels[0, 0, 3], pixels = 0, pixels[..., :channels]
    make = deep_avif if kind == "AVIF" else deep_heic
    photo = read(make(pixels.astype(np.uint16), bits))
    assert photo.mode == {0: "L", 3: "RGB", 4: "RGBA"}[channels]
    assert photo.depth == 16 and photo.notes == (f"{bits} bits are widened to 16",)
    near = 65535 * 3 // 1023  # of AVIF the compression at its best
    assert np.abs(photo.pixels.squeeze() - pixels * 65535 / white).max() <= near
    assert photo.pixels.max() == 65535
    again = read(image.encode(photo, photo.written))
    np.testing.assert_array_equal(again.pixels, photo.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@BOTH
def test_orientation_is_applied_once(make, orientation: int) -> None:
    photo = read(make(Image.fromarray(PHOTO), exif=tags(orientation), xmp=XMP % orientation, quality=95))
    upright = Image.fromarray(PHOTO)
    upright.getexif()[exif.ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(upright), int)
    assert photo.size == expected.shape[:2]
    assert np.abs(photo.pixels - expected).mean() < 6
    kept = Image.Exif()
    kept.load(photo.exif)
    assert (kept.get(exif.ORIENTATION, 1), kept[0x010F]) == (1, "Maker")
    below = kept.get_ifd(exif.EXIF_IFD)
    assert below[0x927C] == b"maker's note" * 9
    assert (below[exif.PIXEL_WIDTH], below[exif.PIXEL_HEIGHT]) == photo.size[::-1]
    assert photo.xmp and (b'Orientation="1"' in photo.xmp or b"Orientation" not in photo.xmp)
    assert read(image.encode(photo, "PNG")).size == photo.size


def lying(data: bytes) -> bytes:
    """An AVIF of OpenCV with a box more, which says that it is to be turned by 90 degrees, clockwise."""
    whole = bytearray(data)
    for name, more in {b"meta": 10, b"iprp": 10, b"ipco": 9, b"ipma": 1}.items():
        place = whole.index(name) - 4
        whole[place : place + 4] = struct.pack(">L", int.from_bytes(whole[place : place + 4]) + more)
    place = whole.index(b"iloc") + 18  # where the pixels are
    whole[place : place + 4] = struct.pack(">L", int.from_bytes(whole[place : place + 4]) + 10)
    place = whole.index(b"ipma") + 14  # how many properties the picture has
    whole[place] += 1
    whole.insert(place + whole[place], 0x80 + whole[place])
    place = whole.index(b"ipma") - 4
    return bytes(whole[:place] + struct.pack(">L", 9) + b"irot\3" + whole[place:])


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_deep_pixels_are_turned(kind: str) -> None:
    deep = PHOTO.astype(np.uint16) * 4
    data = lying(deep_avif(deep, 10)) if kind == "AVIF" else deep_heic(deep, 10, exif=tags(6))
    photo = read(data)
    assert photo.size == (70, 50) and photo.depth == 16
    assert np.abs(photo.pixels / 65535 - np.rot90(deep, -1) / 1023).max() < 0.01


@BOTH
def test_profile_and_texts_are_kept(make) -> None:
    photo = read(make(Image.fromarray(PHOTO), icc_profile=SRGB, exif=tags(1), xmp=XMP % 1))
    again = read(image.encode(photo, "PNG"))
    assert again.icc == photo.icc == SRGB and again.exif == photo.exif and again.xmp == photo.xmp
    assert photo.chunks is None


def test_colours_that_numbers_tell_are_kept() -> None:
    """Those of HDR would be far too pale without; where a profile tells them, it does."""
    deep = PHOTO.astype(np.uint16) * 4
    photo = read(deep_heic(deep, 10, color_primaries=9, transfer_characteristics=16))
    assert photo.chunks == ((b"cICP", b"\x09\x10\x00\x01"),)
    assert read(image.encode(photo, "PNG")).chunks == photo.chunks
    assert "a TIFF keeps no colour space without ICC profile" in image.check_holds("TIFF", photo, "")
    plain = avif(Image.fromarray(PHOTO))
    place = plain.index(b"colrnclx") + 8
    for told, chunk in {(1, 13): None, (2, 2): None, (12, 13): b"\x0c\x0d\x00\x01"}.items():
        changed = plain[:place] + struct.pack(">HH", *told) + plain[place + 4 :]
        assert read(changed).chunks == (chunk and ((b"cICP", chunk),))
    with_both = avif(Image.fromarray(PHOTO), icc_profile=SRGB)
    assert read(with_both).chunks is None


@BOTH
def test_one_of_several_pictures(make) -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "lime", "blue")]
    photo = read(make(frames[0], save_all=True, append_images=frames[1:], primary_index=1))
    number = 1 if make is avif else 2  # the one that its maker calls the first
    assert photo.notes == (f"frame {number} of 3 is read, no other",)
    assert photo.pixels[24, 32].argmax() == number - 1


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"heix\0\0\0\0mif1", "HEIC"),
        (b"hevc\0\0\0\0msf1", "HEIC"),
        (b"mif1\0\0\0\0mif1heic", "HEIC"),
        (b"mif1\0\0\0\0mif1miafavif", "AVIF"),
        (b"avif\0\0\0\0mif1miaf", "AVIF"),
        (b"avis\0\0\0\0avif", "AVIF"),
        (b"mp42\0\0\0\0isom", None),
        (b"jxl \0\0\0\0jxl ", None),
    ],
)
def test_kinds_by_their_brands(brands: bytes, kind: str | None) -> None:
    assert kind_of(struct.pack(">L", 8 + len(brands)) + b"ftyp" + brands + b"\0\0\1\0meta") == kind


def test_masks_may_be_such_files() -> None:
    white = np.zeros((50, 70), np.uint8)
    white[10:30, 20:60] = 255
    for make in (avif, heic):
        hole = read_mask(make(Image.fromarray(white), quality=95), (50, 70))
        assert (hole != (white > 0)).sum() < 20
        assert not read_mask(make(Image.new("L", (70, 50))), (50, 70)).any()


def test_a_picture_that_pillow_has_opened() -> None:
    for data in (avif(Image.fromarray(PHOTO)), deep_heic(PHOTO.astype(np.uint16) * 4, 10)):
        opener = AvifImagePlugin.AvifImageFile if kind_of(data) == "AVIF" else pillow_heif.HeifImageFile
        with opener(io.BytesIO(data)) as opened:
            photo = read(opened)
        assert (photo.format, photo.depth, photo.notes) == (kind_of(data), 8, ())


# ---- outputs ----------------------------------------------------------------------------------------------


def test_names_of_outputs() -> None:
    assert written_name("x/IMG.1.HEIC") == "x/IMG.1.png" and written_name("a.heif") == "a.png"
    assert completed_path("IMG_1.avif") == Path("IMG_1-completed.png")
    for suffix in [suffix for usual in FORMATS.values() for suffix in usual] + [".gif", ""]:
        assert written_name(f"a{suffix}") == f"a{suffix}"
    for suffix in (".heic", ".avif"):
        with pytest.raises(
            ImageError, match=rf"\Aexpected an output that ends in \.png, .*, got {suffix}: o"
        ):
            image.check_output(f"o{suffix}", read(PHOTO))
    with pytest.raises(ImageError, match="expected a format of PNG, JPEG, WEBP, TIFF, BMP, got 'HEIC'"):
        image.encode(read(PHOTO), "HEIC")


@BOTH
def test_other_formats_may_be_asked_for(make) -> None:
    photo = read(make(Image.fromarray(PHOTO)))
    for format in FORMATS:
        data, notes = image.as_file(photo, format, b"never given out as another format")
        assert kind_of(data) == format and notes == (f"{photo.format} is written as {format}",)


# ---- bad input --------------------------------------------------------------------------------------------


@BOTH
def test_size_is_checked_before_anything_is_decoded(make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(Image.fromarray(PHOTO))
    with pytest.raises(ImageSizeError, match=r"at most 3,499 pixels, got 70 x 50 in the given bytes"):
        read(data, max_pixels=3499)
    assert read(data, max_pixels=3500).size == (50, 70)
    place = data.index(b"ispe") + 8
    lying = (
        data[:place] + struct.pack(">LL", 16000, 16000) + data[place + 8 :]
    )  # of a HEIC, before it is cropped
    plugin = AvifImagePlugin.AvifImageFile if make is avif else pillow_heif.HeifImageFile
    monkeypatch.setattr(plugin, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(ImageSizeError, match="got 16000 x 16000"):
        read(lying)


def test_what_tiles_are_put_together_to_is_limited_too() -> None:
    data = heic(Image.fromarray(PHOTO), tile_size=32)
    assert read(data).size == (50, 70)
    grid = struct.pack(">BBBBHH", 0, 0, 1, 2, 70, 50)  # 2 x 3 tiles
    assert data.count(grid) == 1
    with pytest.raises(ImageSizeError, match="got 16000 x 16000"):
        read(data.replace(grid, struct.pack(">BBBBHH", 0, 0, 1, 2, 16000, 16000)))


def files() -> dict[str, bytes]:
    deep = PHOTO.astype(np.uint16) * 4
    plain = {
        "AVIF": avif(Image.fromarray(PHOTO), exif=tags(6)),
        "HEIC": heic(Image.fromarray(PHOTO), exif=tags(6)),
    }
    return plain | {"AVIF10": deep_avif(deep, 10), "HEIC10": deep_heic(deep, 10)}


FILES = files()


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.97])
def test_truncated(kind: str, share: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    is_refused_in_one_line(tmp_path / "cut.img", FILES[kind][: int(len(FILES[kind]) * share)], capfd)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damage_gives_a_picture_or_one_line(kind: str, data: st.DataObject) -> None:
    whole = bytearray(FILES[kind])
    most = data.draw(st.sampled_from([HEAD, len(whole)])) - 1
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, most))] = data.draw(st.integers(0, 255))
    try:
        found = read(bytes(whole), max_pixels=10_000)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert found.height * found.width <= 10_000 and found.pixels.shape[:2] == found.size


def test_what_reads_them_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AvifImagePlugin, "SUPPORTED", False)
    with pytest.raises(
        ImageTypeError, match=r"\Aexpected a Pillow that reads AVIF, got one .* the given bytes\Z"
    ):
        read(FILES["AVIF"])
    monkeypatch.setitem(sys.modules, heif.PACKAGE, None)
    with pytest.raises(
        ImageTypeError,
        match=r"\Areading HEIC needs the extra 'heic': pip install '\.\[heic\]' in Retouch's folder: the given",
    ):
        read(FILES["HEIC"])


def test_what_reads_them_is_loaded_when_it_is_needed(tmp_path: Path) -> None:
    """And changes nothing for others: Pillow itself does not learn to open a HEIC."""
    (tmp_path / "a.heic").write_bytes(FILES["HEIC"])
    script = (
        "import sys; from PIL import Image; from retouch.image import read, encode\n"
        "import numpy as np; read(encode(read(np.zeros((3, 4), np.uint8)), 'PNG'))\n"
        "assert not {'pillow_heif', 'PIL.AvifImagePlugin'} & set(sys.modules)\n"
        f"assert read({str(tmp_path / 'a.heic')!r}).format == 'HEIC' and 'HEIF' not in Image.OPEN"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_damaged_exif_of_a_heic_is_left_out() -> None:
    for damaged in (b"nonsense", b"II*\0" + b"\xff" * 40):
        photo = read(heic(Image.fromarray(PHOTO), exif=b"Exif\0\0" + damaged))
        assert photo.exif is None and photo.notes == ("damaged EXIF is left out",)


@BOTH
def test_a_copy_without_a_hole_is_no_heic_in_disguise(make) -> None:
    photo = replace(read(make(Image.fromarray(PHOTO))), notes=())
    data, _ = image.as_file(photo, photo.written, b"the file itself")
    assert kind_of(data) == "PNG"
