"""What the training loop asks of a method: its networks and optimisers, a step, a completion."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Method(Protocol):
    """What the loop trains. Networks are used by calling ``networks[...]``: the loop wraps them.

    Noise that a step draws without a generator of its own has one row for each sample (see ``distributed``). A class
    may name in ``unscaled`` the settings of its config that rule out 16-mixed, which scales gradients.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]  # each belongs to the network of the same key

    def step(
        self, image: Tensor, hole: Tensor, k: int, *, backward: Callable[[Tensor], None]
    ) -> dict[str, float]:
        """One whole training step: (B, 3, S, S) in [0, 1], (B, 1, S, S) with 1 = missing -> values to log."""
        ...

    def complete(self, image: Tensor, hole: Tensor, *, generator: torch.Generator) -> Tensor:
        """The prediction for the whole window, (B, 3, S, S)."""
        ...


class Loadable(Protocol):
    """A registry's entry: gives the method's config dataclass and its class."""

    @property
    def load(self) -> Callable[[], tuple[Any, Any]]: ...
