"""Fixtures for all tests: a tiny network in ONNX with its card, a small photo and masks. No PyTorch."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from retouch.boxes import Limits
from retouch.cards import Card

LIMITS = Limits(native=32, multiple=4, largest=64)


def tiny_network(
    *,
    channels: int = 8,
    names: tuple[str, str, str] = ("image", "hole", "completion"),
    size: int | None = None,
    outputs: int = 3,
    activation: str = "LeakyRelu",
) -> bytes:
    """A small network as an ONNX file: convolutions (one with stride, one dilated), a resize, a sigmoid.

    Args:
        channels: of the layers between.
        names: of the two inputs and the output.
        size: a fixed height and width; None leaves them open, as Retouch expects.
        outputs: channels of the output.
        activation: the operator after each layer but the last.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    image, hole, completion = names
    layers = [
        (4, channels, 1, 1),
        (channels, channels, 2, 1),
        (channels, channels, 1, 2),
        (channels, outputs, 1, 1),
    ]
    nodes = [helper.make_node("Concat", [image, hole], ["x0"], axis=1)]
    weights = [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice")]
    for i, (inputs, features, stride, dilation) in enumerate(layers):
        values = rng.normal(size=(features, inputs, 3, 3)) * (2 / (9 * inputs)) ** 0.5
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{i}"))
        convolution = {"pads": [dilation] * 4, "strides": [stride] * 2, "dilations": [dilation] * 2}
        nodes.append(helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"c{i}"], **convolution))
        if i == len(layers) - 1:
            nodes.append(helper.make_node("Sigmoid", [f"c{i}"], [completion]))
        elif i == len(layers) - 2:
            nodes.append(helper.make_node(activation, [f"c{i}"], [f"e{i}"]))
            nodes.append(helper.make_node("Resize", [f"e{i}", "", "twice"], [f"x{i + 1}"], mode="linear"))
        else:
            nodes.append(helper.make_node(activation, [f"c{i}"], [f"x{i + 1}"]))

    def value(name: str, depth: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", depth, size or "H", size or "W"])

    graph = helper.make_graph(
        nodes, "tiny", [value(image, 3), value(hole, 1)], [value(completion, outputs)], weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tiny_card(weights: bytes, name: str = "tiny") -> Card:
    """A card for some weights, with every field filled."""
    return Card(
        name=name,
        method="recurrent",
        paper="A. Author, A paper, 2020",
        good_for="tests",
        training_data="random numbers",
        images_seen=12,
        mask_kinds=("strokes", "boxes"),
        limits=LIMITS,
        sha256=hashlib.sha256(weights).hexdigest(),
        licence="Apache-2.0",
        created="2026-01-31",
        command="retouch train recurrent --data photos",
        quality=(
            {"data": "set", "masks": "strokes 10-20%", "model": name, "psnr": 26.25, "ssim": 0.9},
            {"data": "set", "masks": "strokes 10-20%", "model": "telea", "psnr": 25.25, "ssim": 0.8},
        ),
        notes="“Notes”: [bold]none[/bold]",
    )


def write_model(folder: Path, name: str, weights: bytes) -> Path:
    """Writes NAME.onnx and NAME.json; returns the path of the first."""
    path = folder / f"{name}.onnx"
    path.write_bytes(weights)
    path.with_suffix(".json").write_text(tiny_card(weights, name).to_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny_weights() -> bytes:
    """The bytes of a tiny network in ONNX."""
    return tiny_network()


@pytest.fixture
def tiny_model(tmp_path: Path, tiny_weights: bytes) -> Path:
    """``models/tiny.onnx`` in a temporary folder, with its card."""
    (tmp_path / "models").mkdir()
    return write_model(tmp_path / "models", "tiny", tiny_weights)


@pytest.fixture(scope="session")
def smooth_pixels() -> Callable[[int, int], np.ndarray]:
    """Makes a picture with edges and gradients: (height, width) -> (H, W, 3) uint8."""

    def make(height: int, width: int) -> np.ndarray:
        coarse = np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8)
        return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))

    return make


@pytest.fixture
def photo_path(tmp_path: Path, smooth_pixels: Callable[[int, int], np.ndarray]) -> Path:
    """``photo.png``: RGB, 60 x 50 px."""
    path = tmp_path / "photo.png"
    Image.fromarray(smooth_pixels(50, 60)).save(path)
    return path


@pytest.fixture
def hole() -> np.ndarray:
    """(50, 60) bool, True = missing: two rectangles, one at the border."""
    hole = np.zeros((50, 60), np.bool_)
    hole[10:20, 15:30] = hole[40:, 50:] = True
    return hole


@pytest.fixture
def mask_path(tmp_path: Path, hole: np.ndarray) -> Path:
    """``mask.png`` for ``photo.png``, white = fill."""
    path = tmp_path / "mask.png"
    Image.fromarray(hole.astype(np.uint8) * 255).save(path)
    return path
