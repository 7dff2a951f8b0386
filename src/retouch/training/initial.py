"""What a run begins with: nothing, its own last checkpoint, another run's averaged weights, or those of a model."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from retouch.errors import TrainingError
from retouch.models import Model, OnnxPredictor, load
from retouch.sources import Source
from retouch.training.checkpoints import Weights, holds_run, read_checkpoint
from retouch.training.data import SAMPLES, Photos, damaged
from retouch.training.from_onnx import load_onnx
from retouch.training.searching import SearchPredictor
from retouch.training.settings import Settings

CROPS = 16  # that show what a model's batch norms see, and whether it completes as it should


def start(
    method: str, config: Any, build: Callable[..., Any], settings: Settings, sources: Sequence[Source]
) -> tuple[dict[str, Any], Weights]:
    """The state and weights that a run begins with.

    Args:
        method: its name.
        config: its own settings.
        build: makes it of them; with ``training=False`` without what completing does not need.
        settings: with ``resume``, with ``init``, or with neither.
        sources: the photographs to learn from.

    Raises:
        TrainingError: a run where none should be, or none where one should be; to start from, a run or a model of
            another method, or a model of other settings.
        ModelError: no such model, or a damaged one.
        MissingExtraError: a model needs a package of an extra.
    """
    if settings.resume:
        state, weights = read_checkpoint(settings.output)
        if "counts" not in state:  # of an earlier version: the means begin anew
            state |= {"sums": {}, "counts": {}}
        return state, weights
    if holds_run(settings.output):
        raise TrainingError(
            f"{settings.output}: expected a folder without a run, got one (--resume goes on with it)"
        )
    init = settings.init
    state = {"step": 0, "images": 0, "images_before": 0, "seconds": 0.0, "sums": {}, "counts": {}}
    state |= {"init": init, "licence": ""}
    if init is None:
        return state, {}
    if os.path.isdir(init):
        other, weights = read_checkpoint(init, lambda group: group.endswith(".ema"))
        _check_method(f"{init}: expected a run", method, other["method"])
        before, licence = other["images"] + other["images_before"], other.get("licence", "")
        return state | {"images_before": before, "licence": licence}, weights
    model = load(init, threads=settings.threads)
    if model.card is None:
        raise TrainingError(f"expected a training run or a model of {method} to start from, got {init}")
    _check_method(f"{init}: expected a model", method, model.card.method)
    if hasattr(config, "mirror"):  # the model's, to compare with it
        config = replace(config, mirror="--set mirror=True" in model.card.command)
    weights = _weights(model, partial(build, config), Photos(tuple(sources), settings, SAMPLES))
    return state | {"images_before": model.card.images_seen, "licence": model.card.licence}, weights


def _check_method(expected: str, wanted: str, got: str) -> None:
    if got != wanted:
        raise TrainingError(f"{expected} of {wanted}, got one of {got}")


def _weights(model: Model, build: Callable[..., Any], photos: Photos) -> Weights:
    """A model's weights, as a run's averages are named."""
    predictor = model.predictor
    if not isinstance(predictor, OnnxPredictor):  # it searches: PyTorch has the networks already
        networks = cast(SearchPredictor, predictor).method.networks
        return {f"{name}.ema": network.state_dict() for name, network in networks.items()}
    method = build(training=False)
    for network in method.networks.values():
        network.eval()
    try:
        load_onnx(
            method.networks,
            predictor.weights,
            damaged(photos, CROPS),
            lambda image, hole: method.complete(image, hole, generator=None),
            lambda image, hole: predictor(image, hole, seed=0),
        )
    except ValueError as error:
        raise TrainingError(
            f"{model.name}: expected the settings that its card's command has (--preset shipped, or --set), {error}"
        ) from error
    return {f"{name}.ema": network.state_dict() for name, network in method.networks.items()}
