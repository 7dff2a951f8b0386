"""Image inpainting by a DCGAN and a search over z, with one of three adversarial losses.

Swaroop, Sanjith, Tushar, Koolagudi, Akhila, "Image Inpainting using Deep Learning".

    paper                           code
    ------------------------------  ------------------------------------------
    generator summary               latent.Generator (width 128, 5 x 5)
    discriminator summary           latent.Encoder (width 64, 5 x 5)
    §III, pixels / 127.5 - 1        DCGANSearch.step, 2 * image - 1
    §V, table: the three losses     ADVERSARIAL: sigmoid_cross_entropy, ...
    L_contextual(z)                 search.contextual_loss
    L_perceptual(z)                 search.perceptual_loss
    "weighted sum", steps on z      search.search
    x_reconstructed                 search.paste
    (ours)                          latent.Inverter, search.inverter_step

Deviations
    - The summaries print shapes alone: transposed 5 x 5 convolutions, batch norm but in the discriminator's
      first layer, ReLU and LeakyReLU, tanh out, weights from N(0, 0.02²): Radford et al. 2016.
    - The losses have the names of TensorFlow's functions. Softmax cross-entropy needs two logits, real and
      generated. Mean squared error compares the discriminator's probability (a sigmoid) with 1 and 0, so that
      log(1 - D(G(z))) of the search is defined for all three.
    - "Adam optimizer with standard parameters": those of a DCGAN, 2e-4 and 0.5 (Radford et al. 2016).
    - The perceptual loss's weight is not printed: 0.1, that of Amos 2016, whose formulas the paper has. Neither
      are the search's steps and rate: those of `wgan`.
    - The learning rates fall to zero along a line until generator and discriminator are frozen, so that the
      average of the weights, which is exported, and the weights are the same then.
    - The search as both methods have it: search.py says how it differs from the papers'.
    - Ours: the inverter, trained afterwards; ``reconstruction``, off by default: the generator also has to
      give back the training photos from the inverter's z.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from retouch.errors import TrainingError, check_choice
from retouch.methods import latent, search
from retouch.methods.nn import numbers, set_rate, update
from retouch.options import at_least

KERNEL = 5  # discriminator summary


@dataclass(frozen=True)
class Config:
    """Settings of the method; each with its source."""

    latent: int = 100  # generator summary
    width: int = 128  # generator summary, conv3's channels
    discriminator_width: int = 64  # discriminator summary, first convolution
    adversarial_loss: str = "sigmoid_cross_entropy"  # §V, the best of three
    learning_rate: float = 2e-4  # Radford et al. 2016
    beta1: float = 0.5  # Radford et al. 2016
    beta2: float = 0.999  # Radford et al. 2016
    reconstruction: float = 0.0  # ours: weight of |G(inverter(photo)) - photo| in the generator's loss
    generator_steps: int = 63_300  # §V, 20 epochs of 202,599 photos in batches of 64; then the inverter
    inverter_steps: int = 10_000  # ours
    inverter_width: int = 64  # ours: as the discriminator
    inverter_rate: float = 1e-3  # ours
    inverter_hole: float = 1.0  # ours: weight of the hole's L1 in the inverter's loss
    inverter_latent: float = 0.1  # ours: weight of the known z in the inverter's loss
    search: str = "inverter"  # ours: where the search starts; "paper": at random
    perceptual: float = 0.1  # Amos 2016, weight of L_perceptual
    restarts: int = 4  # ours: per photo, the lowest loss wins
    search_steps: int = 1250  # as wgan, for "paper"
    search_rate: float = 0.03  # ours, for "paper"
    refine_steps: int = 100  # ours, for "inverter"
    refine_rate: float = 0.2  # ours, for "inverter"; falls to zero along a line
    spread: float = 0.3  # ours, for "inverter": standard deviation of the other restarts around its z

    def __post_init__(self) -> None:
        at_least(self, TrainingError, latent=1, width=1, discriminator_width=1, inverter_width=1, restarts=1)
        check_choice(TrainingError, ADVERSARIAL, adversarial_loss=self.adversarial_loss)
        check_choice(TrainingError, search.SEARCHES, search=self.search)


# Settings and Config of ``--preset NAME``: data beside the Config that they set.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {  # §V, 20 epochs of 202,599 photos; then the inverter
        "settings": {"size": 64, "batch": 64, "whole": True, "masks": ("center",), "steps": 73_300},
        "config": {"search": "paper"},
    },
    "quick": {
        "settings": {"size": 64, "batch": 16, "minutes": 3.0, "masks": ("center",), "ratio": "0.25-0.25"},
        "config": {
            "width": 16, "discriminator_width": 16, "generator_steps": 600, "inverter_steps": 300,
            "inverter_width": 16, "restarts": 2, "refine_steps": 30, "search_steps": 100,
        },
    },
    "shipped": {  # search-faces-sigmoid; the other two with their adversarial_loss
        "settings": {
            "size": 64, "batch": 32, "whole": True, "ratio": "0.05-0.4",
            "masks": ("center=0.5", "strokes=0.2", "boxes=0.15", "rectangle=0.15"), "ema": 0.99, "steps": 720,
        },
        "config": {
            "width": 32, "discriminator_width": 16, "inverter_width": 32, "learning_rate": 5e-4, "generator_steps": 500,
            "inverter_steps": 220, "reconstruction": 10.0, "inverter_latent": 0.02, "refine_steps": 10, "restarts": 2,
        },
    },
}  # fmt: skip


# ---- adversarial losses: the discriminator's outputs and whether they should say "real" -> a mean ---------


def sigmoid_cross_entropy(outputs: Tensor, real: bool) -> Tensor:
    """(B, 1): -log D or -log(1 - D), D = sigmoid."""
    return F.softplus(-outputs if real else outputs).mean()


def softmax_cross_entropy(outputs: Tensor, real: bool) -> Tensor:
    """(B, 2), logits of real and generated: -log of the right one's probability."""
    return -F.log_softmax(outputs, dim=1)[:, 0 if real else 1].mean()


def mean_squared_error(outputs: Tensor, real: bool) -> Tensor:
    """(B, 1): (D - 1)² or D², D = sigmoid."""
    return (torch.sigmoid(outputs) - float(real)).square().mean()


ADVERSARIAL = {
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
    "mean_squared_error": mean_squared_error,
}


class DCGANSearch:
    """The method: networks, optimisers, one training step of either stage, completion.

    Raises:
        TrainingError: while training: crops of another size than 64 x 64, a batch of one.
    """

    unscaled = ("reconstruction",)  # one loss for two optimisers: not where gradients are scaled

    def __init__(self, config: Config, *, training: bool = True) -> None:
        self.config = config
        self.adversarial = ADVERSARIAL[config.adversarial_loss]
        logits = 2 if config.adversarial_loss == "softmax_cross_entropy" else 1
        self.networks: dict[str, nn.Module] = {
            "generator": latent.Generator(config.latent, config.width, KERNEL),
            "discriminator": latent.Encoder(3, config.discriminator_width, logits, KERNEL, norm=True),
            "inverter": latent.Inverter(config.latent, config.inverter_width, KERNEL),
        }
        self.optimizers: dict[str, Optimizer] = {}
        if not training:
            return
        for network in self.networks.values():
            latent.start_small(network)
        betas = (config.beta1, config.beta2)
        for name, rate, moments in (
            ("generator", config.learning_rate, betas),
            ("discriminator", config.learning_rate, betas),
            ("inverter", config.inverter_rate, (0.9, 0.999)),
        ):
            self.optimizers[name] = Adam(self.networks[name].parameters(), rate, moments)

    def step(
        self, image: Tensor, hole: Tensor, k: int, *, backward: Callable[[Tensor], None]
    ) -> dict[str, float]:
        """One step of the stage that k lies in: generator and discriminator, then inverter.

        Args:
            image: (B, 3, 64, 64) in [0, 1], B >= 2. hole: (B, 1, 64, 64), 1 = missing. k: step number from 0.
            backward: computes the gradients of a loss.

        Returns:
            the stage's losses.
        """
        search.check_batch(image, "dcgan_search")
        config, picture = self.config, 2 * image - 1
        if k < config.generator_steps:
            rate = (1 - k / config.generator_steps) * config.learning_rate
            for name in ("generator", "discriminator"):
                set_rate(self.optimizers[name], rate)
            logs = self.discriminator_step(picture, hole, backward) | self.generator_step(
                picture, hole, backward
            )
        else:
            logs = search.inverter_step(
                self.networks, self.optimizers["inverter"], self.score, config, picture, hole,
                k - config.generator_steps, backward,
            )  # fmt: skip
        return numbers(logs)

    def discriminator_step(
        self, picture: Tensor, hole: Tensor, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """The discriminator learns to tell a batch of real pictures from one of generated ones."""
        search.only(self.networks, ("discriminator",))
        discriminator = self.networks["discriminator"]
        with torch.no_grad():
            fake, _ = search.generated(self.networks, self.config, picture, hole)
        loss = self.adversarial(discriminator(picture), True) + self.adversarial(discriminator(fake), False)
        update(self.optimizers["discriminator"], loss, backward)
        return {"discriminator": loss}

    def generator_step(
        self, picture: Tensor, hole: Tensor, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """The generator makes the discriminator say "real"; with ``reconstruction`` it gives back photos too."""

        def adversarial(fake: Tensor) -> Tensor:
            self.networks["discriminator"].train()  # its batch norm as in its own step
            return self.adversarial(self.networks["discriminator"](fake), True)

        return search.generator_step(
            self.networks, self.optimizers, self.config, adversarial, picture, hole, backward
        )

    def score(self, picture: Tensor) -> Tensor:
        """(N, 3, 64, 64) in [-1, 1] -> (N,), whose sigmoid is D; of two logits the difference."""
        outputs: Tensor = self.networks["discriminator"](picture)
        return outputs[:, 0] - outputs[:, 1] if outputs.shape[1] == 2 else outputs[:, 0]

    def answer(self, image: Tensor, hole: Tensor, z: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [0, 1], (B, 1, 64, 64), (B, latent) -> x_reconstructed: G(z) in the hole."""
        return search.paste((self.networks["generator"](z) + 1) / 2, image, hole)

    def complete(self, image: Tensor, hole: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, 64, 64) in [0, 1], (B, 1, 64, 64) -> the completion of the lowest total loss."""
        return search.completions(self, image, hole, generator=generator)[0]
