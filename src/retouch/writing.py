"""Files that appear whole or not at all, and outputs that one process alone writes to."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from retouch.errors import DataError


def atomic_write(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Writes the file whole or not at all: a temporary file beside it, synced, then renamed.

    It has the permissions of the file that it replaces, or those that the umask gives a new one. A symbolic link is
    followed.

    Raises:
        FileExistsError: `path` exists and `overwrite` is false.
        OSError: the folder is missing or not writable, or the disk is full; nothing is left behind. It names `path`.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".retouch-{secrets.token_hex(6)}.tmp"
    try:
        with open(temporary, "xb") as file:
            with contextlib.suppress(OSError):  # a new file, or a file system without permissions
                os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not overwrite:
            _move_to_new(temporary, target)
        else:
            os.replace(temporary, target)
    except FileExistsError:
        raise FileExistsError(f"expected a new output file, got one that exists: {os.fspath(path)}") from None
    except OSError as error:
        error.filename, error.filename2 = os.fspath(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or could not be made
            temporary.unlink()


def check_new(path: str | os.PathLike[str]) -> None:
    """Before any work: raises FileExistsError where a new output would replace a file."""
    if os.path.lexists(path):
        raise FileExistsError(
            f"expected a new output file, got one that exists (--overwrite replaces it): {os.fspath(path)}"
        )


def _move_to_new(temporary: Path, target: Path) -> None:
    """Renames, but never over a file that appeared meanwhile: a hard link fails where its name is taken."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: the check is all there is
        if target.exists():
            raise FileExistsError from None
        os.replace(temporary, target)


def lock(descriptor: int, path: Path) -> None:
    """Keeps others from what is open until it is closed, which the end of the process does, however that comes.

    Raises:
        DataError: another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(
            f"{path}: expected an output of this run alone, got one that another writes to"
        ) from error
    except OSError:
        return  # a file system without locks
