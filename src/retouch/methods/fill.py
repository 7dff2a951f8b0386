"""A smooth interpolation of the known pixels, for a network to start from."""

import torch.nn.functional as F
from torch import Tensor


def smooth_fill(image: Tensor, hole: Tensor, levels: int = 6, rounds: int = 4) -> Tensor:
    """Fills the hole by a smooth interpolation of the known pixels: a pyramid of their averages.

    Down: averages over known pixels alone. Up: each level's hole takes the coarser level's value and is smoothed by
    a 3 x 3 mean, ``rounds`` times (Jacobi steps towards the membrane; Gortler et al. 1996 call it pull-push).

    Args:
        image: (B, 3, H, W); what stands in the hole is not read.
        hole: (B, 1, H, W), 1 = missing.
    """
    pyramid = [(image * (1 - hole), hole)]
    for _ in range(levels):
        image, hole = pyramid[-1]
        share = F.avg_pool2d(1 - hole, 2, ceil_mode=True)
        average = F.avg_pool2d(image, 2, ceil_mode=True) / share.clamp_min(1e-6)
        pyramid.append((average, (share < 1e-6).to(image)))
    image, hole = pyramid.pop()
    known = (1 - hole).sum((2, 3), keepdim=True).clamp_min(1)
    filled = image + hole * (image.sum((2, 3), keepdim=True) / known)
    while pyramid:
        image, hole = pyramid.pop()
        filled = F.interpolate(filled, size=image.shape[-2:], mode="bilinear", align_corners=False)
        for _ in range(rounds):
            filled = F.avg_pool2d(image + hole * filled, 3, stride=1, padding=1, count_include_pad=False)
        filled = image + hole * filled
    return filled
