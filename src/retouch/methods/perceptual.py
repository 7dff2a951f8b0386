"""Perceptual losses and distances: feature networks, style, SSIM, LPIPS.

Johnson, Alahi, Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016;
Zhang, Isola, Efros, Shechtman, Wang, "The unreasonable effectiveness of deep features as a perceptual
metric", CVPR 2018. No weights are part of Retouch: the user names a safetensors file.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from retouch.errors import ModelError, TrainingError

# VGG-19's convolutions in order, with the index that torchvision gives them in `features`;
# a 2x2 max-pool follows the last of each of the first four groups.
VGG19 = {
    "1_1": 0, "1_2": 2,
    "2_1": 5, "2_2": 7,
    "3_1": 10, "3_2": 12, "3_3": 14, "3_4": 16,
    "4_1": 19, "4_2": 21, "4_3": 23, "4_4": 25,
    "5_1": 28, "5_2": 30, "5_3": 32, "5_4": 34,
}  # fmt: skip
POOL_AFTER = {"1_2", "2_2", "3_4", "4_4"}
PERCEPTUAL_TAPS = ("1_1", "2_1", "3_1", "4_1", "5_1")
STYLE_TAPS = ("2_2", "3_4", "4_4", "5_2")


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Reads a safetensors file; one clear line where it is missing or foreign.

    Raises:
        FileNotFoundError, ModelError.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no feature network at {file}: expected a safetensors file")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise ModelError(f"{file} is not a safetensors file: {error}") from error


class VGG19Features(nn.Module):
    """VGG-19 up to the last layer that the file holds: plain (torchvision's names) or distilled.

    The distilled one (Collaborative Distillation, Wang et al., CVPR 2020) has narrow layers and a 1x1
    convolution back to VGG's own width at relu1_1, 2_1, 3_1, 4_1 and 5_1. It normalises by its first layer,
    the plain one by ImageNet's mean and deviation.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.distilled = "conv11_aux.weight" in tensors
        names = (lambda tap: "conv" + tap.replace("_", "")) if self.distilled else self._torchvision_name
        self.taps = [tap for tap in VGG19 if f"{names(tap)}.weight" in tensors]
        if not self.taps or self.taps[0] != "1_1":
            raise ModelError("expected a VGG-19 (torchvision's names, or distilled); got other layer names")
        wanted = {tap: names(tap) for tap in self.taps}
        self._check(tensors, wanted)
        if self.distilled:
            wanted |= {f"aux{tap}": f"{names(tap)}_aux" for tap in PERCEPTUAL_TAPS} | {"scale": "conv0"}
        for key, name in wanted.items():
            self.register_buffer(f"w{key}", tensors[f"{name}.weight"].float(), persistent=False)
            self.register_buffer(f"b{key}", tensors[f"{name}.bias"].float(), persistent=False)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    @staticmethod
    def _torchvision_name(tap: str) -> str:
        return f"features.{VGG19[tap]}"

    @staticmethod
    def _check(tensors: Mapping[str, Tensor], wanted: Mapping[str, str]) -> None:
        """Refuses layers that do not follow one another as VGG-19's: other networks have the same names."""
        channels = 3
        for tap, name in zip(VGG19, wanted.values(), strict=False):
            shape = tuple(tensors[f"{name}.weight"].shape)
            if wanted.get(tap) != name or shape[1:] != (channels, 3, 3) or f"{name}.bias" not in tensors:
                raise ModelError(
                    f"expected a VGG-19, each 3 x 3 convolution after the one before; got {name} of {shape} "
                    f"in place of conv{tap}"
                )
            channels = shape[0]

    def _conv(self, x: Tensor, key: str) -> Tensor:
        return F.conv2d(x, self.get_buffer(f"w{key}"), self.get_buffer(f"b{key}"))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) in [0, 1] -> the ReLU output of every tap that the file holds, by its name.

        Tap ``g_n`` is (B, C, H / 2^(g-1), W / 2^(g-1)), where VGG-19 has C = 64, 128, 256, 512, 512 for g = 1 to 5.
        Taps of ``PERCEPTUAL_TAPS`` come at VGG's own width (through the auxiliary layer where distilled).
        """
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        x = self._conv(image, "scale") if self.distilled else (image - mean) / std
        outputs = {}
        for tap in self.taps:
            x = F.relu(
                self._conv(F.pad(x, (1, 1, 1, 1), mode="reflect" if self.distilled else "constant"), tap)
            )
            auxiliary = self.distilled and tap in PERCEPTUAL_TAPS
            outputs[tap] = F.relu(self._conv(x, f"aux{tap}")) if auxiliary else x
            if tap in POOL_AFTER:
                x = F.max_pool2d(x, 2)
        return outputs


def load_vgg(path: str | Path) -> VGG19Features:
    """The feature network in a safetensors file, frozen, in evaluation mode.

    Raises:
        FileNotFoundError, ModelError: there is no such file, or none of a VGG-19.
    """
    return VGG19Features(load_tensors(path)).eval().requires_grad_(False)


def perceptual_loss(real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Tensor:
    """Sum over relu1_1 ... relu5_1 of the mean absolute difference of the features (recurrent, §4.2).

    Args:
        real, fake: as `VGG19Features` gives them; so for the two losses below.
    """
    return torch.stack([F.l1_loss(fake[tap], real[tap]) for tap in PERCEPTUAL_TAPS if tap in real]).sum()


def normalized_loss(real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Tensor:
    """Sum over the same taps of the squared distance of the features, each position's scaled to a length of 1.

    Zhang et al. 2018, Eq. 1, with a weight of 1 for every channel.
    """
    pairs = ((F.normalize(real[tap]), F.normalize(fake[tap])) for tap in PERCEPTUAL_TAPS if tap in real)
    return torch.stack([(a - b).square().sum(1).mean() for a, b in pairs]).sum()


def gram(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, C): products of channels, summed over the positions, divided by C·H·W."""
    b, c, h, w = features.shape
    flat = features.reshape(b, c, h * w)  # (B, C, H*W)
    flat = flat.to(torch.promote_types(flat.dtype, torch.float32))
    with torch.autocast(features.device.type, enabled=False):  # 16 bits would round small differences away
        return flat @ flat.transpose(1, 2) / (c * h * w)


def style_loss(real: Mapping[str, Tensor], fake: Mapping[str, Tensor]) -> Tensor:
    """Sum over relu2_2, 3_4, 4_4, 5_2 (those at hand) of the mean absolute difference of the Gram matrices.

    Raises:
        TrainingError: none is at hand.
    """
    taps = [tap for tap in STYLE_TAPS if tap in real]
    if not taps:
        raise TrainingError(
            f"style: expected features with one of {', '.join(STYLE_TAPS)}, got {', '.join(real)}"
        )
    return torch.stack([F.l1_loss(gram(fake[tap]), gram(real[tap])) for tap in taps]).sum()


def _windows(maps: Tensor, dim: int, side: int = 7) -> Tensor:
    """(L - side + 1, L) for a dimension of length L: row i takes the mean of i to i + side - 1."""
    length = maps.shape[dim]
    ones = torch.ones(length - side + 1, length, dtype=maps.dtype, device=maps.device)
    return ones.triu().tril(side - 1) / side


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """1 - mean SSIM of two (B, 3, H, W) in [0, 1], in uniform 7 x 7 windows (Wang et al. 2004, Eq. 13)."""
    maps = torch.cat([a, b, a * a, b * b, a * b], dim=1).contiguous()
    with torch.autocast(maps.device.type, enabled=False):  # 16 bits would not resolve the variances
        # avg_pool2d(maps, 7, stride=1), several times as fast on a CPU
        mean = _windows(maps, 2) @ maps @ _windows(maps, 3).mT
    mean_a, mean_b, aa, bb, ab = mean.chunk(5, dim=1)
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * (ab - mean_a * mean_b) + 0.03**2) / (aa - mean_a**2 + bb - mean_b**2 + 0.03**2)
    return 1 - (luminance * structure).mean()


class LPIPS(nn.Module):
    """Learned perceptual distance v0.1 on SqueezeNet 1.1 (Zhang et al. 2018, Eq. 1); lower is closer.

    Args:
        trunk: safetensors file with torchvision's ``features.*`` of SqueezeNet 1.1.
        heads: safetensors file with the seven linear heads, ``lin0..6.model.1.weight``.
    """

    TAPS = (1, 4, 7, 9, 10, 11, 12)

    def __init__(self, trunk: str | Path, heads: str | Path) -> None:
        super().__init__()
        tensors = load_tensors(trunk) | load_tensors(heads)
        missing = {"features.0.weight", "features.12.squeeze.weight", "lin6.model.1.weight"} - tensors.keys()
        if missing:
            raise ModelError(f"expected SqueezeNet 1.1 and its LPIPS heads; missing {sorted(missing)[0]}")
        for name, tensor in tensors.items():
            self.register_buffer(re.sub(r"\W", "_", name), tensor.float())

    def _conv(self, x: Tensor, name: str, **options: int) -> Tensor:
        return F.conv2d(x, self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias"), **options)

    def _features(self, image: Tensor) -> list[Tensor]:
        shift = image.new_tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
        scale = image.new_tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
        x = F.relu(self._conv((image * 2 - 1 - shift) / scale, "features_0", stride=2))
        taps = [x]
        for module in range(2, 13):
            if module in (2, 5, 8):
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            else:
                fire = f"features_{module}"
                x = F.relu(self._conv(x, f"{fire}_squeeze"))
                wide = self._conv(x, f"{fire}_expand3x3", padding=1)
                x = torch.cat([F.relu(self._conv(x, f"{fire}_expand1x1")), F.relu(wide)], dim=1)
            if module in self.TAPS:
                taps.append(x)
        return taps

    def forward(self, image: Tensor, completion: Tensor) -> Tensor:
        """Two (B, 3, H, W) batches in [0, 1] -> (B,)."""
        total = image.new_zeros(image.shape[0])
        for i, (a, b) in enumerate(zip(self._features(image), self._features(completion), strict=True)):
            a = a / (a.square().sum(1, keepdim=True).sqrt() + 1e-10)
            b = b / (b.square().sum(1, keepdim=True).sqrt() + 1e-10)
            total = total + F.conv2d((a - b).square(), self.get_buffer(f"lin{i}_model_1_weight")).mean(
                (1, 2, 3)
            )
        return total


# ---- for evaluation: NumPy in, NumPy out ------------------------------------------------------------------

TRUNK, HEADS = "squeezenet1_1_features.safetensors", "lpips_squeeze_heads.safetensors"
LPIPS_LEAST, FEATURES_LEAST = 17, 32  # px a side: below, nothing is left of a picture in the deepest layers
Distances = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


def distances(lpips: str | None, features: str | Path | None, threads: int | None = None) -> Distances:
    """The metrics that need a network, as one function of two (B, 3, H, W) float32 in [0, 1].

    It gives ``lpips`` (B,), ``perceptual`` (B,) and the completion's ``features`` (B, D), each where its
    network was named and takes pictures so small: a side of 32 px is enough for both. The features are the means over
    the picture of the deepest perceptual tap.

    Args:
        lpips: a folder with the two files ``TRUNK`` and ``HEADS``, or ``"alex"``, ``"vgg"``, ``"squeeze"``:
            torchmetrics' own, which needs torchvision and fetches weights; None: no LPIPS.
        features: safetensors file of a VGG-19 (see `VGG19Features`); None: no perceptual loss, no features.
        threads: cores that PyTorch may use in this process; None: as it is.

    Raises:
        FileNotFoundError, ModelError: no such network.
    """
    if threads:
        torch.set_num_threads(threads)
    distance = None if lpips is None else _lpips(lpips)
    network = None if features is None else load_vgg(features)

    @torch.inference_mode()
    def measured(image: np.ndarray, completion: np.ndarray) -> dict[str, np.ndarray]:
        a, b = (torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in (image, completion))
        side = min(image.shape[2:])
        found = {} if distance is None or side < LPIPS_LEAST else {"lpips": distance(a, b)}
        if network is not None and side >= FEATURES_LEAST:
            real, fake = network(a), network(b)
            taps = [tap for tap in PERCEPTUAL_TAPS if tap in real]
            found["perceptual"] = sum((fake[tap] - real[tap]).abs().mean((1, 2, 3)) for tap in taps)
            found["features"] = fake[taps[-1]].mean((2, 3))
        return {name: value.numpy() for name, value in found.items()}

    return measured


def _lpips(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """(B, 3, H, W) twice in [0, 1] -> (B,)."""
    if name not in ("alex", "vgg", "squeeze"):
        return LPIPS(Path(name) / TRUNK, Path(name) / HEADS).eval()
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        network = LearnedPerceptualImagePatchSimilarity(net_type=name, normalize=True)  # type: ignore[arg-type]
    except ImportError as error:
        raise ModelError(
            f"expected torchvision for LPIPS on {name!r}, got none: name a folder with {TRUNK} and {HEADS}"
        ) from error
    return lambda a, b: torch.stack([network(a[i : i + 1], b[i : i + 1]) for i in range(len(a))])
