"""What a run begins with: models as they are shipped and as they are exported; what does not fit is one clear line."""

import os
import shutil

import cv2
import numpy as np
import pytest
import torch
from small import SMALL, faces, write_faces
from test_export import make_run

from retouch.cards import cards, weights_folder
from retouch.cli import main
from retouch.errors import ModelError, TrainingError
from retouch.methods import METHODS
from retouch.models import load
from retouch.training import describe, export
from retouch.training.checkpoints import read_checkpoint
from retouch.training.loop import train
from retouch.training.settings import Settings

SEARCHING = [name for name, entry in METHODS.items() if entry.searches]


def begin(photos, output, method, init, config, **changes):
    """A run of no steps that starts from a model."""
    known = {"size": SMALL[method].size, "steps": 0, "threads": 1, "workers": 0, "accelerator": "cpu"}
    known |= {"sample_every": 0, "init": str(init)} | changes
    return train(method, Settings(data=(photos,), output=output, **known), config).run


def difference(model, run, side):
    """Mean difference in their holes of what a model and a run complete, in [0, 1]."""
    image = faces(side, 4)
    hole = np.zeros((4, 1, side, side), np.float32)
    hole[..., side // 4 : side // 2, side // 4 : side * 3 // 4] = 1
    one, two = (each.predictor(image * (1 - hole), hole, seed=0) for each in (model, load(run)))
    return float((np.abs(one - two) * hole).sum() / (3 * hole.sum()))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_faces(tmp_path_factory.mktemp("initial") / "photos", 96, 4)


@pytest.fixture(scope="module", params=list(METHODS))
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("initial")
    run = make_run(folder / "run", request.param)
    return request.param, export.export(run, "tiny", folder)


def test_a_run_begins_with_the_weights_of_a_model(exported, photos, tmp_path):
    method, path = exported
    run = begin(photos, tmp_path / "run", method, path, SMALL[method].config)
    state, weights = read_checkpoint(run)
    assert (state["step"], state["images"], state["images_before"]) == (0, 0, 58)
    if method in SEARCHING:
        for name, network in load(path).predictor.method.networks.items():
            for key, tensor in network.state_dict().items():
                assert torch.equal(weights[name][key], tensor)
    else:
        assert difference(load(path), run, 64) < 1e-4


def test_its_own_card_tells_what_it_began_with(photos, tmp_path):
    config = SMALL["wgan"].config
    path = export.export(make_run(tmp_path / "run", "wgan"), "tiny", tmp_path, licence="of its own")
    first = begin(photos, tmp_path / "first", "wgan", path, config)
    second = begin(photos, tmp_path / "second", "wgan", first, config)
    card = load(export.export(second, "more", tmp_path)).card
    assert card.licence == "of its own" and card.images_seen == 58
    assert card.training_data == f"{photos}, from the weights of {tmp_path.name}/first"
    assert f"--init {tmp_path.name}/first" in card.command
    assert load(export.export(second, "other", tmp_path, licence="mine")).card.licence == "mine"


SHIPPED = {
    name: card
    for name, card in cards().items()
    if name.endswith(("scenes", "faces", "mse", "cifar10"))  # the other searches are networks as those of mse
}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_run_begins_with_what_is_shipped(name, photos, tmp_path):
    """In 8 bits, and with batch norms that lie in their convolutions: training sees what completing does."""
    method = SHIPPED[name].method
    config = describe.preset(method, "shipped")["config"]
    side = min(128, SHIPPED[name].limits.native)
    if name == "glcic-cifar10":
        config |= {"size": 32, "width": 48}
    if "mirror=True" in SHIPPED[name].command:
        config |= {"mirror": True}
    run = begin(photos, tmp_path / "run", method, name, config, size=side)
    assert read_checkpoint(run)[0]["images_before"] == SHIPPED[name].images_seen
    if method in SEARCHING:
        return
    model = load(name)
    assert 0 < difference(model, run, side) < 0.015
    trained = load(run)
    norms = [each for each in trained.predictor.module.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert bool(norms) == (method != "recurrent")
    for norm in norms:
        norm.train()
        norm.momentum = 0.0
    image, hole = faces(side, 8), np.zeros((8, 1, side, side), np.float32)
    hole[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    with torch.no_grad():
        together = trained.predictor.module(torch.from_numpy(image * (1 - hole)), torch.from_numpy(hole))
    apart = model.predictor(image * (1 - hole), hole, seed=0)
    assert float((np.abs(together.numpy() - apart) * hole).sum() / (3 * hole.sum())) < 0.1


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("recurrent-faces", {"activation": "elu"}, "activation = 'shifted_relu', got 'elu'"),
        ("recurrent-faces", {"width": 12}, "width = 16, got 12"),
        ("recurrent-faces", {"residual_blocks": 9}, "residual_blocks = 8, got 9"),
        ("glcic-faces", {"residual": False}, "residual = True, got False"),
        ("search-faces-mse", {"width": 4}, r"width = \d+, got 4"),
    ],
)
def test_a_model_of_other_settings_is_one_line(name, change, message, photos, tmp_path):
    method = SHIPPED[name].method
    config = describe.preset(method, "shipped")["config"] | change
    line = rf"^{name}: expected the model's own {message} \(--preset shipped, or --set\)$"
    with pytest.raises(TrainingError, match=line):
        begin(photos, tmp_path / "begun", method, name, config, size=64)
    assert not (tmp_path / "begun").exists()


def test_saturated_pictures_are_no_reason_to_refuse_a_model(tmp_path):
    """On which 8 bits err most: glcic-faces by 0.03 of [0, 1]."""
    for n in range(3):
        blocks = np.random.default_rng(n).integers(0, 2, (12, 12, 3), np.uint8) * 255
        (tmp_path / "photos").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / f"{n}.png"), cv2.resize(blocks, (144, 144), interpolation=0))
    config = describe.preset("glcic", "shipped")["config"]
    changes = {"size": 64, "whole": True, "masks": ("center",), "ratio": (0.25, 0.25)}
    begin(str(tmp_path / "photos"), tmp_path / "run", "glcic", "glcic-faces", config, **changes)


def test_a_shipped_name_is_a_model_though_a_folder_has_it(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wgan-faces").mkdir()
    config = describe.preset("wgan", "shipped")["config"]
    state, _ = read_checkpoint(begin(photos, tmp_path / "run", "wgan", "wgan-faces", config, size=64))
    assert state["images_before"] == cards()["wgan-faces"].images_seen


def test_beginning_leaves_the_process_as_it_was(photos, tmp_path):
    config = describe.preset("glcic", "shipped")["config"]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    begin(photos, tmp_path / "run", "glcic", "glcic-faces", config, size=64)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("glcic-faces", "glcic-faces: expected a model of recurrent, got one of glcic"),
        ("own.py", "expected a training run or a model of recurrent to start from, got own.py"),
        ("telea", "expected a training run or a model of recurrent to start from, got telea"),
        ("recurent-faces", "expected a model, got 'recurent-faces': did you mean recurrent-faces"),
        ("none/run", "expected a model, got 'none/run'"),
    ],
)
def test_what_is_no_model_of_the_method_is_one_line(init, message, photos, tmp_path, capsys):
    command = ["train", "recurrent", "--preset", "quick", "--data", photos, "--output", str(tmp_path / "run")]
    assert main([*command, "--init", init]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"retouch: {message}") and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_damaged_model_is_one_line(photos, tmp_path):
    for name in ("glcic-faces.onnx", "glcic-faces.json"):
        shutil.copy(weights_folder() / name, tmp_path)
    os.truncate(tmp_path / "glcic-faces.onnx", 1000)
    with pytest.raises(ModelError, match=r"glcic-faces\.onnx: expected SHA-256 .* the file is damaged"):
        begin(photos, tmp_path / "begun", "glcic", tmp_path / "glcic-faces.onnx", SMALL["glcic"].config)
