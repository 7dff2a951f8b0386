"""From a checkpoint to a model: ONNX and card, the same completion as PyTorch; bad runs are one clear line."""

import dataclasses
import hashlib
import json

import cv2
import numpy as np
import pytest
import torch
from small import SMALL, STATE

from retouch.boxes import Limits
from retouch.cards import parse_card
from retouch.cli import main
from retouch.dynamic_batching import Shareable
from retouch.errors import ModelError, TrainingError
from retouch.methods import METHODS
from retouch.models import load
from retouch.sources import index
from retouch.training import data, export
from retouch.training.checkpoints import read_checkpoint, write_checkpoint
from retouch.training.settings import Settings, plain


def make_run(folder, name, config=None, **changes):
    """A run with a checkpoint as the loop writes it, of random weights."""
    kind, build = METHODS[name].load()
    config = kind(**(SMALL[name].config if config is None else config))
    torch.manual_seed(0)
    method = build(config, training=False)
    groups = {}
    for key, network in method.networks.items():
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        groups[key] = groups[f"{key}.ema"] = network.state_dict()
    settings = plain(Settings(data=("photos",), output=folder))
    state = STATE | {
        "method": name, "config": dataclasses.asdict(config), "settings": settings, "step": 3, "images": 48,
        "images_before": 10,
    }  # fmt: skip
    write_checkpoint(folder, state | changes, groups)
    return folder


@pytest.fixture(scope="module", params=list(METHODS))
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    run = make_run(folder / "run", request.param)
    return run, export.export(run, "tiny", folder / "models", good_for="tests", notes="random weights")


def test_card_says_what_the_run_was(exported):
    run, path = exported
    card = parse_card(path.with_suffix(".json").read_bytes(), "tiny.json")
    assert card.name == "tiny" and card.good_for == "tests" and card.notes == "random weights"
    assert card.images_seen == 58
    assert card.mask_kinds == ("strokes", "boxes")
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    # native: the canvas that the holes of the training were drawn on, 128 px by default
    limits = METHODS[card.method].limits
    native, largest = min(128, limits.largest), min(256, limits.largest)
    assert card.limits == Limits(native=native, multiple=limits.multiple, largest=largest)
    assert card.command.startswith(f"retouch train {card.method} --output {run.name} --data photos")
    for key, value in SMALL[card.method].config.items():
        default = getattr(METHODS[card.method].load()[0](), key)
        assert (f"--set {key}={value}" in card.command) == (value != default)
    assert sorted(file.name for file in path.parent.iterdir()) == ["tiny.json", path.name]


@pytest.mark.parametrize("shape", ["native", "wide", "narrow"])
def test_the_model_and_the_run_give_the_same_completion(exported, shape):
    run, path = exported
    limits = parse_card(path.with_suffix(".json").read_bytes(), "tiny.json").limits
    unit = max(16, limits.multiple)
    size = {"native": (limits.native,) * 2, "wide": (4 * unit, 7 * unit), "narrow": (24 * unit, unit)}[shape]
    if shape != "native" and limits.native == limits.largest:
        pytest.skip("takes native windows only")
    rng = np.random.default_rng(0)
    image = rng.random((1, 3, *size), np.float32)
    hole = (rng.random((1, 1, *size)) < 0.3).astype(np.float32)
    image *= 1 - hole
    expected = export.predictor(run)[0](image, hole, seed=0)
    got = load(path).predictor(image, hole, seed=0)
    assert got.shape == expected.shape == image.shape
    np.testing.assert_allclose(got, expected, atol=export.TOLERANCE)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_keeps_to_its_cores(tmp_path, threads):
    seen, before = [], torch.get_num_threads()
    model = load(make_run(tmp_path / "run", "glcic"), threads=threads)
    model.predictor.module.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    side = model.predictor.limits.native
    model.predictor(np.zeros((1, 3, side, side), np.float32), np.ones((1, 1, side, side), np.float32), seed=0)
    assert seen == [threads] and torch.get_num_threads() == before


def test_windows_get_the_bits_of_their_own_in_any_company_on_any_cores(exported):
    _, path = exported
    side = load(path).predictor.limits.smallest
    rng = np.random.default_rng(1)
    image = rng.random((3, 3, side, side), np.float32)
    hole = (rng.random((3, 1, side, side)) < 0.3).astype(np.float32)
    one, two = (load(path, threads=threads).predictor for threads in (1, 2))
    alone = [one(image[i : i + 1], hole[i : i + 1], seed=0) for i in range(3)]
    together = one(image, hole, seed=0)
    assert together.tobytes() == np.concatenate(alone).tobytes()
    if isinstance(one, Shareable):
        assert together.tobytes() == two(image, hole, seed=0).tobytes()


def test_existing_files_are_not_replaced(exported):
    run, path = exported
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="tiny"):
        export.export(run, "tiny", path.parent)
    assert path.read_bytes() == before


def test_export_refuses_a_network_that_onnx_gets_wrong(monkeypatch):
    class Noise(torch.nn.Module):
        def forward(self, image, hole):
            return image + hole

    monkeypatch.setattr(export, "TOLERANCE", -1.0)  # nothing is close enough
    with pytest.raises(ModelError, match="apart"):
        export.to_onnx(Noise(), Limits(native=32, multiple=8, largest=64))


def test_bad_runs_are_one_clear_line(tmp_path):
    with pytest.raises(TrainingError, match="training run"):
        export.predictor(tmp_path)
    unknown = make_run(tmp_path / "unknown", "recurrent", method="deepfill")
    with pytest.raises(TrainingError, match="deepfill"):
        export.predictor(unknown)
    other = make_run(tmp_path / "other", "recurrent")
    state = next((other / "checkpoint").iterdir()) / "state.json"
    document = json.loads(state.read_text())
    document["config"]["width"] = 16
    state.write_text(json.dumps(document))
    with pytest.raises(TrainingError, match="weights that fit"):
        export.predictor(other)
    with pytest.raises(ModelError, match="without folders"):
        export.export(other, "../tiny", tmp_path)


def test_a_resumed_runs_command_keeps_where_it_started(tmp_path):
    run = make_run(tmp_path / "run", "glcic", init="earlier/run", images_before=10)
    state, _ = read_checkpoint(run)
    assert state["settings"]["init"] is None  # the resuming command's
    assert "--init earlier/run" in export.command_line(state, run)


def test_quantizing_draws_crops_as_the_run_drew_its_own(tmp_path, smooth_pixels):
    cv2.imwrite(str(tmp_path / "a.png"), smooth_pixels(80, 90))
    drawn = {
        "size": 32,
        "whole": True,
        "jitter": 0.3,
        "jittered": 0.5,
        "colour": 0.2,
        "mirror": False,
        "seed": 4,
    }
    settings = Settings(data=(str(tmp_path / "*.png"),), output=tmp_path, **drawn)
    state = {"settings": plain(settings)}
    own = data.Photos(index(settings.data), settings, data.SAMPLES)
    got = export.crops(settings.data, state)
    for number in (0, 7, 31):
        image, hole = own[number]
        np.testing.assert_array_equal(got[number][0][0], (image.float() / 255 * ~hole).numpy())
        np.testing.assert_array_equal(got[number][1][0], hole.float().numpy())
    for name in ("whole", "jitter", "jittered", "colour", "mirror"):  # a run from before them
        del state["settings"][name]
    assert len(export.crops(settings.data, state)) == len(got) == 32


@pytest.mark.parametrize(("whole", "canvas", "native"), [(False, 0, 64), (False, 128, 128), (True, 128, 64)])
def test_a_run_on_whole_photographs_makes_a_model_of_whole_pictures(whole, canvas, native):
    state = {"method": "glcic", "settings": {"size": 64, "mask_size": canvas, "whole": whole}}
    assert export.window_limits(state) == Limits(native=native, multiple=4, largest=2 * native, whole=whole)


def test_networks_that_a_run_never_came_to_are_told(tmp_path, capsys):
    begun = {"generator": True, "critic": True, "inverter": False, "enhancement": False}
    numbers = {name: {"begun": value} for name, value in begun.items()}
    run = make_run(tmp_path / "run", "wgan", optimizers=numbers)
    told = "Not trained, as the run ended at step 3: inverter, enhancement."
    assert main(["export", str(run), "--name", "tiny", "--output", str(tmp_path), "--notes", "Small."]) == 0
    assert f"note: {told}\n" in capsys.readouterr().out
    assert parse_card((tmp_path / "tiny.json").read_bytes(), "tiny.json").notes == f"Small. {told}"
    later = make_run(
        tmp_path / "later", "wgan", optimizers=numbers, init="run"
    )  # which may have trained them
    assert export.export(later, "later", tmp_path)
    assert parse_card((tmp_path / "later.json").read_bytes(), "later.json").notes == ""
