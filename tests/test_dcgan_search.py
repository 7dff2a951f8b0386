"""The dcgan_search method against its paper: the summaries, the three adversarial losses, stages, completion."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from retouch.errors import TrainingError
from retouch.methods import dcgan_search as paper
from retouch.methods import search

SMALL = paper.Config(
    width=2, latent=4, discriminator_width=2, inverter_width=2, generator_steps=2, inverter_steps=2,
    refine_steps=3, search_steps=6, restarts=2,
)  # fmt: skip


def batch(count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, 64, 64, generator=generator)
    hole = torch.zeros(count, 1, 64, 64)
    hole[..., 16:32, 20:40] = 1
    return image, hole


def outputs_of(network, kinds, *inputs):
    """Shapes of what the layers of these kinds give, (channels, height, width) or (numbers,)."""
    seen = []
    for layer in network.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(lambda _, __, y: seen.append(tuple(y.shape[1:])))
    network(*inputs)
    return seen


def test_the_generators_summary():
    with torch.device("meta"):
        generator = paper.DCGANSearch(paper.Config(), training=False).networks["generator"]
        assert generator.latent == 100
        seen = outputs_of(generator, (nn.Linear, nn.ConvTranspose2d), torch.zeros(2, 100))
    assert seen == [(4 * 4 * 1024,), (512, 8, 8), (256, 16, 16), (128, 32, 32), (3, 64, 64)]
    assert sum(p.numel() for p in generator.parameters()) == 18_872_323
    assert {layer.kernel_size for layer in generator.modules() if isinstance(layer, nn.ConvTranspose2d)} == {
        (5, 5)
    }


@pytest.mark.parametrize(("loss", "logits"), [("sigmoid_cross_entropy", 1), ("softmax_cross_entropy", 2)])
def test_the_discriminators_summary(loss, logits):
    with torch.device("meta"):
        config = paper.Config(adversarial_loss=loss)
        discriminator = paper.DCGANSearch(config, training=False).networks["discriminator"]
        seen = outputs_of(discriminator, (nn.Linear, nn.Conv2d), torch.zeros(2, 3, 64, 64))
    assert seen == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (logits,)]
    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert {(layer.kernel_size, layer.stride) for layer in convolutions} == {((5, 5), (2, 2))}
    assert sum(p.numel() for p in discriminator.parameters()) == 4_308_352 + logits * 8193


def test_adversarial_losses_by_hand():
    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    one, two = torch.tensor([[1.0], [-2.0]]), torch.tensor([[1.0, -1.0], [0.0, 3.0]])
    losses = paper.ADVERSARIAL
    real = [-math.log(sigmoid(1)), -math.log(sigmoid(-2))]
    fake = [-math.log(1 - sigmoid(1)), -math.log(1 - sigmoid(-2))]
    assert float(losses["sigmoid_cross_entropy"](one, True)) == pytest.approx(sum(real) / 2)
    assert float(losses["sigmoid_cross_entropy"](one, False)) == pytest.approx(sum(fake) / 2)
    real = [-math.log(sigmoid(2)), -math.log(sigmoid(-3))]  # two logits: the sigmoid of their difference
    fake = [-math.log(sigmoid(-2)), -math.log(sigmoid(3))]
    assert float(losses["softmax_cross_entropy"](two, True)) == pytest.approx(sum(real) / 2)
    assert float(losses["softmax_cross_entropy"](two, False)) == pytest.approx(sum(fake) / 2)
    real = [(sigmoid(1) - 1) ** 2, (sigmoid(-2) - 1) ** 2]
    fake = [sigmoid(1) ** 2, sigmoid(-2) ** 2]
    assert float(losses["mean_squared_error"](one, True)) == pytest.approx(sum(real) / 2)
    assert float(losses["mean_squared_error"](one, False)) == pytest.approx(sum(fake) / 2)


@pytest.mark.parametrize("loss", paper.ADVERSARIAL)
def test_the_perceptual_loss_is_log_of_one_minus_d_for_all_three(loss):
    method = paper.DCGANSearch(dataclasses.replace(SMALL, adversarial_loss=loss), training=False)
    discriminator = method.networks["discriminator"].eval()
    picture = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        outputs = discriminator(picture)
        two = outputs.shape[1] == 2
        probability = torch.softmax(outputs, dim=1)[:, 0] if two else torch.sigmoid(outputs[:, 0])
        got = search.perceptual_loss(method.score(picture))
    torch.testing.assert_close(got, torch.log(1 - probability))


@pytest.mark.parametrize("loss", paper.ADVERSARIAL)
@pytest.mark.parametrize("reconstruction", [0.0, 10.0])
def test_each_stage_trains_its_networks_and_freezes_the_others(loss, reconstruction):
    torch.manual_seed(0)
    method = paper.DCGANSearch(
        dataclasses.replace(SMALL, adversarial_loss=loss, reconstruction=reconstruction)
    )
    first = {"generator", "discriminator"} | ({"inverter"} if reconstruction else set())
    for k, names in enumerate([first, first, {"inverter"}, {"inverter"}]):
        before = {name: [p.detach().clone() for p in n.parameters()] for name, n in method.networks.items()}
        logs = method.step(*batch(seed=k), k, backward=lambda total: total.backward())
        changed = {
            name
            for name, network in method.networks.items()
            if any(not torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True))
        }
        assert changed == names, k
        assert all(math.isfinite(value) for value in logs.values())


def test_known_pixels_stay_bit_exact_and_the_rest_is_the_generators():
    torch.manual_seed(0)
    method = paper.DCGANSearch(SMALL, training=False)
    for network in method.networks.values():
        network.eval()
    image, hole = batch()
    answers = search.completions(method, image, hole, count=3, how="paper")
    where = (hole > 0).expand_as(image)
    assert answers.shape == (3, 2, 3, 64, 64)
    for answer in answers:
        assert torch.equal(answer[~where], image[~where])
        assert 0 <= float(answer.min()) <= float(answer.max()) <= 1
    assert torch.equal(method.complete(image, hole), search.completions(method, image, hole)[0])


def test_an_unknown_loss_is_one_clear_line():
    names = "one of sigmoid_cross_entropy, softmax_cross_entropy, mean_squared_error"
    with pytest.raises(TrainingError, match=f"^adversarial_loss: expected {names}, got 'hinge'$"):
        paper.Config(adversarial_loss="hinge")
