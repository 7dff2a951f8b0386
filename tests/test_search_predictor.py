"""Models that search: safetensors and card, the Predictor, variants; the command's --search and --variants."""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_card
from PIL import Image
from safetensors.torch import save
from small import SMALL

import retouch
from retouch.boxes import Limits
from retouch.cli import main
from retouch.errors import MissingExtraError, ModelError
from retouch.methods import METHODS, search
from retouch.models import load
from retouch.training.search_predictor import SearchPredictor, from_safetensors, to_safetensors
from retouch.training.settings import configure

LIMITS = Limits(native=64, multiple=64, largest=64)
SEARCHING = [name for name, entry in METHODS.items() if entry.searches]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """No more cores than the test is given."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name):
    kind, build = METHODS[name].load()
    torch.manual_seed(0)
    method = build(configure(kind, {**SMALL[name].config, "spread": 2.0}), training=False)
    for network in method.networks.values():
        for parameter in network.eval().parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return method


def write(path, data, method="wgan"):
    """A weight file and its card."""
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    card = dataclasses.replace(tiny_card(data, path.stem), method=method, limits=LIMITS, sha256=digest)
    path.with_suffix(".json").write_text(card.to_json())
    return path


@pytest.fixture(scope="module", params=SEARCHING)
def model(request, tmp_path_factory):
    """A tiny model that searches, of random weights, with its card."""
    path = tmp_path_factory.mktemp("models") / f"{request.param}.safetensors"
    return write(path, to_safetensors(request.param, make(request.param)), request.param)


@pytest.fixture
def wgan(tmp_path):
    return write(tmp_path / "wgan.safetensors", to_safetensors("wgan", make("wgan")))


def batch(count=3):
    rng = np.random.default_rng(0)
    image, hole = rng.random((count, 3, 64, 64), np.float32), np.zeros((count, 1, 64, 64), np.float32)
    hole[:, :, 20:40, 10:50] = 1
    return image * (1 - hole), hole


# ---- the file ---------------------------------------------------------------------------------------------


def test_what_is_loaded_completes_as_what_was_saved(model):
    image, hole = batch(1)
    name = model.stem
    rounded = make(name)  # convolutions and dense layers are kept in 16 bits
    for parameter in (p for network in rounded.networks.values() for p in network.parameters() if p.ndim > 1):
        parameter.data = parameter.half().float()
    expected = SearchPredictor(LIMITS, rounded)(image, hole, seed=3)
    assert np.array_equal(load(model).predictor(image, hole, seed=3), expected)
    assert load(model).card.method == name
    again = to_safetensors(name, load(model).predictor.method)
    assert again == model.read_bytes()


def header(**values):
    return save({"a": torch.zeros(1)}, {"model": json.dumps(values)})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a model in safetensors"),
        (b"nothing of the kind", "a model in safetensors"),
        (save({"a": torch.zeros(1)}), "a model in safetensors"),
        (save({"a": torch.zeros(1)}, {"model": "{"}), "a model in safetensors"),
        (save({"a": torch.zeros(1)}, {"model": "3"}), "a model in safetensors"),
        (header(method="wgan", config=[3]), "a model in safetensors"),
        (header(method="glcic", config={}), "a model of dcgan_search, wgan, got one of 'glcic'"),
        (header(method=["wgan"], config={}), "a model of dcgan_search, wgan, got one of"),
        (
            header(method="wgan", config={"widht": 3}),
            "settings and weights that fit: expected a setting among",
        ),
        (header(method="wgan", config={"width": 2}), "settings and weights that fit: .*Missing key"),
    ],
)
def test_other_files_are_one_clear_line(tmp_path, data, message):
    with pytest.raises(ModelError, match=f"x.safetensors: expected {message}") as caught:
        load(write(tmp_path / "x.safetensors", data))
    assert "\n" not in str(caught.value)


def test_a_latent_size_that_does_not_fit_is_one_clear_line():
    method = make("wgan")
    method.config = dataclasses.replace(method.config, latent=9)
    with pytest.raises(ModelError, match=r"expected settings and weights that fit: .*size mismatch"):
        from_safetensors(to_safetensors("wgan", method), LIMITS, "x.safetensors")


def test_a_changed_file_is_refused(wgan):
    wgan.write_bytes(wgan.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match=r"wgan.safetensors: expected SHA-256 .* damaged or was changed"):
        load(wgan)


def test_without_pytorch_it_is_one_clear_line(wgan, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith(("retouch.training", "retouch.methods."))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        MissingExtraError, match=r"a model that searches, needs the extra 'train': pip install"
    ):
        load(wgan)


def test_a_shipped_one_is_listed(wgan, monkeypatch, capsys):
    monkeypatch.setattr("retouch.cards.weights_folder", lambda: wgan.parent)
    assert list(retouch.models()) == ["wgan"]
    assert load("wgan").card == retouch.models()["wgan"]
    assert main(["models", "--json"]) == 0
    (shipped,) = json.loads(capsys.readouterr().out)["models"]
    assert shipped["bytes"] == wgan.stat().st_size


# ---- the predictor ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["paper", "inverter"])
def test_the_same_bytes_for_a_seed_whatever_shares_the_batch(model, how):
    predictor = load(model, search=how).predictor
    image, hole = batch()
    together = predictor(image, hole, seed=1)
    for i in (2, 0, 1):
        assert np.array_equal(predictor(image[i : i + 1], hole[i : i + 1], seed=1)[0], together[i])
    assert predictor(image[:1], hole[:1], seed=99_999_999_999_999_999_999_999).shape == (1, 3, 64, 64)
    if how == "paper":  # the inverter's z itself has no seed, and may win
        assert not np.array_equal(predictor(image, hole, seed=2), together)


def test_known_pixels_are_returned_and_inputs_left_alone(model):
    image, hole = batch()
    before = image.copy(), hole.copy()
    completed = load(model).predictor(image, hole, seed=0)
    known = np.broadcast_to(hole == 0, image.shape)
    assert np.array_equal(completed[known], image[known])
    assert np.array_equal(image, before[0]) and np.array_equal(hole, before[1])


def test_threads_are_put_back(wgan, monkeypatch):
    before, said = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", said.append)
    load(wgan, threads=before + 1).predictor(*batch(1), seed=0)
    assert said == [before + 1, before]


@pytest.mark.parametrize("how", ["paper", "inverter"])
def test_variants_are_different_and_in_the_order_of_their_losses(model, how):
    predictor = load(model, search=how).predictor
    image, hole = batch(1)
    answers = [each(image, hole, seed=0) for each in predictor.variants(4)]
    assert len({answer.tobytes() for answer in answers}) == 4
    method = predictor.method
    expected = search.completions(
        method,
        torch.from_numpy(image),
        torch.from_numpy(hole),
        generator=torch.Generator().manual_seed(0),
        how=how,
        count=4,
    )
    assert all(np.array_equal(a, b) for a, b in zip(answers, expected.numpy(), strict=True))


def test_variants_search_once(wgan, monkeypatch):
    predictor = load(wgan).predictor
    calls = []
    completions = search.completions
    monkeypatch.setattr(search, "completions", lambda *a, **o: calls.append(1) or completions(*a, **o))
    for each in predictor.variants(3):
        each(*batch(1), seed=0)
    assert len(calls) == 1


@pytest.mark.parametrize("how", ["paper", "inverter"])
def test_it_tells_how_far_it_is_and_ends_when_told(model, how):
    predictor = load(model, search=how).predictor
    image, hole = batch(1)
    told = []
    found = predictor.watched(told.append)(image, hole, seed=0)
    assert np.array_equal(found, predictor(image, hole, seed=0))
    steps = search.most_steps(predictor.method.config, how)
    assert told[:3] == [0, 1 / steps, 2 / steps] and told == sorted(told) and told[-1] <= 1

    def stop(share):
        told.append(share)
        raise InterruptedError

    told.clear()
    for each in predictor.variants(2):
        with pytest.raises(InterruptedError):
            each.watched(stop)(image, hole, seed=0)
    assert told == [0, 0]


def test_an_unknown_search_is_one_clear_line(wgan):
    with pytest.raises(ModelError, match="search: expected one of paper, inverter, got 'best'"):
        load(wgan, search="best")


# ---- photographs ------------------------------------------------------------------------------------------


def picture(width, height):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 3 : height // 2, width // 4 : width // 2] = 255
    return pixels, mask


@pytest.mark.parametrize("size", [(64, 64), (17, 23), (512, 300)])
def test_photos_of_any_size(wgan, size):
    pixels, mask = picture(*size)
    (completed,) = load(wgan)(pixels, mask)
    got = np.asarray(completed)
    assert got.shape == pixels.shape
    assert np.array_equal(got[mask == 0], pixels[mask == 0])
    assert not np.array_equal(got[mask > 0], pixels[mask > 0])


def test_num_images(wgan):
    pixels, mask = picture(64, 64)
    answers = load(wgan)(pixels, mask, num_images=3)
    assert len({answer.tobytes() for answer in answers}) == 3
    assert answers[0].tobytes() == load(wgan)(pixels, mask, num_images=3)[0].tobytes()
    assert len(load("telea")(pixels, mask, num_images=3)) == 1


@pytest.fixture
def photo(tmp_path):
    pixels, mask = picture(64, 64)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return [str(tmp_path / "photo.png"), str(tmp_path / "mask.png")]


def test_the_command_writes_variants(wgan, photo, capsys):
    arguments = ["complete", *photo, "--model", str(wgan), "--variants", "3"]
    assert main(arguments) == 0
    files = [Path(photo[0]).with_name(f"photo-completed-{n}.png") for n in (1, 2, 3)]
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == list(map(str, files))
    assert len({file.read_bytes() for file in files}) == 3
    before = [file.read_bytes() for file in files]
    files[0].unlink()
    assert main(arguments) == 2  # the second exists: nothing is written
    assert not files[0].exists()
    assert main([*arguments, "--overwrite", "--search", "inverter"]) == 0
    assert [file.read_bytes() for file in files] == before


def test_the_command_says_that_a_model_has_one_answer(photo, capsys):
    assert main(["complete", *photo, "--model", "telea", "--variants", "4"]) == 0
    assert "note: telea has one answer to a photo and a hole, not 4" in capsys.readouterr().out
    assert Path(photo[0]).with_name("photo-completed.png").exists()


def test_the_command_refuses_a_search_where_there_is_none(photo, capsys):
    assert main(["complete", *photo, "--model", "telea", "--search", "paper"]) == 2
    assert "telea: expected a model that searches for search=paper" in capsys.readouterr().err


def test_the_command_copies_a_photo_without_a_hole_once(wgan, photo, capsys):
    Image.new("L", (64, 64)).save(photo[1])
    assert main(["complete", *photo, "--model", str(wgan), "--variants", "3"]) == 0
    assert capsys.readouterr().out.count("a copy of the photo") == 1
