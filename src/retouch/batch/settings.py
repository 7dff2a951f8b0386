"""How many photographs are completed; the options of ``retouch batch`` are these fields."""

from dataclasses import dataclass
from typing import Literal, get_args

from retouch.engine import BLENDS, FEATHER, Blend
from retouch.errors import DataError, OptionError, check_choice
from retouch.options import Cores, Positive, Whole, at_least
from retouch.workers import cores

Engine = Literal["local", "ray"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a batch is done. What decides the outputs' bytes comes first; the rest does not touch them.

    Args:
        model: Name from "retouch models", .onnx or .py file, training run, or hf:OWNER/NAME.
        seed: For models that draw random numbers; the same for every photo.
        dilate: Grow the holes by so many pixels first.
        feather: Width in pixels of the band in the hole that meets the photo.
        blend: How the two meet; none pastes.
        engine: Where it is done: on this machine, or by Ray on many.
        address: Of the Ray cluster, e.g. auto; by default one is started on this machine.
        workers: Photos completed at the same time; by default as many as keep all cores busy.
        threads: Cores that a model may use for one photo.
        partial: Leave out photos without a mask and masks without a photo.
        resume: Go on in an OUTPUT that is there: do what is missing, damaged, failed or changed since.
        fail_fast: Stop at the first photo that fails.
        dry_run: List what would be done and what is missing, and do nothing.
        json: Print the list or the summary as JSON.
    """

    model: str | None = None
    seed: Whole = 0
    dilate: Whole = 0
    feather: Positive = FEATHER
    blend: Blend = "feather"
    engine: Engine = "local"
    address: str | None = None
    workers: Positive | None = None
    threads: Cores = 1
    partial: bool = False
    resume: bool = False
    fail_fast: bool = False
    dry_run: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        check_choice(OptionError, BLENDS, blend=self.blend)
        check_choice(OptionError, get_args(Engine), engine=self.engine)
        at_least(self, seed=0, dilate=0, feather=1, workers=1, threads=1)
        if self.address is not None and self.engine != "ray":
            raise DataError(f"expected --address with --engine ray alone, got it with {self.engine}")

    @property
    def at_once(self) -> int:
        """Forward passes at the same time."""
        return self.workers or max(1, cores() // self.threads)
