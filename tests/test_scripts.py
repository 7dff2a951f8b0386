"""The scripts that train the shipped models, run with a command that only writes down how it was called."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retouch.cards import cards
from retouch.cli import app
from retouch.methods import METHODS
from retouch.training.describe import presets
from retouch.training.settings import FIXED, Settings, configure

SCRIPTS = Path(__file__).parents[1] / "scripts"
RUNS = SCRIPTS.parent / "runs"
sys.path.insert(0, str(SCRIPTS))
MODELS = ["glcic-cifar10", "dcgan-faces", "glcic-faces", "wgan-faces", "search-faces-sigmoid",
          "search-faces-softmax", "search-faces-mse", "recurrent-faces"]  # fmt: skip

STAND_IN = """
import json, sys
from pathlib import Path
words = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(json.dumps(words) + "\\n")
value = lambda name: words[words.index(name) + 1]
if words[0] == "train":
    Path(value("--output"), "checkpoint").mkdir(parents=True, exist_ok=True)
    if Path(value("--output")).name == {cut!r}:
        sys.exit(143)
if words[0] == "export":
    Path(value("--output"), value("--name") + ".json").write_text("")
"""


def run(script: str, folder: Path, *arguments: str, cut: str = "") -> tuple[int, list[list[str]]]:
    """Runs a script: its exit status and the commands that it gave, the training ``cut`` being stopped."""
    log = folder / "log.jsonl"
    log.write_text("")
    command = folder / "retouch"
    command.write_text(f"#!{sys.executable}\n" + STAND_IN.format(log=str(log), cut=cut))
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", SCRIPTS / script, *arguments], env=environment, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in log.read_text().splitlines()]


def settings_of(words: list[str]) -> Settings:
    """Checks a command as ``retouch`` itself would, but for what is on the disk."""
    _, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    if words[0] == "train":
        config_of(words)
    return bound.kwargs.get("settings")


def config_of(words: list[str]) -> dict[str, Any]:
    """The method's settings that a command to train asks for, but for the place of the VGG-19."""
    _, bound, _ = app.parse_args(words, print_error=False, exit_on_error=False)
    kind, _ = METHODS[bound.args[0]].load()
    preset = bound.kwargs.get("preset")
    values = presets(bound.args[0])[preset]["config"] if preset else {}
    values |= dict(pair.split("=", 1) for pair in bound.kwargs["set_"])
    config = vars(configure(kind, values))
    return {name: value for name, value in config.items() if name != "features"}


@pytest.mark.parametrize("scale", [1, 8])
def test_train_all_trains_and_exports_every_model(tmp_path: Path, scale: int) -> None:
    arguments = ("data", "vgg.safetensors", str(tmp_path), str(scale), "--precision", "bf16-mixed")
    status, commands = run("train_all.sh", tmp_path, *arguments)
    assert status == 0
    assert [words[0] for words in commands] == ["train", "curves", "export"] * len(MODELS)
    assert [Path(words[words.index("--output") + 1]).name for words in commands[::3]] == MODELS
    for words in commands:
        settings = settings_of(words)
        if settings is not None:
            assert settings.steps % scale == 0 and settings.precision == "bf16-mixed" and not settings.resume
    for words in commands[2::3]:  # what learned from CelebA says so
        name, licence = (words[words.index(option) + 1] for option in ("--name", "--licence"))
        assert licence.startswith(cards()[name].licence.partition(",")[0]), name
    assert run("train_all.sh", tmp_path, *arguments) == (0, [])  # all is done


def test_train_all_goes_on_with_what_was_cut(tmp_path: Path) -> None:
    arguments = ("data", "vgg.safetensors", str(tmp_path))
    status, first = run("train_all.sh", tmp_path, *arguments, cut="glcic-faces")
    assert status == 143 and len(first) == 2 * 3 + 1
    status, second = run("train_all.sh", tmp_path, *arguments)
    assert status == 0
    assert second[0] == [*first[-1], "--resume"]
    assert len(first) + len(second) == 3 * len(MODELS) + 1


def test_train_all_resumes_what_started_from_another_run(tmp_path: Path) -> None:
    arguments = ("data", "vgg.safetensors", str(tmp_path))
    (tmp_path / "k").mkdir()
    status, first = run("train_all.sh", tmp_path, *arguments, cut="recurrent-faces")
    assert status == 143 and settings_of(first[-1]).init == str(tmp_path / "k")
    status, second = run("train_all.sh", tmp_path, *arguments)
    resumed = settings_of(second[0])
    assert status == 0 and resumed.resume and resumed.init is None


def test_the_default_model_can_be_trained_again(tmp_path: Path) -> None:
    status, commands = run("train_recurrent_scenes.sh", tmp_path, "data", "vgg.safetensors", str(tmp_path))
    assert status == 0
    names = sorted(folder.name.removeprefix("scenes-") for folder in RUNS.glob("scenes-*"))
    names.remove("c")  # thrown away: nothing that is shipped began with it
    assert [settings_of(words).output.name for words in commands] == names
    for words in commands:
        kept = json.loads((RUNS / f"scenes-{settings_of(words).output.name}" / "run.json").read_text())
        theirs = shlex.split(kept["command"])[1:]
        ours, done = settings_of(words), settings_of(theirs)
        assert (ours.steps, ours.seed) == (kept["steps"], kept["seed"])
        for name in set(FIXED) - {"data"}:
            assert getattr(ours, name) == getattr(done, name), name
        assert (ours.init is None) == (done.init is None)
        assert config_of(words) == config_of(theirs)


def test_a_wider_run_computes_the_same_and_can_be_trained(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from small import SMALL, write_faces
    from widen_run import widen

    from retouch.training.export import completion, crops
    from retouch.training.loop import train

    config = {**SMALL["glcic"].config, "residual": True}
    settings = Settings(
        data=(write_faces(tmp_path / "faces", 40),), output=tmp_path / "narrow", size=32, batch=2, steps=3, workers=0,
        accelerator="cpu", sample_every=0,
    )  # fmt: skip
    train("glcic", settings, config)
    widen(tmp_path / "narrow", tmp_path / "wide", 3 * config["width"])
    (narrow, state), (wide, _) = (completion(tmp_path / name) for name in ("narrow", "wide"))
    networks = [one.method.networks["generator"] for one in (narrow, wide)]
    image, hole = map(torch.from_numpy, crops(settings.data, state)[0])
    with torch.no_grad():
        before, after = (network(image, hole) for network in networks)
    assert torch.allclose(before, after, atol=1e-6) and before.std() > 0
    few, many = (sum(p.numel() for p in network.parameters()) for network in networks)
    assert many > 5 * few
    onward = replace(settings, output=tmp_path / "onward", init=tmp_path / "wide")
    assert train("glcic", onward, config | {"width": 3 * config["width"]}).step == 3


def test_a_run_between_two_has_the_mean_of_their_weights_and_can_be_trained(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from average_runs import average
    from small import SMALL, write_faces

    from retouch.training.export import completion
    from retouch.training.loop import train

    config = SMALL["glcic"].config
    first = Settings(
        data=(write_faces(tmp_path / "faces", 40),), output=tmp_path / "first", size=32, batch=2, steps=2, workers=0,
        accelerator="cpu", sample_every=0,
    )  # fmt: skip
    train("glcic", first, config)
    train("glcic", replace(first, output=tmp_path / "second", init=str(tmp_path / "first")), config)
    average(tmp_path / "first", tmp_path / "second", tmp_path / "mean", share=0.25)
    modules = [completion(tmp_path / name)[0].state_dict() for name in ("first", "second", "mean")]
    for one, two, mean in zip(*(module.values() for module in modules), strict=True):
        torch.testing.assert_close(mean, 0.75 * one + 0.25 * two if mean.is_floating_point() else two)
    onward = replace(first, output=tmp_path / "onward", init=str(tmp_path / "mean"))
    assert train("glcic", onward, config).images == 4
    train(
        "glcic", replace(first, output=tmp_path / "alone"), {**config, "adversarial": 0.0}
    )  # no discriminator
    for pair in (("first", "alone"), ("alone", "first")):
        average(*(tmp_path / name for name in pair), tmp_path / "-".join(pair))
    modules = [completion(tmp_path / name)[0].state_dict() for name in ("first-alone", "alone-first")]
    for one, two in zip(*(module.values() for module in modules), strict=True):
        assert not one.is_floating_point() or torch.allclose(one, two)
    train("glcic", replace(first, output=tmp_path / "other"), {**config, "width": 2 * config["width"]})
    with pytest.raises(
        SystemExit, match=r"other: expected a run of glcic with the networks of .*first, got another"
    ):
        average(tmp_path / "first", tmp_path / "other", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_is_kept_of_a_run_is_small_and_tells_all(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from keep_run import keep
    from small import SMALL, write_faces

    from retouch.training.loop import train

    write_faces(tmp_path / "faces", 40)
    run = tmp_path / "first"
    settings = Settings(
        data=(str(tmp_path / "faces"),), output=run, size=32, batch=2, steps=3, seed=5, workers=0, log_every=1,
        accelerator="cpu", sample_every=0,
    )  # fmt: skip
    train("glcic", settings, dict(SMALL["glcic"].config))
    for _ in range(2):
        keep(run, tmp_path / "kept")
    told = json.loads((tmp_path / "kept" / "first" / "run.json").read_text())
    assert (told["seed"], told["steps"], told["images"]) == (5, 3, 6)
    assert told["command"].startswith("retouch train glcic --output first") and "total" in told["ended"]
    drawn = (tmp_path / "kept" / "first" / "curves.png").read_bytes()
    assert drawn.startswith(b"\x89PNG") and len(drawn) < 100_000


def test_a_deeper_run_computes_the_same_and_can_be_trained(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from deepen_run import deepen
    from small import SMALL, write_faces

    from retouch.training.export import completion, crops
    from retouch.training.loop import train

    config = {**SMALL["dcgan_direct"].config, "blocks": 1}
    settings = Settings(
        data=(write_faces(tmp_path / "faces", 40),), output=tmp_path / "run", size=64, batch=2, steps=3, workers=0,
        accelerator="cpu", sample_every=0,
    )  # fmt: skip
    train("dcgan_direct", settings, config)
    deepen(tmp_path / "run", tmp_path / "deep", 3)
    (shallow, state), (deep, _) = (completion(tmp_path / name) for name in ("run", "deep"))
    networks = [one.method.networks["generator"] for one in (shallow, deep)]
    image, hole = map(torch.from_numpy, crops(settings.data, state)[0])
    with torch.no_grad():
        before, after = (network(image, hole) for network in networks)
    assert torch.equal(before, after) and before.std() > 0
    assert [len(network.bottleneck) for network in networks] == [1, 3]
    onward = replace(settings, output=tmp_path / "onward", init=str(tmp_path / "deep"))
    assert train("dcgan_direct", onward, config | {"blocks": 3}).step == 3
    new = completion(tmp_path / "onward")[0].method.networks["generator"].bottleneck[2]
    assert new.block[1].weight.abs().max() > 0
    with pytest.raises(SystemExit, match="expected more than its 1 blocks, got 1"):
        deepen(tmp_path / "run", tmp_path / "other", 1)


def test_photographs_are_cut_the_same_for_a_seed(tmp_path: Path) -> None:
    from cut_photos import cut
    from PIL import Image

    (tmp_path / "photos" / "of").mkdir(parents=True)
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (50, 100, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "of" / f"{number}.png")
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        cut(tmp_path / name, data=[str(tmp_path / "photos")], share=(0.1, 0.3), seed=seed)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == [f"of-{number}.png" for number in range(6)]
    read = {
        (name, file): np.asarray(Image.open(tmp_path / name / file))
        for name in ("one", "two", "other")
        for file in files
    }
    for number, file in enumerate(files):
        part = read["one", file]
        assert np.array_equal(part, read["two", file]) and not np.array_equal(part, read["other", file])
        height, width, _ = part.shape
        assert 0.7 <= height / 50 <= 0.9 and abs(width - 2 * height) <= 1
        whole = np.random.default_rng(number).integers(0, 256, (50, 100, 3), dtype=np.uint8)
        views = np.lib.stride_tricks.sliding_window_view(whole, part.shape)[:, :, 0]
        assert (views == part).all(axis=(2, 3, 4)).any()
