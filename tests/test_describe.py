"""What `retouch train METHOD --help` and `--preset` know of a method, without PyTorch."""

import dataclasses
import subprocess
import sys

import pytest
from small import write_faces

from retouch.cli import main
from retouch.errors import TrainingError
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


def test_help_needs_no_pytorch():
    code = (
        "import sys; from retouch.cli import main; main(['train', 'glcic', '--help']); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "discriminator_width=64" in done.stdout


@pytest.mark.parametrize("name", METHODS)
def test_the_quick_preset_fits_the_method(name, tmp_path):
    quick = describe.preset(name, "quick")
    kind, build = METHODS[name].load()
    assert build(configure(kind, quick["config"])).networks
    settings = Settings(data=("photos",), output=tmp_path, **quick["settings"])
    assert 0 < settings.minutes <= 5


def test_a_preset_stands_in_for_what_is_not_given(tmp_path, capsys):
    photos, output = write_faces(tmp_path / "photos", 32), tmp_path / "run"
    command = ["train", "glcic", "--data", photos, "--output", str(output), "--preset", "quick"]
    given = [
        "--ratio",
        "0.05",
        "0.5",
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
    assert tuple(state["settings"]["ratio"]) == Settings.ratio != quick["settings"]["ratio"]  # given: it wins
    assert state["config"]["width"] == 8 and state["config"]["vector"] == quick["config"]["vector"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["glcic", "--preset", "fast"], "expected a preset of glcic among quick, got 'fast'"),
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
