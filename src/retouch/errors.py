"""The exceptions and the warning of Retouch: each message names what was expected and what came.

The command prints the message as one line and exits with status 2; a traceback is a bug.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral


class RetouchError(Exception):
    """Base of every error that Retouch raises for bad input."""


class ImageError(RetouchError, ValueError):
    """A picture that cannot be read, is too large, or cannot be written as asked."""


class ImageTypeError(ImageError):
    """Not a picture of a kind that is read."""


class ImageSizeError(ImageError):
    """A picture of more pixels than are allowed, or of none."""


class MaskError(RetouchError, ValueError):
    """A mask or hole that does not fit its image, or a mask that cannot be drawn as asked."""


class NothingKnownError(MaskError):
    """A hole that covers all of its image."""


class ModelError(RetouchError, ValueError):
    """An unknown model, a damaged weight file, or a model that cannot do what was asked."""


class OptionError(RetouchError, ValueError):
    """An option of a completion that is unknown, too small, or not whole."""


class DataError(RetouchError, ValueError):
    """Photographs, results or an output that are not as they should be, or work on them that cannot go on."""


class TrainingError(RetouchError, ValueError):
    """Training that cannot start (settings, data, checkpoint) or cannot go on (a loss that is not finite)."""


class ServerError(RetouchError, ValueError):
    """A server that cannot be started as asked."""


class MissingExtraError(RetouchError, ImportError):
    """A part that needs a package which the light install leaves out.

    Args:
        part: what was asked for, e.g. ``"training"``.
        extra: the extra that brings it, e.g. ``"train"``.
    """

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(f"{part} needs the extra {extra!r}: pip install '.[{extra}]' in Retouch's folder")
        self.part, self.extra = part, extra

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str]]:
        return type(self), (self.part, self.extra)  # between processes


class RetouchWarning(UserWarning):
    """What a picture's file holds and its completion does not, or not as it was: from Python, where none prints it."""


@contextmanager
def needs(extra: str, part: str) -> Iterator[None]:
    """Imports in its body that fail for a missing package mean that the extra is not installed.

    One of our own modules missing is a bug and stays what it is.

    Raises:
        MissingExtraError: with these two words.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).startswith("retouch"):
            raise
        raise MissingExtraError(part, extra) from error


def check_whole(error: type[Exception], least: int, /, **numbers: object) -> None:
    """Refuses what is no whole number, Python's or NumPy's, and what is below ``least``.

    Raises:
        the ``error`` that is given: naming the first that is wrong.
    """
    for name, number in numbers.items():
        if not isinstance(number, Integral) or int(number) < least:
            raise error(f"{name}: expected a whole number of at least {least}, got {number!r}")


def check_choice(error: type[Exception], choices: Iterable[str], /, **values: object) -> None:
    """Refuses what is none of some words.

    Raises:
        the ``error`` that is given: naming the first that is wrong.
    """
    known = tuple(choices)
    for name, value in values.items():
        if value not in known:
            raise error(f"{name}: expected one of {', '.join(known)}, got {value!r}")


def first_line(error: BaseException) -> str:
    """What an exception of another library says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def said(error: Exception) -> str:
    """What an exception says, in one line: the file first, and its kind where it is none that was foreseen."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            return f"{error.filename}: expected a folder, got a file there or above"
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, (RetouchError, OSError)):
        return " ".join(str(error).splitlines()) or type(error).__name__  # a file's name may have line breaks
    return f"{type(error).__name__}: {first_line(error)}"
