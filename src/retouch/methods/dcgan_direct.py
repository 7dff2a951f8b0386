"""Image Semantic Inpainting with DCGAN: an encoder/decoder completes the damaged image at once, no search.

Ansaerjiang, Jiang, Song, Xie, "Image Semantic Inpainting with DCGAN".

    paper                                             code
    ------------------------------------------------  ------------------------------------------
    §Image Inpainting with DCGAN, list, (1) to (4)    Generator, Discriminator: convolutions alone
    ... (2) batch normalisation                       _block
    ... (5) ReLU and sigmoid                          Discriminator
    ... (6) LeakyReLU and tanh                        Generator
    ... (7) the damaged image instead of noise        Generator.forward
    §Construction, Fig. 5, 7                          widths: see Config
    §Construction, content loss                       content_loss
    §Construction, gradient loss                      gradient_loss
    §Construction, prior loss; §Generator loss        non_saturating
    §Discriminator loss                               cross_entropy_discriminator
    §Construction of the optimizer                    Config.learning_rate, beta1, beta2
    §Results, "increasing the depth"                  Config.blocks

Deviations
    - Figures 5 and 7 give the widths and are lost with the text's figures: those of DCGAN (Radford et al. 2016) as
      most have built it (its Fig. 1 has twice the width and 5 x 5 kernels): four layers of stride 2, 4 x 4 kernels,
      64, 128, 256, 512 channels, and back; Adam(2e-4, betas (0.5, 0.999)).
    - "Batch normalisation for each layer": for each but the two output layers, whose scale and shift carry the
      picture's own colours and the score.
    - The printed discriminator objective swaps D(x) and D(G(x)); here log D(x) + log(1 - D(G(x))) is maximised.
    - log(1 - D(G(x))) has no slope where D is sure; the generator maximises log D(G(x)) (Goodfellow et al. 2014).
    - The losses of §Construction are named, without formula or weight: content is the L1 distance, gradient the L1
      distance of the differences between neighbours, both over the whole image; prior is the adversarial term.
      The weights are ours.
    - "The D diagnoses the inpainted image": it sees the composite, the known pixels around the generator's.
    - Without a dense layer the discriminator's last layer is a 4 x 4 convolution: one score for 64 x 64, more for
      larger crops, of which the loss takes the mean. The sigmoid is part of the loss, where it cannot overflow.
    - What the hole holds in the damaged image is not said: zero in [-1, 1], grey.
    - Config.hole_channel, skip, blocks, psnr, ssim, prior_start, warmup, total_steps, mirror: ours, neutral by
      default; what they did stands in the model's card.
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

LAYERS = 4  # of stride 2: 64 x 64 -> 4 x 4 (DCGAN, Fig. 1)
SMALLEST = 4 << LAYERS  # side of the crops to train on: the discriminator's last layer wants 4 x 4


@dataclass(frozen=True)
class Config:
    """Settings of the method; each with its source."""

    width: int = 64  # DCGAN as mostly built: channels of the first layer; each further one has twice as many
    slope: float = 0.2  # DCGAN: of LeakyReLU below 0
    learning_rate: float = 2e-4  # DCGAN
    discriminator_rate: float = 2e-4  # DCGAN
    beta1: float = 0.5  # DCGAN
    beta2: float = 0.999  # DCGAN
    content: float = 1.0  # §Construction; weight ours: mean absolute error over the image, in [0, 1]
    gradient: float = 1.0  # §Construction; weight ours: the same of the differences between neighbours
    prior: float = 0.01  # §Construction; weight ours: adversarial loss; 0 trains without discriminator
    hole_channel: bool = False  # ours: the generator sees the hole too, as a 4th channel
    skip: bool = False  # ours: every decoder layer sees the encoder's features of its size (U-Net)
    blocks: int = 0  # ours, after §Results: 3 x 3 residual blocks at each size from the bottleneck up
    psnr: float = 0.0  # ours: weight of the mean over the images of log10 of the hole's mean squared error
    ssim: float = 0.0  # ours: weight of 1 - SSIM of the composite (Zhao et al. 2017)
    prior_start: int = 0  # ours: step from which the discriminator trains and the prior loss counts
    warmup: int = 0  # ours: steps of linear warm-up
    total_steps: int = 0  # ours: > 0 lowers the learning rates by a cosine to 2 % over so many steps
    mirror: bool = False  # ours: a completion is the mean of that of the image and of its mirror image

    def __post_init__(self) -> None:
        at_least(self, TrainingError, width=1)


# Settings and Config of ``--preset NAME``: data beside the Config that they set.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {"settings": {"size": 64, "whole": True, "masks": ("center",)}, "config": {}},  # 64 x 64
    "quick": {
        "settings": {"size": 64, "batch": 16, "minutes": 3.0, "masks": ("center",), "ratio": "0.25-0.25"},
        "config": {"width": 16, "skip": True, "hole_channel": True, "learning_rate": 1e-3},
    },
    "shipped": {  # dcgan-faces
        "settings": {
            "size": 64, "batch": 16, "whole": True, "jitter": 0.2, "jittered": 0.7, "colour": 0.15,
            "ratio": "0.25-0.25", "masks": ("center=0.75", "rectangle=0.15", "boxes=0.1"), "steps": 21_000,
        },
        "config": {
            "width": 48, "blocks": 2, "skip": True, "hole_channel": True, "psnr": 1.0, "ssim": 0.5, "mirror": True,
            "prior": 0.002, "prior_start": 19_320, "learning_rate": 1e-3, "beta1": 0.9, "warmup": 200,
            "total_steps": 21_000,
        },
    },
}  # fmt: skip


def content_loss(completed: Tensor, image: Tensor) -> Tensor:
    """Mean absolute error of two (B, 3, H, W) in [0, 1] (§Construction, content loss)."""
    return F.l1_loss(completed, image)


def gradient_loss(completed: Tensor, image: Tensor) -> Tensor:
    """Mean absolute error of the differences between horizontal, and vertical, neighbours; the sum of both.

    Args:
        completed, image: (B, 3, H, W) in [0, 1] (§Construction, gradient loss).
    """
    error = completed - image
    return error.diff(dim=3).abs().mean() + error.diff(dim=2).abs().mean()


def cross_entropy_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """- mean log D(real) - mean log(1 - D(fake)), D = sigmoid of the score (Goodfellow et al. 2014, Eq. 1).

    Args:
        real, fake: raw scores, any shape.
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating(fake: Tensor) -> Tensor:
    """- mean log D(fake), D = sigmoid of the score (Goodfellow et al. 2014, §3)."""
    return F.softplus(-fake).mean()


def _block(layer: nn.Module, channels: int, activation: nn.Module) -> nn.Sequential:
    """Convolution, batch normalisation, activation (list item 2)."""
    return nn.Sequential(layer, nn.BatchNorm2d(channels), activation)


def _initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02²) (DCGAN, §4), scales from N(1, 0.02²) (as most have built it)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Residual(nn.Module):
    """x + activation(norm(conv3x3(x)))."""

    def __init__(self, channels: int, slope: float) -> None:
        super().__init__()
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.block = _block(conv, channels, nn.LeakyReLU(slope))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.block(x)
        return y


class Generator(nn.Module):
    """Strided convolutions down, transposed convolutions up; nothing pooled, nothing dense (list items 1 to 4)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        w, act = config.width, nn.LeakyReLU(config.slope)
        widths = [w << i for i in range(LAYERS)]  # 64, 128, 256, 512
        self.skip, self.hole_channel = config.skip, config.hole_channel
        inputs = [4 if config.hole_channel else 3, *widths]
        self.encoder = nn.ModuleList(
            _block(nn.Conv2d(a, b, 4, 2, 1, bias=False), b, act) for a, b in zip(inputs, widths, strict=False)
        )
        self.bottleneck = nn.Sequential(*(Residual(widths[-1], config.slope) for _ in range(config.blocks)))
        self.decoder = nn.ModuleList()
        for i in range(LAYERS - 1, 0, -1):  # 512 -> 256 -> 128 -> 64
            seen = widths[i] * (2 if config.skip and i < LAYERS - 1 else 1)
            up = nn.ConvTranspose2d(seen, widths[i - 1], 4, 2, 1, bias=False)
            deeper = (Residual(widths[i - 1], config.slope) for _ in range(config.blocks))
            self.decoder.append(nn.Sequential(_block(up, widths[i - 1], act), *deeper))
        self.output = nn.ConvTranspose2d(w * (2 if config.skip else 1), 3, 4, 2, 1)
        self.apply(_initialise)

    def forward(self, image: Tensor, hole: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], what stands in the hole is not read; (B, 1, H, W); H, W multiples of 16.

        Returns:
            (B, 3, H, W) in [0, 1].
        """
        x = (2 * image - 1) * (1 - hole)  # [-1, 1], §Dataset (2)
        x = torch.cat([x, hole], dim=1) if self.hole_channel else x
        seen: list[Tensor] = []
        for layer in self.encoder:
            x = layer(x)
            seen.append(x)
        x = self.bottleneck(x)
        for i, layer in enumerate(self.decoder):  # H/16 -> H/8 -> H/4 -> H/2
            x = layer(x)
            if self.skip:
                x = torch.cat([x, seen[LAYERS - 2 - i]], dim=1)
        return (torch.tanh(self.output(x)) + 1) / 2


class Discriminator(nn.Module):
    """Strided convolutions to 4 x 4, then one score (list items 1 to 5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [3, *(width << i for i in range(LAYERS))]
        self.layers = nn.Sequential(
            *(_block(nn.Conv2d(a, b, 4, 2, 1, bias=False), b, nn.ReLU()) for a, b in pairwise(widths))
        )
        self.score = nn.Conv2d(widths[-1], 1, 4)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 1, H/16 - 3, W/16 - 3): scores before the sigmoid."""
        score: Tensor = self.score(self.layers(2 * image - 1))
        return score


class DCGANDirect:
    """The method: networks, optimisers, one training step, completion."""

    def __init__(self, config: Config, *, training: bool = True) -> None:
        self.config = config
        self.networks: dict[str, nn.Module] = {"generator": Generator(config)}
        self.optimizers: dict[str, Optimizer] = {}
        if not training:
            return
        betas = (config.beta1, config.beta2)
        self.optimizers["generator"] = Adam(
            self.networks["generator"].parameters(), config.learning_rate, betas
        )
        if config.prior:
            self.networks["discriminator"] = Discriminator(config.width)
            parameters = self.networks["discriminator"].parameters()
            self.optimizers["discriminator"] = Adam(parameters, config.discriminator_rate, betas)

    def step(
        self, image: Tensor, hole: Tensor, k: int, *, backward: Callable[[Tensor], None]
    ) -> dict[str, float]:
        """One discriminator step, where it takes part by now, and one generator step (§Training process).

        Args:
            image: (B, 3, H, W) in [0, 1], sides multiples of 16 and at least 64. hole: (B, 1, H, W), 1 = missing.
            k: step number from 0.
            backward: computes the gradients of a loss.

        Returns:
            every loss, unweighted, the total and the learning rate.

        Raises:
            TrainingError: crops of another size.
        """
        if image.shape[-1] < SMALLEST or image.shape[-1] % (1 << LAYERS):
            raise TrainingError(
                f"size: expected a multiple of {1 << LAYERS}, at least {SMALLEST}, got {image.shape[-1]}"
            )
        config, generator = self.config, self.networks["generator"]
        factor = warmup_cosine(k, config.warmup, config.total_steps)
        rates = {"generator": config.learning_rate, "discriminator": config.discriminator_rate}
        for name, optimizer in self.optimizers.items():
            set_rate(optimizer, factor * rates[name])

        completed = generator(image, hole)
        composite = image + hole * (completed - image)
        losses = {
            "content": content_loss(completed, image),
            "gradient": gradient_loss(completed, image),
        }
        if config.psnr:
            losses["psnr"] = hole_decibels(completed, image, hole)
        if config.ssim:
            losses["ssim"] = dissimilarity(composite, image)
        logs: dict[str, Tensor] = {}
        judged = bool(config.prior) and k >= config.prior_start
        if judged:
            discriminator = self.networks["discriminator"]
            logs["discriminator"] = cross_entropy_discriminator(
                discriminator(image), discriminator(composite.detach())
            )
            update(self.optimizers["discriminator"], logs["discriminator"], backward)
            discriminator.requires_grad_(False)
            losses["prior"] = non_saturating(discriminator(composite))
        total = torch.stack([getattr(config, name) * loss for name, loss in losses.items()]).sum()
        update(self.optimizers["generator"], total, backward)
        if judged:
            discriminator.requires_grad_(True)
        logs |= losses | {"total": total}
        return numbers(logs) | {"lr": factor * config.learning_rate}

    @torch.no_grad()
    def complete(self, image: Tensor, hole: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, H, W) in [0, 1], (B, 1, H, W) -> (B, 3, H, W); deterministic, ``generator`` is not used."""
        network = self.networks["generator"]
        return mirrored(network, image, hole) if self.config.mirror else network(image, hole)
