"""What a run learns of holes where models are named to teach it: their completions (Hinton, Vinyals, Dean 2015).

These stand in for the photographs everywhere in a step: a discriminator takes them for real, and is best left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from retouch.errors import TrainingError
from retouch.models import Model, load
from retouch.training.settings import Settings


def teachers(settings: Settings) -> tuple[Model, ...]:
    """The models of ``settings.teacher``.

    Raises:
        TrainingError: a model for windows of another size than the run's crops; a damaged run.
        ModelError: no such model, or a damaged one.
        MissingExtraError: a model needs a package of an extra.
    """
    models, size = tuple(load(name, threads=settings.threads) for name in settings.teacher), settings.size
    for model in models:
        limits = model.predictor.limits
        if size % limits.multiple or not limits.smallest <= size <= limits.largest:
            raise TrainingError(
                f"teacher: expected a model for crops of {size} px, got {model.name}, for windows of "
                f"{limits.smallest} to {limits.largest} px, a multiple of {limits.multiple}"
            )
    return models


def taught(
    models: Sequence[Model], *, device: torch.device, channels_last: bool = False
) -> Callable[[Tensor, Tensor], Tensor]:
    """What replaces the images of a step: (B, 3, S, S) in [0, 1], (B, 1, S, S) with 1 = missing -> (B, 3, S, S).

    Known pixels stay; holes hold the mean of what the models complete, without any they stay too. A run's networks
    work on the run's device, in its precision; any other model where it always does.
    """
    completions = [_completion(model, device, channels_last) for model in models]

    @torch.no_grad()
    def teach(image: Tensor, hole: Tensor) -> Tensor:
        if not completions:
            return image
        told = [complete(image * (1 - hole), hole).float() for complete in completions]
        return image + hole * (torch.stack(told).mean(0).clamp(0, 1) - image)

    return teach


def _completion(
    model: Model, device: torch.device, channels_last: bool
) -> Callable[[Tensor, Tensor], Tensor]:
    module = getattr(model.predictor, "module", None)
    if module is not None:  # a training run
        module.to(device)
        if channels_last:
            module.to(memory_format=torch.channels_last)
        method = module.method
        if getattr(method.config, "mirror", False):  # which costs twice the time: crops are mirrored anyway
            method.config = replace(method.config, mirror=False)
        return cast(Callable[[Tensor, Tensor], Tensor], module)

    def complete(image: Tensor, hole: Tensor) -> Tensor:
        pair = (image.contiguous().cpu().numpy(), hole.cpu().numpy())
        return torch.from_numpy(model.predictor(*pair, seed=0)).to(device)

    return complete
