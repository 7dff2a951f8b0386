"""Blocks and losses that two or more papers share unchanged."""

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer


def hole_decibels(completed: Tensor, image: Tensor, hole: Tensor) -> Tensor:
    """Mean over the images of log10 of the hole's mean squared error: PSNR / -10, up to a constant.

    Args:
        completed, image: (B, 3, H, W) in [0, 1]. hole: (B, 1, H, W), 1 = missing.
    """
    error = (hole * (completed - image).square()).sum((1, 2, 3)) / (3 * hole.sum((1, 2, 3))).clamp_min(1)
    return (error + 1e-6).log10().mean()


def warmup_cosine(k: int, warmup: int, total_steps: int) -> float:
    """Factor on a learning rate at step k: linear warm-up, then a cosine to 2 %; 0 leaves either out."""
    factor = min(1.0, (k + 1) / warmup) if warmup else 1.0
    if total_steps:
        factor *= 0.02 + 0.98 * (1 + math.cos(math.pi * min(1.0, k / total_steps))) / 2
    return factor


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Gives all of an optimiser's parameters this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def update(optimizer: Optimizer, loss: Tensor, backward: Callable[[Tensor], None]) -> None:
    """One step of an optimiser."""
    optimizer.zero_grad()
    backward(loss)
    optimizer.step()


def numbers(logs: Mapping[str, Tensor]) -> dict[str, float]:
    """The values of scalar tensors, fetched at once: each fetch waits for the GPU."""
    values = torch.stack([value.detach() for value in logs.values()]).tolist()
    return dict(zip(logs, values, strict=True))


def mirrored(network: Callable[[Tensor, Tensor], Tensor], image: Tensor, hole: Tensor) -> Tensor:
    """The mean of a network's completions of the picture and of its mirror image.

    Args:
        network: (B, 3, H, W), (B, 1, H, W) -> (B, 3, H, W).
        image, hole: what it is shown.
    """
    return (network(image, hole) + network(image.flip(3), hole.flip(3)).flip(3)) / 2


def depthwise(image: Tensor, kernel: list[list[float]], *, padding: int = 0) -> Tensor:
    """Correlates every channel with one fixed kernel (zeros beyond the border).

    Args:
        image: (B, C, H, W).
        kernel: k x k numbers, as printed (correlation, as in every deep-learning library).

    Returns:
        (B, C, H + 2 padding - k + 1, W + 2 padding - k + 1).
    """
    channels = image.shape[1]
    weight = torch.tensor(kernel, dtype=image.dtype, device=image.device).expand(channels, 1, -1, -1)
    return F.conv2d(image, weight, padding=padding, groups=channels)
