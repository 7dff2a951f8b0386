"""Feature networks: layouts, losses by hand, and LPIPS against the published figure where the weights are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from retouch.errors import ModelError
from retouch.evaluation import cases, results
from retouch.evaluation import run as evaluate
from retouch.methods import perceptual

WEIGHTS = Path(os.environ.get("RETOUCH_TEST_WEIGHTS", Path(__file__).parents[2] / "shared" / "weights"))


def vgg_file(path, widths=(4, 4, 6, 6, 6), last="5_2", distilled=False):
    tensors, inputs = {}, 3
    generator = torch.Generator().manual_seed(0)
    for tap, number in perceptual.VGG19.items():
        outputs = widths[int(tap[0]) - 1]
        name = "conv" + tap.replace("_", "") if distilled else f"features.{number}"
        tensors[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) / 4
        tensors[f"{name}.bias"] = torch.zeros(outputs)
        if distilled and tap in perceptual.PERCEPTUAL_TAPS:
            tensors[f"{name}_aux.weight"] = torch.randn(2 * outputs, outputs, 1, 1, generator=generator)
            tensors[f"{name}_aux.bias"] = torch.zeros(2 * outputs)
        inputs = outputs
        if tap == last:
            break
    if distilled:
        tensors["conv0.weight"], tensors["conv0.bias"] = (
            torch.eye(3)[:, :, None, None].contiguous(),
            torch.zeros(3),
        )
    save_file(tensors, path)
    return path


def squeeze_files(folder):
    """A SqueezeNet 1.1 of few channels and its LPIPS heads, at random, under the names of the real files."""
    generator, inputs = torch.Generator().manual_seed(0), 6
    trunk = {
        "features.0.weight": torch.randn(inputs, 3, 3, 3, generator=generator),
        "features.0.bias": torch.zeros(6),
    }
    for module in (3, 4, 6, 7, 9, 10, 11, 12):
        for part, shape in (
            ("squeeze", (2, inputs, 1, 1)),
            ("expand1x1", (3, 2, 1, 1)),
            ("expand3x3", (3, 2, 3, 3)),
        ):
            trunk[f"features.{module}.{part}.weight"] = torch.randn(shape, generator=generator)
            trunk[f"features.{module}.{part}.bias"] = torch.zeros(shape[0])
    heads = {f"lin{i}.model.1.weight": torch.rand(1, inputs, 1, 1, generator=generator) for i in range(7)}
    save_file(trunk, folder / perceptual.TRUNK)
    save_file(heads, folder / perceptual.HEADS)
    return folder


def test_lpips_is_a_distance_that_grows_with_what_differs(tmp_path):
    distances = perceptual.distances(str(squeeze_files(tmp_path)), None)
    generator = np.random.default_rng(0)
    a = generator.random((2, 3, 64, 48), np.float32)
    noise = generator.random(a.shape, np.float32)
    found = [distances(a, a + share * (noise - a))["lpips"] for share in (0.0, 0.1, 0.5)]
    assert (found[0] == 0).all() and (found[0] < found[1]).all() and (found[1] < found[2]).all()
    assert all(value.shape == (2,) for value in found)
    np.testing.assert_allclose(distances(noise, a)["lpips"], distances(a, noise)["lpips"], rtol=1e-5)


@pytest.mark.parametrize("distilled", [False, True])
def test_vgg_gives_every_tap_that_the_file_holds(tmp_path, distilled):
    network = perceptual.load_vgg(vgg_file(tmp_path / "vgg.safetensors", distilled=distilled))
    outputs = network(torch.rand(2, 3, 32, 32))
    assert list(outputs) == list(perceptual.VGG19)[: list(perceptual.VGG19).index("5_2") + 1]
    sides = [outputs[tap].shape[-1] for tap in perceptual.PERCEPTUAL_TAPS]
    assert sides == [32, 16, 8, 4, 2]
    assert outputs["5_1"].shape[1] == (12 if distilled else 6)
    assert all(float(value.min()) >= 0 for value in outputs.values())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_plain_vgg_is_the_stack_of_layers_that_it_names(tmp_path):
    path = vgg_file(tmp_path / "vgg.safetensors", last="2_1")
    tensors = perceptual.load_tensors(path)
    layers = []
    for number in (0, 2, 5):
        weight = tensors[f"features.{number}.weight"]
        conv = torch.nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        conv.weight.data, conv.bias.data = weight, tensors[f"features.{number}.bias"]
        layers += [conv, torch.nn.ReLU()] + ([torch.nn.MaxPool2d(2)] if number == 2 else [])
    image = torch.rand(1, 3, 16, 16)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    expected = torch.nn.Sequential(*layers)((image - mean) / std)
    torch.testing.assert_close(perceptual.load_vgg(path)(image)["2_1"], expected)


def test_losses_by_hand():
    real = {"1_1": torch.zeros(1, 2, 2, 2), "2_2": torch.zeros(1, 1, 1, 2)}
    fake = {"1_1": torch.full((1, 2, 2, 2), 0.5), "2_2": torch.tensor([[[[1.0, 2.0]]]])}
    assert float(perceptual.perceptual_loss(real, fake)) == pytest.approx(0.5)
    turned = {"1_1": torch.tensor([[[[3.0]], [[4.0]]]]), "2_1": torch.tensor([[[[2.0, 0.0]]]])}
    ahead = {"1_1": torch.tensor([[[[5.0]], [[0.0]]]]), "2_1": torch.tensor([[[[1.0, 7.0]]]])}
    expected = (0.4**2 + 0.8**2) + (0 + 1) / 2  # (0.6, 0.8) to (1, 0); 1 to 1 and 0 to 1
    assert float(perceptual.normalized_loss(turned, ahead)) == pytest.approx(expected)
    assert float(perceptual.normalized_loss(turned, {k: 9 * v for k, v in turned.items()})) == pytest.approx(
        0
    )
    assert float(perceptual.gram(fake["2_2"])) == pytest.approx((1 + 4) / 2)
    assert float(perceptual.style_loss(real, fake)) == pytest.approx(2.5)
    assert float(perceptual.style_loss(fake, fake)) == 0


def test_style_in_16_bits_is_that_of_its_features_in_32():
    real, fake = (torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    fake = (real + 0.01 * fake).bfloat16()
    expected = perceptual.style_loss({"2_2": real}, {"2_2": fake.float()})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = perceptual.style_loss({"2_2": real}, {"2_2": fake})
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_bad_files_are_one_clear_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="no feature network"):
        perceptual.load_vgg(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(ModelError, match="not a safetensors file"):
        perceptual.load_vgg(tmp_path / "text.safetensors")
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="expected a VGG-19"):
        perceptual.load_vgg(tmp_path / "other.safetensors")
    sixteen = {}  # VGG-16 in torchvision: its third and fourth groups have one convolution less
    for number, inputs, outputs in ((0, 3, 4), (2, 4, 4), (5, 4, 4), (7, 4, 4), (10, 4, 6), (12, 6, 6),
                                    (14, 6, 6), (17, 6, 8), (19, 8, 8)):  # fmt: skip
        sixteen[f"features.{number}.weight"] = torch.zeros(outputs, inputs, 3, 3)
        sixteen[f"features.{number}.bias"] = torch.zeros(outputs)
    save_file(sixteen, tmp_path / "sixteen.safetensors")
    with pytest.raises(ModelError, match=r"expected a VGG-19.*got features\.19 of .* in place of conv3_4"):
        perceptual.load_vgg(tmp_path / "sixteen.safetensors")
    with pytest.raises(ModelError, match="expected SqueezeNet"):
        perceptual.LPIPS(tmp_path / "other.safetensors", tmp_path / "other.safetensors")


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the feature networks are not at hand")
def test_lpips_gives_the_published_example_of_torchmetrics():
    """The second example in its documentation: one figure per picture, by a generator of seed 42."""
    generator = torch.Generator().manual_seed(42)
    a, b = (torch.rand(2, 3, 100, 100, generator=generator).numpy() for _ in range(2))
    found = perceptual.distances(str(WEIGHTS), None)(a, b)
    assert list(found) == ["lpips"]
    np.testing.assert_allclose(found["lpips"], [0.1024, 0.0938], atol=1e-4)


def test_distances_are_what_their_networks_give(tmp_path):
    path = vgg_file(tmp_path / "vgg.safetensors")
    a, b = (torch.rand(2, 3, 40, 36, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    found = perceptual.distances(None, path)(a.numpy(), b.numpy())
    network = perceptual.load_vgg(path)
    for number in range(2):
        one = [network(x[number : number + 1]) for x in (a, b)]
        expected = float(perceptual.perceptual_loss(*one))
        assert found["perceptual"][number] == pytest.approx(expected, rel=1e-4)
        torch.testing.assert_close(torch.from_numpy(found["features"][number]), one[1]["5_1"].mean((2, 3))[0])
    assert perceptual.distances(None, None)(a.numpy(), b.numpy()) == {}
    small = a[..., :31, :36].numpy()
    assert perceptual.distances(None, path)(small, small) == {}


def test_pictures_too_small_for_a_network_have_no_distance(tmp_path):
    distances = perceptual.distances(str(squeeze_files(tmp_path)), vgg_file(tmp_path / "vgg.safetensors"))
    for side, there in (
        (16, set()),
        (17, {"lpips"}),
        (31, {"lpips"}),
        (32, {"lpips", "perceptual", "features"}),
    ):
        picture = np.zeros((1, 3, side, side + 9), np.float32)
        assert set(distances(picture, picture)) == there


@pytest.mark.parametrize("workers", [1, 2])
def test_an_evaluation_keeps_features_of_photos_and_completions(tmp_path, smooth_pixels, workers):
    (tmp_path / "photos").mkdir()
    for number in range(2):
        Image.fromarray(smooth_pixels(40 + number, 48)).save(tmp_path / "photos" / f"{number}.png")
    evaluate.evaluate(
        evaluate.Settings(
            data=(str(tmp_path / "photos"),), output=tmp_path / "out", model=("telea",), masks=("center",),
            features=vgg_file(tmp_path / "vgg.safetensors"), threads=1, workers=workers,
        )
    )  # fmt: skip
    rows = results.read(tmp_path / "out").rows
    assert sorted(row["model"] for row in rows) == ["original", "original", "telea", "telea"]
    assert {cases.features(row).shape for row in rows} == {(6,)}
    assert all(("perceptual" in row) == (row["model"] == "telea") for row in rows)


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the feature networks are not at hand")
def test_lpips_gives_the_published_figure():
    distance = perceptual.LPIPS(
        WEIGHTS / "squeezenet1_1_features.safetensors", WEIGHTS / "lpips_squeeze_heads.safetensors"
    )
    torch.manual_seed(42)
    a, b = (torch.rand(10, 3, 100, 100) for _ in range(2))
    assert float(distance(a, b).mean()) == pytest.approx(0.1005, abs=1e-4)
    assert float(distance(a, a).abs().max()) == 0


def test_an_evaluation_loads_its_networks_once(tmp_path, monkeypatch):
    """Also for the rows that hold the features of the photos themselves."""
    loaded = []

    def lpips(name):
        loaded.append(name)
        return lambda a, b: torch.zeros(len(a))

    monkeypatch.setattr(perceptual, "_lpips", lpips)
    (tmp_path / "photos").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    terms = evaluate.Settings(
        data=(str(tmp_path / "photos"),), output=tmp_path / "out", model=("telea",), masks=("strokes:0.1-0.2",),
        lpips="squeeze", features=vgg_file(tmp_path / "vgg.safetensors"), threads=1, pictures=0,
    )  # fmt: skip
    assert evaluate.evaluate(terms).made == 6
    assert loaded == ["squeeze"]
