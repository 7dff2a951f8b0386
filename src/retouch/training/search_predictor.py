"""Models of the methods that search: their weights as safetensors, and the Predictor that PyTorch runs.

A file holds the networks that completing needs, each tensor named NETWORK/NAME, convolutions and dense layers in 16
bits, and in its header the method and the settings that it was trained with; the card beside it has the file's SHA-256.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from retouch.boxes import Limits
from retouch.errors import ModelError, TrainingError, check_choice
from retouch.methods import METHODS, search
from retouch.training.process import restored
from retouch.training.settings import configure, plain


@dataclass(frozen=True, slots=True)
class SearchPredictor:
    """A method that searches, as the engine's Predictor. Several threads may call it at once.

    Every element is searched on its own, all its restarts at once. In a batch with others its sums would be
    split up differently, a hundred steps would make that visible, and the engine promises the same completion
    whichever windows share a batch. On a CPU one element's restarts keep all cores busy.

    Args:
        limits: the windows that it accepts.
        method: in evaluation mode.
        how: "paper" or "inverter"; None: as the method was trained.
        threads: cores that PyTorch may use; None: its own choice.
        rank: which of ``count`` answers to give, 0 being that of the lowest total loss.
        count: answers that are looked for.
        tell: see `retouch.engine.Watchable`.
    """

    limits: Limits
    method: Any
    how: str | None = None
    threads: int | None = None
    rank: int = 0
    count: int = 1
    tell: Callable[[float], None] | None = None
    _known: dict[str, np.ndarray] = field(default_factory=dict, repr=False)  # shared by those of ``variants``

    def __post_init__(self) -> None:
        if self.how is not None:
            check_choice(ModelError, search.SEARCHES, search=self.how)

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        """(B, 3, h, w) in [0, 1] and (B, 1, h, w), 1 = missing, float32 -> (B, 3, h, w) float32."""
        pairs = zip(np.split(image, len(image)), np.split(hole, len(hole)), strict=True)
        return np.concatenate([self._answers(one, missing, seed)[self.rank] for one, missing in pairs])

    def watched(self, tell: Callable[[float], None]) -> "SearchPredictor":
        """As `retouch.engine.Watchable` has it."""
        return replace(self, tell=tell)

    def variants(self, count: int) -> "list[SearchPredictor]":
        """One predictor for each of so many answers, in the order of their total losses, window by window."""
        shared = replace(self, count=count, _known={})
        return [replace(shared, rank=rank) for rank in range(count)]

    def searching(self, how: str | None, threads: int | None) -> "SearchPredictor":
        """The same with "paper", "inverter" or (None) the search as trained, on so many cores (None: all)."""
        return replace(self, how=how, threads=threads)

    def _answers(self, image: np.ndarray, hole: np.ndarray, seed: int) -> np.ndarray:
        """(1, 3, h, w), (1, 1, h, w) -> (count, 1, 3, h, w)."""
        key = hashlib.sha256(image.tobytes() + hole.tobytes() + f"{seed} {self.how}".encode()).hexdigest()
        if self.count > 1 and key in self._known:
            return self._known[key]
        with restored(self.threads):
            completions: np.ndarray = search.completions(
                self.method,
                torch.from_numpy(image),
                torch.from_numpy(hole),
                generator=torch.Generator().manual_seed(seed % (1 << 64)),  # more bits than it takes
                how=self.how,
                count=self.count,
                watch=self._watch,
            ).numpy()
        if self.count > 1:
            self._known[key] = completions
        return completions

    def _watch(self, steps: int, _: torch.Tensor) -> None:
        if self.tell:
            self.tell(steps / search.most_steps(self.method.config, self.how))


def to_safetensors(name: str, method: Any) -> bytes:
    """A method's networks and settings as the bytes of a file.

    Args:
        name: of the method in the registry.
        method: with ``config`` and ``networks``.
    """
    tensors = {
        f"{network}/{key}": (tensor.half() if tensor.ndim > 1 else tensor.clone()).cpu().contiguous()
        for network, module in method.networks.items()
        for key, tensor in module.state_dict().items()
    }
    # one entry: safetensors writes several in any order, and the same model is to be the same bytes
    return save(tensors, {"model": json.dumps({"method": name, "config": plain(method.config)})})


def from_safetensors(data: bytes, limits: Limits, source: str) -> SearchPredictor:
    """The Predictor of what ``to_safetensors`` wrote.

    Args:
        data: the content of the file.
        limits: of its card.
        source: its name, for messages.

    Raises:
        ModelError: not such a file, an unknown method, or weights that do not fit its settings.
    """
    try:
        tensors, model = load(data), json.loads(_header(data)["model"])
        name, config = model["method"], dict(model["config"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{source}: expected a model in safetensors, got another file: {_line(error)}"
        ) from error
    if not isinstance(name, str) or name not in METHODS or not METHODS[name].searches:
        known = ", ".join(name for name, entry in METHODS.items() if entry.searches)
        raise ModelError(f"{source}: expected a model of {known}, got one of {name!r}")
    kind, build = METHODS[name].load()
    try:
        method = build(configure(kind, config), training=False)
        for key, network in method.networks.items():
            own = {part.split("/", 1)[1]: t for part, t in tensors.items() if part.startswith(f"{key}/")}
            network.load_state_dict(own)
            network.eval().requires_grad_(False)
    except (TrainingError, RuntimeError) as error:
        raise ModelError(f"{source}: expected settings and weights that fit: {_line(error)}") from error
    return SearchPredictor(limits, method)


def _header(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:8], "little")
    header: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return header


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
