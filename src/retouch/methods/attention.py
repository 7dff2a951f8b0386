"""Contextual attention: what is missing is rebuilt from the known patches that resemble it.

[6] Jiahui Yu et al., "Generative Image Inpainting with Contextual Attention", CVPR 2018.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def _fuse(scores: Tensor, rows: int, columns: int) -> Tensor:
    """Adds each pair's score to those of its neighbours along the rows, then along the columns ([6], §4.1).

    A match counts for more where the next position matches the next patch: coherent copies.
    """
    for height, width in ((rows, columns), (columns, rows)):
        padded = F.pad(scores, (1, 1, 1, 1))
        scores = padded[:, :-2, :-2] + scores + padded[:, 2:, 2:]
        # from row-major to column-major order (and back in the second round): of the positions, then of the candidates
        scores = scores.view(-1, height, width, height * width).transpose(1, 2)
        scores = scores.reshape(-1, height, width).transpose(1, 2).reshape(-1, height * width, height * width)
    return scores


def contextual_attention(x: Tensor, hole: Tensor, softmax_scale: float = 10.0) -> Tensor:
    """Rebuilds every 4 x 4 patch from the known patches that resemble it ([6] Yu et al. 2018, Eq. 2).

    Matching runs at half the features' resolution with 3 x 3 patches and cosine similarity; patches that touch
    the hole are not candidates. All samples of the batch at once.

    Args:
        x: features, (B, C, h, w), h and w even.
        hole: (B, 1, h, w), 1 = missing.

    Returns:
        (B, C, h, w).
    """
    height, width = x.shape[-2:]
    rows, columns = height // 2, width // 2
    small = F.interpolate(x, scale_factor=0.5, mode="nearest")
    small = F.pad(small, (1, 1, 1, 1), mode="reflect")
    # slices, not F.unfold, whose ONNX graph gathers number by number
    shifts = [(i, j) for i in range(3) for j in range(3)]
    patches = torch.cat([small[:, :, i : i + rows, j : j + columns] for i, j in shifts], dim=1)
    patches = patches.flatten(2)  # (B, C*9, N), N = rows * columns
    patches = patches / patches.norm(dim=1, keepdim=True).clamp_min(1e-4)
    # (B, N positions, N candidates), cosine similarity; sums of it in 32 bits where the product is in 16
    scores = (patches.transpose(1, 2) @ patches).to(torch.promote_types(patches.dtype, torch.float32))
    scores = _fuse(scores, rows, columns)
    touched = F.max_pool2d(F.pad(F.max_pool2d(hole, 2), (1, 1, 1, 1)), 3, stride=1).flatten(2)  # (B, 1, N)
    logits = softmax_scale * scores - 1e4 * touched
    # e^-60 counts for nothing; smaller weights would be denormal numbers, which slow the product down many times
    logits = (logits - logits.amax(dim=-1, keepdim=True)).clamp_min(-60)
    weights = F.softmax(logits, dim=-1)
    # a 4 x 4 patch at stride 2 is 2 x 2 neighbours of the unshuffled features
    blocks = F.pixel_unshuffle(F.pad(x, (1, 1, 1, 1), mode="reflect"), 2)  # (B, C*4, rows + 1, columns + 1)
    corners = [(i, j) for i in range(2) for j in range(2)]
    raw = torch.cat([blocks[:, :, i : i + rows, j : j + columns] for i, j in corners], dim=1).flatten(2)
    mixed = raw @ weights.transpose(1, 2)  # (B, C*16, N)
    parts = zip(mixed.view(x.shape[0], -1, rows, columns).chunk(4, dim=1), corners, strict=True)
    total = torch.stack([F.pad(part, (j, 1 - j, i, 1 - i)) for part, (i, j) in parts]).sum(0)
    # four patches cover a position, at the border fewer
    return F.pixel_shuffle(total, 2)[:, :, 1:-1, 1:-1] / 4
