"""The wgan method against its paper: architecture, losses by hand, stages, completion."""

import dataclasses

import pytest
import torch
from torch import nn

from retouch.errors import TrainingError
from retouch.methods import search
from retouch.methods import wgan as paper

SMALL = paper.Config(
    width=2, latent=4, critic_steps=2, generator_steps=4, inverter_steps=2, enhancement_depth=3,
    enhancement_width=4, pair_steps=2, refine_steps=3, search_steps=6, restarts=2,
)  # fmt: skip


def batch(count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, 64, 64, generator=generator)
    hole = torch.zeros(count, 1, 64, 64)
    hole[..., 16:32, 20:40] = 1
    return image, hole


def ready(config=SMALL):
    torch.manual_seed(0)
    method = paper.WGAN(config, training=False)
    for network in method.networks.values():
        network.eval()
    return method


def shapes(network, kinds=(nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
    return [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, kinds)]


def weights(method):
    return {name: [p.detach().clone() for p in n.parameters()] for name, n in method.networks.items()}


def changed(method, before):
    return {
        name
        for name, network in method.networks.items()
        if any(not torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True))
    }


# ---- architecture -----------------------------------------------------------------------------------------


def test_layers_and_parameter_counts_of_the_defaults():
    with torch.device("meta"):
        networks = paper.WGAN(paper.Config(), training=False).networks
    assert shapes(networks["generator"]) == [
        (8192, 128), (512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)
    ]  # fmt: skip
    convolutions = [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4)]
    assert shapes(networks["critic"]) == [*convolutions, (1, 8192)]
    assert shapes(networks["inverter"]) == [(64, 4, 4, 4), *convolutions[1:], (128, 8192)]
    assert shapes(networks["enhancement"]) == [(64, 3, 3, 3), *[(64, 64, 3, 3)] * 15, (3, 64, 3, 3)]
    counts = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
    assert counts == {
        "generator": 3_814_723,
        "critic": 2_764_737,
        "inverter": 3_808_064,
        "enhancement": 558_403,
    }


def test_batch_norm_in_the_generator_and_none_in_the_critic():
    networks = paper.WGAN(SMALL, training=False).networks
    norms = {
        name: sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
        for name, network in networks.items()
    }
    assert norms == {"generator": 4, "critic": 0, "inverter": 3, "enhancement": 1}


def test_enhancement_is_conv_relu_then_conv_bn_relu_then_conv():
    kinds = [type(layer) for layer in paper.Enhancement(4, 8).layers]
    block = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds == [nn.Conv2d, nn.ReLU, *block, *block, nn.Conv2d]


# ---- losses -----------------------------------------------------------------------------------------------


def test_wasserstein_distance_by_hand():
    real, fake = torch.tensor([[3.0], [1.0]]), torch.tensor([[-1.0], [0.0]])
    assert float(paper.wasserstein_distance(real, fake)) == 2.5


def slope(weight):
    """A critic w · x, whose slope is the norm of w everywhere."""
    return lambda picture: picture.flatten(1) @ weight


def test_gradient_penalty_by_hand():
    real, fake, share = torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4), torch.rand(3, 1, 1, 1)
    weight = torch.randn(48, 1)
    unit = weight / weight.norm()
    assert float(paper.gradient_penalty(slope(unit), real, fake, share)) == pytest.approx(0, abs=1e-10)
    assert float(paper.gradient_penalty(slope(3 * unit), real, fake, share)) == pytest.approx(4, rel=1e-5)


def test_gradient_penalty_is_taken_on_lines_between_real_and_generated():
    seen = []

    def critic(picture):
        seen.append(picture.detach())
        return picture.sum((1, 2, 3))[:, None]

    real, fake = torch.ones(3, 3, 2, 2), torch.zeros(3, 3, 2, 2)
    paper.gradient_penalty(critic, real, fake, torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1))
    assert seen[0].amax((1, 2, 3)).tolist() == seen[0].amin((1, 2, 3)).tolist() == [0.0, 0.25, 1.0]


def test_the_penaltys_second_derivative_reaches_the_critic():
    weight = torch.full((48, 1), 0.5, requires_grad=True)
    real, fake = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    paper.gradient_penalty(slope(weight), real, fake, torch.rand(2, 1, 1, 1)).backward()
    norm = 0.5 * 48**0.5
    torch.testing.assert_close(weight.grad, torch.full((48, 1), 2 * (norm - 1) * 0.5 / norm))
    critic = paper.WGAN(SMALL, training=False).networks["critic"]
    picture = torch.rand(2, 3, 64, 64)
    paper.gradient_penalty(critic, picture, -picture, torch.rand(2, 1, 1, 1)).backward()
    assert all(float(p.grad.abs().max()) > 0 for p in critic.parameters() if p.ndim > 1)


def test_enhancement_error_by_hand():
    photo, completed = torch.zeros(2, 3, 2, 2), torch.full((2, 3, 2, 2), 0.5)
    residual = torch.full((2, 3, 2, 2), 0.25)
    assert float(paper.enhancement_error(residual, completed, photo)) == pytest.approx(2 * 12 * 0.0625 / 4)
    assert float(paper.enhancement_error(completed - photo, completed, photo)) == 0


def test_blurred_is_the_binomial_filter():
    picture = torch.zeros(1, 3, 9, 9)
    picture[..., 4, 4] = 256
    row = torch.tensor([1.0, 4, 6, 4, 1])
    torch.testing.assert_close(paper.blurred(picture)[0, 1, 2:7, 2:7], torch.outer(row, row))


# ---- training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reconstruction", [0.0, 10.0])
def test_each_stage_trains_its_networks_and_freezes_the_others(reconstruction):
    torch.manual_seed(0)
    method = paper.WGAN(dataclasses.replace(SMALL, reconstruction=reconstruction))
    both = {"generator"} | ({"inverter"} if reconstruction else set())
    expected = [{"critic"}, {"critic"} | both, {"critic"}, {"critic"} | both, {"inverter"}, {"inverter"}]
    expected += [{"enhancement"}] * 3
    for k, names in enumerate(expected):
        before = weights(method)
        logs = method.step(*batch(seed=k), k, backward=lambda loss: loss.backward())
        assert changed(method, before) == names, k
        curves = [
            {"wasserstein", "gradient_penalty"},
            {"contextual", "perceptual", "total"},
            {"enhancement_error"},
        ]
        assert curves[0 if k < 4 else 1 if k < 6 else 2] <= logs.keys()


def test_frozen_networks_keep_their_batch_norm_too():
    method = paper.WGAN(SMALL)
    before = {key: value.clone() for key, value in method.networks["generator"].state_dict().items()}
    for k in (4, 6):  # the inverter's stage, the enhancement's
        method.step(*batch(), k, backward=lambda loss: loss.backward())
    after = method.networks["generator"].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_rates_fall_to_zero_while_the_generator_learns():
    method = paper.WGAN(SMALL)
    rates = []
    for k in range(4):
        method.step(*batch(), k, backward=lambda loss: loss.backward())
        rates.append(method.optimizers["critic"].param_groups[0]["lr"])
    assert rates == pytest.approx([1e-4, 0.75e-4, 0.5e-4, 0.25e-4])


def test_blur_gives_pairs_without_a_search(monkeypatch):
    monkeypatch.setattr(paper.search, "find", None)  # calling it would fail
    method = paper.WGAN(dataclasses.replace(SMALL, pairs="blur"))
    errors = [method.step(*batch(), k, backward=lambda loss: loss.backward()) for k in range(6, 26)]
    assert errors[-1]["enhancement_error"] < errors[0]["enhancement_error"]


# ---- completion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["paper", "inverter"])
def test_known_pixels_stay_bit_exact_and_answers_differ(how):
    image, hole = batch()
    method = ready(dataclasses.replace(SMALL, spread=2.0))
    answers = search.completions(method, image, hole, how=how, count=3)
    assert answers.shape == (3, 2, 3, 64, 64)
    where = (hole > 0).expand_as(image)
    for answer in answers:
        assert torch.equal(answer[~where], image[~where])
        assert 0 <= float(answer.min()) <= float(answer.max()) <= 1
    assert all(float((answers[0] - other)[:, where[0]].abs().max()) > 0 for other in answers[1:])


def test_only_the_hole_takes_the_enhancement():
    method, (image, hole) = ready(), batch()
    z = torch.randn(2, 4)
    torch.testing.assert_close(method.answer(image, hole, z), method.coarse(image, hole, z))  # zero at first
    nn.init.constant_(method.networks["enhancement"].layers[-1].bias, 0.125)
    difference = method.coarse(image, hole, z) - method.answer(image, hole, z)
    torch.testing.assert_close(difference, 0.125 * hole.expand_as(image), atol=1e-6, rtol=0)


def test_the_same_seed_gives_the_same_completion():
    method, (image, hole) = ready(), batch()
    a, b, c = (method.complete(image, hole, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(method.complete(image, hole), a)  # seed 0 where none is given


def test_unknown_pairs_and_too_few_layers_are_one_clear_line():
    with pytest.raises(TrainingError, match=r"^pairs: expected one of completions, blur, got 'noise'$"):
        paper.Config(pairs="noise")
    with pytest.raises(
        TrainingError, match=r"^enhancement_depth: expected a whole number of at least 2, got 1$"
    ):
        paper.Config(enhancement_depth=1)
