"""Figures of photographs that a run does not train on, measured while it trains."""

import os
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor

from retouch import metrics, sources
from retouch.errors import TrainingError
from retouch.training import data, distributed
from retouch.training.settings import Settings

NAMES = ("psnr", "ssim", "l1")  # of ``metrics.METRICS``; logged as validation_psnr, ...


def held_out(settings: Settings, trained_on: tuple[sources.Source, ...]) -> data.Photos | None:
    """The photographs of ``settings.validate``, cropped and damaged as for training, but not changed otherwise.

    They are the same for every seed: the figures of two runs can be compared.

    Args:
        trained_on: the index of those that the run learns from.

    Raises:
        TrainingError: some of them are in both.
        DataError: there are none.
    """
    if not settings.validate:
        return None
    found = sources.index(settings.validate, beside=[settings.output])
    both = {_place(source) for source in trained_on} & {_place(source) for source in found}
    if both:
        path, name = min(both)
        raise TrainingError(
            f"validate: expected photos that are not trained on, got {len(both)} of --data, such as "
            f"{f'{path}: {name}' if name else path}"
        )
    alike = replace(settings, seed=0, jitter=0.0, colour=0.0, mirror=False)
    return data.Photos(found, alike, data.VALIDATION)


def _place(source: sources.Source) -> tuple[str, str]:
    return os.path.realpath(source.path), source.name


def figures(
    fabric: Fabric,
    photos: data.Photos,
    complete: Callable[[Iterable[int]], tuple[Tensor, Tensor, Tensor]],
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Means of the metrics over the photographs, by name; those that have no value are left out.

    Each process measures its part of them, and has the means over all.

    Args:
        photos: as ``held_out`` gives them; the crops and holes are the same each time.
        complete: the numbers of samples -> images (B, 3, S, S) in [0, 1], holes (B, 1, S, S), predictions
            (B, 3, S, S).
        stopped: whether to give up, with no figures.
    """
    count, processes = min(len(photos.sources), photos.settings.validate_photos), fabric.world_size
    mine = range(fabric.global_rank, count, processes)
    sums, batch = np.zeros(len(NAMES) + 1), photos.settings.batch // processes
    for start in range(0, len(mine), batch):
        if stopped():
            break
        image, hole, predicted = (
            tensor.float().cpu().numpy() for tensor in complete(mine[start : start + batch])
        )
        completion = np.where(hole > 0, predicted.clip(0, 1), image)
        measured = metrics.measure(image, completion, hole)
        sums += [*(measured[name].sum() for name in NAMES), len(image)]
    if processes > 1:
        sums = distributed.total(torch.tensor(sums, dtype=torch.float32, device=fabric.device)).cpu().numpy()
    *totals, done = sums
    if done < count:
        return {}
    known = zip(NAMES, totals, strict=True)
    return {f"validation_{name}": float(total / count) for name, total in known if np.isfinite(total)}
