"""Networks in 8 bits: smaller, close to those in 32, the same bits in any company; what cannot be is refused."""

import hashlib

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from test_export import make_run

from retouch import cli
from retouch.cards import parse_card
from retouch.errors import DataError, ModelError
from retouch.models import load
from retouch.training import export, quantize

CONFIG = {"width": 16, "blocks": 1, "skip": True, "mirror": True}


@pytest.fixture(scope="module")
def photos(tmp_path_factory, smooth_pixels):
    folder = tmp_path_factory.mktemp("photos")
    for n, side in enumerate((130, 140, 150)):
        Image.fromarray(smooth_pixels(side, 2 * side)).save(folder / f"{n}.png")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory, photos):
    folder = tmp_path_factory.mktemp("quantize")
    run = make_run(folder / "run", "dcgan_direct", CONFIG)
    command = ["export", str(run), "--name", "small", "--output", str(folder), "--notes", "Random weights."]
    assert cli.main([*command, "--quantize", str(photos)]) == 0
    return export.export(run, "large", folder), folder / "small.onnx"


def windows(count):
    rng = np.random.default_rng(3)
    image = np.repeat(np.repeat(rng.random((count, 3, 16, 16), np.float32), 8, axis=2), 8, axis=3)
    hole = np.zeros((count, 1, 128, 128), np.float32)
    hole[:, :, 30:70, 50:90] = 1
    return image * (1 - hole), hole


def test_it_is_smaller_and_close(models):
    large, small = models
    assert small.stat().st_size < 0.6 * large.stat().st_size
    image, hole = windows(4)
    expected, got = (load(path).predictor(image, hole, seed=0) for path in (large, small))
    difference = np.abs(got - expected)[np.broadcast_to(hole, got.shape) > 0]
    assert 0 < difference.mean() < quantize.TOLERANCE
    assert difference.mean() < 0.1 * expected.std()


def test_equal_weights_are_stored_once(models):
    weights = [onnx.numpy_helper.to_array(each) for each in onnx.load(models[1]).graph.initializer]
    stored = [(each.dtype.str, each.shape, each.tobytes()) for each in weights]
    assert len(set(stored)) == len(stored) > 20


def test_weights_of_transposed_convolutions_are_stored_in_16_bits(models):
    graph = onnx.load(models[1]).graph
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    cast = {node.output[0]: stored[node.input[0]] for node in graph.node if node.op_type == "Cast"}
    transposed = {node.input[1] for node in graph.node if node.op_type == "ConvTranspose"}
    assert transposed == set(cast) and len(cast) == 4
    assert all(each.dtype == np.float16 and np.isfinite(each).all() for each in cast.values())


def test_the_card_says_so(models):
    large, small = (parse_card(path.with_suffix(".json").read_bytes(), path.name) for path in models)
    assert large.notes == ""
    assert (
        small.notes.startswith("Random weights. ")
        and "convolutions in 8 bits, weights of 4 transposed ones in 16 (ranges from 32 crops" in small.notes
    )
    assert small.sha256 == hashlib.sha256(models[1].read_bytes()).hexdigest()
    assert small.limits == large.limits and small.command == large.command


def test_windows_get_the_same_bits_in_any_company_on_any_cores(models):
    image, hole = windows(3)
    one, two = (load(models[1], threads=threads).predictor for threads in (1, 2))
    together = two(image, hole, seed=0)
    alone = [one(image[i : i + 1], hole[i : i + 1], seed=0) for i in range(3)]
    assert together.tobytes() == np.concatenate(alone).tobytes()


def test_a_value_far_out_does_not_widen_the_steps(models, capsys):
    """And the quantizer is quiet."""
    image, hole = windows(1)
    wild = image.copy()
    wild[0, :, 0, 0] = 1000
    known = load(models[0]).predictor(image, hole, seed=0)
    data, _ = quantize.to_int8(models[0].read_bytes(), [(image, hole), (wild, hole)])
    (got,) = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(
        ["completion"], {"image": image, "hole": hole}
    )
    assert (np.abs(got - known) * hole).sum() / hole.sum() / 3 < quantize.TOLERANCE
    assert capsys.readouterr() == ("", "")


def test_layers_that_stay_in_32_bits_may_have_one_large_value(models):
    """As the attention's has over a hole that leaves no patch whole: its range has no room for a histogram's bins."""

    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(64, 3, 3, padding=1)

        def forward(self, image, hole):
            norm = torch.clamp(image.amax((1, 2, 3), keepdim=True) * 0, min=1e-4)
            return self.layer(image[:, :1].expand(-1, 64, -1, -1)) + 1 / norm * 1e-6 * hole

    limits = parse_card(models[0].with_suffix(".json").read_bytes(), "large.json").limits
    _, changed = quantize.to_int8(export.to_onnx(Constant(), limits), [windows(1)])
    assert changed.startswith("1 of 1 convolutions in 8 bits")


def test_what_cannot_be_quantized_is_refused(tmp_path, photos, models, monkeypatch):
    searching = make_run(tmp_path / "searching", "wgan")
    with pytest.raises(ModelError, match="to quantize, got wgan"):
        export.export(searching, "tiny", tmp_path / "models", quantize=[str(photos)])
    run = make_run(tmp_path / "run", "glcic")
    monkeypatch.setattr(export, "to_onnx", None)  # what can be refused before it, is
    with pytest.raises(DataError, match="no such file"):
        export.export(run, "tiny", tmp_path / "models", quantize=[str(tmp_path / "nothing")])
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="expected an output folder, got a file"):
        export.export(run, "tiny", tmp_path / "file")
    monkeypatch.undo()

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(4, 3, 3, padding=1)

        def forward(self, image, hole):
            return self.layer(torch.cat([image, hole], dim=1))

    limits = parse_card(models[0].with_suffix(".json").read_bytes(), "large.json").limits
    samples = [(window[:1], hole[:1]) for window, hole in (windows(1),)]
    with pytest.raises(ModelError, match="got smaller ones"):
        quantize.to_int8(export.to_onnx(Small(), limits), samples)
    monkeypatch.setattr(quantize, "TOLERANCE", -1.0)  # nothing is close enough
    with pytest.raises(ModelError, match="of 32 bits in the holes"):
        quantize.to_int8(models[0].read_bytes(), samples)
    assert not (tmp_path / "models").exists()
