"""The dilated generator with two discriminators against its paper: tables, patch, the four updates."""

import dataclasses

import pytest
import torch
from torch import nn

from retouch.errors import TrainingError
from retouch.methods import glcic as paper

SMALL = paper.Config(size=32, width=4, discriminator_width=4, vector=16)


def batch(side=32, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, side, side, generator=generator)
    hole = torch.zeros(count, 1, side, side)
    hole[:, :, side // 4 : side // 2, side // 2 : side * 3 // 4] = 1
    return image, hole


def backward(loss):
    loss.backward()


def rows(network):
    """(kind, kernel, dilation, stride, outputs) of every layer with weights, in order: the tables' columns."""
    found = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            kind = "conv" if isinstance(layer, nn.Conv2d) else "deconv"
            found.append((kind, layer.kernel_size[0], layer.dilation[0], layer.stride[0], layer.out_channels))
        elif isinstance(layer, nn.Linear):
            found.append(("FC", layer.in_features, layer.out_features))
    return found


def test_the_generator_is_the_papers_table():
    with torch.device("meta"):
        generator = paper.Generator(paper.Config())
    assert rows(generator) == [
        ("conv", 5, 1, 1, 64), ("conv", 3, 1, 2, 128), ("conv", 3, 1, 1, 128), ("conv", 3, 1, 2, 256),
        ("conv", 3, 1, 1, 256), ("conv", 3, 1, 1, 256), ("conv", 3, 2, 1, 256), ("conv", 3, 4, 1, 256),
        ("conv", 3, 8, 1, 256), ("conv", 3, 16, 1, 256), ("conv", 3, 1, 1, 256), ("conv", 3, 1, 1, 256),
        ("deconv", 4, 1, 2, 128), ("conv", 3, 1, 1, 128), ("deconv", 4, 1, 2, 64), ("conv", 3, 1, 1, 32),
        ("conv", 3, 1, 1, 3),
    ]  # fmt: skip
    assert sum(isinstance(module, nn.BatchNorm2d) for module in generator.modules()) == 16
    outputs = [row[-1] for row in rows(generator)]
    weights = [
        row[1] ** 2 * before * row[-1] for row, before in zip(rows(generator), [4, *outputs], strict=False)
    ]
    total = sum(weights) + 2 * sum(outputs[:-1]) + 3  # scale and shift of each norm, the output's bias
    assert sum(parameter.numel() for parameter in generator.parameters()) == total == 6_069_155


def test_the_discriminators_are_the_papers_tables_at_256():
    with torch.device("meta"):
        discriminator = paper.Discriminator(paper.Config())
    widths = [64, 128, 256, 512, 512, 512]
    layers = [("conv", 5, 1, 2, width) for width in widths]
    assert rows(discriminator.whole) == [*layers, ("FC", 512 * 16, 1024)]
    assert rows(discriminator.patch) == [*layers[:5], ("FC", 512 * 16, 1024)]
    assert rows(discriminator.score) == [("FC", 2048, 1)]
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 45_060_225


@pytest.mark.parametrize(("size", "whole", "patch"), [(128, 5, 4), (64, 4, 3), (32, 3, 2), (16, 2, 1)])
def test_smaller_crops_leave_out_the_trailing_layers(size, whole, patch):
    discriminator = paper.Discriminator(dataclasses.replace(SMALL, size=size))
    for tower, layers in ((discriminator.whole, whole), (discriminator.patch, patch)):
        convolutions = [row for row in rows(tower) if row[0] == "conv"]
        assert [row[4] // 4 for row in convolutions] == [1, 2, 4, 8, 8, 8][:layers]
        assert rows(tower)[-1][1] == 16 * convolutions[-1][4]  # 4 x 4 go into the dense layer
    assert discriminator(*batch(size)).shape == (2, 1)


@pytest.mark.parametrize("size", [(32, 32), (20, 52), (64, 16), (256, 4)])
@pytest.mark.parametrize("residual", [False, True])
def test_any_multiple_of_four_completes(size, residual):
    method = paper.GLCIC(dataclasses.replace(SMALL, residual=residual), training=False)
    method.networks["generator"].eval()
    hole = torch.zeros(1, 1, *size)
    hole[..., : size[0] // 2, : size[1] // 2] = 1
    result = method.complete(torch.rand(1, 3, *size), hole)
    assert result.shape == (1, 3, *size)
    assert 0 <= float(result.min()) <= float(result.max()) <= 1


def test_what_stands_in_the_hole_is_not_read():
    method = paper.GLCIC(SMALL, training=False)
    method.networks["generator"].eval()
    image, hole = batch()
    other = image * (1 - hole) + hole * torch.rand(image.shape)
    torch.testing.assert_close(method.complete(image, hole), method.complete(other, hole), rtol=0, atol=0)


def test_the_dilated_layers_see_far():
    """A pixel 28 px away from the hole's middle, of 32, counts; beyond any 5 x 5 or 3 x 3 stack at 1/4 size."""
    config = dataclasses.replace(SMALL, size=256)
    generator = paper.Generator(config).eval()
    image, hole = torch.rand(1, 3, 256, 256), torch.zeros(1, 1, 256, 256)
    image.requires_grad_()
    generator(image, hole)[..., 128, 128].sum().backward()
    reach = image.grad.abs().amax((0, 1)).nonzero()
    assert int(128 - reach.min()) > 100 and int(reach.max() - 128) > 100


def test_taps_that_no_training_crop_reaches_stay_silent():
    generator = paper.Generator(SMALL)  # 32 px: 8 x 8 inside
    dilations = [layer[0].dilation[0] for layer in generator.middle]
    for layer, dilation in zip(generator.middle, dilations, strict=True):
        around = layer[0].weight.detach().clone()
        around[:, :, 1, 1] = 0
        assert (float(around.abs().max()) == 0) == (dilation >= 8)
    image, hole = batch()
    (generator(image, hole) - image).square().mean().backward()
    for layer, dilation in zip(generator.middle, dilations, strict=True):
        gradient = layer[0].weight.grad.clone()
        gradient[:, :, 1, 1] = 0
        assert (float(gradient.abs().max()) == 0) == (dilation >= 8)
    full = paper.Generator(dataclasses.replace(SMALL, size=256))
    assert all(float(layer[0].weight.detach().abs().min()) > 0 for layer in full.middle)


@pytest.mark.parametrize(
    ("box", "corner"),
    [
        ((8, 16, 8, 16), (4, 4)),  # rows 8 to 16: middle 12, the patch begins at 12 - 8
        ((0, 4, 26, 32), (0, 16)),  # moved into the image
        ((20, 32, 0, 2), (16, 0)),
        ((0, 32, 0, 32), (8, 8)),  # larger than the patch
        ((10, 13, 10, 11), (3, 2)),  # middle 11.5 and 10.5, rounded down
    ],
)
def test_the_local_patch_is_centred_on_the_hole(box, corner):
    image = torch.arange(3 * 32 * 32, dtype=torch.float32).view(1, 3, 32, 32)
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., box[0] : box[1], box[2] : box[3]] = 1
    top, left = corner
    expected = image[..., top : top + 16, left : left + 16]
    # another sample beside it does not matter
    both = paper.local_patch(torch.cat([image, image + 1]), torch.cat([hole, 1 - hole]), 16)
    assert torch.equal(both[:1], expected)


class Constant(nn.Module):
    """A discriminator that says what it is told, and a slope of one for every weight."""

    def __init__(self, answers):
        super().__init__()
        self.answers, self.seen = list(answers), []
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image, hole):
        self.seen.append(image.detach())
        return self.answers.pop(0) + self.weight + 0 * image.mean((1, 2, 3))[:, None]


def test_the_four_updates_by_hand():
    torch.manual_seed(0)
    method = paper.GLCIC(dataclasses.replace(SMALL, adversarial=0.5, discriminator_rate=0.25))
    told = Constant([0.7, 0.4, 0.1])  # on the original, on the completion, again for the generator
    method.networks["discriminator"] = told
    method.optimizers["discriminator"] = torch.optim.SGD(told.parameters(), lr=0.25)
    image, hole = batch()
    losses = []
    logs = method.step(
        image, hole, 0, backward=lambda loss: (losses.append(float(loss.detach())), loss.backward())
    )
    assert logs["real"] == pytest.approx((0.7 - 1) ** 2)
    after_real = 0.25 * 2 * 0.3  # one step down the slope of (0.7 + w - 1)²
    assert logs["fake"] == pytest.approx((0.4 + after_real) ** 2)
    after_fake = after_real - 0.25 * 2 * (0.4 + after_real)
    assert logs["adversarial"] == pytest.approx((0.1 + after_fake - 1) ** 2)
    assert float(told.weight.detach()) == pytest.approx(after_fake)  # frozen in update 4
    assert losses == pytest.approx(
        [logs["reconstruction"], logs["real"], logs["fake"], 0.5 * logs["adversarial"]]
    )
    original, completed, again = told.seen
    assert torch.equal(original, image)
    assert torch.equal(completed, again)
    torch.testing.assert_close(completed * (1 - hole), image * (1 - hole))  # the composite
    assert not torch.allclose(completed * hole, image * hole)
    assert told.weight.requires_grad


def test_updates_two_to_four_wait_or_are_left_out():
    torch.manual_seed(0)
    method = paper.GLCIC(dataclasses.replace(SMALL, adversarial_start=1))
    assert set(method.step(*batch(), 0, backward=backward)) == {"reconstruction", "total", "lr"}
    assert {"real", "fake", "adversarial"} <= set(method.step(*batch(), 1, backward=backward))
    assert set(paper.GLCIC(dataclasses.replace(SMALL, adversarial=0.0)).networks) == {"generator"}


def test_sizes_that_do_not_fit_are_one_clear_line():
    with pytest.raises(TrainingError, match=r"^expected crops of the config's size = 32, got 64; --size and"):
        paper.GLCIC(SMALL).step(*batch(64), 0, backward=backward)
    for size in (8, 48):
        with pytest.raises(TrainingError, match=rf"^size: expected a power of two from 16 up, got {size}$"):
            paper.GLCIC(dataclasses.replace(SMALL, size=size))
