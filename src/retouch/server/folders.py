"""Two folders that the page may open photographs from and store results in. Only the owner's options name them.

A request names a file, never a path: what is opened stands in the listing that the server makes, and what is stored
has a plain name. Links are neither listed nor followed.
"""

import errno
import os
import re
import stat
import unicodedata
from pathlib import Path

from retouch import image as images
from retouch import writing
from retouch.errors import ImageError
from retouch.photo import SUFFIXES
from retouch.server.job_queue import Progress
from retouch.server.problems import HttpError

MOST = 1000  # files listed
NAME = re.compile(r"[^\x00-\x1f\x7f/\\:*?\"<>|.][^\x00-\x1f\x7f/\\:*?\"<>|]{0,199}")


def names(folder: Path) -> list[str]:
    """The photographs of a folder by name: plain files with the suffix of a format that is read, no links.

    Raises:
        HttpError: 404 for a folder that is gone.
    """
    try:
        with os.scandir(folder) as entries:
            found = [
                entry.name
                for entry in entries
                if entry.name.lower().endswith(SUFFIXES)
                and not entry.name.startswith(".")
                and entry.name.encode(errors="ignore")
                == os.fsencode(entry.name)  # UTF-8: JSON takes no other
                and entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        raise HttpError(
            "no_folder", "the server's input folder cannot be read: it was moved or locked"
        ) from None
    return sorted(found)[:MOST]


def opened(folder: Path | None, name: str, largest: int) -> bytes:
    """The bytes of a listed photograph.

    Raises:
        HttpError: 404 for a name that is not listed or without a folder, 413 for a file that is too large.
    """
    if folder is None:
        raise HttpError("no_folder", "the server has no input folder (see --input)")
    if name not in names(folder):
        raise HttpError("no_photo", "there is no such photograph in the folder")
    try:
        number = os.open(
            folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        )
        with open(number, "rb") as file:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise HttpError("no_photo", "there is no such photograph in the folder")
            data = file.read(largest + 1)
    except OSError:  # gone, or a link since it was listed
        raise HttpError("no_photo", "there is no such photograph in the folder") from None
    if len(data) > largest:
        raise HttpError("too_many_bytes", f"expected a file of at most {largest:,} bytes, got more")
    return data


def store(folder: Path, name: str, data: bytes, max_pixels: int, progress: Progress) -> None:
    """Stores a picture whole or not at all; never over another file.

    Raises:
        HttpError: 409, 415, 422, 500, 507.
        ImageError: not a picture.
        StoppedError: from ``progress``.
    """
    plain = unicodedata.normalize("NFC", name)
    if not NAME.fullmatch(plain) or plain.endswith((" ", ".")) or len(plain.encode()) > 200:
        raise HttpError("wrong_name", "expected a plain file name such as photo.png, got something else")
    try:
        wanted = images.format_of(plain)
    except ImageError:
        raise HttpError(
            "wrong_name", "expected a name that ends in .png, .jpg, .webp, .tif or .bmp"
        ) from None
    photo = images.read(data, max_pixels=max_pixels)
    if photo.format != wanted:
        raise HttpError("wrong_format", f"expected a {wanted} file for this name, got a {photo.format}")
    if os.path.lexists(folder / plain):  # a link would be followed
        raise HttpError("exists", "there is a file of this name already")
    progress(0, 0)  # whoever was told that it is not done in time will store it again
    try:
        writing.atomic_write(folder / plain, data, overwrite=False)
    except FileExistsError:
        raise HttpError("exists", "there is a file of this name already") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HttpError(
                "disk_full", "the disk of the output folder is full; nothing was stored"
            ) from None
        raise HttpError("not_stored", "the file could not be stored in the output folder") from error
