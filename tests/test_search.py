"""The search over z and its inverter: losses by hand, what a search finds, what it leaves alone, early stop."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from retouch.errors import ModelError, TrainingError
from retouch.methods import dcgan_search, latent, search, wgan

SIDE = 8  # of the pictures in tests that need none of the networks


class Linear(nn.Module):
    """A generator that is its matrix: z -> tanh(A z), (N, 3, 8, 8)."""

    def __init__(self, latent=4, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.matrix = torch.randn(latent, 3 * SIDE * SIDE, generator=generator) / latent**0.5

    def forward(self, z):
        return torch.tanh(z @ self.matrix).view(-1, 3, SIDE, SIDE)


def even(picture):
    """A critic without an opinion."""
    return picture.sum((1, 2, 3)) * 0


def middle(count=1, side=SIDE):
    hole = torch.zeros(count, 1, side, side)
    hole[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    return hole


def find(generator, picture, hole, starts, **changes):
    known = {"steps": 200, "rate": 0.1, "weight": 0.003}
    return search.search(generator, even, picture, hole, starts, **{**known, **changes})


# ---- losses -----------------------------------------------------------------------------------------------


def test_contextual_loss_by_hand():
    picture, generated, hole = torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2), torch.zeros(2, 1, 2, 2)
    generated[0, :, 0, 0] = torch.tensor([0.5, -0.25, 1.0])
    generated[1] = -1
    hole[1, 0, 1, 1] = 1
    assert search.contextual_loss(generated, picture, hole).tolist() == [1.75, 9.0]


def test_perceptual_loss_is_log_of_one_minus_d():
    score = torch.tensor([-3.0, 0.0, 2.0])
    expected = [math.log(1 - 1 / (1 + math.exp(-s))) for s in (-3.0, 0.0, 2.0)]
    assert search.perceptual_loss(score).tolist() == pytest.approx(expected, rel=1e-5)
    assert math.isfinite(float(search.perceptual_loss(torch.tensor(1e4))))  # an unbounded critic


def test_known_pixels_stay_bit_exact():
    picture, generated, hole = torch.rand(2, 3, SIDE, SIDE), torch.rand(2, 3, SIDE, SIDE), middle(2)
    pasted = search.paste(generated, picture, hole)
    where = hole.expand_as(picture) > 0
    assert torch.equal(pasted[~where], picture[~where])
    assert torch.equal(pasted[where], generated[where])


# ---- search -----------------------------------------------------------------------------------------------


def test_a_generator_that_contains_the_picture_gives_it_back():
    generator, z = Linear(), torch.tensor([[0.3, -0.8, 0.5, 1.1]])
    picture, hole = generator(z), middle()
    starts = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(1))
    found = find(generator, picture, hole, starts, steps=400, decay=True, patient=True)
    known = 3 * float((1 - hole).sum())
    lost = search.contextual_loss(generator(found.z[:, 0]), picture, hole) / known
    assert float(lost) < 1e-3
    torch.testing.assert_close(found.z[0, 0], z[0], atol=0.02, rtol=0)
    torch.testing.assert_close(generator(found.z[:, 0]), picture, atol=0.02, rtol=0)  # the hole with it


def test_the_white_basis_makes_all_directions_of_the_first_layer_alike():
    torch.manual_seed(0)
    generator = latent.Generator(latent=6, width=2, kernel=4).eval()
    torch.nn.init.uniform_(generator.norm.weight, 0.5, 2)
    torch.nn.init.uniform_(generator.norm.running_var, 0.5, 2)
    with torch.no_grad():
        generator.dense.weight[:, 3] *= 30  # one number of z that changes much
    basis = generator.white_basis()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as while a run in bf16 draws its samples
        torch.testing.assert_close(generator.white_basis(), basis, rtol=0, atol=0)

    def features(z):
        return generator.norm(generator.dense(z).view(-1, 16, 4, 4)).flatten(1)

    jacobian = torch.autograd.functional.jacobian(lambda u: features(u[None] @ basis.T)[0], torch.zeros(6))
    metric = jacobian.T @ jacobian
    torch.testing.assert_close(
        metric, metric.diagonal().mean() * torch.eye(6), rtol=0, atol=1e-3 * float(metric[0, 0])
    )


def test_a_basis_is_only_other_coordinates():
    """Adam in z = basis u is Adam on u of the generator G(basis u)."""
    generator, hole = Linear(), middle()
    basis = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
    u = torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(3))
    picture = generator(torch.randn(1, 4, generator=torch.Generator().manual_seed(4)))
    found = find(generator, picture, hole, u @ basis.T, steps=5, basis=basis, decay=True)
    other = find(lambda v: generator(v @ basis.T), picture, hole, u, steps=5, decay=True)
    torch.testing.assert_close(found.total, other.total)
    torch.testing.assert_close(found.z, other.z @ basis.T)


def test_restarts_are_ordered_and_their_losses_are_those_of_their_z():
    generator, hole = Linear(), middle(3)
    picture = generator(torch.randn(3, 4)) + 0.1
    found = find(generator, picture, hole, torch.randn(3, 5, 4), steps=7)
    assert found.z.shape == (3, 5, 4) and found.total.shape == (3, 5)
    assert torch.equal(found.total, found.total.sort(dim=1).values)
    for i in range(5):
        generated = generator(found.z[:, i])
        total = search.contextual_loss(generated, picture, hole) + 0.003 * -math.log(2)
        torch.testing.assert_close(total, found.total[:, i])


def test_a_step_is_adams():
    """Five steps against PyTorch's own optimiser."""
    generator, hole, starts = Linear(), middle(), torch.randn(1, 1, 4)
    picture = generator(torch.randn(1, 4))
    z = starts[0].clone().requires_grad_()
    optimizer = torch.optim.Adam([z], 0.1)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = search.contextual_loss(generator(z), picture, hole).sum()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    seen = []
    find(
        generator, picture, hole, starts, steps=5, weight=0.0, watch=lambda k, best: seen.append(best.item())
    )
    lowest = [min(losses[: k + 1]) for k in range(5)]
    assert seen[:5] == pytest.approx(lowest, rel=1e-4)
    final = search.contextual_loss(generator(z), picture, hole).item()
    assert seen[5] == pytest.approx(min(final, lowest[-1]), rel=1e-4)


def test_the_hole_is_not_read():
    generator, hole, starts = Linear(), middle(), torch.randn(1, 2, 4)
    picture = generator(torch.randn(1, 4))
    other = torch.where(hole > 0, torch.full_like(picture, 9.0), picture)
    a, b = (find(generator, each, hole, starts, steps=20) for each in (picture, other))
    assert torch.equal(a.z, b.z) and torch.equal(a.total, b.total)


def test_photos_of_a_batch_do_not_mix():
    generator, hole, starts = Linear(), middle(3), torch.randn(3, 2, 4)
    picture = generator(torch.randn(3, 4)) + 0.05 * torch.randn(3, 3, SIDE, SIDE)
    together = find(generator, picture, hole, starts, steps=120)
    for i in range(3):
        alone = find(generator, picture[i : i + 1], hole[i : i + 1], starts[i : i + 1], steps=120)
        torch.testing.assert_close(alone.total[0], together.total[i], rtol=1e-3, atol=1e-3)


def test_it_stops_where_the_loss_no_longer_falls():
    generator, hole = Linear(), middle()
    picture, starts = generator(torch.randn(1, 4)), torch.randn(1, 2, 4)
    eager = find(generator, picture, hole, starts, steps=5000, rate=0.0)
    assert eager.steps == search.EVERY
    assert find(generator, picture, hole, starts, steps=120, rate=0.0, patient=True).steps == 120


def test_one_photo_leaves_and_the_other_goes_on():
    generator, hole = Linear(), middle(2)
    z = torch.randn(2, 4)
    picture = generator(z)
    starts = torch.stack([z[0], z[1] + 3.0])[:, None]  # the first is there from the start
    totals = {}
    found = find(
        generator, picture, hole, starts, steps=60, watch=lambda k, best: totals.update({k: best.clone()})
    )
    assert found.steps == 60
    assert float(found.total[0, 0]) == pytest.approx(0.003 * -math.log(2), abs=1e-3)
    assert float(found.total[1, 0]) < float(totals[search.EVERY][1, 0])


def test_it_runs_where_a_caller_wants_no_gradients_and_leaves_none():
    method = wgan.WGAN(wgan.Config(width=2, latent=4, refine_steps=2, restarts=1), training=False)
    for network in method.networks.values():
        network.eval()
    image, hole = torch.rand(1, 3, 64, 64), middle(1, 64)
    with torch.inference_mode():
        first = method.complete(image, hole)
    with torch.no_grad():
        assert torch.equal(method.complete(image, hole), first)
    assert all(p.grad is None for network in method.networks.values() for p in network.parameters())


def test_starts_that_do_not_fit_are_one_clear_line():
    with pytest.raises(
        ModelError, match=r"^expected starts of shape \(2, restarts, latent\), got \(1, 3, 4\)$"
    ):
        find(Linear(), torch.zeros(2, 3, SIDE, SIDE), middle(2), torch.zeros(1, 3, 4))


# ---- where it starts --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    config = wgan.Config(width=2, latent=4, refine_steps=0, search_steps=0, restarts=3, spread=0.5)
    method = wgan.WGAN(config, training=False)
    for network in method.networks.values():
        network.eval()
    return method


def found(method, how, seed=0, count=2):
    image, hole = torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(5)), middle(count, 64)
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "how": how}
    return (
        search.find(method.networks, method.score, method.config, 2 * image - 1, hole, **options),
        image,
        hole,
    )


def test_the_papers_search_starts_at_random_the_same_for_every_photo(method):
    zs = [found(method, "paper", seed)[0].z.sort(dim=1).values for seed in (0, 0, 1)]
    assert torch.equal(zs[0], zs[1]) and not torch.equal(zs[0], zs[2])
    torch.testing.assert_close(zs[0][0], zs[0][1])


def test_the_inverters_search_starts_at_its_z_and_around(method):
    result, image, hole = found(method, "inverter")
    with torch.no_grad():
        z = method.networks["inverter"](2 * image - 1, hole)
    distance = (result.z - z[:, None]).norm(dim=2)
    assert (distance.amin(dim=1) == 0).all()
    assert ((distance > 0).sum(dim=1) == 2).all()


def test_inverter_losses_by_hand():
    def generator(z):  # a grey picture of brightness z
        return z.view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE)

    picture, hole = torch.full((2, 3, SIDE, SIDE), 0.25), middle(2)
    torch.manual_seed(0)
    losses = search.inverter_losses(
        lambda p, h: torch.full((len(p), 1), 0.5), generator, even, picture, hole, weight=2.0, latent=1
    )
    known = 3 * (SIDE * SIDE - 4)
    assert float(losses["contextual"]) == pytest.approx(0.25 * known)
    assert float(losses["perceptual"]) == pytest.approx(-math.log(2))
    assert float(losses["total"]) == pytest.approx(0.25 * known - 2 * math.log(2))
    assert float(losses["hole_l1"]) == pytest.approx(0.25)
    torch.manual_seed(0)
    assert float(losses["latent"]) == pytest.approx(
        float((torch.randn(2, 1) - 0.5).square().mean()), rel=1e-5
    )


def test_the_inverter_does_not_read_the_hole(method):
    inverter, picture, hole = method.networks["inverter"], torch.rand(2, 3, 64, 64), middle(2, 64)
    other = torch.where(hole > 0, torch.zeros_like(picture), picture)
    with torch.no_grad():
        assert torch.equal(inverter(picture, hole), inverter(other, hole))


# ---- networks and settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [4, 5])
def test_networks_fit_64_pixels(kernel):
    generator = latent.Generator(7, 2, kernel)
    assert generator(torch.zeros(2, 7)).shape == (2, 3, 64, 64)
    encoder = latent.Encoder(3, 2, 5, kernel, norm=True)
    assert encoder(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
    assert encoder.layers(torch.zeros(2, 3, 64, 64)).shape == (2, 16, 4, 4)


@pytest.mark.parametrize(
    ("kind", "build"), [(wgan.Config, wgan.WGAN), (dcgan_search.Config, dcgan_search.DCGANSearch)]
)
def test_batches_and_settings_that_do_not_fit_are_one_clear_line(kind, build):
    for name in ("latent", "width", "restarts"):
        with pytest.raises(TrainingError, match=f"^{name}: expected a whole number of at least 1, got 0$"):
            kind(**{name: 0})
    with pytest.raises(TrainingError, match=r"^search: expected one of paper, inverter, got 'best'$"):
        kind(search="best")
    method = build(dataclasses.replace(kind(), width=2, latent=4))
    for size, count, message in (
        (128, 2, "crops of 64 x 64 .*, got 128"),
        (64, 1, "a batch of at least 2, .*got 1"),
    ):
        with pytest.raises(TrainingError, match=message):
            method.step(torch.zeros(count, 3, size, size), middle(count, size), 0, backward=lambda loss: None)


@pytest.mark.parametrize("reconstruction", [0.0, 1.0])
@pytest.mark.parametrize(("build", "kind", "judge", "step"), [
    (wgan.WGAN, wgan.Config, "critic", "critic_step"),
    (dcgan_search.DCGANSearch, dcgan_search.Config, "discriminator", "discriminator_step"),
])  # fmt: skip
def test_both_steps_judge_the_same_pictures(build, kind, judge, step, reconstruction):
    torch.manual_seed(0)
    method = build(dataclasses.replace(kind(), width=2, latent=4, reconstruction=reconstruction))
    picture, hole = torch.rand(3, 3, 64, 64) * 2 - 1, middle(3, 64)
    judged = []
    method.networks[judge].register_forward_pre_hook(lambda _, inputs: judged.append(inputs[0].detach()))
    for learns in (getattr(method, step), method.generator_step):
        torch.manual_seed(1)
        learns(picture, hole, lambda loss: loss.backward())
    assert torch.equal(judged[0], picture)
    assert torch.equal(judged[1], judged[-1])
