"""Networks between pictures of 64 x 64 and a latent z: what `wgan` and `dcgan_search` share unchanged."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZE = 64  # px: side of the pictures that both papers generate


def _up(inputs: int, outputs: int, kernel: int) -> nn.ConvTranspose2d:
    """Twice the height and width, for an even or an odd kernel."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, kernel % 2)


class Generator(nn.Module):
    """z -> picture: a dense layer to 4 x 4 x 8w, then four strided transposed convolutions, 4w, 2w, w, 3.

    Args:
        latent: numbers in z.
        width: w.
        kernel: side of the convolutions' kernels, 4 or 5.
    """

    def __init__(self, latent: int, width: int, kernel: int) -> None:
        super().__init__()
        self.latent, self.width = latent, width
        self.dense = nn.Linear(latent, 16 * 8 * width)
        self.norm = nn.BatchNorm2d(8 * width)
        blocks: list[nn.Module] = []
        for inputs, outputs in ((8 * width, 4 * width), (4 * width, 2 * width), (2 * width, width)):
            blocks += [_up(inputs, outputs, kernel), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks, _up(width, 3, kernel), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, 3, 64, 64) in [-1, 1]."""
        x = self.dense(z).view(-1, 8 * self.width, 4, 4)
        picture: Tensor = self.blocks(F.relu(self.norm(x)))
        return picture

    def white_basis(self) -> Tensor:
        """Directions and lengths in z that change the first features alike, (latent, latent). Ours.

        Its singular vectors, each divided by its singular value: along them the loss is about as steep everywhere,
        which Adam, number by number, needs to get far in few steps.
        """
        scale = self.norm.weight.detach() / (cast(Tensor, self.norm.running_var) + self.norm.eps).sqrt()
        weight = self.dense.weight.detach() * scale.repeat_interleave(16)[:, None]
        with torch.autocast(weight.device.type, enabled=False):  # no device has eigenvectors in 16 bits
            values, vectors = torch.linalg.eigh(weight.T @ weight)
        values = values.clamp_min(1e-6 * float(values[-1]))
        white: Tensor = vectors * (values.mean() / values).sqrt()
        return white


class Encoder(nn.Module):
    """Picture -> numbers: four convolutions of stride 2, w, 2w, 4w, 8w, LeakyReLU, and a dense layer.

    Args:
        channels: of the picture.
        width: w.
        outputs: numbers that come out.
        kernel: side of the convolutions' kernels, 4 or 5.
        norm: batch norm after every convolution but the first.
    """

    def __init__(self, channels: int, width: int, outputs: int, kernel: int, *, norm: bool) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            layers.append(nn.Conv2d(before, after, kernel, 2, (kernel - 1) // 2))
            if norm and i:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Linear(16 * 8 * width, outputs)

    def forward(self, picture: Tensor) -> Tensor:
        """(B, channels, 64, 64) -> (B, outputs)."""
        numbers: Tensor = self.dense(self.layers(picture).flatten(1))
        return numbers


class Inverter(nn.Module):
    """Damaged picture and its hole -> the z to start from. Ours.

    Batch norm without parameters gives every number of z the prior's mean and variance, 0 and 1.
    """

    def __init__(self, latent: int, width: int, kernel: int) -> None:
        super().__init__()
        self.encoder = Encoder(4, width, latent, kernel, norm=True)
        self.norm = nn.BatchNorm1d(latent, affine=False)

    def forward(self, picture: Tensor, hole: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [-1, 1], (B, 1, 64, 64) with 1 = missing -> (B, latent); the hole is not read."""
        z: Tensor = self.norm(self.encoder(torch.cat([picture * (1 - hole), hole], dim=1)))
        return z


def start_small(network: nn.Module) -> None:
    """Weights from N(0, 0.02²), biases 0: Radford et al. 2016, for 5 x 5 kernels."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
