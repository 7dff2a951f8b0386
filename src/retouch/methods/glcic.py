"""Image Inpainting using GAN's: a dilated generator, judged by a global and a local discriminator in one score.

Sisir Nalla, "Image Inpainting using GAN's", Shiv Nadar University.

    paper                                     code
    ----------------------------------------  ----------------------------------------
    §IV.A.1, the generator's table            Generator
    §IV.A.2.a, table (b), global              Discriminator.whole
    §IV.A.2.b, table (a), local               Discriminator.patch, local_patch
    §IV.A.2.c, 2048-vector, sigmoid           Discriminator.score
    §IV.B, first step, reconstruction         GLCIC.reconstruct
    §IV.B, "fed original image", real -> 1    GLCIC.judge, first half
    §IV.B, completed -> 0                     GLCIC.judge, second half
    §IV.B, "finally", generator -> 1          GLCIC.fool
    §III, one random rectangle per image      --masks rectangle

Deviations
    - The tables are for crops of 256 px (global) and 128 px (local). For crops of S px they take S and S/2, and the
      trailing layers of stride 2 that would go below 4 x 4 are left out; at 256 the architecture is the paper's.
    - The generator's input is the masked image and the hole (Iizuka et al. 2017, on which the paper builds); what
      the hole holds is not said: zeros. Batch norm and ReLU after each convolution (ibid.) but the output's, which
      is a sigmoid. The padding keeps each layer's size, zeros beyond the border.
    - In crops below 256 px the widest dilations reach nothing but padding, and only their middle tap ever learns.
      The others start at zero instead of at noise that larger windows would let in at completion.
    - The discriminators' convolutions and their 1024-vectors have the same: batch norm and ReLU, and ReLU.
    - "Centred around the completed region": on the middle of the box around the hole, moved into the image.
    - "The completed image" of updates 3 and 4 is the composite: the known pixels around the generator's.
    - The optimiser is not said: Adam(2e-4, betas (0.5, 0.999)), one for the generator (updates 1 and 4) and one for
      the discriminators (2 and 3). Every update is a step of its own, on what the one before left.
    - Data: §III's 90/5/5 split is the user's, by what ``--data`` names.
    - Config.adversarial below 1, residual, psnr, ssim, adversarial_start, warmup, total_steps, mirror: ours,
      neutral by default; what they did stands in the model's card.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from retouch.errors import TrainingError
from retouch.methods.nn import hole_decibels, mirrored, numbers, set_rate, update, warmup_cosine
from retouch.methods.perceptual import dissimilarity
from retouch.options import at_least

DILATIONS = (2, 4, 8, 16)  # §IV.A.1, the table's four dilated layers
WIDTHS = (1, 2, 4, 8, 8, 8)  # §IV.A.2, tables (a), (b): channels, in units of Config.discriminator_width


@dataclass(frozen=True)
class Config:
    """Settings of the method; each with its source."""

    size: int = 256  # §IV.A.2: side of the training crops; the discriminators are built for it
    width: int = 64  # §IV.A.1: channels of the generator's first layer; the others follow the table
    discriminator_width: int = 64  # §IV.A.2: channels of the discriminators' first layers
    vector: int = 1024  # §IV.A.2: outputs of each discriminator
    learning_rate: float = 2e-4  # ours: the paper does not say
    discriminator_rate: float = 2e-4  # ours: the paper does not say
    beta1: float = 0.5  # ours: the paper does not say
    beta2: float = 0.999  # ours: the paper does not say
    reconstruction: float = 1.0  # §IV.B, update 1: mean squared error over the whole image, in [0, 1]
    adversarial: float = 1.0  # §IV.B, update 4; 0 leaves out updates 2 to 4 and the discriminators
    residual: bool = False  # ours: each of the eight layers at 1/4 size but the first adds to its input
    psnr: float = 0.0  # ours, update 1: weight of the images' mean log10 of the hole's mean squared error
    ssim: float = 0.0  # ours, update 1: weight of 1 - SSIM of the composite (Zhao et al. 2017)
    adversarial_start: int = 0  # ours: step from which updates 2 to 4 take part
    warmup: int = 0  # ours: steps of linear warm-up
    total_steps: int = 0  # ours: > 0 lowers the learning rates by a cosine to 2 % over so many steps
    mirror: bool = False  # ours: a completion is the mean of that of the image and of its mirror image

    def __post_init__(self) -> None:
        at_least(self, TrainingError, width=2, discriminator_width=1, vector=1)


# Settings and Config of ``--preset NAME``: data beside the Config that they set.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {"settings": {"size": 256, "masks": ("rectangle",)}, "config": {}},  # §III, §IV.A
    "quick": {
        "settings": {"size": 32, "batch": 16, "minutes": 3.0, "masks": ("rectangle",), "ratio": "0.05-0.25"},
        "config": {
            "size": 32,
            "width": 16,
            "discriminator_width": 16,
            "vector": 128,
            "learning_rate": 1e-3,
            "adversarial": 0.01,
        },
    },
    "shipped": {  # glcic-faces
        "settings": {
            "size": 64, "batch": 16, "whole": True, "jitter": 0.12, "jittered": 0.5, "colour": 0.05,
            "ratio": "0.25-0.25", "masks": ("center=0.75", "rectangle=0.15", "boxes=0.1"), "steps": 11_000,
        },
        "config": {
            "size": 64, "width": 64, "discriminator_width": 32, "vector": 256, "residual": True, "psnr": 1.0,
            "ssim": 0.5, "mirror": True, "adversarial": 0.002, "adversarial_start": 10_120, "learning_rate": 1e-3,
            "beta1": 0.9, "warmup": 200, "total_steps": 11_000,
        },
    },
}  # fmt: skip


def _block(layer: nn.Module, channels: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU())


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel - 1) // 2
    return _block(nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=False), outputs)


def _deconv(inputs: int, outputs: int) -> nn.Sequential:
    return _block(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), outputs)


class Generator(nn.Module):
    """The seventeen layers of §IV.A.1: to 1/4 of the size, dilated convolutions there, and back."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        w = config.width
        self.residual = config.residual
        self.encoder = nn.Sequential(
            _conv(4, w, kernel=5),
            _conv(w, 2 * w, stride=2),
            _conv(2 * w, 2 * w),
            _conv(2 * w, 4 * w, stride=2),
        )
        dilations = (1, 1, *DILATIONS, 1, 1)
        self.middle = nn.ModuleList(_conv(4 * w, 4 * w, dilation=d) for d in dilations)
        self.decoder = nn.Sequential(
            _deconv(4 * w, 2 * w), _conv(2 * w, 2 * w), _deconv(2 * w, w), _conv(w, w // 2)
        )
        self.output = nn.Conv2d(w // 2, 3, 3, padding=1)
        for layer, dilation in zip(self.middle, dilations, strict=True):
            if dilation >= config.size // 4:
                with torch.no_grad():
                    weight = layer.get_submodule("0").get_parameter("weight")
                    weight.mul_(torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]))

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], what stands in the hole is not read; (B, 1, H, W); H, W multiples of 4.

        Returns:
            (B, 3, H, W) in [0, 1].
        """
        x = self.encoder(torch.cat([image * (1 - hole), hole], dim=1))  # (B, 4w, H/4, W/4)
        for i, layer in enumerate(self.middle):
            x = x + layer(x) if self.residual and i else layer(x)
        return torch.sigmoid(self.output(self.decoder(x)))


def local_patch(image: Tensor, hole: Tensor, side: int) -> Tensor:
    """The square around the middle of the hole's box, moved into the image where it would reach beyond.

    Args:
        image: (B, C, H, W), sides at least ``side``. hole: (B, 1, H, W), 1 = missing.

    Returns:
        (B, C, side, side).
    """

    def start(touched: Tensor) -> Tensor:  # (B, length), 1 where the hole is -> (B,)
        length = touched.shape[1]
        first, last = touched.argmax(1), length - 1 - touched.flip(1).argmax(1)
        return ((first + last + 1) // 2 - side // 2).clamp(0, length - side)

    steps = torch.arange(side, device=image.device)
    rows = start(hole.amax((1, 3)))[:, None] + steps  # (B, side)
    columns = start(hole.amax((1, 2)))[:, None] + steps
    samples = torch.arange(len(image), device=image.device)[:, None, None]
    patch = image[samples, :, rows[:, :, None], columns[:, None, :]]  # (B, side, side, C)
    return patch.permute(0, 3, 1, 2)


def _tower(size: int, most: int, config: Config) -> nn.Sequential:
    """5 x 5 convolutions of stride 2 down to 4 x 4 (at most ``most``), then one vector (tables (a), (b))."""
    layers: list[nn.Module] = []
    widths = [3, *(config.discriminator_width * factor for factor in WIDTHS[:most])]
    for inputs, outputs in pairwise(widths):
        if size // 2 < 4:
            break
        layers.append(_conv(inputs, outputs, kernel=5, stride=2))
        size, last = size // 2, outputs
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(last * size * size, config.vector), nn.ReLU())


class Discriminator(nn.Module):
    """Global and local tower, joined in one score (§IV.A.2)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.side = config.size // 2
        self.whole = _tower(config.size, 6, config)
        self.patch = _tower(self.side, 5, config)
        self.score = nn.Linear(2 * config.vector, 1)

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1], (B, 1, S, S) -> (B, 1) in [0, 1]: 1 = real."""
        vectors = [self.whole(image), self.patch(local_patch(image, hole, self.side))]
        return torch.sigmoid(self.score(torch.cat(vectors, dim=1)))


class GLCIC:
    """The method: networks, optimisers, the four updates of a step, completion.

    Raises:
        TrainingError: a size that the discriminators cannot be built for.
    """

    def __init__(self, config: Config, *, training: bool = True) -> None:
        self.config = config
        self.networks: dict[str, nn.Module] = {"generator": Generator(config)}
        self.optimizers: dict[str, Optimizer] = {}
        if not training:
            return
        if config.size < 16 or config.size & (config.size - 1):
            raise TrainingError(f"size: expected a power of two from 16 up, got {config.size}")
        betas = (config.beta1, config.beta2)
        parameters = self.networks["generator"].parameters()
        self.optimizers["generator"] = Adam(parameters, config.learning_rate, betas)
        if config.adversarial:
            self.networks["discriminator"] = Discriminator(config)
            parameters = self.networks["discriminator"].parameters()
            self.optimizers["discriminator"] = Adam(parameters, config.discriminator_rate, betas)

    def reconstruct(
        self, image: Tensor, hole: Tensor, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """Update 1: the generator towards the original (§IV.B); the losses, unweighted, and their total."""
        config = self.config
        completed = self.networks["generator"](image, hole)
        losses = {"reconstruction": F.mse_loss(completed, image)}
        if config.psnr:
            losses["psnr"] = hole_decibels(completed, image, hole)
        if config.ssim:
            losses["ssim"] = dissimilarity(image + hole * (completed - image), image)
        total = torch.stack([getattr(config, name) * loss for name, loss in losses.items()]).sum()
        update(self.optimizers["generator"], total, backward)
        return losses | {"total": total}

    def judge(
        self, image: Tensor, hole: Tensor, composite: Tensor, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """Updates 2 and 3: the discriminators towards 1 on the original, then towards 0 on the composite."""
        discriminator = self.networks["discriminator"]
        real = (discriminator(image, hole) - 1).square().mean()
        update(self.optimizers["discriminator"], real, backward)
        fake = discriminator(composite.detach(), hole).square().mean()
        update(self.optimizers["discriminator"], fake, backward)
        return {"real": real, "fake": fake}

    def fool(self, hole: Tensor, composite: Tensor, backward: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """Update 4: the generator towards the discriminators' 1, whose weights are frozen meanwhile."""
        discriminator = self.networks["discriminator"]
        discriminator.requires_grad_(False)
        loss = (discriminator(composite, hole) - 1).square().mean()
        update(self.optimizers["generator"], self.config.adversarial * loss, backward)
        discriminator.requires_grad_(True)
        return {"adversarial": loss}

    def step(
        self, image: Tensor, hole: Tensor, k: int, *, backward: Callable[[Tensor], None]
    ) -> dict[str, float]:
        """The four updates of §IV.B.

        Args:
            image: (B, 3, S, S) in [0, 1], S = ``Config.size``. hole: (B, 1, S, S), 1 = missing.
            k: step number from 0.
            backward: computes the gradients of a loss.

        Returns:
            the loss of every update, unweighted, the total of update 1 and the learning rate.

        Raises:
            TrainingError: crops of another size.
        """
        config = self.config
        if image.shape[-1] != config.size:
            raise TrainingError(
                f"expected crops of the config's size = {config.size}, got {image.shape[-1]}; "
                f"--size and --set size must agree"
            )
        factor = warmup_cosine(k, config.warmup, config.total_steps)
        rates = {"generator": config.learning_rate, "discriminator": config.discriminator_rate}
        for name, optimizer in self.optimizers.items():
            set_rate(optimizer, factor * rates[name])

        logs = self.reconstruct(image, hole, backward)
        if config.adversarial and k >= config.adversarial_start:
            composite = image + hole * (self.networks["generator"](image, hole) - image)
            logs |= self.judge(image, hole, composite, backward)
            logs |= self.fool(hole, composite, backward)
        return numbers(logs) | {"lr": factor * config.learning_rate}

    @torch.no_grad()
    def complete(self, image: Tensor, hole: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, H, W) in [0, 1], (B, 1, H, W) -> (B, 3, H, W); deterministic, ``generator`` is not used."""
        network = self.networks["generator"]
        return mirrored(network, image, hole) if self.config.mirror else network(image, hole)
