"""Files that tests make and compare: folders, tar shards, PNGs chunk by chunk, photographs as telephones write them."""

import io
import struct
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from retouch.errors import ImageError
from retouch.image import read


def contents(folder: str | Path) -> dict[str, bytes]:
    """All files of a folder and below: path -> bytes."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_shard(path: str | Path, members: dict[str, bytes]) -> Path:
    """A tar shard; its folder is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as shard:
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size, header.mtime = len(data), 1_700_000_000
            shard.addfile(header, io.BytesIO(data))
    return Path(path)


def read_shard(data: bytes) -> dict[str, bytes]:
    """Member -> bytes."""
    with tarfile.open(fileobj=io.BytesIO(data)) as shard:
        return {member.name: shard.extractfile(member).read() for member in shard}


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def png_bomb(width: int, height: int) -> bytes:
    """A PNG that says it is large and has hardly a pixel."""
    header = struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def avif(picture: Image.Image, **options: object) -> bytes:
    """Of a picture, upright as it is seen: an orientation in ``exif`` is one in the file's own boxes."""
    stream = io.BytesIO()
    picture.save(stream, "AVIF", **options)
    return stream.getvalue()


def heic(picture: Image.Image, *, append_images: Sequence[Image.Image] = (), **options: object) -> bytes:
    """As `avif`."""
    made, stream = pillow_heif.HeifFile(), io.BytesIO()
    for one in (picture, *append_images):
        made.add_from_pillow(one)
    made.save(stream, **options)
    return stream.getvalue()


def is_refused_in_one_line(path: Path, data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """Writes a file and checks that it is no picture: one line that names it, and nothing on the screen."""
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"\A[^\n]+\Z") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")
