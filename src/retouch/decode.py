"""Files, bytes, PIL images and arrays to `Photo`: limits before decoding, one line for whatever is wrong.

Pillow reads the headers and all 8-bit pictures; OpenCV reads 16-bit colour, which Pillow cuts to 8 bits. What
telephones write is opened in `heif`.
Pillow's plug-ins are called directly, because `Image.open` has a size limit that is global to the process.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ExifTags import Base as Tag

from retouch import exif, formats, heif, metadata, quiet
from retouch.errors import ImageError, ImageSizeError, ImageTypeError, RetouchError
from retouch.photo import FOREIGN, LONGEST_START, NAMES, READ, STARTS, JpegTables, Mode, Photo, mode_of

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray"
)

MAX_PIXELS = 100_000_000
BAND = 1 << 17  # pixels copied at a time: small enough for the cache
LYING = (5, 6, 7, 8)  # orientations that turn a picture by 90 degrees
WIDENED = {"PA": "RGBA", "RGBa": "RGBA", "La": "LA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}


def read(source: Source, *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decodes one picture, upright, with all that its output has to keep.

    Args:
        source: a path, the bytes of a file, an open binary file (read from its beginning, as Pillow does), a PIL
            image, or an array (H, W) or (H, W, 1 | 2 | 3 | 4) of uint8, uint16 or floats in [0, 1] (rounded to
            8 bits). An array is copied, and never written to.
        max_pixels: larger pictures are refused before they are decoded. (Libraries have limits of their own:
            about 179 million for TIFF and WebP, 268 million for AVIF.)

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: no picture of a format that is read; damaged, too large, or of a kind not read.
    """
    if isinstance(source, np.ndarray):
        return _from_array(np.asarray(source))  # a subclass has operators of its own
    if isinstance(source, Image.Image):
        with _damage_named("the given PIL image"):
            return _decode(source, None, "the given PIL image", max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return _read_stream(io.BytesIO(source), "the given bytes", max_pixels)
    if isinstance(source, str | os.PathLike):
        return _read_path(os.fspath(source), max_pixels)
    if hasattr(source, "read"):
        with suppress(AttributeError, OSError):  # a pipe has no other beginning than where it is
            source.seek(0)
        try:
            data = source.read()
        except UnicodeDecodeError as error:
            raise ImageError("expected a file opened in binary mode, got one of str") from error
        if not isinstance(data, bytes):
            raise ImageError(f"expected a file opened in binary mode, got one of {type(data).__name__}")
        name = getattr(source, "name", None)  # of a file opened by its descriptor: a number
        return _read_stream(io.BytesIO(data), name if isinstance(name, str) else "the given file", max_pixels)
    raise ImageError(f"expected a path, bytes, file, PIL image or array, got {type(source).__name__}")


def _read_path(path: str, max_pixels: int) -> Photo:
    if not os.path.exists(path):
        raise FileNotFoundError(f"expected an image file, found nothing at {path}")
    if not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "a device or pipe"
        raise ImageError(f"expected an image file, got {kind}: {path}")
    try:
        with open(path, "rb") as file:
            return _read_stream(file, path, max_pixels)
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror or error}") from error


def _read_stream(stream: BinaryIO, name: str, max_pixels: int) -> Photo:
    with _damage_named(name):
        with quiet.pillow:
            image = _open(stream, name, max_pixels)
        with image:
            return _decode(image, stream, name, max_pixels)


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Turns whatever a damaged file leads a decoder to raise into one line that names the file."""
    try:
        yield
    except (RetouchError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"expected a whole picture, got a damaged one: {name} ({reason})") from error


def _open(stream: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """A PIL image with its header read and no pixel decoded."""
    head = stream.read(LONGEST_START)
    stream.seek(0)
    if not head:
        raise ImageTypeError(f"expected a picture, got an empty file: {name}")
    match kind_of(head):
        case "PNG":
            return PngImagePlugin.PngImageFile(stream)
        case "JPEG":
            return JpegImagePlugin.jpeg_factory(stream)
        case "WEBP":
            # Pillow's decoder makes its canvas when it opens the file: the size has to be known before.
            width, height, _ = formats.webp_header(stream.read())
            _check_size(width, height, name, max_pixels)
            stream.seek(0)
            return WebPImagePlugin.WebPImageFile(stream)
        case "TIFF":
            return formats.open_tiff(stream, name)
        case "BMP":
            return BmpImagePlugin.BmpImageFile(stream)
        case "AVIF" | "HEIC" as coding:
            return heif.opened(stream, coding, name, max_pixels)
    head = head[:16]
    kind = next((kind for kind, (mark, _) in FOREIGN.items() if mark in head), "")
    what = f"{kind}: {name}" if kind else f"{name} (it begins with {head!r})"
    raise ImageTypeError(f"expected a {NAMES} picture, got {what}")


def kind_of(head: bytes) -> str | None:
    """The format, a key of `READ`, of a file that begins with some bytes; None where it is none of them."""
    return next((kind for kind, start in STARTS.items() if start.match(head)), None)


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageSizeError(f"expected at most {max_pixels:,} pixels, got {width} x {height} in {name}")
    if width < 1 or height < 1:
        raise ImageSizeError(f"expected at least one pixel, got {width} x {height} in {name}")


def _decode(image: Image.Image, stream: BinaryIO | None, name: str, max_pixels: int) -> Photo:
    """The photo of an opened PIL image; `stream` is its whole file, None for a caller's image."""
    _check_size(image.width, image.height, name, max_pixels)
    notes: list[str] = []
    with quiet.pillow:
        frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"frame {image.tell() + 1} of {frames} is read, no other")
    kind = {"MPO": "JPEG", "HEIF": "HEIC"}.get(image.format or "PNG", image.format or "PNG")
    lossless = kind not in ("JPEG", "AVIF", "HEIC")
    if isinstance(image, WebPImagePlugin.WebPImageFile) and stream is not None:
        stream.seek(0)
        lossless = formats.webp_header(stream.read())[2]
    is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
    # Pillow loses parts of a TIFF's EXIF when it turns the picture, and finds a PNG's behind the pixels.
    kept, orientation = metadata.exif_of(image, notes) if is_tiff else (None, 1)
    lying = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(exif.ORIENTATION) in LYING
    deep = formats.deep_channels(image, name) or (heif.deep_channels(image) if stream else 0)
    if deep and stream is not None:
        pixels, palette, icc = _decode_deep(image, stream, deep, name), None, image.info.get("icc_profile")
        mode = mode_of(pixels)
        if kind in ("AVIF", "HEIC"):
            notes.append(f"{image.info['bit_depth']} bits are widened to 16")
    else:
        if deep or (image.mode == "CMYK" and formats.tiff_bits(image) == 16):
            notes.append("16 bits a channel are cut to 8")
        if few := formats.grey_bits(image):
            notes.append(f"grey of {few} bits is widened to 8")
        if is_tiff and stream is not None:
            formats.check_tiff_whole(image, stream)
        with quiet.pillow:
            image = formats.loaded(image)
        pixels, mode, palette, icc = _pixels(image, name, notes)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if 2 in image.tag_v2.get(Tag.SampleFormat, ()):
            raise ImageError(f"expected whole numbers from 0 up, got signed ones in {name}")
        if (more := image.tag_v2.get(Tag.SamplesPerPixel, 1) - len(image.getbands())) > 0:
            notes.append(f"{more} channel{'s' if more > 1 else ''} beyond {image.mode} left out")
        if image.tag_v2.get(Tag.ExtraSamples, (0,))[0] == 1 and mode == "RGBA":
            notes.append("alpha was multiplied into the colours, and is taken out of them")
    else:
        kept, orientation = metadata.exif_of(image, notes)
    pixels = exif.turned(pixels, orientation)
    pixels.flags.writeable = False
    dpi, others = metadata.dpi_of(image), metadata.others_of(image, stream, notes)
    return Photo(
        pixels=pixels,
        mode=mode,
        palette=palette,
        icc=icc or None,
        exif=kept,
        dpi=dpi[::-1] if dpi and (lying or orientation >= 5) else dpi,
        format=kind if kind in READ else "PNG",
        lossless=lossless,
        jpeg=_jpeg_tables(image, turned=orientation >= 5),
        **others,
        notes=tuple(notes),
    )


def _jpeg_tables(image: Image.Image, *, turned: bool) -> JpegTables | None:
    """The compression of a grey or RGB JPEG that was opened, not made; ``turned`` by 90 degrees, as the pixels are."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.mode not in ("L", "RGB"):
        return None
    used = [component[3] for component in image.layer]
    while len(used) > 1 and used[-1] == used[-2]:  # the last table holds for all further components
        used.pop()
    if not used or any(len(image.quantization.get(key, ())) != 64 for key in used):
        return None
    tables = tuple(tuple(image.quantization[key]) for key in used)
    # A subsampling that Pillow cannot write (-1, and a turned 4:2:2) becomes 4:4:4: larger, but nothing is lost.
    sampling = max(0, JpegImagePlugin.get_sampling(image))
    if turned:
        tables = tuple(tuple(table[8 * (i % 8) + i // 8] for i in range(64)) for table in tables)
        sampling = 0 if sampling == 1 else sampling
    rgb = image.mode == "RGB" and image.info.get("adobe_transform") == 0
    return JpegTables(tables, sampling, bool(image.info.get("progressive")), rgb)


def _decode_deep(image: Image.Image, stream: BinaryIO, channels: int, name: str) -> np.ndarray:
    stream.seek(0)
    data = stream.read()
    if isinstance(image, PngImagePlugin.PngImageFile) and (found := formats.png_exif(data)):
        image.info["exif"] = found  # it may stand behind the pixels, where Pillow has not looked yet
    if image.format in heif.FORMATS:
        return heif.decode16(image, data, channels, name)
    return formats.decode16(data, channels, name)


# ---- everything else: Pillow ----------------------------------------------------------------------------


def _pixels(
    image: Image.Image, name: str, notes: list[str]
) -> tuple[np.ndarray, Mode, np.ndarray | None, bytes | None]:
    """(pixels, mode, palette, icc) of a loaded PIL image; what has to be converted is said in `notes`."""
    icc, mode = image.info.get("icc_profile"), image.mode
    key = image.info.get("transparency")
    if mode == "P":
        return *_palette_pixels(image), icc
    if mode == "CMYK":
        image, icc = _cmyk_to_rgb(image, icc, notes), None
    elif mode in WIDENED:
        image = image.convert(WIDENED[mode])
        notes.append(f"{mode} is converted to {image.mode}")
    elif mode in ("1", "L", "RGB") and key is not None:
        image = (image.convert("L") if mode == "1" else image).convert("RGBA" if mode == "RGB" else "LA")
        notes.append(f"the transparent colour becomes an alpha channel ({image.mode})")
    if image.mode == "1":
        return _copied(image.convert("L")), "1", None, icc
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        pixels = _copied(image)
    elif image.mode.startswith("I;16"):
        pixels = _copied(image)
        if 8 < (bits := formats.tiff_bits(image)) < 16:
            pixels = formats.widened(pixels, bits)
            notes.append(f"{bits} bits are widened to 16")
        if getattr(image, "tag_v2", {}).get(Tag.PhotometricInterpretation) == 0:
            pixels = np.invert(pixels)  # 0 is white: Pillow turns this round for 8 bits, but not for 16
        if isinstance(key, int):
            alpha = np.where(pixels == key, np.uint16(0), np.uint16(65535))
            pixels = np.concatenate([pixels, alpha], axis=2)
            notes.append("the transparent colour becomes an alpha channel (LA)")
    elif image.mode == "I" and not np.any(np.asarray(image.getextrema()) >> 16):  # all fit 16 bits
        pixels = np.asarray(image).astype(np.uint16)[..., None]
        notes.append("32-bit grey is kept in 16 bits")
    else:
        raise ImageError(f"expected 8 or 16 bits of grey, palette or RGB, got mode {image.mode} in {name}")
    return pixels, mode_of(pixels), None, icc


def _copied(image: Image.Image) -> np.ndarray:
    """(H, W, C) of the image's own depth, in bands: at once, NumPy would hold the pixels twice more."""
    dtype = np.uint16 if image.mode.startswith("I;16") else np.uint8
    pixels = np.empty((image.height, image.width, len(image.getbands())), dtype)
    band = max(1, BAND // image.width)
    for top in range(0, image.height, band):
        rows = pixels[top : top + band]
        part = np.asarray(image.crop((0, top, image.width, top + len(rows))))
        rows[...] = part.reshape(rows.shape)
    return pixels


def _palette_pixels(image: Image.Image) -> tuple[np.ndarray, Mode, np.ndarray]:
    pixels = _copied(image)
    colours = np.array(image.getpalette("RGBA") or [], np.uint8).reshape(-1, 4)
    palette = np.zeros((max(len(colours), int(pixels.max()) + 1), 4), np.uint8)
    palette[:, 3] = 255
    palette[: len(colours)] = colours
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        alpha = np.frombuffer(transparency, np.uint8)[: len(palette)]
        palette[: len(alpha), 3] = alpha
    elif isinstance(transparency, int) and transparency < len(palette):
        palette[transparency, 3] = 0
    palette.flags.writeable = False
    return pixels, "P", palette


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    from PIL import ImageCms  # few pictures need it, and it loads a library

    try:
        if icc:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            converted = ImageCms.profileToProfile(
                image,
                profile,
                ImageCms.createProfile("sRGB"),
                renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
                outputMode="RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if converted is not None:
                notes.append("CMYK is converted to sRGB through its ICC profile")
                return converted
    except (ImageCms.PyCMSError, OSError):
        pass  # a damaged profile counts as none
    notes.append("CMYK without a usable ICC profile is converted to RGB by the plain formula")
    return image.convert("RGB")


# ---- arrays ---------------------------------------------------------------------------------------------


def _from_array(source: np.ndarray) -> Photo:
    if source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] not in (1, 2, 3, 4)):
        raise ImageError(f"expected an array (H, W) or (H, W, 1 to 4), got shape {source.shape}")
    if source.size == 0:
        raise ImageError(f"expected at least one pixel, got an array of shape {source.shape}")
    notes: tuple[str, ...] = ()
    if source.dtype.kind == "u" and source.dtype.itemsize <= 2:
        pixels = np.array(source, source.dtype.newbyteorder("="), order="C")
    elif source.dtype.kind == "f":
        low, high = float(source.min()), float(source.max())
        if not (low >= 0 and high <= 1):  # also where one is not a number
            raise ImageError(f"expected floats in [0, 1], got {low:g} to {high:g}")
        scaled = np.multiply(source, 255, dtype=np.float32, casting="same_kind")
        pixels = np.rint(scaled, out=scaled).astype(np.uint8)
        notes = ("floats are rounded to 8 bits",)
    else:
        raise ImageError(f"expected an array of uint8, uint16 or floats in [0, 1], got {source.dtype}")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    pixels.flags.writeable = False
    return Photo(pixels, mode_of(pixels), notes=notes)
