"""What a training run is asked to do: settings shared by all methods, and a method's own config."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter

from retouch import masks
from retouch.errors import TrainingError, check_choice
from retouch.options import Cores, Output, Ratio, Whole, as_paths, as_texts, at_least

# a resumed run must agree on these, which decide what it learns from; its photos are told by their SHA-256
FIXED = (
    "size", "zoom", "whole", "jitter", "jittered", "colour", "mirror", "masks", "ratio", "mask_size", "batch", "seed",
    "ema", "precision", "teacher",
)  # fmt: skip
STRATEGIES = ("auto", "ddp")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a training run, whatever the method.

    Args:
        data: folders, tar shards or patterns of photos; of "PATH=N" each photo counts N times.
        output: folder of the run; made where it is missing.
        size: side of the training crops, in pixels.
        zoom: crops are cut at up to zoom times size pixels and reduced to size.
        whole: instead, the largest square in the middle of each photo is reduced to size.
        jitter: of --whole, a square whose side is shorter by up to this share, anywhere.
        jittered: share of the crops that this is done to.
        colour: each channel is multiplied by a factor from 1 - colour to 1 + colour.
        mirror: every other crop is mirrored; --no-mirror leaves all as they are.
        masks: kinds of holes with their weights, KIND=WEIGHT.
        ratio: share of the canvas that a hole takes, LEAST-MOST.
        mask_size: side of the canvas of the holes, in pixels; by default size.
        batch: samples per step, over all devices.
        steps: stop after so many steps in all, earlier sessions included; by default no bound.
        minutes: stop after so many minutes of training in all, earlier sessions included; by default no bound.
        seed: of the initial weights, the order of the photos, the crops, the holes and every step.
        workers: subprocesses that decode photos; 0 decodes in the training process.
        ema: decay per step of the averaged weights, warmed up as min(ema, (1 + k) / (10 + k)).
        precision: Fabric's 32-true, bf16-mixed or 16-mixed.
        compile: compile the networks (torch.compile).
        channels_last: keep networks and images in memory with the channels last.
        accelerator: Fabric's: auto, cpu, cuda, mps.
        devices: number of devices on each node.
        nodes: number of machines.
        strategy: how several devices train as one: auto or ddp, which are the same.
        threads: of PyTorch on the CPU; by default its own choice.
        checkpoint_minutes: time between checkpoints.
        log_every: steps between two lines of stats.jsonl, which hold means over those steps.
        sample_every: steps between two sample grids; 0: none.
        validate: photos that are held out, as for data: what the averaged weights make of them is measured.
        validate_photos: how many of them; the same for every seed.
        validate_every: steps between two such measurements, a multiple of log_every.
        resume: go on with the run in --output.
        init: a run, or a model, whose averaged weights to start from; all else is fresh.
        teacher: runs, or models, whose completions (their mean) to learn instead of what the holes held.
    """

    data: tuple[str, ...]
    output: Output
    size: Whole = 128
    zoom: float = 1.0
    whole: bool = False
    jitter: float = 0.0
    jittered: float = 1.0
    colour: float = 0.0
    mirror: Annotated[bool, Parameter(negative="--no-mirror")] = True
    masks: tuple[str, ...] = ("strokes=0.5", "boxes=0.5")
    ratio: Ratio = (0.05, 0.5)
    mask_size: Whole | None = None
    batch: Whole = 16
    steps: Whole | None = None
    minutes: float | None = None
    seed: Whole = 0
    workers: Whole = 1
    ema: float = 0.999
    precision: str = "32-true"
    compile: bool = False
    channels_last: bool = False
    accelerator: str = "auto"
    devices: Whole = 1
    nodes: Whole = 1
    strategy: str = "auto"
    threads: Cores | None = None
    checkpoint_minutes: float = 5.0
    log_every: Whole = 20
    sample_every: Whole = 1000
    validate: tuple[str, ...] = ()
    validate_photos: Whole = 200
    validate_every: Whole = 1000
    resume: bool = False
    init: str | None = None
    teacher: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        as_texts(self, TrainingError, "data", "masks", "validate", "teacher")
        as_paths(self, TrainingError, "output")
        at_least(
            self, TrainingError, size=8, batch=1, steps=0, seed=0, workers=0, devices=1, nodes=1, threads=1
        )
        at_least(self, TrainingError, log_every=1, sample_every=0, validate_photos=1, validate_every=1)
        for name, bound in {"minutes": 0, "checkpoint_minutes": 0, "zoom": 1}.items():
            value = getattr(self, name)
            if value is not None and not bound <= value < math.inf:
                raise TrainingError(f"{name}: expected a finite number from {bound} up, got {value}")
        if self.validate and self.validate_every % self.log_every:
            raise TrainingError(
                f"validate_every: expected a multiple of log_every = {self.log_every}, got {self.validate_every}"
            )
        if self.seed >= 1 << 64:
            raise TrainingError(f"seed: expected a number of at most 64 bits, got {self.seed}")
        for name in ("jitter", "colour"):
            if not 0 <= getattr(self, name) < 1:
                raise TrainingError(f"{name}: expected a share from 0 to below 1, got {getattr(self, name)}")
        if not 0 < self.jittered <= 1:
            raise TrainingError(f"jittered: expected a share above 0 up to 1, got {self.jittered}")
        if self.whole and self.zoom != 1:
            raise TrainingError(f"zoom: expected 1 with whole, got {self.zoom:g}")
        if self.jitter and not self.whole:
            raise TrainingError(f"jitter: expected 0 without whole, got {self.jitter}")
        if not 0 <= self.ema < 1:
            raise TrainingError(f"ema: expected a decay from 0 to below 1, got {self.ema}")
        if not 0 < self.ratio[0] <= self.ratio[1] < 1:
            raise TrainingError(f"ratio: expected 0 < least <= most < 1, got {self.ratio[0]}-{self.ratio[1]}")
        if self.mask_size is not None and self.mask_size < self.size:
            raise TrainingError(f"mask_size: expected at least size = {self.size}, got {self.mask_size}")
        check_choice(TrainingError, PRECISIONS, precision=self.precision)
        check_choice(TrainingError, STRATEGIES, strategy=self.strategy)
        if self.batch % (self.devices * self.nodes):
            raise TrainingError(
                f"batch: expected a multiple of the {self.devices * self.nodes} devices, got {self.batch}"
            )
        if self.resume and self.init is not None:
            raise TrainingError("expected resume or init, got both: a resumed run has its own weights")
        self.kinds()

    def kinds(self) -> dict[str, float]:
        """The mask kinds with their weights; TrainingError for an unknown kind or a weight that is none."""
        kinds: dict[str, float] = {}
        for spec in self.masks:
            kind, _, weight = spec.partition("=")
            try:
                kinds[kind] = float(weight or 1)
            except ValueError:
                raise TrainingError(f"masks: expected KIND or KIND=WEIGHT, got {spec!r}") from None
            if kind not in masks.KINDS:
                raise TrainingError(f"masks: expected kinds among {', '.join(masks.KINDS)}, got {kind!r}")
            if not 0 < kinds[kind] < float("inf"):
                raise TrainingError(f"masks: expected a weight above 0, got {spec!r}")
        if not kinds:
            raise TrainingError("masks: expected at least one kind of mask, got none")
        return kinds


def configure(kind: Any, overrides: Mapping[str, Any]) -> Any:
    """A method's config with some fields set.

    Args:
        kind: the config's frozen dataclass.
        overrides: field -> value; one given as text is read as Python reads a number, or as true or false, where
            the field is not text itself.

    Raises:
        TrainingError: an unknown field, a value of another type, or a number below 0, which makes sense nowhere.
    """
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    values: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in names:
            raise TrainingError(f"expected a setting among {', '.join(names)}, got {name!r}")
        values[name] = _typed(name, value, hints[name])
    return kind(**values)


def _typed(name: str, value: Any, wanted: Any) -> Any:
    if wanted is not str and isinstance(value, str):
        try:
            value = wanted(value) if wanted in (int, float) else json.loads(value.lower())
        except ValueError:
            raise TrainingError(f"{name}: expected {wanted.__name__}, got {value!r}") from None
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted or (wanted is float and not math.isfinite(value)):
        raise TrainingError(f"{name}: expected {wanted.__name__}, got {value!r}")
    if wanted in (int, float) and value < 0:
        raise TrainingError(f"{name}: expected 0 or more, got {value!r}")
    return value


def plain(settings: Any) -> dict[str, Any]:
    """A settings or config dataclass as JSON gives it back: lists for tuples, text for paths."""
    document: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    return document


def check_same(
    run: Path,
    state: Mapping[str, Any],
    method: str,
    config: Any,
    settings: Settings,
    data: str,
    teachers: Sequence[str],
) -> None:
    """Raises TrainingError where a run to be resumed was another method, config or setting, or of other data.

    Args:
        run: its folder. state: of its checkpoint. method, config, settings: asked for now.
        data: SHA-256 of the index of the photos. teachers: those of the teachers' weights.
    """
    pairs: list[tuple[str, Any, Any]] = [("method", state["method"], method)]
    asked_config, asked = plain(config), plain(settings)
    # older runs lack newer settings
    kept_settings = plain(Settings(data=(), output=run)) | state["settings"]
    kept_config = plain(type(config)()) | state["config"]
    pairs += [(name, kept, asked_config.get(name)) for name, kept in sorted(kept_config.items())]
    pairs += [(name, kept_settings[name], asked[name]) for name in FIXED]
    for name, kept, got in pairs:
        if kept != got:
            raise TrainingError(
                f"{run}: expected the run's own {name} = {kept!r} to resume it, got {got!r} "
                "(--resume takes the options that the run began with)"
            )
    if data != state["data_sha256"]:
        own = ", ".join(kept_settings["data"])
        raise TrainingError(
            f"{run}: expected the run's own photos ({state['photos']} of {own}) to resume it, got others, or files "
            "of other names or sizes"
        )
    if list(teachers) != state.get("teachers_sha256", []):
        raise TrainingError(
            f"{run}: expected the run's own teachers to resume it, got other weights of {', '.join(settings.teacher)}"
        )
