"""Every method at a size for tests: what the checks over the registry need to know. One entry per method."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

# the least that a checkpoint's state holds
STATE: dict[str, Any] = {
    "method": "glcic", "config": {}, "settings": {}, "step": 1, "images": 0, "images_before": 0, "seconds": 0.0,
    "photos": 1, "data_sha256": "", "scaler": {},
    "versions": {}, "optimizers": {},
}  # fmt: skip


def hole_error(method: Any, image: Any, hole: Any) -> float:
    """Mean absolute error of a method's completion within the holes, in [0, 1]; its networks in evaluation mode."""
    import torch

    for network in method.networks.values():
        network.eval()
    completed = method.complete(image * (1 - hole), hole, generator=torch.Generator().manual_seed(0))
    for network in method.networks.values():
        network.train()
    return float((hole * (completed - image).abs()).sum() / (3 * hole.sum()))


@dataclass(frozen=True)
class Small:
    """One method.

    Args:
        config: overrides of its Config, for all checks.
        size: side of the crops, in pixels.
        stages: step at which a stage begins -> the networks that its steps optimise; all others stay frozen.
        learns: more overrides, for the overfit check: 16 fixed faces with holes in their middle.
        steps: of the overfit check, batches of all 16.
        error: below which ``measure`` comes in those steps; one and a half times that it must be above before.
        measure: (method, image, hole) -> how well it reconstructs.
    """

    config: Mapping[str, Any]
    size: int
    stages: Mapping[int, tuple[str, ...]]
    learns: Mapping[str, Any]
    steps: int
    error: float
    measure: Callable[[Any, Any, Any], float] = field(default=hole_error)


SMALL: dict[str, Small] = {
    "dcgan_direct": Small(
        config={"width": 4, "blocks": 1, "skip": True, "hole_channel": True, "psnr": 0.1, "ssim": 0.1},
        size=64,
        stages={0: ("generator", "discriminator")},
        learns={"width": 12, "learning_rate": 2e-3, "psnr": 1.0},
        steps=45,
        error=0.1,
    ),
    "dcgan_search": Small(
        config={
            "latent": 8, "width": 4, "discriminator_width": 4, "inverter_width": 4, "generator_steps": 2,
            "inverter_steps": 2, "refine_steps": 5, "search_steps": 10, "restarts": 2,
        },
        size=64,
        stages={0: ("generator", "discriminator"), 2: ("inverter",)},
        learns={
            "latent": 16, "width": 8, "discriminator_width": 8, "inverter_width": 8, "generator_steps": 60,
            "reconstruction": 300.0, "learning_rate": 4e-3, "refine_steps": 20, "restarts": 1,
        },
        steps=60,
        error=0.1,
    ),
    "glcic": Small(
        config={
            "size": 32, "width": 8, "discriminator_width": 4, "vector": 16, "residual": True, "psnr": 0.1,
            "ssim": 0.1, "adversarial": 0.1,
        },
        size=32,
        stages={0: ("generator", "discriminator")},
        learns={"width": 16, "learning_rate": 4e-3, "psnr": 1.0, "adversarial": 0.001},
        steps=50,
        error=0.13,
    ),
    "recurrent": Small(
        config={
            "width": 8, "residual_blocks": 1, "fusion_blocks": 1, "perceptual": 0.0, "low_pass_perceptual": 0.0,
            "style": 0.0, "smooth_start": True,
        },
        size=32,
        stages={0: ("generator", "discriminator")},
        learns={
            "adversarial": 0.0, "feature_matching": 0.0, "hole_l1": 5.0, "edge_l1": 0.0, "learning_rate": 3e-3,
        },
        steps=55,
        error=0.095,
    ),
    "wgan": Small(
        config={
            "latent": 8, "width": 4, "critic_steps": 1, "reconstruction": 10.0, "generator_steps": 2,
            "inverter_steps": 2, "enhancement_depth": 3, "enhancement_width": 4, "pair_steps": 2,
            "refine_steps": 5, "search_steps": 10, "restarts": 2,
        },
        size=64,
        stages={0: ("generator", "critic", "inverter"), 2: ("inverter",), 4: ("enhancement",)},
        learns={
            "latent": 16, "width": 8, "beta1": 0.5, "learning_rate": 4e-3, "reconstruction": 3000.0,
            "generator_steps": 60, "refine_steps": 20, "restarts": 1,
        },
        steps=60,
        error=0.14,
    ),
}  # fmt: skip


def faces(size: int, count: int = 16) -> np.ndarray:
    """(count, 3, size, size) float32 in [0, 1]: crops around a face (Eileen Collins, NASA, public domain)."""
    from skimage import data

    photo = data.astronaut()
    rng = np.random.default_rng(0)
    crops = []
    for _ in range(count):
        side, (top, left) = int(rng.integers(110, 190)), rng.integers((0, 120), (70, 220))
        crops.append(cv2.resize(photo[top : top + side, left : left + side], (size, size), interpolation=3))
    return np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255


def write_faces(folder: Path, size: int, count: int = 6) -> str:
    """Writes faces as PNG files; returns the folder."""
    folder.mkdir(parents=True)
    for n, face in enumerate(faces(size, count)):
        cv2.imwrite(str(folder / f"{n}.png"), (face.transpose(1, 2, 0)[..., ::-1] * 255).round())
    return str(folder)


def center(size: int, count: int = 16) -> np.ndarray:
    """(count, 1, size, size) float32, 1 = missing: the middle quarter."""
    hole = np.zeros((count, 1, size, size), np.float32)
    hole[..., size // 4 : size * 3 // 4, size // 4 : size * 3 // 4] = 1
    return hole
