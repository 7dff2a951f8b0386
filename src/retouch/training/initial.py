"""What a run begins with: nothing, its own last checkpoint, another run's averaged weights, or those of a model."""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn

from retouch.cards import Card, shipped_names
from retouch.errors import ModelError, TrainingError
from retouch.models import Model, OnnxPredictor, load
from retouch.own import PYTHON
from retouch.sources import Source
from retouch.training.checkpoints import Weights, holds_run, read_checkpoint
from retouch.training.data import SAMPLES, Photos, damaged
from retouch.training.from_onnx import load_onnx
from retouch.training.process import restored
from retouch.training.search_predictor import SearchPredictor
from retouch.training.settings import Settings, configure

CROPS = 8  # that show what a model's batch norms see, and whether it completes as it should


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
    init = None if settings.init is None else os.fspath(settings.init)
    state = {"step": 0, "images": 0, "images_before": 0, "seconds": 0.0, "sums": {}, "counts": {}}
    state |= {"init": init, "licence": ""}
    if init is None:
        return state, {}
    if os.path.isdir(init) and init not in shipped_names():
        other, weights = read_checkpoint(init, lambda group: group.endswith(".ema"))
        _check_method(f"{init}: expected a run", method, other["method"])
        before, licence = other["images"] + other["images_before"], other.get("licence", "")
        return state | {"images_before": before, "licence": licence}, weights
    model = None if init.lower().endswith(PYTHON) else load(init, threads=settings.threads)
    if model is None or model.card is None:
        raise TrainingError(f"expected a training run or a model of {method} to start from, got {init}")
    _check_method(f"{init}: expected a model", method, model.card.method)
    with restored(settings.threads):
        weights = _weights(model, model.card, config, build, Photos(tuple(sources), settings, SAMPLES))
    return state | {"images_before": model.card.images_seen, "licence": model.card.licence}, weights


def _check_method(expected: str, wanted: str, got: str) -> None:
    if got != wanted:
        raise TrainingError(f"{expected} of {wanted}, got one of {got}")


def _weights(model: Model, card: Card, config: Any, build: Callable[..., Any], photos: Photos) -> Weights:
    """A model's weights, as a run's averages are named, after checking that its networks are those of the config."""
    samples = damaged(photos, CROPS)
    if isinstance(model.predictor, OnnxPredictor):
        predictor, words = model.predictor, pairwise(shlex.split(card.command))
        own = configure(type(config), dict(pair.split("=", 1) for option, pair in words if option == "--set"))
        method = _still(build(own, training=False))
        try:
            load_onnx(
                method.networks,
                predictor.weights,
                samples,
                lambda image, hole: method.complete(image, hole, generator=None),
                lambda image, hole: predictor(image, hole, seed=0),
            )
        except ModelError as error:
            raise ModelError(f"{model.name}: {error}") from error
    else:  # it searches: PyTorch has the networks already
        method = cast(SearchPredictor, model.predictor).method
        own = method.config
    image, hole = map(torch.from_numpy, samples[0])
    for name, value in vars(config).items():
        had = getattr(own, name)
        if value == had or name == "mirror":  # which has the same networks complete twice
            continue
        other = _still(build(replace(own, **{name: value}), training=False))
        same = _shapes(other) == _shapes(method)
        if same and isinstance(model.predictor, OnnxPredictor):  # a search may be another one
            for key, network in other.networks.items():
                network.load_state_dict(method.networks[key].state_dict())
            one, two = (each.complete(image, hole, generator=None) for each in (method, other))
            same = torch.equal(one, two)
        if not same:
            raise TrainingError(
                f"{model.name}: expected the model's own {name} = {had!r}, got {value!r} (--preset shipped, or --set)"
            )
    return {f"{name}.ema": network.state_dict() for name, network in method.networks.items()}


def _still(method: Any) -> Any:
    for network in method.networks.values():
        network.eval().requires_grad_(False)
    return method


def _shapes(method: Any) -> list[tuple[str, torch.Size]]:
    weights = nn.ModuleDict(method.networks).state_dict()
    return [(name, weight.shape) for name, weight in weights.items()]
