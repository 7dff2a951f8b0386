"""Semantic image completion and enhancement: Wasserstein GAN, search over z, residual learning.

Vaishnav Chandak, Priyansh Saxena, Manisha Pattanaik, Gaurav Kaushal, "Semantic Image Completion and
Enhancement using Deep Learning", 2019.

    paper                           code
    ------------------------------  ------------------------------------------
    §3.2, generator, critic         latent.Generator, latent.Encoder
    Eq. (1), Wasserstein distance   wasserstein_distance
    Eq. (2), critic's loss          WGAN.critic_step
    Eq. (3), gradient penalty       gradient_penalty
    Eq. (4), x_reconstructed        search.paste
    Eq. (5), contextual loss        search.contextual_loss
    Eq. (6), perceptual loss        search.perceptual_loss
    Eq. (7), total loss; Adam on z  search.search
    §3.5, Fig. 2, enhancement       Enhancement
    Eq. (8)                         enhancement_error
    (ours)                          latent.Inverter, search.inverter_step

Deviations
    - Eq. (3) as printed takes x̂ from P_g; the penalty is defined on lines between real and generated
      pictures (Gulrajani et al. 2017).
    - Eq. (6) is undefined for an unbounded critic: its sigmoid is taken, log(1 - C') = -softplus(C).
    - Neither network is printed: those of Radford et al. 2016 for 64 x 64, without batch norm in the critic.
    - One step of the loop is one update of the critic; the generator is updated in every ``critic_steps``-th.
      The paper's "10,000 epochs" are taken as updates of the generator.
    - Both learning rates fall to zero along a line until the generator is frozen: the average of the weights,
      which is exported, and the weights, which the later stages build on, are the same then.
    - The enhancement network's pairs are completions of the batch at hand, made anew in every step, from a
      search that starts at the inverter's z; the paper has 2,000 fixed ones.
    - The search as both methods have it: search.py says how it differs from the papers'.
    - Ours: the inverter, trained between the two; ``reconstruction``, off by default: the generator also has
      to give back the training photos from the inverter's z, so that it contains photos like them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from retouch.errors import TrainingError, check_choice
from retouch.methods import latent, search
from retouch.methods.nn import depthwise, numbers, set_rate, update
from retouch.options import at_least

KERNEL = 4  # of generator, critic and inverter: Radford et al. 2016 as most have built it
PAIRS = ("completions", "blur")


@dataclass(frozen=True)
class Config:
    """Settings of the method; each with its source."""

    latent: int = 128  # Gulrajani et al. 2017
    width: int = 64  # Gulrajani et al. 2017 (64 x 64)
    learning_rate: float = 1e-4  # Gulrajani et al. 2017
    beta1: float = 0.0  # Gulrajani et al. 2017
    beta2: float = 0.9  # Gulrajani et al. 2017
    penalty: float = 10.0  # λ of Eq. (3); Gulrajani et al. 2017
    critic_steps: int = 5  # Gulrajani et al. 2017, critic's updates for one of the generator
    reconstruction: float = 0.0  # ours: weight of |G(inverter(photo)) - photo| in the generator's loss
    generator_steps: int = 50_000  # Fig. 4, 10,000 updates of the generator
    inverter_steps: int = 10_000  # ours; then the enhancement network until the run ends
    inverter_rate: float = 1e-3  # ours
    inverter_hole: float = 1.0  # ours: weight of the hole's L1 in the inverter's loss
    inverter_latent: float = 0.1  # ours: weight of the known z in the inverter's loss
    enhancement_depth: int = 17  # Zhang et al. 2017, convolutions (§3.5 names their kinds alone)
    enhancement_width: int = 64  # Zhang et al. 2017
    enhancement_rate: float = 1e-3  # Zhang et al. 2017
    pairs: str = "completions"  # §3.5; "blur": photos blurred in the hole, for a quick start
    pair_steps: int = 100  # ours: search steps for a pair's completion
    search: str = "inverter"  # ours: where the search starts; "paper": at random
    perceptual: float = 0.003  # Q of Eq. (7); Yeh et al. 2017
    restarts: int = 4  # ours: per photo, the lowest loss wins
    search_steps: int = 1250  # Fig. 5 to 7, for "paper"
    search_rate: float = 0.03  # ours, for "paper"
    refine_steps: int = 100  # ours, for "inverter"
    refine_rate: float = 0.2  # ours, for "inverter"; falls to zero along a line
    spread: float = 0.3  # ours, for "inverter": standard deviation of the other restarts around its z

    def __post_init__(self) -> None:
        at_least(self, TrainingError, latent=1, width=1, critic_steps=1, restarts=1)
        at_least(self, TrainingError, enhancement_width=1, enhancement_depth=2)
        check_choice(TrainingError, PAIRS, pairs=self.pairs)
        check_choice(TrainingError, search.SEARCHES, search=self.search)


# Settings and Config of ``--preset NAME``: data beside the Config that they set.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {  # §3, Fig. 4 to 7: 10,000 updates of the generator in batches of 128; the pairs 200 times
        "settings": {"size": 64, "batch": 128, "whole": True, "masks": ("center",), "steps": 63_125},
        "config": {"search": "paper"},
    },
    "quick": {
        "settings": {"size": 64, "batch": 16, "minutes": 3.0, "masks": ("center",), "ratio": "0.25-0.25"},
        "config": {
            "width": 16, "critic_steps": 2, "generator_steps": 600, "inverter_steps": 300, "enhancement_depth": 5,
            "enhancement_width": 16, "pairs": "blur", "restarts": 2, "refine_steps": 30, "search_steps": 100,
        },
    },
    "shipped": {  # wgan-faces
        "settings": {
            "size": 64, "batch": 32, "whole": True, "ratio": "0.05-0.4",
            "masks": ("center=0.5", "strokes=0.2", "boxes=0.15", "rectangle=0.15"), "ema": 0.995, "steps": 7800,
        },
        "config": {
            "width": 32, "latent": 96, "critic_steps": 1, "learning_rate": 1e-3, "beta1": 0.5, "reconstruction": 1000.0,
            "generator_steps": 3500, "inverter_steps": 3700, "inverter_latent": 0.02, "enhancement_depth": 6,
            "enhancement_width": 24, "pair_steps": 5, "refine_steps": 5, "spread": 0.8,
        },
    },
}  # fmt: skip


def bare(network: nn.Module) -> nn.Module:
    """A network without what the training loop wraps it in.

    Its outputs may be differentiated in a step: in mixed precision the loop's refuse that, and compiled ones have no
    second derivative.
    """
    inner: nn.Module = getattr(network, "module", network)
    return inner


def wasserstein_distance(real: Tensor, fake: Tensor) -> Tensor:
    """E C(x) - E C(x̃), the negative of Eq. (1): what the critic raises; scores of any shape."""
    return real.mean() - fake.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """E (‖∇C(x̂)‖₂ - 1)², x̂ on lines between real and generated pictures; Eq. (3) without λ.

    Args:
        critic: (B, 3, H, W) -> (B, 1).
        real, fake: (B, 3, H, W), without gradients.
        share: (B, 1, 1, 1) in [0, 1], how much of the real one.
    """
    mixed = (share * real + (1 - share) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    slopes: Tensor = gradient.flatten(1).norm(dim=1)
    return (slopes - 1).square().mean()


def enhancement_error(residual: Tensor, completed: Tensor, photo: Tensor) -> Tensor:
    """1/2N Σ ‖R(y) - (y - x)‖², Eq. (8); all (N, 3, H, W)."""
    return (residual - (completed - photo)).square().sum() / (2 * len(photo))


class Enhancement(nn.Module):
    """R(y): the residual v = y - x of a blurry picture y, §3.5, Fig. 2 (Zhang et al. 2017, DnCNN)."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.ReLU()]  # (i)
        for _ in range(depth - 2):  # (ii)
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1))  # (iii)
        for last in self.layers[-1].parameters():  # begin at the completion itself
            nn.init.zeros_(last)

    def forward(self, completed: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, H, W), what is to be subtracted."""
        residual: Tensor = self.layers(completed)
        return residual


def blurred(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> the same, smoothed by the 5 x 5 binomial filter."""
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
    kernel = torch.outer(row, row) / 256
    return depthwise(F.pad(image, (2, 2, 2, 2), mode="reflect"), kernel.tolist())


class WGAN:
    """The method: networks, optimisers, one training step of whichever stage, completion.

    Raises:
        TrainingError: while training: crops of another size than 64 x 64, a batch of one.
    """

    unscaled = ("reconstruction",)  # one loss for two optimisers: not where gradients are scaled

    def __init__(self, config: Config, *, training: bool = True) -> None:
        self.config = config
        self.networks: dict[str, nn.Module] = {
            "generator": latent.Generator(config.latent, config.width, KERNEL),
            "critic": latent.Encoder(3, config.width, 1, KERNEL, norm=False),
            "inverter": latent.Inverter(config.latent, config.width, KERNEL),
            "enhancement": Enhancement(config.enhancement_depth, config.enhancement_width),
        }
        self.optimizers: dict[str, Optimizer] = {}
        if not training:
            return
        betas = (config.beta1, config.beta2)
        for name, rate, moments in (
            ("generator", config.learning_rate, betas),
            ("critic", config.learning_rate, betas),
            ("inverter", config.inverter_rate, (0.9, 0.999)),
            ("enhancement", config.enhancement_rate, (0.9, 0.999)),
        ):
            self.optimizers[name] = Adam(self.networks[name].parameters(), rate, moments)

    def step(
        self, image: Tensor, hole: Tensor, k: int, *, backward: Callable[[Tensor], None]
    ) -> dict[str, float]:
        """One step of the stage that k lies in: generator and critic, then inverter, then enhancement.

        Args:
            image: (B, 3, 64, 64) in [0, 1], B >= 2. hole: (B, 1, 64, 64), 1 = missing. k: step number from 0.
            backward: computes the gradients of a loss.

        Returns:
            the curves of the stage: Fig. 4; Fig. 5 to 7; Fig. 3.
        """
        search.check_batch(image, "wgan")
        config, picture = self.config, 2 * image - 1
        if k < config.generator_steps:
            logs = self.generator_stage(picture, hole, k, backward)
        elif k < config.generator_steps + config.inverter_steps:
            logs = search.inverter_step(
                self.networks, self.optimizers["inverter"], self.score, config, picture, hole,
                k - config.generator_steps, backward,
            )  # fmt: skip
        else:
            logs = self.enhancement_step(image, hole, backward)
        return numbers(logs)

    def generator_stage(
        self, picture: Tensor, hole: Tensor, k: int, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """One update of the critic; in every ``critic_steps``-th step one of the generator."""
        config = self.config
        left = 1 - k / config.generator_steps
        for name in ("generator", "critic"):
            set_rate(self.optimizers[name], left * config.learning_rate)
        logs = self.critic_step(picture, hole, backward)
        if (k + 1) % config.critic_steps == 0:
            logs |= self.generator_step(picture, hole, backward)
        return logs

    def critic_step(
        self, picture: Tensor, hole: Tensor, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """Eq. (2): the critic's loss on a batch of real and one of generated pictures."""
        search.only(self.networks, ("critic",))
        critic = self.networks["critic"]
        with torch.no_grad():
            fake, _ = search.generated(self.networks, self.config, picture, hole)
        distance = wasserstein_distance(critic(picture), critic(fake))  # Eq. (1)
        share = torch.rand(len(picture), 1, 1, 1, device=picture.device)
        penalty = gradient_penalty(bare(critic), picture, fake, share)  # Eq. (3)
        update(self.optimizers["critic"], -distance + self.config.penalty * penalty, backward)
        return {"wasserstein": distance, "gradient_penalty": penalty}

    def generator_step(
        self, picture: Tensor, hole: Tensor, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """The generator's loss is - E C(G(z)) of Eq. (1); with ``reconstruction`` it gives back the photos too."""
        return search.generator_step(
            self.networks, self.optimizers, self.config,
            lambda fake: -self.networks["critic"](fake).mean(), picture, hole, backward,
        )  # fmt: skip

    def enhancement_step(
        self, image: Tensor, hole: Tensor, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """The enhancement network learns the residual of the method's own completions, Eq. (8)."""
        search.only(self.networks, ("enhancement",))
        if self.config.pairs == "blur":
            completed, logs = torch.where(hole > 0, blurred(image), image), {}
        else:
            config = replace(self.config, search="inverter", refine_steps=self.config.pair_steps)
            networks = {name: bare(network) for name, network in self.networks.items()}
            found = search.find(networks, self.score, config, 2 * image - 1, hole, generator=None, restarts=1)
            completed, logs = self.coarse(image, hole, found.z[:, 0]), {"total": found.total.mean()}
        error = enhancement_error(self.networks["enhancement"](completed), completed, image)  # Eq. (8)
        update(self.optimizers["enhancement"], error, backward)
        return logs | {"enhancement_error": error}

    def score(self, picture: Tensor) -> Tensor:
        """(N, 3, 64, 64) in [-1, 1] -> (N,), C; its sigmoid is C' of Eq. (6)."""
        scores: Tensor = bare(self.networks["critic"])(picture)[:, 0]
        return scores

    @torch.no_grad()
    def coarse(self, image: Tensor, hole: Tensor, z: Tensor) -> Tensor:
        """Eq. (4): (B, 3, 64, 64) in [0, 1], hole, (B, latent) -> the picture, G(z) in the hole."""
        return search.paste((self.networks["generator"](z) + 1) / 2, image, hole)

    def answer(self, image: Tensor, hole: Tensor, z: Tensor) -> Tensor:
        """x = y - R(y) in the hole of Eq. (4)'s y."""
        completed = self.coarse(image, hole, z)
        clear = completed - self.networks["enhancement"](completed)
        return search.paste(clear.clamp(0, 1), image, hole)

    def complete(self, image: Tensor, hole: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, 64, 64) in [0, 1], (B, 1, 64, 64) -> the completion of the lowest total loss."""
        return search.completions(self, image, hole, generator=generator)[0]
