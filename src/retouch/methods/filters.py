"""The fixed filters of `recurrent`: edges, low and high frequencies (Baik, B.1, B.2, B.5)."""

import torch.nn.functional as F
from torch import Tensor

from retouch.methods.nn import depthwise


def sobel_edges(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 3, H, W): squared gradient per colour channel, h² + v² (B.1, B.2)."""
    horizontal = depthwise(image, [[1, 2, 1], [0, 0, 0], [-1, -2, -1]], padding=1)
    vertical = depthwise(image, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], padding=1)
    return horizontal.square() + vertical.square()


def low_pass(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 3, H - 4, W - 4): 5 x 5 mean (B.5)."""
    return F.avg_pool2d(image, 5, stride=1)


def high_pass(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 3, H - 2, W - 2): 3 x 3 sharpening filter, 9 in the middle, -1 around (B.5)."""
    return depthwise(image, [[-1, -1, -1], [-1, 9, -1], [-1, -1, -1]])
