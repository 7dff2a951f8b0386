"""What the picture libraries leave to be done by hand, on plain bytes: headers and 16-bit files.

Pillow knows no 16-bit colour: OpenCV reads it, and it is packed into PNG and TIFF here.
"""

import os
import struct
import zlib
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin, TiffTags
from PIL.ExifTags import Base as Tag

from retouch import quiet
from retouch.errors import ImageError, ImageSizeError, ImageTypeError
from retouch.exif import tiff_tags
from retouch.metadata import png_chunk
from retouch.photo import Photo

LONGEST_DEEP = 1_000_000  # px: OpenCV's decoders read no longer side
LEVEL = 3  # of deflate: the low bytes of 16 bits are noise, more effort gains under 3 % at twice the time


def webp_header(data: bytes) -> tuple[int, int, bool]:
    """(width, height, lossless) of a WebP file, from its chunks, with nothing decoded.

    Pillow's decoder makes its canvas when the file is opened, so the size has to be known before.
    Source: the WebP container specification.

    Raises:
        ValueError: no picture chunk follows.
    """
    size: tuple[int, int] | None = None
    place = 12
    while place + 8 <= len(data):
        name, length = data[place : place + 4], struct.unpack_from("<L", data, place + 4)[0]
        body = data[place + 8 : place + 18]
        if name == b"VP8X" and len(body) == 10:
            size = (int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
        elif name == b"VP8 " and len(body) == 10:
            width, height = struct.unpack("<HH", body[6:10])
            return *(size or (width & 0x3FFF, height & 0x3FFF)), False
        elif name == b"VP8L" and len(body) >= 5:
            bits = int.from_bytes(body[1:5], "little")
            return *(size or ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)), True
        elif name == b"ANMF":
            place += 8 + 16  # the frame's own chunks follow its 16 bytes of geometry
            continue
        place += 8 + length + (length & 1)
    raise ValueError("expected a picture chunk in the WebP file")


def open_tiff(stream: BinaryIO, name: str) -> TiffImagePlugin.TiffImageFile:
    """Opens a TIFF file.

    Raises:
        ImageTypeError: of a kind that Pillow does not know, such as colour in floats; it is not damaged.
    """
    try:
        return TiffImagePlugin.TiffImageFile(stream)
    except SyntaxError as error:
        if str(error) != "unknown pixel mode":
            raise
        raise ImageTypeError(
            f"expected a TIFF of 8 or 16 bits of grey, palette or RGB, got another kind in {name}"
        ) from error


def loaded(image: Image.Image) -> Image.Image:
    """The image with its pixels decoded, and of a PNG the transparent grey as wide as they are.

    Pillow widens grey of 2 and 4 bits to 8, but not the transparent value.
    """
    factor = 0
    if isinstance(image, PngImagePlugin.PngImageFile) and image.tile:
        factor = {"L;2": 85, "L;4": 17}.get(str(image.tile[0].args), 0)
    image.load()
    key = image.info.get("transparency")
    if factor and isinstance(key, int):
        image = image.copy()  # a caller's own stays as it is
        image.info["transparency"] = factor * key
    return image


def png_exif(data: bytes) -> bytes | None:
    """The EXIF of a PNG file, wherever it stands, after checking that every chunk is whole.

    Raises:
        ValueError: a chunk is cut short or damaged.
    """
    view, exif, place = memoryview(data), None, 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">L", data, place)
        name, end = data[place + 4 : place + 8], place + 12 + length
        if end > len(data):
            break
        if struct.unpack_from(">L", data, end - 4)[0] != zlib.crc32(view[place + 4 : end - 4]):
            raise ValueError(f"the checksum of chunk {name!r} does not fit")
        if name == b"eXIf":
            exif = data[place + 8 : end - 4]
        if name == b"IEND":
            return exif
        place = end
    raise ValueError("the file is cut short")


def png16(photo: Photo) -> bytes:
    """A PNG of a 16-bit photo, with its ICC profile, EXIF and resolution."""
    pixels = photo.pixels
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    parts = [
        b"\x89PNG\r\n\x1a\n",
        png_chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 16, kind, 0, 0, 0)),
    ]
    if photo.icc:
        parts.append(png_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.icc)))
    if photo.dpi:
        across, down = (round(value / 0.0254) for value in photo.dpi)
        parts.append(png_chunk(b"pHYs", struct.pack(">LLB", across, down, 1)))
    if photo.exif:
        parts.append(png_chunk(b"eXIf", photo.exif))
    stride = 2 * width * channels
    band = max(1, (1 << 22) // stride)
    above = np.zeros(stride, np.uint8)
    packer = zlib.compressobj(LEVEL)
    for top in range(0, height, band):
        raw = pixels[top : top + band].astype(">u2").reshape(-1).view(np.uint8).reshape(-1, stride)
        rows = np.empty((len(raw), 1 + stride), np.uint8)
        rows[:, 0] = 2  # filter "Up": the difference to the row above, modulo 256
        np.subtract(raw[0], above, out=rows[0, 1:])
        np.subtract(raw[1:], raw[:-1], out=rows[1:, 1:])
        above = raw[-1]
        if packed := packer.compress(rows.tobytes()):
            parts.append(png_chunk(b"IDAT", packed))
    parts += [png_chunk(b"IDAT", packer.flush()), png_chunk(b"IEND", b"")]
    return b"".join(parts)


def check_tiff_whole(image: Image.Image, stream: BinaryIO) -> None:
    """Finds a cut file before its decompressor does, which would write to the screen on its own.

    Raises:
        ValueError: the pixels of the compressed file do not end within it.
    """
    tags: Any = getattr(image, "tag_v2", {})
    length = stream.seek(0, os.SEEK_END)
    for offsets, counts in ((Tag.StripOffsets, Tag.StripByteCounts), (Tag.TileOffsets, Tag.TileByteCounts)):
        ends = [
            start + count for start, count in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        ]
        if tags.get(Tag.Compression, 1) != 1 and max(ends, default=0) > length:
            raise ValueError(f"expected {max(ends)} bytes, got {length}")


def tiff_bits(image: Image.Image) -> int:
    """The bits of a TIFF's deepest channel; 0 for other pictures."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0
    return int(max(image.tag_v2.get(Tag.BitsPerSample, (1,))))


def grey_bits(image: Image.Image) -> int:
    """2 or 4 where grey has so few bits, which Pillow widens to 8; else 0. Of an image that is not loaded."""
    tiles: Any = getattr(image, "tile", ())
    arguments = tiles[0].args if image.mode == "L" and tiles else ""
    stored = arguments if isinstance(arguments, str) else str(arguments[0])  # as in L;4 or L;2I
    return int(stored[2]) if stored.startswith(("L;2", "L;4")) else 0


def deep_channels(image: Image.Image, name: str) -> int:
    """How many 16-bit channels OpenCV finds where Pillow would cut them to 8 bits; 0: nothing to cut.

    Raises:
        ImageError: a TIFF that both libraries would read wrongly, or a side too long for OpenCV.
    """
    channels = 0
    if isinstance(image, PngImagePlugin.PngImageFile) and image.tile:
        channels = {"LA;16B": 2, "RGB;16B": 3, "RGBA;16B": 4}.get(str(image.tile[0].args), 0)
        channels += channels == 3 and "transparency" in image.info
    if isinstance(image, TiffImagePlugin.TiffImageFile) and tiff_bits(image) == 16:
        if image.tag_v2.get(Tag.PlanarConfiguration, 1) != 1 and len(image.getbands()) > 1:
            raise ImageError(f"expected interleaved 16-bit channels, got separate planes in {name}")
        if image.tag_v2.get(Tag.ExtraSamples, (2,))[0] == 1 and image.mode == "RGBA":
            raise ImageError(f"expected 16-bit colour apart from its alpha, got it multiplied in {name}")
        channels = len(image.mode) if image.mode in ("RGB", "RGBA") else 0
    if channels and max(image.size) > LONGEST_DEEP:
        size = f"{image.width} x {image.height}"
        raise ImageSizeError(f"expected 16-bit sides of at most {LONGEST_DEEP:,} px, got {size} in {name}")
    return channels


def decode16(data: bytes, channels: int, name: str) -> np.ndarray:
    """(H, W, channels) uint16 of a PNG, TIFF or AVIF file, channels = 1 (grey), 2 (grey + alpha), 3 or 4.

    OpenCV turns a TIFF upright, but no PNG and no AVIF, whose values stay those of 10 or 12 bits.

    Raises:
        ImageError: no such picture can be decoded; OpenCV's own words are kept off the screen.
    """
    with quiet.opencv:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is not None and decoded.ndim == 2:
        decoded = decoded[..., None]
    if decoded is None or decoded.dtype != np.uint16 or decoded.shape[2] < channels:
        raise ImageError(f"expected a whole 16-bit picture, got a damaged one: {name}")
    if channels == 1:
        return np.ascontiguousarray(decoded[..., :1])
    if channels == 2:  # grey and alpha come as BGRA
        return np.ascontiguousarray(decoded[..., [0, 3]])
    order = {
        (3, 3): cv2.COLOR_BGR2RGB,
        (4, 3): cv2.COLOR_BGRA2RGB,
        (4, 4): cv2.COLOR_BGRA2RGBA,
    }[int(decoded.shape[2]), channels]
    return np.asarray(cv2.cvtColor(decoded, order))


def widened(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Values of fewer bits than 16 as uint16 of the same shape: white, which is ``2**bits - 1``, becomes 65535."""
    white = (1 << bits) - 1
    table = ((np.arange(white + 1) * 65535 + white // 2) // white).astype(np.uint16)
    wide = np.empty(pixels.shape, np.uint16)
    for row, values in zip(wide, pixels, strict=True):  # all at once would take eight bytes a value
        row[...] = table[values]
    return wide


def tiff(photo: Photo) -> bytes:
    """A little-endian TIFF: deflated strips, with horizontal differences.

    Pillow writes no 16-bit colour, and leaves out the EXIF directories of a compressed file.
    """
    pixels, mode = photo.pixels, photo.mode
    height, width, channels = pixels.shape
    little = pixels.dtype.newbyteorder("<")
    band = max(1, (1 << 18) // (little.itemsize * width * channels))
    strips = []
    for top in range(0, height, band):
        rows = pixels[top : top + band].astype(little)
        if mode == "1":
            rows = np.packbits(rows[..., 0] >= 128, axis=1)
        elif mode != "P":
            rows[:, 1:] -= rows[:, :-1].copy()
        strips.append(zlib.compress(rows.tobytes(), LEVEL))
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in tiff_tags(photo.exif).items() if photo.exif else ():
        directory[tag] = value
    directory[Tag.ImageWidth], directory[Tag.ImageLength] = width, height
    directory[Tag.BitsPerSample] = (1 if mode == "1" else 8 * little.itemsize,) * channels
    directory[Tag.Compression] = 8  # deflate
    # palette, RGB, 0 is black
    directory[Tag.PhotometricInterpretation] = {"P": 3, "RGB": 2, "RGBA": 2}.get(mode, 1)
    directory[Tag.SamplesPerPixel], directory[Tag.RowsPerStrip] = channels, band
    directory[Tag.PlanarConfiguration] = 1  # interleaved
    directory[Tag.Predictor] = 1 if mode in ("1", "P") else 2  # horizontal differences
    directory.tagtype[Tag.StripOffsets] = directory.tagtype[Tag.StripByteCounts] = TiffTags.LONG
    lengths = [len(strip) for strip in strips]
    # Pillow adds its own length
    directory[Tag.StripOffsets] = tuple(int(end) for end in np.cumsum([0, *lengths[:-1]]))
    directory[Tag.StripByteCounts] = tuple(lengths)
    if photo.palette is not None:
        colours = np.zeros((256, 3), np.uint16)
        colours[: len(photo.palette)] = photo.palette[:, :3]
        directory[Tag.ColorMap] = tuple((257 * colours.T).ravel().tolist())
    if channels in (2, 4):
        directory[Tag.ExtraSamples] = 2  # alpha that is not multiplied in
    if photo.dpi:
        directory[Tag.XResolution], directory[Tag.YResolution] = photo.dpi
        directory[Tag.ResolutionUnit] = 2  # per inch
    blocks = {Tag.XMLPacket: photo.xmp, Tag.IPTCNAA: photo.iptc, Tag.InterColorProfile: photo.icc}
    for tag, value in blocks.items():
        if value:
            directory.tagtype[tag] = TiffTags.BYTE if tag == Tag.XMLPacket else TiffTags.UNDEFINED
            directory[tag] = value
    return b"".join([b"II*\0\x08\0\0\0", directory.tobytes(8), *strips])
