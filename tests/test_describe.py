"""What `retouch train METHOD --help` and `--preset` know of a method, without PyTorch."""

import dataclasses
import shlex
import subprocess
import sys

import pytest
from small import write_faces
from test_perceptual import vgg_file

from retouch.cards import cards
from retouch.cli import app, main
from retouch.errors import TrainingError
from retouch.masks import parse_ratio
from retouch.methods import METHODS
from retouch.training import describe
from retouch.training.checkpoints import read_checkpoint
from retouch.training.settings import Settings, configure


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_is_described_with_its_source(name):
    kind, _ = METHODS[name].load()
    described = describe.described(name)
    assert [one.name for one in described] == [field.name for field in dataclasses.fields(kind)]
    for one, field in zip(described, dataclasses.fields(kind), strict=True):
        assert eval(one.default, {}) == field.default
        assert one.source, f"{one.name} has no source"


@pytest.mark.parametrize("name", METHODS)
def test_help_prints_every_setting_with_its_default_and_source(name, capsys):
    assert main(["train", name, "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--data" in printed and "--preset" in printed
    for one in describe.described(name):
        assert f"{one.name}={one.default}" in printed and one.source in printed
    assert "quick" in printed


def test_help_has_no_markup(capsys):
    assert main(["train", "--help"]) == 0
    assert "``" not in capsys.readouterr().out


def test_help_needs_no_pytorch():
    code = (
        "import sys; from retouch.cli import main; main(['train', 'glcic', '--help']); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "discriminator_width=64" in done.stdout


PRESETS = [(name, preset) for name in METHODS for preset in describe.presets(name)]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_preset_fits_the_method_and_all_of_it_counts(name, preset, tmp_path):
    both = describe.preset(name, preset)
    kind, build = METHODS[name].load()
    features = (
        {"features": str(vgg_file(tmp_path / "vgg.safetensors"))}
        if (name, preset) == ("recurrent", "paper")
        else {}
    )
    assert build(configure(kind, both["config"] | features)).networks
    words = ["train", name, "--data", "photos", "--output", str(tmp_path), "--preset", preset]
    _, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    wanted = both["settings"] | {k: parse_ratio(v) for k, v in both["settings"].items() if k == "ratio"}
    assert {key: getattr(bound.kwargs["settings"], key) for key in wanted} == wanted
    if preset == "paper":  # the defaults are the paper's; ours is where its search starts
        assert set(both["config"].items()) <= {("search", "paper")}
    assert preset != "quick" or 0 < both["settings"]["minutes"] <= 5


@pytest.mark.parametrize(
    "card", [card for card in cards().values() if card.command], ids=lambda card: card.name
)
def test_the_shipped_preset_makes_the_networks_that_are_shipped(card):
    _, bound, _ = app.parse_args(shlex.split(card.command)[1:], print_error=False, exit_on_error=False)
    shipped = dict(pair.split("=", 1) for pair in bound.kwargs["set_"])
    preset = describe.preset(card.method, "shipped")["config"]
    if card.name == "glcic-cifar10":  # larger, for smaller pictures
        preset |= {"width": 48}
    if card.name == "search-faces-softmax":  # one of the three losses that are compared
        preset |= {"adversarial_loss": "softmax_cross_entropy"}
    assert shapes(card.method, preset) == shapes(card.method, shipped)


def shapes(method, config):
    kind, build = METHODS[method].load()
    return {
        (name, key): tensor.shape
        for name, network in build(configure(kind, config), training=False).networks.items()
        for key, tensor in network.state_dict().items()
    }


def test_a_preset_stands_in_for_what_is_not_given(tmp_path, capsys):
    photos, output = write_faces(tmp_path / "photos", 32), tmp_path / "run"
    command = ["train", "glcic", "--data", photos, "--output", str(output), "--preset", "quick"]
    given = [
        "--ratio",
        "0.05-0.5",
        "--set",
        "width=8",
        "--steps",
        "1",
        "--sample-every",
        "0",
        "--workers",
        "0",
    ]
    assert main([*command, "--batch", "4", *given, "--threads", "1"]) == 0
    state, _ = read_checkpoint(output)
    quick = describe.preset("glcic", "quick")
    assert state["settings"]["size"] == quick["settings"]["size"]
    assert state["settings"]["masks"] == list(quick["settings"]["masks"])
    assert state["settings"]["batch"] == 4
    assert tuple(state["settings"]["ratio"]) == Settings.ratio == (0.05, 0.5)  # given: it wins
    assert quick["settings"]["ratio"] == "0.05-0.25"
    assert state["config"]["width"] == 8 and state["config"]["vector"] == quick["config"]["vector"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["glcic", "--preset", "fast"], "expected a preset of glcic among paper, quick, shipped, got 'fast'"),
        (["glicc", "--preset", "quick"], "expected a method among"),
        (["glcic", "--steps", "2.5"], "expected a whole number, got '2.5'"),
        (["glcic", "--size", "64.9"], "expected a whole number, got '64.9'"),
        (["glcic", "--threads", "1e1"], "expected a whole number, got '1e1'"),
    ],
)
def test_what_does_not_fit_is_one_line(words, expected, tmp_path, capsys):
    assert main(["train", *words, "--data", str(tmp_path), "--output", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr().err
    assert expected in printed and printed.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_unknown_method_is_named():
    with pytest.raises(TrainingError, match=r"expected a method among .*, got 'gan'"):
        describe.described("gan")
