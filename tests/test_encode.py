"""Writing: every format, mode and depth goes round unchanged, and a file appears whole or not at all."""

import io
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from retouch import encode as encoding
from retouch.errors import ImageError
from retouch.image import (
    FORMATS,
    Photo,
    check_holds,
    check_output,
    encode,
    format_of,
    read,
    to_pil,
    write,
)
from retouch.writing import atomic_write

WIDENED = {"WEBP": {"1": "RGB", "L": "RGB", "LA": "RGBA"}, "JPEG": {"1": "L"}}  # the rest stays


def photo_of(kind: str, height: int = 19, width: int = 23, seed: int = 0) -> Photo:
    """`kind` is a mode, then 16 for the depth or + for a palette with transparency."""
    rng = np.random.default_rng(seed)
    mode = kind.removesuffix("16").removesuffix("+")
    channels = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    dtype = np.uint16 if kind.endswith("16") else np.uint8
    pixels = rng.integers(0, int(np.iinfo(dtype).max) + 1, (height, width, channels), dtype=dtype)
    if mode == "1":
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    if mode != "P":
        return Photo(pixels, mode)  # type: ignore[arg-type]
    palette = rng.integers(0, 256, (33, 4), dtype=np.uint8)
    if not kind.endswith("+"):
        palette[:, 3] = 255
    return Photo(pixels % 33, "P", palette)


KINDS = ["1", "L", "L16", "LA", "LA16", "P", "P+", "RGB", "RGB16", "RGBA", "RGBA16"]
HOLDS = {
    "PNG": set(KINDS),
    "TIFF": set(KINDS) - {"P+", "LA16"},
    "BMP": {"1", "L", "P", "RGB", "RGBA"},
    "WEBP": {"1", "L", "LA", "P", "P+", "RGB", "RGBA"},
    "JPEG": {"1", "L", "P", "RGB"},
}
HELD = [(format, kind) for format in FORMATS for kind in KINDS if kind in HOLDS[format]]
NOT_HELD = [(format, kind) for format in FORMATS for kind in KINDS if kind not in HOLDS[format]]


def shown(photo: Photo) -> np.ndarray:
    """(H, W, 4) RGBA as uint16, whatever the mode."""
    if photo.palette is not None:
        return photo.palette[photo.pixels[..., 0]].astype(np.uint16)
    pixels = photo.pixels.astype(np.uint16)
    top = np.full_like(pixels[..., :1], np.iinfo(photo.pixels.dtype).max)
    colour = pixels[..., :3] if pixels.shape[2] > 2 else np.repeat(pixels[..., :1], 3, axis=2)
    return np.concatenate([colour, pixels[..., -1:] if pixels.shape[2] % 2 == 0 else top], axis=2)


def test_formats_say_what_they_do_not_keep() -> None:
    grey = replace(photo_of("L"), icc=b"a profile of greys" * 9, format="TIFF")
    assert check_holds("PNG", grey, "") == check_holds("TIFF", grey, "") == ()
    (said,) = check_holds("JPEG", grey, "")
    assert said == "a JPEG does not keep every known pixel exactly, as the TIFF did"
    assert read(encode(grey, "JPEG")).icc == grey.icc
    (said,) = check_holds("WEBP", grey, "")
    assert "ICC" in said and read(encode(grey, "WEBP")).icc is None
    assert read(encode(replace(photo_of("RGB"), icc=grey.icc), "WEBP")).icc == grey.icc


@pytest.mark.parametrize(("format", "kind"), HELD)
def test_round_trip(format: str, kind: str) -> None:
    photo = photo_of(kind)
    again = read(encode(photo, format))
    palette = {"WEBP": "RGBA" if photo.has_alpha else "RGB", "JPEG": "RGB"}.get(format, "P")
    assert again.mode == (
        palette if photo.mode == "P" else WIDENED.get(format, {}).get(photo.mode, photo.mode)
    )
    assert (again.format, again.size, again.depth) == (format, photo.size, photo.depth)
    assert again.notes == ()
    if format != "JPEG":
        np.testing.assert_array_equal(shown(again), shown(photo))
        assert again.lossless
        if again.mode == "P":
            np.testing.assert_array_equal(again.pixels, photo.pixels)
    with Image.open(io.BytesIO(encode(photo, format))) as opened:  # a plain Pillow agrees
        opened.load()
        assert opened.size == (photo.width, photo.height)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([case for case in HELD if case[0] != "JPEG"]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
def test_any_size_goes_round_exactly(case: tuple[str, str], height: int, width: int, seed: int) -> None:
    photo = photo_of(case[1], height, width, seed)
    np.testing.assert_array_equal(shown(read(encode(photo, case[0]))), shown(photo))


@pytest.mark.parametrize("kind", sorted(HOLDS["TIFF"]))
def test_tiff_by_another_reader(kind: str) -> None:
    photo = replace(photo_of(kind, 301, 177), dpi=(300.0, 200.0))
    with tifffile.TiffFile(io.BytesIO(encode(photo, "TIFF"))) as file:
        page = file.pages[0]
        stored = page.asarray()
        assert page.tags[282].value == (300, 1) and page.tags[283].value == (200, 1)
        if photo.palette is not None:
            np.testing.assert_array_equal(page.colormap[:, :33].T // 257, photo.palette[:, :3])
    expected = photo.pixels > 0 if kind == "1" else photo.pixels
    np.testing.assert_array_equal(stored.reshape(expected.shape), expected)


@pytest.mark.parametrize("kind", ["L16", "RGB16", "RGBA16"])
def test_16_bit_png_by_another_reader(kind: str) -> None:
    photo = photo_of(kind, 301, 177)
    stored = cv2.imdecode(np.frombuffer(encode(photo, "PNG"), np.uint8), cv2.IMREAD_UNCHANGED)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[photo.pixels.shape[2]]
    np.testing.assert_array_equal(stored.reshape(photo.pixels.shape)[..., order], photo.pixels)


def test_many_bands_of_a_16_bit_png() -> None:
    photo = photo_of("RGB16", 900, 1000)
    np.testing.assert_array_equal(read(encode(photo, "PNG")).pixels, photo.pixels)


def test_bmp_keeps_alpha_and_resolution() -> None:
    again = read(encode(replace(photo_of("RGBA"), dpi=(300.0, 150.0)), "BMP"))
    assert again.mode == "RGBA" and again.dpi == pytest.approx((300, 150), abs=0.02)


def test_webp_is_lossless_where_its_source_was() -> None:
    smooth = cv2.resize(photo_of("RGB", 9, 9).pixels, (90, 60), interpolation=cv2.INTER_CUBIC)
    lossy = read(encode(replace(read(smooth), lossless=False), "WEBP"))
    assert not lossy.lossless and 0 < np.abs(lossy.pixels.astype(int) - smooth).mean() < 4
    assert not read(encode(lossy, "WEBP")).lossless
    assert read(encode(read(smooth), "WEBP")).lossless
    from_jpeg = read(encode(read(smooth), "JPEG"))
    assert not from_jpeg.lossless and not read(encode(from_jpeg, "WEBP")).lossless
    see_through = replace(photo_of("RGBA"), lossless=False)
    np.testing.assert_array_equal(
        read(encode(see_through, "WEBP")).pixels[..., 3], see_through.pixels[..., 3]
    )


@pytest.mark.parametrize(("format", "kind"), NOT_HELD)
def test_a_format_that_cannot_hold_the_mode_names_those_that_can(
    format: str, kind: str, tmp_path: Path
) -> None:
    photo, path = photo_of(kind), tmp_path / f"out{FORMATS[format][0]}"
    for attempt in (lambda: check_output(path, photo), lambda: write(photo, path)):
        with pytest.raises(
            ImageError, match=rf"\Aexpected an output of .*{photo.mode}.*, got .*{path.name}\Z"
        ) as caught:
            attempt()
        able = {other for other in FORMATS if f"{FORMATS[other][0]} " in str(caught.value).replace(",", " ")}
        assert able == {other for other in FORMATS if kind in HOLDS[other]}
    with pytest.raises(ImageError):
        encode(photo, format)
    assert os.listdir(tmp_path) == []


def test_sides_that_a_format_cannot_hold() -> None:
    long = Photo(np.zeros((1, 16384, 3), np.uint8), "RGB")
    with pytest.raises(
        ImageError, match=r"expected an output of \.png, \.jpg, \.tif, \.bmp to hold 16384 x 1"
    ):
        check_output("out.webp", long)
    longer = Photo(np.zeros((65501, 1, 1), np.uint8), "L")
    with pytest.raises(ImageError, match="got JPEG"):
        encode(longer, "JPEG")
    assert read(encode(Photo(longer.pixels[:65500], "L"), "JPEG")).size == (65500, 1)


def test_formats_and_suffixes() -> None:
    for format, suffixes in FORMATS.items():
        for suffix in suffixes:
            assert format_of(f"a.b{suffix}") == format_of(Path("x") / f"A{suffix.upper()}") == format
    for name in ("photo.gif", "photo", "photo.png.txt", ".png"):
        with pytest.raises(ImageError, match=r"ends in \.png, \.jpg, \.webp, \.tif, \.bmp, got .*: .*"):
            check_output(name, photo_of("RGB"))
    with pytest.raises(ImageError, match="expected a format of PNG, JPEG, WEBP, TIFF, BMP, got 'gif'"):
        encode(photo_of("RGB"), "gif")
    assert encode(photo_of("RGB"), "png") == encode(photo_of("RGB"), "PNG")


def test_what_gets_lost_is_said(tmp_path: Path) -> None:
    photo = replace(photo_of("RGB"), lossless=False, icc=b"profile", exif=b"II*\0" + bytes(70_000))
    assert check_output(tmp_path / "a.png", photo) == ()
    assert len(check_output(tmp_path / "a.bmp", photo)) == 2
    (line,) = check_output(tmp_path / "a.jpg", photo)
    assert "no EXIF of more than 65527 bytes" in line
    assert read(encode(photo, "JPEG")).exif is None
    fits = replace(photo, icc=None, exif=b"II*\0\x08\0\0\0" + bytes(65527 - 8))
    assert check_output(tmp_path / "a.jpg", fits) == ()
    assert read(encode(fits, "JPEG")).exif == fits.exif


# ---- to_pil ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_to_pil(kind: str) -> None:
    photo = replace(photo_of(kind), icc=b"profile", dpi=(90.0, 91.0))
    picture = to_pil(photo)
    assert picture.info["icc_profile"] == b"profile" and picture.info["dpi"] == (90, 91)
    assert picture.mode == {"L16": "I;16"}.get(kind, photo.mode)
    if kind == "L16":
        np.testing.assert_array_equal(picture, photo.pixels[..., 0])
    elif photo.depth == 16:
        wanted = np.rint(photo.pixels / 257).reshape(np.asarray(picture).shape)
        np.testing.assert_array_equal(np.asarray(picture), wanted)
    else:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGBA")), shown(photo))
        np.testing.assert_array_equal(shown(read(picture)), shown(photo))
    assert picture.getexif().get(0x010F) is None
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    assert to_pil(replace(photo, exif=tags.tobytes()[6:])).getexif()[0x010F] == "Maker"


# ---- whole files or none --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [suffix for suffixes in FORMATS.values() for suffix in suffixes])
def test_write_leaves_one_whole_file(suffix: str, tmp_path: Path) -> None:
    photo, path = photo_of("RGB"), tmp_path / f"out{suffix}"
    write(photo, path)
    assert os.listdir(tmp_path) == [path.name] and read(path).format == format_of(path)
    assert path.read_bytes() == encode(photo, format_of(path))


def test_existing_output(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_text("mine")
    for attempt in (check_output, lambda *args: write(args[1], args[0])):
        with pytest.raises(FileExistsError, match=r"\Aexpected a new output file, .*out\.png\Z"):
            attempt(path, photo_of("RGB"))
    assert path.read_text() == "mine"
    check_output(path, photo_of("RGB"), overwrite=True)
    write(photo_of("RGB"), path, overwrite=True)
    assert read(path).size == (19, 23) and os.listdir(tmp_path) == ["out.png"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.png"
    whole = encoding.encode

    def late(photo: Photo, format: str) -> bytes:
        path.write_text("theirs")
        return whole(photo, format)

    monkeypatch.setattr(encoding, "encode", late)
    with pytest.raises(FileExistsError, match=r"out\.png"):
        write(photo_of("RGB"), path)
    assert path.read_text() == "theirs" and os.listdir(tmp_path) == ["out.png"]
    path.unlink()
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no hard links")))
    with pytest.raises(FileExistsError):
        write(photo_of("RGB"), path)
    assert path.read_text() == "theirs" and os.listdir(tmp_path) == ["out.png"]
    monkeypatch.setattr(encoding, "encode", whole)
    path.unlink()
    write(photo_of("RGB"), path)  # a file system without hard links
    assert read(path).size == (19, 23) and os.listdir(tmp_path) == ["out.png"]


def test_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = photo_of("RGB")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    for attempt in (check_output, lambda *args: write(args[1], args[0])):
        with pytest.raises(
            FileNotFoundError, match=r"expected an existing output folder, found none at .*none\Z"
        ):
            attempt(tmp_path / "none" / "out.png", photo)
        with pytest.raises(FileNotFoundError, match="existing output folder"):
            attempt(tmp_path / "file" / "out.png", photo)
        with pytest.raises(ImageError, match="got a folder"):
            attempt(tmp_path / "folder.png", photo)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ImageError, match="expected a writable output folder"):
        check_output(tmp_path / "out.png", photo)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    write(photo, "here.png")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png", "here.png"]


def test_a_name_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"\Acannot write .*: File name too long\Z"):
        write(photo_of("RGB"), tmp_path / f"{'x' * 300}.png")
    assert os.listdir(tmp_path) == []


FULL_DISK = """
import resource, sys
import numpy as np
from retouch.errors import ImageError
from retouch.image import read, write
photo = read(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    write(photo, sys.argv[1], overwrite=True)
except ImageError as error:
    print(error)
"""


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_nothing_behind(existing: bool, tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    if existing:
        path.write_text("mine")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"cannot write {path}: File too large\n", "")
    assert os.listdir(tmp_path) == (["out.png"] if existing else [])
    assert not existing or path.read_text() == "mine"


@pytest.mark.parametrize("stage", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_nothing_behind(
    stage: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = tmp_path / "out.png"
    path.write_text("mine")
    monkeypatch.setattr(os, stage, fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else ImageError):
        write(photo_of("RGB"), path, overwrite=True)
    assert os.listdir(tmp_path) == ["out.png"] and path.read_text() == "mine"


def test_a_failed_encoder_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("encoder error -2 when writing image file")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ImageError, match=r"cannot encode 23 x 19 pixels as PNG: encoder error -2"):
        write(photo_of("RGB"), tmp_path / "out.png")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write(photo_of("RGB"), tmp_path / "out.png")
        atomic_write(tmp_path / "out.png", b"twice")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == 0o666 & ~umask
    assert (tmp_path / "out.png").read_bytes() == b"twice"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "photo.png", tmp_path / "link.png"
    target.touch()
    link.symlink_to(target)
    write(photo_of("RGB"), link, overwrite=True)
    assert link.is_symlink() and read(target).size == (19, 23)
    assert os.listdir(tmp_path / "real") == ["photo.png"]


def test_atomic_write_tells_the_systems_own_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "none" / "a.json", b"{}")
    atomic_write(tmp_path / "a.json", b"{}", overwrite=False)
    with pytest.raises(FileExistsError):
        atomic_write(tmp_path / "a.json", b"[]", overwrite=False)
    assert (tmp_path / "a.json").read_bytes() == b"{}" and os.listdir(tmp_path) == ["a.json"]
