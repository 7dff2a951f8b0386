"""The one training loop, for any method: batches, steps, averages, logs, checkpoints.

    RUN/checkpoint/       the newest state: see checkpoints.py
    RUN/stats.jsonl       one line per ``log_every`` steps: means of what the method's steps returned (a loss with a
                          metric's name, where less is better, as ``ssim_loss``); now and then figures of photographs
                          that are held out (``validation.py``)
    RUN/tensorboard/      the same, for TensorBoard
    RUN/samples/*.png     original, damaged, completed with the averaged weights; named after the step

Everything random in step k comes from (seed, k), so nothing but k has to be kept to go on exactly.
"""

import copy
import math
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from retouch import sources as photographs
from retouch.errors import TrainingError
from retouch.methods import METHODS
from retouch.models import Model
from retouch.training import data, distributed, launching, teacher, validation
from retouch.training.checkpoints import (
    Weights,
    check_newest,
    load_networks,
    load_optimizer,
    optimizer_numbers,
    optimizer_tensors,
    versions,
    write_checkpoint,
)
from retouch.training.initial import start
from retouch.training.method import Loadable, Method
from retouch.training.process import alone, memory_named, restored, signals
from retouch.training.progress import logs, progress, save_grid
from retouch.training.settings import Settings, check_same, configure, plain

MINUTES, SIGNAL = 1, 2  # reasons to stop before the last step


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended.

    Args:
        run: its folder.
        why: which bound stopped it, or that a signal did.
        signal: the signal's number; None without one, and in every process but the first.
        step: steps done in all.
        images: images seen in all, without those of the runs that it started from.
        first: whether this is the first of the processes that trained; the others have nothing to say.
    """

    run: Path
    why: Literal["steps", "minutes", "signal"]
    signal: int | None
    step: int
    images: int
    first: bool = True


def train(
    method: str,
    settings: Settings,
    overrides: Mapping[str, Any] | None = None,
    *,
    entry: Loadable | None = None,
) -> Finished:
    """Trains a method until a bound or a signal (SIGINT, SIGTERM) stops it; saves its state at the end.

    Args:
        method: its name in the registry.
        settings: what all methods share.
        overrides: fields of the method's own config.
        entry: stands in for the registry's.

    Raises:
        TrainingError: settings, data or checkpoint that do not fit; a loss or a weight that is not finite.
        DataError: another process trains in the same folder.
    """
    if entry is None and method not in METHODS:
        raise TrainingError(f"expected a method among {', '.join(METHODS)}, got {method!r}")
    kind, build = (entry or METHODS[method]).load()
    config = configure(kind, overrides or {})
    for name in getattr(build, "unscaled", ()):
        if settings.precision == "16-mixed" and getattr(config, name, False):
            raise TrainingError(
                f"precision: expected 32-true or bf16-mixed with {name}, got 16-mixed (scaled gradients)"
            )
    sources = photographs.index(settings.data, beside=[settings.output])
    state, weights = start(method, config, build, settings, sources)
    identity = photographs.fingerprint(sources)
    held_out = validation.held_out(settings, sources)
    models = teacher.teachers(settings)
    teachers = [model.sha256 for model in models]
    if settings.resume:
        check_same(settings.output, state, method, config, settings, identity, teachers)
    inherited = [model.card.licence for model in models if model.card]
    state["licence"] = state.get("licence") or next(iter(inherited), "")
    state |= {"method": method, "config": plain(config), "settings": plain(settings)}
    state |= {"photos": len(sources), "data_sha256": identity, "teachers_sha256": teachers}
    state["versions"] = versions()
    try:
        with warnings.catch_warnings():
            # 16 bits on a CPU, of which we say more below
            warnings.filterwarnings("ignore", "You passed `Fabric")
            fabric = Fabric(
                accelerator=settings.accelerator,
                devices=settings.devices,
                num_nodes=settings.nodes,
                strategy=launching.Together() if settings.devices * settings.nodes > 1 else "auto",
                precision=settings.precision,  # type: ignore[arg-type]  # checked by Settings
            )
        if isinstance(fabric.strategy, launching.Together) and fabric.strategy.cluster_environment:
            fabric.strategy.cluster_environment.validate_settings(settings.devices, settings.nodes)
    except (ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())
        raise TrainingError(f"expected devices that this machine has, got: {reason}") from error
    if fabric.strategy.precision.precision != settings.precision:
        raise TrainingError("precision: expected 32-true or bf16-mixed on this device, got 16-mixed")
    run = partial(
        _train,
        build=partial(build, config),
        settings=settings,
        sources=sources,
        held_out=held_out,
        models=models,
        state=state,
        weights=weights,
    )
    with launching.launched(fabric), memory_named(settings.batch, settings.size):
        finished: Finished = fabric.launch(run)
    return finished


def _train(
    fabric: Fabric,
    build: Callable[[], Method],
    settings: Settings,
    sources: tuple[photographs.Source, ...],
    held_out: data.Photos | None,
    models: tuple[Model, ...],
    state: dict[str, Any],
    weights: Weights,
) -> Finished:
    first, many, run = fabric.is_global_zero, fabric.world_size > 1, settings.output
    facts = {"photos": state["data_sha256"], "teachers": state["teachers_sha256"], "step": state["step"]}
    distributed.agree_on(fabric, **facts)
    gpus = [fabric.device] if fabric.device.type == "cuda" else []
    with restored(settings.threads, gpus), signals() as caught, ExitStack() as held:
        # 1. The method, its average, and the state to go on with
        torch.manual_seed(settings.seed)
        try:
            method = build()
        except (ValueError, RuntimeError) as error:  # of PyTorch: a width or a rate that is none
            reason = " ".join(str(error).split())
            raise TrainingError(
                f"expected settings that the method can be built with, got: {reason}"
            ) from error
        bare, optimizers = dict(method.networks), dict(method.optimizers)
        averaged = copy.copy(method)
        averaged.networks = {name: copy.deepcopy(network) for name, network in bare.items()}
        load_networks(bare, averaged.networks, weights, settings)
        for name, network in bare.items():
            averaged.networks[name].to(fabric.device).eval().requires_grad_(False)
            if settings.channels_last:
                for either in (network, averaged.networks[name]):
                    either.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            ready = cast(nn.Module, torch.compile(network)) if settings.compile else network
            if name in optimizers:
                method.networks[name], method.optimizers[name] = fabric.setup(ready, optimizers[name])
            else:
                method.networks[name] = fabric.setup_module(ready)
        distributed.share_norms(fabric, bare)
        backward = distributed.backward(fabric, bare)
        if settings.resume:
            for name, optimizer in optimizers.items():
                load_optimizer(optimizer, state["optimizers"][name], weights.get(f"{name}.optimizer", {}))
            fabric.strategy.precision.load_state_dict(state["scaler"])
        weights.clear()
        teach = teacher.taught(models, device=fabric.device, channels_last=settings.channels_last)

        def save() -> None:
            state["optimizers"] = {
                name: optimizer_numbers(optimizer) for name, optimizer in optimizers.items()
            }
            state["scaler"] = fabric.strategy.precision.state_dict()
            groups = {name: network.state_dict() for name, network in bare.items()}
            groups |= {f"{name}.ema": network.state_dict() for name, network in averaged.networks.items()}
            groups |= {f"{name}.optimizer": optimizer_tensors(kept) for name, kept in optimizers.items()}
            write_checkpoint(run, state, groups)

        # 2. The data, from the first sample that this run has not seen
        photos = data.Photos(sources, settings)
        shown = data.Photos(sources, settings, data.SAMPLES)

        def complete(photos: data.Photos, numbers: Iterable[int]) -> tuple[Tensor, Tensor, Tensor]:
            """Images, holes and what the averaged weights predict, of the samples with these numbers."""
            image, hole = map(torch.stack, zip(*(photos[number] for number in numbers), strict=True))
            image, hole = _floats(image, hole, fabric.device)
            with torch.no_grad(), fabric.autocast():
                generator = torch.Generator(fabric.device).manual_seed(settings.seed)
                return image, hole, averaged.complete(image * (1 - hole), hole, generator=generator)

        def samples() -> None:
            save_grid(run / "samples" / f"{state['step']:08d}.png", *complete(shown, range(8)))

        def validate() -> dict[str, float]:
            if held_out is None:
                return {}
            try:
                return validation.figures(
                    fabric, held_out, partial(complete, held_out), stopped=lambda: bool(caught)
                )
            except TrainingError:  # of the photos; what was learned is not lost
                if first:
                    save()
                raise

        # 3. The steps
        if first:
            held.enter_context(alone(run))
            # what was read may be old by now: another process may have trained until a moment ago
            check_newest(run, state["step"] if settings.resume else -1)
        distributed.meet(fabric)
        before, stop = state["seconds"], 0
        begun = saved = since = time.monotonic()
        logged, newest = state["images"], dict[str, float]()
        feed = data.batches(
            photos,
            start=state["images"],
            batch=settings.batch,
            rank=fabric.global_rank,
            processes=fabric.world_size,
            workers=settings.workers,
            pin=fabric.device.type == "cuda",
        )
        with (
            closing(feed) as batches,
            logs(run, state, quiet=not first) as log,
            progress(settings, state, quiet=not first) as show,
        ):
            while settings.steps is None or state["step"] < settings.steps:
                k = state["step"]
                try:
                    image, hole = _floats(*next(batches), fabric.device, settings.channels_last)
                except TrainingError:  # of the photos; no step is begun, and what was learned is not lost
                    if first and k:
                        save()
                    raise
                with fabric.autocast():
                    image = teach(image, hole)
                torch.manual_seed(_step_seed(settings.seed, k))
                with (
                    distributed.SharedNoise(fabric.global_rank, fabric.world_size) if many else nullcontext()
                ):
                    values = method.step(image, hole, k, backward=backward)
                state["seconds"] = before + time.monotonic() - begun
                late = settings.minutes is not None and state["seconds"] >= 60 * settings.minutes
                values, stop = _agree(fabric, values, SIGNAL if caught else MINUTES if late else 0)
                wrong = [name for name, value in values.items() if not math.isfinite(value)]
                if wrong:
                    message = f"step {k}: expected a finite {wrong[0]}, got {values[wrong[0]]}"
                    raise TrainingError(message) if first else SystemExit(0)  # one process says it for all
                _average(bare, averaged.networks, min(settings.ema, (1 + k) / (10 + k)))

                state["step"], state["images"] = k + 1, state["images"] + settings.batch
                for name, value in values.items():  # a stage, or every n-th step, has values of its own
                    state["sums"][name] = state["sums"].get(name, 0.0) + value
                    state["counts"][name] = state["counts"].get(name, 0) + 1
                due, last = state["step"] % settings.log_every == 0, stop or state["step"] == settings.steps
                measured = (last and stop < SIGNAL) or state["step"] % settings.validate_every == 0
                figures = validate() if measured else {}
                newest = figures or newest
                show(values | newest)
                if due or last:
                    log((state["images"] - logged) / (time.monotonic() - since), figures)
                if due:
                    state["sums"], state["counts"] = {}, {}
                    logged, since = state["images"], time.monotonic()
                if first and settings.sample_every and state["step"] % settings.sample_every == 0:
                    samples()
                early = state["step"] == 1  # from here on the folder always holds a whole checkpoint
                if first and (early or time.monotonic() - saved >= 60 * settings.checkpoint_minutes):
                    save()
                    saved = time.monotonic()
                if stop:
                    break

        # 4. The end: everything is on the disk before any process leaves
        if first:
            save()
            if settings.sample_every:
                samples()
        distributed.meet(fabric)
        why: Literal["steps", "minutes", "signal"]
        why = "signal" if stop >= SIGNAL else "minutes" if stop else "steps"
        number = (caught or [signal.SIGTERM])[0] if why == "signal" and first else None
    return Finished(run, why, number, state["step"], state["images"], first)


def _floats(
    image: Tensor, hole: Tensor, device: torch.device, channels_last: bool = False
) -> tuple[Tensor, Tensor]:
    """(B, 3, S, S) uint8 and (B, 1, S, S) bool -> float32 on the device, the image in [0, 1]."""
    image, hole = image.to(device, non_blocking=True), hole.to(device, non_blocking=True)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return image.float().div_(255).contiguous(memory_format=layout), hole.float()


def _step_seed(seed: int, k: int) -> int:
    return int(np.random.SeedSequence((seed, k, 0)).generate_state(1, np.uint32)[0])


def _agree(fabric: Fabric, values: dict[str, float], stop: int) -> tuple[dict[str, float], int]:
    """Means of the values over all processes, and the strongest reason to stop that any has."""
    if fabric.world_size == 1:
        return values, stop
    sent = torch.tensor([*values.values(), stop == MINUTES, stop == SIGNAL], device=fabric.device)
    *means, late, caught = distributed.total(sent).div_(fabric.world_size).tolist()
    return dict(zip(values, means, strict=True)), SIGNAL if caught else MINUTES if late else 0


@torch.no_grad()
def _average(networks: Mapping[str, nn.Module], averages: Mapping[str, nn.Module], decay: float) -> None:
    """Averages <- decay * averages + (1 - decay) * weights; buffers are copied."""
    for name, network in networks.items():
        average = averages[name]
        pairs = list(zip(average.parameters(), network.parameters(), strict=True))
        torch._foreach_lerp_([kept.data for kept, _ in pairs], [new.data for _, new in pairs], 1 - decay)
        for kept, new in zip(average.buffers(), network.buffers(), strict=True):
            kept.copy_(new)
