"""Image Inpainting: recurrent convolution, Sobel edge discriminator, frequency-separation loss.

Jin Woo Baik, "Image Inpainting", Stanford University.

    paper                           code
    ------------------------------  ------------------------------------------
    §3, Fig. 1, coarse to refine    Generator.forward
    §3, Fig. 2, Table B.6           Generator (wrapping module)
    §3, Fig. 2, embedded module     Generator.coarse, Generator.refine
    §3.1, Fig. 3                    RecurrentConv
    [1] Hui et al. 2020, DMFB       DenseMultiscaleFusion
    [6] Yu et al. 2018, Eq. 2       attention.contextual_attention
    §3.2, Fig. 4, Tables B.3, B.4   Discriminator
    B.1, B.2                        filters.sobel_edges
    §3.3, B.5                       filters.low_pass, high_pass
    (ours)                          fill.smooth_fill
    §4.2, L_D, L_G, L_FM, L_Total   Recurrent.step
    §4.2, L_l1 ... L_style          Recurrent.generator_losses
    §4.2, Adam, decay               Recurrent.learning_rate

Deviations
    - What the paper leaves out follows the author's released configuration: see Config. So does what it prints
      otherwise: instance norm at 1/4 size alone (§3.1: everywhere), reflection padding (Table B.6: symmetric), the
      low-pass loss on the coarse result (§4.2: on the refined one), an L1 loss between edge maps, which L_Total lacks.
    - L_Perc and L_style are means where ||.||_1 is printed: their weights do not depend on the size of the crops.
    - Table B.6 prints stride 1 for encoder layer 4; it is 2, since two x2 upsamplings follow.
    - The first equation labelled L_D1 is feature matching (L_FM of the total): first two patch layers.
    - §3.3 rejects a mean filter, B.5 prints one: it is used.
    - The filters of the two frequency losses see the composite's neighbourhood as it is: no padding (B.5).
    - The residual blocks use instance norm and ELU; the attention has no parameters and excludes every
      background patch that touches the hole.
    - Config.activation, padding: ours, the released configuration's by default. ONNX Runtime computes a shifted ReLU
      inside the convolution, and pads with zeros there; ELU and reflection are passes of their own over memory.
    - In pass 1 the buffer is zero, so its convolution is its bias: only the bias is added (the same values).
    - Config.smooth_start: the paper paints the hole white and each pass gives the picture itself. Ours, off by
      default: the hole starts as a smooth interpolation of the known pixels, and each pass gives the difference
      to its input. Instance norm takes the absolute colour from the bottleneck; this way it need not be relearnt.
    - Config.composite: ours, off by default; known pixels are never taken from the prediction, so that the
      perceptual and style losses need not judge it there.
    - Config.hole_l1, psnr, ssim, normalized, warmup, total_steps, clip, mirror: ours, neutral by default; see the card.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam, Optimizer

from retouch.errors import TrainingError, check_choice
from retouch.methods.attention import contextual_attention
from retouch.methods.fill import smooth_fill
from retouch.methods.filters import high_pass, low_pass, sobel_edges
from retouch.methods.nn import hole_decibels, mirrored, numbers, set_rate, update, warmup_cosine
from retouch.methods.perceptual import (
    VGG19Features,
    dissimilarity,
    load_vgg,
    normalized_loss,
    perceptual_loss,
    style_loss,
)
from retouch.options import at_least

Activation = Callable[[Tensor], Tensor]


def shifted_relu(x: Tensor) -> Tensor:
    """max(x, -0.7): nearest of its kind to ELU for x ~ N(0, 1) (Clevert et al. 2016 have both)."""
    return x.clamp_min(-0.7)


ACTIVATIONS: dict[str, Activation] = {"elu": F.elu, "shifted_relu": shifted_relu}
PADDINGS = ("reflect", "zeros")


@dataclass(frozen=True)
class Config:
    """Settings of the method; each with its source."""

    width: int = 16  # c; Table B.6 (the released configuration: 48)
    residual_blocks: int = 8  # released configuration
    fusion_blocks: int = 4  # released configuration
    activation: str = "elu"  # §3.1; ours: "shifted_relu", max(x, -0.7), which runs faster
    padding: str = "reflect"  # released configuration; ours: "zeros", which runs faster
    learning_rate: float = 1e-4  # released configuration (§4.2 prints 1e-3)
    discriminator_rate: float = 4e-4  # released configuration (§4.2 prints 4e-3)
    beta1: float = 0.5  # §4.2
    beta2: float = 0.9  # §4.2
    decay: float = 0.75  # §4.2, factor on the learning rate ...
    decay_step: int = 100_000  # §4.2, ... after this many steps
    adversarial: float = 0.01  # §4.2, weight of L_G; 0, feature_matching too, trains without discriminator
    l1: float = 5.0  # §4.2, weight of L_l1, whole window
    low_pass: float = 1.0  # §4.2, weight of L_lpf, coarse result
    high_pass: float = 1.0  # §4.2, weight of L_hpf, refined result, hole only
    low_pass_perceptual: float = 1.0  # §4.2, weight of L_LP,Perc, coarse result
    perceptual: float = 1.0  # §4.2, weight of L_Perc
    style: float = 250.0  # §4.2, weight of L_Style
    feature_matching: float = 1.0  # §4.2, weight of L_FM
    edge_l1: float = 10.0  # released configuration, L1 between Sobel edge maps
    features: str = ""  # safetensors file of a VGG-19; needed by the perceptual and style losses
    smooth_start: bool = False  # ours: hole filled smoothly instead of white, passes predict the difference
    composite: bool = False  # ours: perceptual and style losses see the composite, not the whole prediction
    hole_l1: float = 0.0  # ours: weight of the mean L1 over the hole's pixels, coarse and refined
    psnr: float = 0.0  # ours: weight of log10 of the hole's mean squared error (PSNR / -10, up to a constant)
    ssim: float = 0.0  # ours: weight of 1 - SSIM of the composite (Zhao et al. 2017)
    normalized: float = 0.0  # ours: weight of the distance of normalized features (Zhang et al. 2018)
    warmup: int = 0  # ours: steps of linear warm-up
    total_steps: int = 0  # ours: > 0 replaces the paper's decay by a cosine to 2 % over so many steps
    clip: float = 0.0  # ours: > 0 clips the norm of the generator's gradient
    mirror: bool = False  # ours: a completion is the mean of that of the image and of its mirror image

    def __post_init__(self) -> None:
        at_least(self, TrainingError, width=2)
        check_choice(TrainingError, ACTIVATIONS, activation=self.activation)
        check_choice(TrainingError, PADDINGS, padding=self.padding)


# Settings and Config of ``--preset NAME``: data beside the Config that they set.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {  # §4.2; holes of the released configuration
        "settings": {"size": 256, "masks": ("strokes=0.5", "boxes=0.5"), "steps": 200_000},
        "config": {},
    },
    "quick": {
        "settings": {"size": 64, "batch": 8, "minutes": 3.0},
        "config": {
            "width": 12, "residual_blocks": 2, "fusion_blocks": 1, "perceptual": 0.0, "low_pass_perceptual": 0.0,
            "style": 0.0, "learning_rate": 5e-4, "smooth_start": True,
        },
    },
    "shipped": {  # recurrent-scenes, but for what needs a VGG-19; recurrent-faces ended with psnr 1, hole_l1 0.5
        "settings": {
            "size": 128, "batch": 4, "ema": 0.998, "masks": ("strokes=0.6", "boxes=0.4"), "ratio": "0.1-0.5",
            "steps": 12_000,
        },
        "config": {
            "activation": "shifted_relu", "padding": "zeros", "smooth_start": True, "composite": True,
            "l1": 1.0, "hole_l1": 2.0, "ssim": 2.0, "perceptual": 0.0, "style": 0.0, "low_pass_perceptual": 0.0,
            "adversarial": 0.0, "feature_matching": 0.0, "low_pass": 0.0, "high_pass": 0.0, "edge_l1": 0.0,
            "learning_rate": 5e-4, "beta1": 0.9, "beta2": 0.99, "clip": 1.0, "warmup": 100, "total_steps": 12_000,
        },
    },
}  # fmt: skip


def _conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1, *, reflect: bool = True
) -> nn.Conv2d:
    width = dilation * (kernel - 1) // 2
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, width, dilation, padding_mode="reflect" if reflect else "zeros"
    )
    nn.init.xavier_normal_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


class RecurrentConv(nn.Module):
    """y = act(norm(conv(x) + conv3x3(buffer))), §3.1, Fig. 3; y is the next pass's buffer.

    The buffer is passed along, never kept on the module: thread-safe, and it exports.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        norm: bool = False,
        act: Activation | None = F.elu,
    ) -> None:
        super().__init__()
        self.input = _conv(inputs, outputs, kernel, stride)
        self.buffer = _conv(outputs, outputs)
        self.norm = norm
        self.act = act

    def forward(self, x: Tensor, buffer: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """``mask`` is the last input channel where it is given apart: 32 + 1 channels run faster than 33."""
        # in pass 1 the buffer is zero, and its convolution is its bias
        state = self.buffer.bias.view(1, -1, 1, 1) if buffer is None else self.buffer(buffer)  # type: ignore[union-attr]
        y = (self.input(x) if mask is None else self._apart(x, mask)) + state
        if self.norm:
            y = F.instance_norm(y)
        return self.act(y) if self.act else y

    def _apart(self, x: Tensor, mask: Tensor) -> Tensor:
        """``self.input`` of (B, C, H, W) and (B, 1, H, W) side by side."""
        weight, edge = self.input.weight, self.input.kernel_size[0] // 2
        if self.input.padding_mode == "reflect":
            x, mask, edge = (*(F.pad(part, (edge,) * 4, mode="reflect") for part in (x, mask)), 0)
        return F.conv2d(x, weight[:, :-1], self.input.bias, padding=edge) + F.conv2d(
            mask, weight[:, -1:], padding=edge
        )


class ResidualBlock(nn.Module):
    """x + norm(conv(act(norm(dilated conv(x)))))."""

    def __init__(self, channels: int, act: Activation = F.elu) -> None:
        super().__init__()
        self.act = act
        self.first = _conv(channels, channels, dilation=2)
        self.second = _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(F.instance_norm(self.first(x)))
        return x + F.instance_norm(self.second(y))


class DenseMultiscaleFusion(nn.Module):
    """Four dilated convolutions (1, 2, 4, 8) on a quarter of the channels, summed up one by one ([1], Fig. 3)."""

    def __init__(self, channels: int, act: Activation = F.elu) -> None:
        super().__init__()
        self.act = act
        quarter = channels // 4
        self.reduce = _conv(channels, quarter)
        # zeros beyond the border: reflection would want windows of more than 8 x 4 pixels
        self.branches = nn.ModuleList(
            _conv(quarter, quarter, dilation=d, reflect=False) for d in (1, 2, 4, 8)
        )
        self.sums = nn.ModuleList(_conv(quarter, quarter) for _ in range(3))
        self.fuse = _conv(channels, channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(F.instance_norm(self.reduce(x)))
        branches = [branch(y) for branch in self.branches]
        total, outputs = branches[0], [branches[0]]
        for branch, conv in zip(branches[1:], self.sums, strict=True):
            total = conv(total + branch)
            outputs.append(total)
        y = self.act(F.instance_norm(torch.cat(outputs, dim=1)))
        return x + F.instance_norm(self.fuse(y))


class Generator(nn.Module):
    """Wrapping module (Table B.6) run twice with shared weights; a different embedded module in each pass."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        c, act = config.width, ACTIVATIONS[config.activation]
        self.smooth_start = config.smooth_start
        self.act = act
        self.encoder = nn.ModuleList(
            [
                RecurrentConv(4, c, kernel=5, act=act),
                RecurrentConv(c, 2 * c, stride=2, act=act),
                RecurrentConv(2 * c, 2 * c, act=act),
                RecurrentConv(2 * c, 4 * c, stride=2, norm=True, act=act),
                RecurrentConv(4 * c, 4 * c, norm=True, act=act),
                RecurrentConv(4 * c, 4 * c, norm=True, act=act),
            ]
        )
        self.decoder = nn.ModuleList(
            [
                RecurrentConv(4 * c, 4 * c, norm=True, act=act),
                RecurrentConv(4 * c, 4 * c, norm=True, act=act),
                RecurrentConv(4 * c, 2 * c, norm=True, act=act),  # after x2
                RecurrentConv(4 * c, 2 * c, act=act),  # with the skip from encoder 3
                RecurrentConv(2 * c, c, act=act),  # after x2
                RecurrentConv(2 * c + 1, c, act=act),  # with the skip from encoder 1 and the known mask
                RecurrentConv(c, c // 2, act=act),
                RecurrentConv(c // 2, 3, act=None),
            ]
        )
        self.coarse = nn.Sequential(*(ResidualBlock(4 * c, act) for _ in range(config.residual_blocks)))
        self.refine = nn.Sequential(*(ResidualBlock(4 * c, act) for _ in range(config.residual_blocks)))
        self.fusion = nn.Sequential(*(DenseMultiscaleFusion(4 * c, act) for _ in range(config.fusion_blocks)))
        self.merge = nn.ModuleList([_conv(12 * c, 8 * c), _conv(8 * c, 4 * c)])
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and config.padding == "zeros":
                module.padding_mode = "zeros"
        if config.smooth_start:  # begin at the interpolation itself
            last = self.decoder[-1]
            for conv in (last.get_submodule("input"), last.get_submodule("buffer")):
                nn.init.zeros_(conv.get_parameter("weight"))

    def _embed_refine(self, x: Tensor, hole: Tensor) -> Tensor:
        quarter = F.max_pool2d(hole, 4)
        x = torch.cat([self.refine(x), self.fusion(x), contextual_attention(x, quarter)], dim=1)
        for conv in self.merge:
            x = self.act(F.instance_norm(conv(x)))
        return x

    def _wrap(
        self, image: Tensor, hole: Tensor, embed: Callable[[Tensor], Tensor], buffers: Sequence[Tensor | None]
    ) -> tuple[Tensor, list[Tensor]]:
        """One pass -> the result in [0, 1], and every layer's output as the next pass's buffers."""
        x = torch.cat([image, hole], dim=1)
        outputs: list[Tensor] = []
        for layer, buffer in zip(self.encoder, buffers[:6], strict=True):
            x = layer(x, buffer)
            outputs.append(x)
        x = embed(x)
        for i, (layer, buffer) in enumerate(zip(self.decoder, buffers[6:], strict=True)):
            if i in (2, 4):
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            elif i == 3:
                x = torch.cat([x, outputs[2]], dim=1)
            elif i == 5:
                x = torch.cat([x, outputs[0]], dim=1)
            x = layer(x, buffer, 1 - hole if i == 5 else None)
            outputs.append(x)
        result = image + torch.tanh(x) if self.smooth_start else (torch.tanh(x) + 1) / 2
        return result, outputs

    def forward(self, image: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """Completes a batch.

        Args:
            image: (B, 3, H, W) in [0, 1], H and W multiples of 8 and at least 16; what stands in the hole is not read.
            hole: (B, 1, H, W), 1 = missing.

        Returns:
            coarse and refined result, each (B, 3, H, W) in [0, 1] (a little beyond with ``smooth_start``).
        """
        start = smooth_fill(image, hole) if self.smooth_start else image * (1 - hole) + hole
        nothing: list[Tensor | None] = [None] * (len(self.encoder) + len(self.decoder))
        coarse, buffers = self._wrap(start, hole, self.coarse, nothing)
        filled = image * (1 - hole) + coarse * hole
        refined, _ = self._wrap(filled, hole, lambda x: self._embed_refine(x, hole), buffers)
        return coarse, refined


class Discriminator(nn.Module):
    """Patch branch on the image, edge branch on its Sobel edges, one score map (§3.2, Tables B.3, B.4)."""

    def __init__(self) -> None:
        super().__init__()

        def branch(widths: Sequence[int], first_stride: int) -> nn.ModuleList:
            layers = nn.ModuleList()
            for i, (inputs, outputs) in enumerate(zip([4, *widths], widths, strict=False)):
                layers.append(spectral_norm(nn.Conv2d(inputs, outputs, 5, 2 if i else first_stride, 2)))
            return layers

        self.patch = branch((48, 96, 192, 192, 192, 384), 2)
        self.edge = branch((24, 48, 96, 192, 192), 4)
        self.score = spectral_norm(nn.Conv2d(576, 1, 5, 1, 2))

    def forward(self, image: Tensor, hole: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, H, W) in [0, 1], (B, 1, H, W) -> score map (B, 1, ⌈H/64⌉, ⌈W/64⌉), first two patch features."""
        x, features = torch.cat([image, hole], dim=1), []
        for layer in self.patch:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        edge = torch.cat([sobel_edges(image), hole], dim=1)
        for layer in self.edge:
            edge = F.leaky_relu(layer(edge), 0.2)
        # in 32 bits: from crops of 64 it sees one pixel, where bf16 on a CPU leaves the gradient of its weight unset
        both = torch.cat([x, edge], dim=1)
        with torch.autocast(image.device.type, enabled=False):
            return self.score(both.to(torch.promote_types(both.dtype, torch.float32))), features[:2]


class Recurrent:
    """The method: networks, optimisers, one training step, completion.

    Raises:
        TrainingError: a perceptual or style weight above 0 without ``Config.features``.
        FileNotFoundError, ModelError: the feature network cannot be read.
    """

    unscaled = ("clip",)  # gradients cut by their size: not where gradients are scaled

    def __init__(self, config: Config, *, training: bool = True) -> None:
        self.config = config
        self.networks: dict[str, nn.Module] = {"generator": Generator(config)}
        self.optimizers: dict[str, Optimizer] = {}
        self.vgg: VGG19Features | None = None
        if not training:
            return
        betas = (config.beta1, config.beta2)
        generator = self.networks["generator"].parameters()
        self.optimizers["generator"] = Adam(generator, config.learning_rate, betas)
        if config.adversarial or config.feature_matching:
            self.networks["discriminator"] = Discriminator()
            discriminator = self.networks["discriminator"].parameters()
            self.optimizers["discriminator"] = Adam(discriminator, config.discriminator_rate, betas)
        if config.perceptual or config.low_pass_perceptual or config.style or config.normalized:
            if not config.features:
                raise TrainingError(
                    "perceptual and style losses need a VGG-19 (features=FILE.safetensors); "
                    "without one set perceptual=0 low_pass_perceptual=0 style=0 normalized=0"
                )
            self.vgg = load_vgg(config.features)

    def learning_rate(self, k: int) -> float:
        """Factor on both learning rates at step k (§4.2, or a warm-up and cosine where Config asks for it)."""
        config = self.config
        factor = warmup_cosine(k, config.warmup, config.total_steps)
        return factor * (config.decay if k >= config.decay_step and not config.total_steps else 1.0)

    def generator_losses(
        self, image: Tensor, hole: Tensor, coarse: Tensor, refined: Tensor
    ) -> dict[str, Tensor]:
        """The terms of L_Total (§4.2) that need no discriminator, unweighted: L_l1 and those with a weight above 0."""
        config = self.config
        difference = (refined - image).abs()
        losses = {"l1": difference.mean()}  # L_l1
        if config.low_pass:
            losses["low_pass"] = F.l1_loss(low_pass(coarse), low_pass(image))  # L_lpf
        if config.high_pass:  # L_hpf, M *: in the hole only
            inside = hole[:, :, 1:-1, 1:-1]
            losses["high_pass"] = (inside * (high_pass(refined) - high_pass(image)).abs()).mean()
        if config.edge_l1:
            losses["edge_l1"] = F.l1_loss(sobel_edges(refined), sobel_edges(image))
        if config.hole_l1:
            inside = hole / (3 * hole.sum()).clamp_min(1)
            losses["hole_l1"] = (inside * (difference + 0.5 * (coarse - image).abs())).sum()
        composite = image + hole * (refined - image)
        if config.psnr:
            losses["psnr"] = hole_decibels(refined, image, hole)
        if config.ssim:
            losses["ssim"] = dissimilarity(composite, image)
        if self.vgg is not None:
            real = self.vgg(image)
            fake = self.vgg(composite if config.composite else refined)
            if config.perceptual:
                losses["perceptual"] = perceptual_loss(real, fake)  # L_Perc
            if config.normalized:
                losses["normalized"] = normalized_loss(real, fake)
            if config.style:
                losses["style"] = style_loss(real, fake)  # L_Style
            if config.low_pass_perceptual:  # L_LP,Perc
                blurred = self.vgg(low_pass(image)), self.vgg(low_pass(coarse))
                losses["low_pass_perceptual"] = perceptual_loss(*blurred)
        return losses

    def step(
        self, image: Tensor, hole: Tensor, k: int, *, backward: Callable[[Tensor], None]
    ) -> dict[str, float]:
        """One generator step and, where there is one, one discriminator step (§4.2).

        Args:
            image: (B, 3, H, W) in [0, 1], sides multiples of 8 from 16 up. hole: (B, 1, H, W), 1 = missing. k: step.
            backward: computes the gradients of a loss.

        Returns:
            every loss, unweighted, the total and the learning rate.

        Raises:
            TrainingError: crops of another size.
        """
        config = self.config
        least = 16 if self.vgg is None else 40 if config.low_pass_perceptual else 32
        if image.shape[-1] % 8 or image.shape[-1] < least:
            raise TrainingError(f"size: expected a multiple of 8, at least {least}, got {image.shape[-1]}")
        factor = self.learning_rate(k)
        rates = {"generator": config.learning_rate, "discriminator": config.discriminator_rate}
        for name, optimizer in self.optimizers.items():
            set_rate(optimizer, factor * rates[name])
        if self.vgg is not None:
            self.vgg.to(image.device)

        coarse, refined = self.networks["generator"](image, hole)
        losses = self.generator_losses(image, hole, coarse, refined)
        logs: dict[str, Tensor] = {}
        if "discriminator" in self.networks:
            discriminator = self.networks["discriminator"]
            real_score, _ = discriminator(image, hole)
            fake_score, _ = discriminator(refined.detach(), hole)
            logs["discriminator"] = (F.relu(1 - real_score) + F.relu(1 + fake_score)).mean()  # L_D, hinge
            update(self.optimizers["discriminator"], logs["discriminator"], backward)

            discriminator.requires_grad_(False)
            fake_score, fake_features = discriminator(refined, hole)
            losses["adversarial"] = -fake_score.mean()  # L_G
            if config.feature_matching:
                with torch.no_grad():
                    _, real_features = discriminator(image, hole)
                pairs = zip(real_features, fake_features, strict=True)
                losses["feature_matching"] = torch.stack([F.l1_loss(b, a) for a, b in pairs]).sum()  # L_FM
        total = torch.stack([getattr(config, name) * loss for name, loss in losses.items()]).sum()  # L_Total
        self.optimizers["generator"].zero_grad()
        backward(total)
        if config.clip:
            nn.utils.clip_grad_norm_(self.networks["generator"].parameters(), config.clip)
        self.optimizers["generator"].step()
        if "discriminator" in self.networks:
            self.networks["discriminator"].requires_grad_(True)
        return numbers(logs | losses | {"total": total}) | {"lr": factor * config.learning_rate}

    @torch.no_grad()
    def complete(self, image: Tensor, hole: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, H, W) in [0, 1], (B, 1, H, W) -> the refined result; deterministic, ``generator`` is not used."""

        def refined(image: Tensor, hole: Tensor) -> Tensor:
            result: Tensor = self.networks["generator"](image, hole)[1]
            return result.clamp(0, 1)

        return mirrored(refined, image, hole) if self.config.mirror else refined(image, hole)
