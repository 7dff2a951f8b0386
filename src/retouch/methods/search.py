"""Completion by search over the latent z: what `wgan` and `dcgan_search` share unchanged.

A generator G is trained on whole pictures. A photo is completed by the z whose G(z) agrees with its known
pixels and looks real; only the hole is taken from it. Raymond A. Yeh et al., "Semantic Image Inpainting with
Perceptual and Contextual Losses", 2016, from where both papers have it. Pictures are in [-1, 1] here.

Ours, beyond the papers:
    - all restarts and all photos of a batch are searched at once, and photos whose loss no longer falls leave, in
      the papers' search too (LEAST, EVERY);
    - by default (``search="inverter"``) an *inverter* network gives the z to start from, so that a tenth of the steps
      will do: in coordinates that the generator's first layer makes alike (`Generator.white_basis`), with
      REFINE_BETAS and a rate that falls to zero. ``search="paper"`` starts at random, in z itself, at one rate.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from retouch.errors import ModelError, TrainingError
from retouch.methods.latent import SIZE, Generator
from retouch.methods.nn import set_rate, update

SEARCHES = ("paper", "inverter")
BETAS = (0.9, 0.999)  # of Adam on z: its authors' values, which both papers leave as they are
# ours, from the inverter's z: in so few steps a long memory of squares is out of date
REFINE_BETAS = (0.9, 0.85)
LEAST = 1e-3  # a photo leaves when its lowest loss falls by less than this share ...
EVERY = 50  # ... in so many steps

Network = Callable[[Tensor], Tensor]


# ---- losses -----------------------------------------------------------------------------------------------


def contextual_loss(generated: Tensor, picture: Tensor, hole: Tensor) -> Tensor:
    """‖M ⊙ G(z) - M ⊙ y‖₁ of each picture: (B, 3, H, W) twice, (B, 1, H, W), 1 = missing -> (B,)."""
    return ((1 - hole) * (generated - picture)).abs().sum((1, 2, 3))


def perceptual_loss(score: Tensor) -> Tensor:
    """log(1 - D(G(z))) with D = sigmoid(score): -softplus(score), any shape; D is the probability of real."""
    return -F.softplus(score)


def paste(generated: Tensor, picture: Tensor, hole: Tensor) -> Tensor:
    """M ⊙ y + (1 - M) ⊙ G(z): known pixels bit-exact, the hole's from ``generated``."""
    return torch.where(hole > 0, generated, picture)


# ---- search -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, for B photos and R restarts; each photo's restarts are ordered, lowest loss first.

    Args:
        z: (B, R, latent).
        total: (B, R), the total loss of each.
        steps: that were taken.
    """

    z: Tensor
    total: Tensor
    steps: int


def search(
    generator: Network,
    score: Network,
    picture: Tensor,
    hole: Tensor,
    starts: Tensor,
    *,
    steps: int,
    rate: float,
    weight: float,
    betas: tuple[float, float] = BETAS,
    basis: Tensor | None = None,
    decay: bool = False,
    patient: bool = False,
    watch: Callable[[int, Tensor], None] | None = None,
) -> Found:
    """Adam on z, for all photos and restarts at once: each keeps the z of its lowest total loss.

    Args:
        generator: (N, latent) -> (N, 3, H, W) in [-1, 1]; in evaluation mode, so that rows do not mix.
        score: (N, 3, H, W) -> (N,); its sigmoid is the probability of real.
        picture: (B, 3, H, W) in [-1, 1]; what stands in the hole is not read.
        hole: (B, 1, H, W), 1 = missing.
        starts: (B, R, latent).
        steps: of Adam, at most.
        rate: Adam's learning rate.
        weight: Q, of the perceptual loss.
        betas: Adam's decay rates.
        basis: (latent, latent): Adam moves u of z = z0 + basis u; None: z itself.
        decay: lower the rate to zero along a line.
        patient: take all steps; else a photo leaves when its lowest total no longer falls.
        watch: called before every step and at the end with the steps done and the lowest totals, (B, R).

    Raises:
        ModelError: starts that do not fit the batch.
    """
    if starts.ndim != 3 or len(starts) != len(picture):
        raise ModelError(
            f"expected starts of shape ({len(picture)}, restarts, latent), got {tuple(starts.shape)}"
        )
    count, restarts, latent = starts.shape
    with torch.inference_mode(False), torch.enable_grad():
        # clones: a caller in inference mode gives tensors that know no gradients
        z, picture, hole = starts.detach().clone().view(-1, latent), picture.clone(), hole.clone()
        mean, square = torch.zeros_like(z), torch.zeros_like(z)
        best, best_z = z.new_full((len(z),), torch.inf), z.clone()
        rows = torch.arange(len(z), device=z.device)  # those that are still searched
        before, done = best.view(count, restarts).amin(1), 0

        def totals(candidates: Tensor) -> Tensor:
            photos = rows // restarts
            generated = generator(candidates)
            contextual = contextual_loss(generated, picture[photos], hole[photos])
            return contextual + weight * perceptual_loss(score(generated))

        def keep(candidates: Tensor, loss: Tensor) -> None:
            lower = loss < best[rows]
            best[rows[lower]], best_z[rows[lower]] = loss[lower], candidates[lower]
            if watch is not None:
                watch(done, best.view(count, restarts))

        while done < steps:
            candidates = z[rows].requires_grad_()
            loss = totals(candidates)
            (gradient,) = torch.autograd.grad(loss.sum(), candidates)
            if basis is not None:
                gradient = gradient @ basis
            keep(candidates.detach(), loss.detach())
            if done % EVERY == 0 and not patient:
                lowest = best.view(count, restarts).amin(1)
                falls = before - lowest > LEAST * lowest.abs()
                before = lowest
                if not falls[rows // restarts].all():
                    gradient, rows = gradient[falls[rows // restarts]], rows[falls[rows // restarts]]
                    if not len(rows):
                        break
            mean[rows] = betas[0] * mean[rows] + (1 - betas[0]) * gradient
            square[rows] = betas[1] * square[rows] + (1 - betas[1]) * gradient.square()
            factor = 1 - done / steps if decay else 1.0
            done += 1
            scale = (square[rows] / (1 - betas[1] ** done)).sqrt_() + 1e-8
            move = factor * rate / (1 - betas[0] ** done) * mean[rows] / scale
            z[rows] -= move if basis is None else move @ basis.T
        if len(rows):
            with torch.no_grad():
                keep(z[rows], totals(z[rows]))
    total, order = best.view(count, restarts).sort(dim=1)
    return Found(
        best_z.view(count, restarts, latent).gather(1, order[..., None].expand(-1, -1, latent)), total, done
    )


class Settings(Protocol):
    """The fields of a method's config that a search needs."""

    @property
    def latent(self) -> int: ...
    @property
    def search(self) -> str: ...
    @property
    def perceptual(self) -> float: ...
    @property
    def restarts(self) -> int: ...
    @property
    def search_steps(self) -> int: ...
    @property
    def search_rate(self) -> float: ...
    @property
    def refine_steps(self) -> int: ...
    @property
    def refine_rate(self) -> float: ...
    @property
    def spread(self) -> float: ...


def find(
    networks: Mapping[str, nn.Module],
    score: Network,
    config: Settings,
    picture: Tensor,
    hole: Tensor,
    *,
    generator: torch.Generator | None,
    how: str | None = None,
    restarts: int | None = None,
    patient: bool = False,
    watch: Callable[[int, Tensor], None] | None = None,
) -> Found:
    """The search as a config says.

    Args:
        networks: with "generator" and "inverter", in evaluation mode.
        score: see ``search``.
        config: how long to search, and how fast.
        picture: (B, 3, 64, 64) in [-1, 1]; what stands in the hole is not read.
        hole: (B, 1, 64, 64), 1 = missing.
        generator: of the starts, the same for every photo; None: seed 0.
        how: "paper": from random starts; "inverter": from the inverter's z, and others around it; by default
            the config's.
        restarts: instead of the config's.
        patient, watch: see ``search``.
    """
    how, restarts = how or config.search, restarts or config.restarts
    generator = generator or torch.Generator().manual_seed(0)
    # drawn on the CPU where the generator is there: then the same on every device
    starts = torch.randn(restarts, config.latent, generator=generator, device=generator.device)
    starts = starts.to(picture.device).expand(len(picture), -1, -1)
    if how == "inverter":
        with torch.no_grad():
            z = networks["inverter"](picture, hole)[:, None]
        starts = torch.cat([z, z + config.spread * starts[:, 1:]], dim=1)
    paper = how == "paper"
    return search(
        networks["generator"], score, picture, hole, starts,
        basis=None if paper else cast(Generator, networks["generator"]).white_basis(),
        steps=most_steps(config, how),
        rate=config.search_rate if paper else config.refine_rate,
        weight=config.perceptual, betas=BETAS if paper else REFINE_BETAS, decay=not paper, patient=patient, watch=watch,
    )  # fmt: skip


def most_steps(config: Settings, how: str | None = None) -> int:
    """Of a search as a config says, or "paper" or "inverter"."""
    return config.search_steps if (how or config.search) == "paper" else config.refine_steps


class Searching(Protocol):
    """What `completions` needs of a method: its networks in evaluation mode, and how it makes a picture of a z."""

    networks: dict[str, nn.Module]

    @property
    def config(self) -> Settings: ...
    def score(self, picture: Tensor) -> Tensor:
        """See ``search``."""
        ...

    def answer(self, image: Tensor, hole: Tensor, z: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [0, 1], (B, 1, 64, 64), (B, latent) -> (B, 3, 64, 64), known pixels as they were."""
        ...


def completions(
    method: Searching,
    image: Tensor,
    hole: Tensor,
    *,
    generator: torch.Generator | None = None,
    how: str | None = None,
    count: int = 1,
    watch: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Several answers for each photo, those of the lowest total loss first.

    Args:
        method: that searches.
        image: (B, 3, 64, 64) in [0, 1]; what stands in the hole is not read. hole: (B, 1, 64, 64), 1 = missing.
        generator: of the search's starts; None: seed 0.
        how: "paper" or "inverter"; by default the config's.
        count: how many.
        watch: see ``search``.

    Returns:
        (count, B, 3, 64, 64) in [0, 1], known pixels as they were.
    """
    found = find(
        method.networks, method.score, method.config, 2 * image - 1, hole,
        generator=generator, how=how, restarts=max(count, method.config.restarts), watch=watch,
    )  # fmt: skip
    with torch.no_grad():
        return torch.stack([method.answer(image, hole, found.z[:, i]) for i in range(count)])


# ---- inverter ---------------------------------------------------------------------------------------------


def inverter_losses(
    inverter: Callable[[Tensor, Tensor], Tensor],
    generator: Network,
    score: Network,
    picture: Tensor,
    hole: Tensor,
    *,
    weight: float,
    latent: int,
) -> dict[str, Tensor]:
    """What the inverter learns from: the search's own loss on damaged photos, their holes, and known z.

    Args:
        picture: (B, 3, H, W) in [-1, 1], whole. hole: (B, 1, H, W), 1 = missing.
        weight: Q. latent: numbers in z.

    Returns:
        contextual, perceptual, total: means over the batch; hole_l1: mean difference in the hole;
        latent: mean squared difference between a random z and what the inverter makes of the damaged G(z).
    """
    generated = generator(inverter(picture, hole))
    contextual = contextual_loss(generated, picture, hole).mean()
    perceptual = perceptual_loss(score(generated)).mean()
    hole_l1 = contextual_loss(generated, picture, 1 - hole).sum() / (3 * hole.sum()).clamp_min(1)
    z = torch.randn(len(picture), latent, device=picture.device)
    with torch.no_grad():
        known = generator(z)
    return {
        "contextual": contextual,
        "perceptual": perceptual,
        "total": contextual + weight * perceptual,
        "hole_l1": hole_l1,
        "latent": F.mse_loss(inverter(known, hole), z),
    }


class Training(Settings, Protocol):
    """The fields of a method's config that training generator and inverter needs."""

    @property
    def reconstruction(self) -> float: ...
    @property
    def inverter_steps(self) -> int: ...
    @property
    def inverter_rate(self) -> float: ...
    @property
    def inverter_hole(self) -> float: ...
    @property
    def inverter_latent(self) -> float: ...


def inverter_step(
    networks: dict[str, nn.Module],
    optimizer: Optimizer,
    score: Network,
    config: Training,
    picture: Tensor,
    hole: Tensor,
    k: int,
    backward: Callable[[Tensor], None],
) -> dict[str, Tensor]:
    """Step k of the inverter's stage: all other networks are frozen; gives ``inverter_losses``.

    Its rate falls to zero along a line. The search's loss counts per value of a picture.
    """
    only(networks, ("inverter",))
    set_rate(optimizer, max(0.0, 1 - k / max(1, config.inverter_steps)) * config.inverter_rate)
    losses = inverter_losses(
        networks["inverter"], networks["generator"], score, picture, hole,
        weight=config.perceptual, latent=config.latent,
    )  # fmt: skip
    objective = losses["total"] / picture[0].numel() + config.inverter_hole * losses["hole_l1"]
    update(optimizer, objective + config.inverter_latent * losses["latent"], backward)
    return losses


# ---- training ---------------------------------------------------------------------------------------------


def generator_step(
    networks: dict[str, nn.Module],
    optimizers: dict[str, Optimizer],
    config: Training,
    adversarial: Callable[[Tensor], Tensor],
    picture: Tensor,
    hole: Tensor,
    backward: Callable[[Tensor], None],
) -> dict[str, Tensor]:
    """One update of the generator; with ``reconstruction`` also of the inverter: both give back the photos.

    Args:
        networks, optimizers: with "generator" and "inverter"; all networks but these are frozen.
        adversarial: the generator's loss on pictures that it made, (B, 3, H, W) in [-1, 1].
        picture: (B, 3, H, W) in [-1, 1], whole. hole: (B, 1, H, W), 1 = missing.
        backward: computes the gradients of a loss.

    Returns:
        the losses, unweighted.
    """
    trained = ("generator", "inverter") if config.reconstruction > 0 else ("generator",)
    only(networks, trained)
    fake, rebuilt = generated(networks, config, picture, hole)
    loss = adversarial(fake)
    logs = {"generator": loss}
    if rebuilt is not None:
        logs["reconstruction"] = F.l1_loss(rebuilt, picture)
        loss = loss + config.reconstruction * logs["reconstruction"]
    for name in trained:
        optimizers[name].zero_grad()
    backward(loss)
    for name in trained:
        optimizers[name].step()
    return logs


def generated(
    networks: dict[str, nn.Module], config: Training, picture: Tensor, hole: Tensor
) -> tuple[Tensor, Tensor | None]:
    """As many pictures of random z as photos, and with ``reconstruction`` those of the inverter's z: one batch.

    So both go by the same batch norm; and who judges the first sees in its own step what the generator's step shows
    it. Judged alone, by a batch norm of their own, they would be told from the photos without any gain.
    """
    z = torch.randn(len(picture), config.latent, device=picture.device)
    networks["generator"].train()
    if not config.reconstruction > 0:
        return networks["generator"](z), None
    networks["inverter"].train()
    fake, rebuilt = networks["generator"](torch.cat([z, networks["inverter"](picture, hole)])).chunk(2)
    return fake, rebuilt


def only(networks: dict[str, nn.Module], trained: tuple[str, ...]) -> None:
    """Trains these networks; all others are frozen and in evaluation mode."""
    for name, network in networks.items():
        network.train(name in trained).requires_grad_(name in trained)


def check_batch(image: Tensor, method: str) -> None:
    """Raises TrainingError where a training batch does not fit these networks."""
    if tuple(image.shape[-2:]) != (SIZE, SIZE):
        raise TrainingError(
            f"{method}: expected crops of {SIZE} x {SIZE} (size={SIZE}), got {image.shape[-1]}"
        )
    if len(image) < 2:
        raise TrainingError(
            f"{method}: expected a batch of at least 2, as its batch norm needs, got {len(image)}"
        )
