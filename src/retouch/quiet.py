"""How the picture libraries read for us, and for no one else: with their words kept off the screen.

The reader's own error tells in one line what they say of damaged files.
"""

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import cast

import cv2
from PIL import PngImagePlugin

TEXT = 16 << 20  # bytes unpacked of a PNG's ICC profile, and of each of its texts; Pillow takes 1 MiB


class Quiet:
    """Use with ``with``: a setting of the whole process, changed by the first thread that enters, undone by the last.

    No thread waits for another. What else the process has to say, it says.
    """

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        self._change, self._changed = change, ExitStack()
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._changed.enter_context(self._change())
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._changed.close()


@contextmanager
def _reading_with_pillow() -> Iterator[None]:
    """Without its warnings; with room for a printer's ICC profile in a PNG.

    Other filters that are set meanwhile stay, as they would not after ``warnings.catch_warnings``.
    """
    before, silent = PngImagePlugin.MAX_TEXT_CHUNK, ("ignore", None, Warning, re.compile(r"PIL\."), 0)
    filters = cast(list[object], warnings.filters)
    filters.insert(0, silent)
    PngImagePlugin.MAX_TEXT_CHUNK = max(before, TEXT)
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK = before
        for there in (filters, cast(list[object], warnings.filters)):  # another list by now, perhaps
            there[:] = [one for one in there if one is not silent]  # a caller may have its like


@contextmanager
def _no_log_of_opencv() -> Iterator[None]:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


pillow = Quiet(_reading_with_pillow)
opencv = Quiet(_no_log_of_opencv)
