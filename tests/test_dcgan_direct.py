"""The direct DCGAN against its paper: architecture, losses, what the generator sees, a step."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retouch.errors import TrainingError
from retouch.methods import dcgan_direct as paper
from retouch.methods.dcgan_direct import cross_entropy_discriminator, non_saturating
from retouch.methods.nn import hole_decibels, warmup_cosine

SMALL = paper.Config(width=4)
OURS = {"hole_channel": True, "skip": True, "blocks": 1}


def batch(size=(64, 64), count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, *size, generator=generator)
    hole = torch.zeros(count, 1, *size)
    hole[:, :, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    return image, hole


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def shapes(network, kind):
    return [
        (layer.in_channels, layer.out_channels, *layer.kernel_size, *layer.stride)
        for layer in network.modules()
        if isinstance(layer, kind)
    ]


def test_the_generator_is_dcgans_down_and_up():
    with torch.device("meta"):
        generator = paper.Generator(paper.Config())
    down = [(3, 64), (64, 128), (128, 256), (256, 512)]
    assert shapes(generator, nn.Conv2d) == [(*pair, 4, 4, 2, 2) for pair in down]
    up = [(512, 256), (256, 128), (128, 64), (64, 3)]
    assert shapes(generator, nn.ConvTranspose2d) == [(*pair, 4, 4, 2, 2) for pair in up]
    norms = 2 * (64 + 128 + 256 + 512 + 256 + 128 + 64)
    assert count(generator) == 16 * sum(a * b for a, b in (*down, *up)) + norms + 3 == 5_513_987


def test_the_discriminator_is_dcgans():
    with torch.device("meta"):
        discriminator = paper.Discriminator(64)
    layers = [(3, 64), (64, 128), (128, 256), (256, 512)]
    expected = [*((*pair, 4, 4, 2, 2) for pair in layers), (512, 1, 4, 4, 1, 1)]
    assert shapes(discriminator, nn.Conv2d) == expected
    norms = 2 * (64 + 128 + 256 + 512)
    assert count(discriminator) == 16 * (sum(a * b for a, b in layers) + 512) + norms + 1 == 2_765_697


def test_list_items_one_to_six():
    """No pooling, nothing dense or flat; batch norm everywhere; LeakyReLU and ReLU."""
    for network, layers, activation in (
        (paper.Generator(SMALL), 7, nn.LeakyReLU),
        (paper.Discriminator(4), 4, nn.ReLU),
    ):
        kinds = [type(module) for module in network.modules()]
        assert not {nn.Linear, nn.Flatten, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d} & set(kinds)
        assert kinds.count(nn.BatchNorm2d) == layers
        assert activation in kinds


@pytest.mark.parametrize("ours", [{}, OURS], ids=["paper", "ours"])
@pytest.mark.parametrize("size", [(16, 16), (64, 64), (48, 112)])
def test_completion_has_the_size_of_its_window(size, ours):
    method = paper.DCGANDirect(dataclasses.replace(SMALL, **ours), training=False)
    method.networks["generator"].eval()
    result = method.complete(*batch(size))
    assert result.shape == (2, 3, *size)
    assert 0 <= float(result.min()) <= float(result.max()) <= 1


@pytest.mark.parametrize("ours", [{}, OURS], ids=["paper", "ours"])
def test_what_stands_in_the_hole_is_not_read(ours):
    method = paper.DCGANDirect(dataclasses.replace(SMALL, **ours), training=False)
    for parameter in method.networks["generator"].eval().parameters():
        nn.init.normal_(parameter, 0, 0.3)
    image, hole = batch()
    other = image * (1 - hole) + hole * torch.rand(image.shape)
    torch.testing.assert_close(method.complete(image, hole), method.complete(other, hole), rtol=0, atol=0)
    assert not torch.equal(method.complete(image, hole), method.complete(image.flip(2), hole))


def test_content_and_gradient_losses_by_hand():
    image = torch.zeros(1, 3, 2, 2)
    completed = torch.tensor([[0.0, 0.4], [0.1, 0.3]]).expand(1, 3, 2, 2)
    assert float(paper.content_loss(completed, image)) == pytest.approx((0.4 + 0.1 + 0.3) / 4)
    across, down = (0.4 + 0.2) / 2, (0.1 + 0.1) / 2
    assert float(paper.gradient_loss(completed, image)) == pytest.approx(across + down)
    assert float(paper.gradient_loss(image + 0.7, image)) == pytest.approx(0, abs=1e-6)


def test_adversarial_losses_by_hand():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -0.5])
    sigmoid = [1 / (1 + math.exp(-x)) for x in (2.0, -1.0, 0.5, -0.5)]
    expected = -(math.log(sigmoid[0]) + math.log(sigmoid[1])) / 2
    expected -= (math.log(1 - sigmoid[2]) + math.log(1 - sigmoid[3])) / 2
    assert float(cross_entropy_discriminator(real, fake)) == pytest.approx(expected)
    assert float(non_saturating(fake)) == pytest.approx(-(math.log(sigmoid[2]) + math.log(sigmoid[3])) / 2)
    sure = torch.tensor([200.0])
    assert float(cross_entropy_discriminator(sure, -sure)) == 0  # where log(sigmoid) would be -inf
    assert float(non_saturating(-sure)) == 200


def test_hole_decibels_is_the_psnr_of_each_hole():
    image, hole = batch()
    completed = image + torch.tensor([0.1, 0.2]).view(2, 1, 1, 1) + 5 * (1 - hole)
    assert float(hole_decibels(completed, image, hole)) == pytest.approx(
        (-2 + math.log10(0.04)) / 2, abs=1e-3
    )
    completed.requires_grad_()
    hole_decibels(completed, image, torch.zeros_like(hole)).backward()  # no hole: no slope, and no NaN
    assert float(completed.grad.abs().max()) == 0


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    assert [warmup_cosine(k, 0, 0) for k in (0, 10_000)] == [1, 1]
    assert [warmup_cosine(k, 4, 0) for k in (0, 1, 3, 4)] == [0.25, 0.5, 1, 1]
    assert [warmup_cosine(k, 0, 100) for k in (0, 50, 100, 200)] == pytest.approx([1, 0.51, 0.02, 0.02])


def test_the_losses_of_a_step_are_those_of_the_composite_and_the_prediction():
    torch.manual_seed(0)
    method = paper.DCGANDirect(dataclasses.replace(SMALL, psnr=1.0, prior=0.0))
    image, hole = batch()
    with torch.no_grad():
        completed = method.networks["generator"](image, hole)
    logs = method.step(image, hole, 0, backward=lambda loss: loss.backward())
    assert set(logs) == {"content", "gradient", "psnr", "total", "lr"}
    assert logs["content"] == pytest.approx(float(F.l1_loss(completed, image)), rel=1e-4)
    assert logs["total"] == pytest.approx(logs["content"] + logs["gradient"] + logs["psnr"], rel=1e-4)
    assert logs["lr"] == paper.Config().learning_rate


def test_the_discriminator_waits_for_prior_start():
    torch.manual_seed(0)
    method = paper.DCGANDirect(dataclasses.replace(SMALL, prior_start=1))
    before = [parameter.clone() for parameter in method.networks["discriminator"].parameters()]
    first = method.step(*batch(), 0, backward=lambda loss: loss.backward())
    assert "prior" not in first and "discriminator" not in first
    after = list(method.networks["discriminator"].parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    second = method.step(*batch(), 1, backward=lambda loss: loss.backward())
    assert {"prior", "discriminator"} <= set(second)
    assert not torch.equal(before[0], after[0])
    assert all(parameter.requires_grad for parameter in after)


def test_the_generators_loss_leaves_no_gradient_in_the_discriminator():
    method = paper.DCGANDirect(SMALL)
    discriminator, losses = method.networks["discriminator"], []

    def backward(loss):
        if losses:  # the generator's turn
            method.optimizers["discriminator"].zero_grad()
        losses.append(loss)
        loss.backward()

    method.step(*batch(), 0, backward=backward)
    assert len(losses) == 2
    assert all(parameter.grad is None for parameter in discriminator.parameters())


@pytest.mark.parametrize("side", [32, 72])
def test_crops_of_another_size_are_one_clear_line(side):
    with pytest.raises(TrainingError, match=rf"^size: expected a multiple of 16, at least 64, got {side}$"):
        paper.DCGANDirect(SMALL).step(*batch((side, side)), 0, backward=lambda loss: loss.backward())
