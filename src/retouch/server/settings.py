"""What a server is asked to be; the options of ``retouch serve`` are these fields."""

import math
from dataclasses import dataclass
from pathlib import Path

from retouch.errors import ServerError
from retouch.options import Cores, Positive, Whole, as_paths, at_least

MEBIBYTE = 1 << 20
MEGAPIXEL = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """A server's limits and folders.

    Args:
        model: To start with: a name from "retouch models", a .onnx or .py file, a training run, or hf:OWNER/NAME.
        workers: Photographs completed at the same time; by default as many as keep all cores busy.
        waiting: Requests that may wait for a worker; the next one is told to come back later (429).
        seconds: Time limit of a request, waiting included (503).
        body_seconds: Time limit for a request's bytes to arrive (408), beside a second for every 32,000 of them.
        max_mebibytes: Size limit of a request (413).
        max_megapixels: Size limit of a photograph (413).
        threads: Cores that a model may use; all by default.
        input: A folder of photographs that the page offers to open.
        output: A folder in which the page offers to store results.
    """

    model: str | None = None
    workers: Positive | None = None
    waiting: Whole = 16
    seconds: float = 120
    body_seconds: float = 60
    max_mebibytes: Positive = 128
    max_megapixels: float = 100
    threads: Cores | None = None
    input: Path | None = None
    output: Path | None = None

    def __post_init__(self) -> None:
        as_paths(self, ServerError, "input", "output")
        at_least(self, ServerError, workers=1, waiting=0, max_mebibytes=1)
        for name in ("seconds", "body_seconds", "max_megapixels"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ServerError(
                    f"expected --{name.replace('_', '-')} to be more than 0 and finite, got {value}"
                )
        if self.max_pixels < 1:
            raise ServerError(f"expected --max-megapixels to allow a pixel, got {self.max_megapixels}")
        for name in ("input", "output"):
            folder = getattr(self, name)
            if folder is not None and not folder.is_dir():
                raise ServerError(f"expected --{name} to be an existing folder, got {folder}")

    @property
    def max_bytes(self) -> int:
        """The largest body, in bytes."""
        return self.max_mebibytes * MEBIBYTE

    @property
    def max_pixels(self) -> int:
        """The largest photograph, in pixels."""
        return int(self.max_megapixels * MEGAPIXEL)
