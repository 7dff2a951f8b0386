"""The recurrent method against its paper: architecture, filters, attention, losses, one training step."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from skimage.metrics import structural_similarity
from test_perceptual import vgg_file

from retouch.errors import TrainingError
from retouch.methods import attention
from retouch.methods import recurrent as paper
from retouch.methods.attention import contextual_attention
from retouch.methods.perceptual import dissimilarity

SMALL = paper.Config(width=8, residual_blocks=1, fusion_blocks=1)
NO_FEATURES = dataclasses.replace(SMALL, perceptual=0.0, low_pass_perceptual=0.0, style=0.0)
FAST = dataclasses.replace(NO_FEATURES, activation="shifted_relu", padding="zeros")


def batch(size=(64, 64), count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(count, 3, *size, generator=generator)
    hole = torch.zeros(count, 1, *size)
    hole[:, :, size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    return image, hole


@pytest.mark.parametrize(("width", "count"), [(16, 2_053_999), (48, 18_449_439)])
def test_parameter_count_is_the_authors(width, count):
    with torch.device("meta"):
        generator = paper.Generator(paper.Config(width=width))
    assert sum(parameter.numel() for parameter in generator.parameters()) == count


def test_layer_shapes_are_table_b6():
    with torch.device("meta"):
        generator = paper.Generator(paper.Config())
    shapes = [tuple(layer.input.weight.shape) for layer in (*generator.encoder, *generator.decoder)]
    assert shapes == [
        (16, 4, 5, 5), (32, 16, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3), (64, 64, 3, 3),
        (64, 64, 3, 3), (64, 64, 3, 3), (32, 64, 3, 3), (32, 64, 3, 3), (16, 32, 3, 3), (16, 33, 3, 3),
        (8, 16, 3, 3), (3, 8, 3, 3),
    ]  # fmt: skip
    strides = [layer.input.stride[0] for layer in generator.encoder]
    assert strides == [1, 2, 1, 2, 1, 1]


def test_discriminator_shapes_are_tables_b3_and_b4():
    discriminator = paper.Discriminator()
    assert [layer.out_channels for layer in discriminator.patch] == [48, 96, 192, 192, 192, 384]
    assert [layer.out_channels for layer in discriminator.edge] == [24, 48, 96, 192, 192]
    score, features = discriminator(*batch((128, 192)))
    assert score.shape == (2, 1, 2, 3)
    assert [tuple(feature.shape) for feature in features] == [(2, 48, 64, 96), (2, 96, 32, 48)]


@pytest.mark.parametrize("size", [(16, 16), (16, 64), (72, 40), (64, 64)])
@pytest.mark.parametrize("smooth", [False, True])
def test_completion_has_the_size_of_its_window(size, smooth):
    method = paper.Recurrent(dataclasses.replace(NO_FEATURES, smooth_start=smooth), training=False)
    image = torch.rand(1, 3, *size)
    hole = torch.zeros(1, 1, *size)
    hole[..., : size[0] // 2, : size[1] // 2] = 1
    result = method.complete(image, hole)
    assert result.shape == image.shape
    assert 0 <= float(result.min()) <= float(result.max()) <= 1


@pytest.mark.parametrize("smooth", [False, True])
def test_what_stands_in_the_hole_is_not_read(smooth):
    method = paper.Recurrent(dataclasses.replace(NO_FEATURES, smooth_start=smooth), training=False)
    image, hole = batch()
    other = image * (1 - hole) + hole * torch.rand(image.shape)
    torch.testing.assert_close(method.complete(image, hole), method.complete(other, hole), rtol=0, atol=0)


@pytest.mark.parametrize("config", [SMALL, FAST])
def test_gradients_reach_every_parameter(config):
    torch.manual_seed(0)
    image, hole = batch()
    generator = paper.Generator(config)
    coarse, refined = generator(image, hole)
    ((coarse - image).abs().mean() + (refined - image).abs().mean()).backward()
    for name, parameter in generator.named_parameters():
        # a bias before instance norm cannot change anything: all others must have a gradient
        assert parameter.grad is not None, name
        if name.endswith("weight"):
            assert float(parameter.grad.abs().max()) > 0, name


def test_activation_and_padding_are_those_that_were_asked_for():
    """Each layer against the convolution by hand, with a mask given apart and as the last channel."""
    x, mask = torch.randn(1, 4, 12, 12, generator=torch.Generator().manual_seed(0)), torch.ones(1, 1, 12, 12)
    for config, mode, act in (
        (NO_FEATURES, "reflect", F.elu),
        (FAST, "constant", lambda y: y.clamp_min(-0.7)),
    ):
        layer = paper.Generator(dataclasses.replace(config, width=4)).encoder[0]
        padded = F.pad(x, (2,) * 4, mode=mode)
        expected = act(
            F.conv2d(padded, layer.input.weight, layer.input.bias) + layer.buffer.bias.view(1, -1, 1, 1)
        )
        torch.testing.assert_close(layer(x, None), expected)
        apart = paper.Generator(dataclasses.replace(config, width=4)).decoder[5]
        inputs = torch.cat([x, x, mask], dim=1)
        torch.testing.assert_close(apart(inputs[:, :-1], None, mask), apart(inputs, None))


@pytest.mark.parametrize("setting", [{"activation": "relu6"}, {"padding": "circular"}])
def test_an_unknown_activation_or_padding_is_refused(setting):
    ((name, value),) = setting.items()
    with pytest.raises(TrainingError, match=f"{name}: expected one of .*, .*, got '{value}'"):
        paper.Config(**setting)


def test_second_pass_depends_on_the_buffers_of_the_first():
    torch.manual_seed(0)
    image, hole = batch()
    generator = paper.Generator(SMALL).eval()
    with torch.no_grad():
        filled = image * (1 - hole) + generator(image, hole)[0] * hole
        _, buffers = generator._wrap(image * (1 - hole) + hole, hole, generator.coarse, [None] * 14)
        assert len(buffers) == 14
        with_buffers, _ = generator._wrap(filled, hole, generator.coarse, buffers)
        without, _ = generator._wrap(filled, hole, generator.coarse, [None] * 14)
    assert float((with_buffers - without).abs().max()) > 1e-3


def test_first_pass_is_a_zero_buffer():
    torch.manual_seed(0)
    layer = paper.RecurrentConv(4, 8, stride=2)
    torch.nn.init.normal_(layer.buffer.bias)
    x = torch.rand(2, 4, 16, 16)
    torch.testing.assert_close(layer(x, None), layer(x, torch.zeros(2, 8, 8, 8)))


def test_completion_does_not_depend_on_the_batch_or_an_earlier_call():
    method = paper.Recurrent(NO_FEATURES, training=False)
    image, hole = batch(count=3)
    together = method.complete(image, hole)
    for i in range(3):
        torch.testing.assert_close(method.complete(image[i : i + 1], hole[i : i + 1])[0], together[i])


def test_filters_against_scipy():
    image = torch.rand(1, 3, 17, 23)
    for channel in range(3):
        plane = image[0, channel].numpy().astype(np.float64)
        h = ndimage.sobel(plane, axis=0, mode="constant")
        v = ndimage.sobel(plane, axis=1, mode="constant")
        np.testing.assert_allclose(paper.sobel_edges(image)[0, channel], h**2 + v**2, atol=1e-5)
        mean = ndimage.uniform_filter(plane, 5)[2:-2, 2:-2]
        np.testing.assert_allclose(paper.low_pass(image)[0, channel], mean, atol=1e-6)
        kernel = -np.ones((3, 3))
        kernel[1, 1] = 9
        sharp = ndimage.correlate(plane, kernel)[1:-1, 1:-1]
        np.testing.assert_allclose(paper.high_pass(image)[0, channel], sharp, atol=1e-5)


def test_attention_copies_a_texture_that_repeats():
    """In a picture of period 8 the features of the hole are those of another period: attention finds them."""
    generator = torch.Generator().manual_seed(0)
    tile = torch.rand(1, 6, 8, 8, generator=generator) - 0.5
    texture = tile.repeat(1, 1, 4, 4)
    hole = torch.zeros(1, 1, 32, 32)
    hole[..., 12:20, 12:20] = 1
    rebuilt = contextual_attention(texture, hole, softmax_scale=50.0)
    inside = slice(12, 20)
    error = (rebuilt - texture)[..., inside, inside].abs().mean()
    assert float(error) < 0.05 * float(texture.abs().mean())


def test_attention_never_copies_from_the_hole():
    features = torch.rand(2, 4, 16, 16)
    hole = torch.zeros(2, 1, 16, 16)
    hole[..., 4:8, 4:8] = 1
    marked = features + 1000 * hole
    rebuilt = contextual_attention(marked, hole)
    assert float(rebuilt.max()) < 100


def test_attention_treats_samples_apart():
    features = torch.rand(3, 4, 16, 16)
    hole = (torch.rand(3, 1, 16, 16) < 0.2).float()
    together = contextual_attention(features, hole)
    for i in range(3):
        alone = contextual_attention(features[i : i + 1], hole[i : i + 1])
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-4)


def test_fused_scores_add_the_diagonal_neighbours():
    rows, columns = 3, 4
    scores = torch.rand(1, rows * columns, rows * columns)
    plain = scores[0].numpy()

    def along(matrix):
        padded = np.pad(matrix, 1)
        return padded[:-2, :-2] + matrix + padded[2:, 2:]

    order = np.arange(rows * columns).reshape(rows, columns).T.ravel()  # row-major -> column-major
    first = along(plain)
    second = along(first[np.ix_(order, order)])
    back = np.argsort(order)
    np.testing.assert_allclose(
        attention._fuse(scores, rows, columns)[0], second[np.ix_(back, back)], atol=1e-5
    )


def test_smooth_fill_keeps_known_pixels_and_continues_a_ramp():
    ramp = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(1, 3, 64, 64).contiguous()
    hole = torch.zeros(1, 1, 64, 64)
    hole[..., 24:40, 24:40] = 1
    filled = paper.smooth_fill(ramp + 5 * hole, hole)
    torch.testing.assert_close(filled * (1 - hole), ramp * (1 - hole))
    assert float(((filled - ramp) * hole).abs().max()) < 0.05


def test_smooth_start_begins_at_the_interpolation():
    image, hole = batch()
    method = paper.Recurrent(dataclasses.replace(NO_FEATURES, smooth_start=True), training=False)
    torch.testing.assert_close(method.complete(image, hole), paper.smooth_fill(image, hole).clamp(0, 1))


def test_dissimilarity_against_scikit_image():
    a = torch.rand(1, 3, 40, 40)
    b = (a + 0.1 * torch.randn(a.shape)).clamp(0, 1)
    similar = [
        structural_similarity(x.numpy(), y.numpy(), data_range=1.0, win_size=7, use_sample_covariance=False)
        for x, y in zip(a[0], b[0], strict=True)
    ]
    assert float(dissimilarity(a, b)) == pytest.approx(1 - np.mean(similar), abs=1e-5)
    assert float(dissimilarity(a, a)) == pytest.approx(0, abs=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as with --precision bf16-mixed
        assert float(dissimilarity(a, b)) == pytest.approx(1 - np.mean(similar), abs=1e-5)


def test_hinge_losses_by_hand():
    class Mean(torch.nn.Module):
        """Scores a picture by its mean: from -3 (black) to 3 (white)."""

        def __init__(self) -> None:
            super().__init__()
            self.slope = torch.nn.Parameter(torch.tensor(6.0))

        def forward(self, image, hole):
            return self.slope * (image.mean((1, 2, 3)) - 0.5), []

    config = dataclasses.replace(NO_FEATURES, adversarial=1.0, feature_matching=0.0, discriminator_rate=0.0)
    method = paper.Recurrent(config)
    judge = method.networks["discriminator"] = Mean()
    method.optimizers["discriminator"] = torch.optim.SGD(judge.parameters(), 0.0)
    image = torch.stack([torch.full((3, 16, 16), level) for level in (0.0, 0.6, 1.0)])
    hole = torch.zeros(3, 1, 16, 16)
    hole[..., 4:8, 4:8] = 1
    with torch.no_grad():
        fake = judge(method.networks["generator"](image, hole)[1], hole)[0]
    logs = method.step(image, hole, 0, backward=lambda loss: loss.backward())
    expected = (4 + 0.4 + 0) / 3 + float((1 + fake).clamp_min(0).mean())
    assert logs["discriminator"] == pytest.approx(expected, rel=1e-4)
    assert logs["adversarial"] == pytest.approx(-float(fake.mean()), abs=1e-4)


def test_reconstruction_losses_by_hand():
    method = paper.Recurrent(dataclasses.replace(NO_FEATURES, hole_l1=1.0), training=False)
    image, hole = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    hole[..., 4:8, 4:8] = 1
    coarse, refined = torch.full_like(image, 0.2), torch.full_like(image, 0.1)
    losses = method.generator_losses(image, hole, coarse, refined)
    assert float(losses["l1"]) == pytest.approx(0.1)
    assert float(losses["low_pass"]) == pytest.approx(0.2)  # a mean of a constant
    assert float(losses["high_pass"]) == pytest.approx(0.1 * 16 / 14**2)  # the filter sums to 1
    assert float(losses["hole_l1"]) == pytest.approx(0.1 + 0.5 * 0.2)
    edges = F.l1_loss(paper.sobel_edges(refined), paper.sobel_edges(image))
    assert float(losses["edge_l1"]) == pytest.approx(float(edges))


def test_learning_rate_follows_the_paper_or_a_cosine():
    method = paper.Recurrent(NO_FEATURES, training=False)
    assert [method.learning_rate(k) for k in (0, 99_999, 100_000)] == [1.0, 1.0, 0.75]
    method = paper.Recurrent(dataclasses.replace(NO_FEATURES, warmup=10, total_steps=1000), training=False)
    rates = [method.learning_rate(k) for k in (0, 9, 500, 1000, 2000)]
    assert rates == pytest.approx([0.1, 1.0, 0.51, 0.02, 0.02], abs=2e-3)


def test_perceptual_losses_without_a_feature_network_say_so():
    with pytest.raises(TrainingError, match="features=FILE"):
        paper.Recurrent(SMALL)
    with pytest.raises(TrainingError, match="normalized=0"):
        paper.Recurrent(dataclasses.replace(NO_FEATURES, normalized=0.2))


def test_the_distance_of_normalized_features_takes_part_where_it_has_a_weight(tmp_path):
    features = str(vgg_file(tmp_path / "vgg.safetensors", last="2_1"))
    image, hole = batch()
    for weight in (0.0, 0.2):
        config = dataclasses.replace(NO_FEATURES, features=features, perceptual=1.0, normalized=weight)
        losses = paper.Recurrent(config).generator_losses(image, hole, image, image + 0.3 * hole)
        assert ("normalized" in losses) == bool(weight)
    assert float(losses["normalized"]) > 0


@pytest.mark.parametrize(
    ("changes", "least"), [({"low_pass_perceptual": 1.0}, 40), ({"perceptual": 1.0}, 32)]
)
def test_crops_are_large_enough_for_the_features(tmp_path, changes, least):
    config = dataclasses.replace(NO_FEATURES, features=str(vgg_file(tmp_path / "vgg.safetensors")), **changes)
    method = paper.Recurrent(config)
    for size in (least - 8, least):
        image, hole = batch((size, size), 1)
        if size < least:
            with pytest.raises(
                TrainingError, match=f"expected a multiple of 8, at least {least}, got {size}"
            ):
                method.step(image, hole, 0, backward=torch.Tensor.backward)
        else:
            assert math.isfinite(method.step(image, hole, 0, backward=torch.Tensor.backward)["total"])


def test_style_needs_a_layer_of_its_own(tmp_path):
    features = str(vgg_file(tmp_path / "vgg.safetensors", last="1_1"))
    image, hole = batch()
    method = paper.Recurrent(dataclasses.replace(NO_FEATURES, features=features, style=1.0))
    with pytest.raises(TrainingError, match=r"expected features with one of 2_2, .*, got 1_1"):
        method.generator_losses(image, hole, image, image)


def test_steps_change_both_networks_and_log_finite_values():
    torch.manual_seed(0)
    method = paper.Recurrent(dataclasses.replace(NO_FEATURES, clip=1.0))
    before = {
        (name, key): value.clone()
        for name, network in method.networks.items()
        for key, value in network.named_parameters()
    }
    for k in range(2):
        logs = method.step(*batch(seed=k), k, backward=lambda loss: loss.backward())
    expected = {"l1", "low_pass", "high_pass", "edge_l1", "adversarial", "feature_matching", "discriminator"}
    assert expected <= logs.keys()
    assert all(np.isfinite(value) for value in logs.values())
    for name, network in method.networks.items():
        for key, value in network.named_parameters():
            if value.ndim > 1:  # a bias before instance norm cannot change anything
                assert not torch.equal(before[name, key], value), (name, key)
        assert all(parameter.requires_grad for parameter in network.parameters())
