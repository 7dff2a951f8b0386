"""Blocks and losses that two or more papers share unchanged."""

import torch
import torch.nn.functional as F
from torch import Tensor


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of a discriminator: mean ReLU(1 - D(real)) + mean ReLU(1 + D(fake)).

    Args:
        real, fake: raw scores, any shape.
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """Hinge loss of a generator: - mean D(fake)."""
    return -fake.mean()


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
