"""Runs that learn what other models complete: what a step is given, what resumes it, what its model tells of it."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from small import SMALL, write_faces
from test_export import make_run
from test_training import Tiny, assert_same, run, settings, stats

from retouch import sources
from retouch.cli import main
from retouch.errors import ModelError, TrainingError
from retouch.methods import METHODS
from retouch.models import load
from retouch.training import data, export
from retouch.training.loop import train
from retouch.training.teacher import taught, teachers


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_faces(tmp_path_factory.mktemp("teacher") / "photos", 48, 6))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of glcic that mirrors, for crops of 32 px."""
    folder = tmp_path_factory.mktemp("teacher") / "learned"
    config = SMALL["glcic"].config | {"mirror": True}
    return make_run(folder, "glcic", config, settings=export.plain(settings("photos", folder, size=32)))


@pytest.mark.parametrize("names", [("run",), ("telea",), ("run", "telea", "navier-stokes")], ids=str)
def test_a_step_is_given_the_mean_of_what_the_teachers_complete(
    names: tuple[str, ...], photos: str, learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[torch.Tensor, torch.Tensor]] = []

    def step(self: Tiny, image: torch.Tensor, hole: torch.Tensor, k: int, **_: object) -> dict[str, float]:
        given.append((image, hole))
        return {"total": 0.0}

    monkeypatch.setattr(Tiny, "step", step)
    names = tuple(str(learned) if name == "run" else name for name in names)
    asked = settings(photos, tmp_path / "run", size=32, teacher=names, steps=2)
    run(photos, tmp_path / "run", size=32, teacher=names, steps=2)
    own = data.Photos(sources.index((photos,)), asked)
    for number, (image, hole) in enumerate(given):
        pairs = [own[sample] for sample in range(4 * number, 4 * number + 4)]
        true = torch.stack([pixels for pixels, _ in pairs]).float() / 255
        assert torch.equal(hole, torch.stack([missing for _, missing in pairs]).float())
        damaged = true * (1 - hole)
        told = [teacher_says(name, damaged, hole) for name in names]
        expected = torch.where(hole > 0, torch.stack(told).mean(0), true)
        assert (image - expected).abs().max() < 1e-5
        assert (hole * (image - true)).abs().mean() > 1e-3  # it is not what the photographs hold
    assert len(given) == 2


def teacher_says(name: str, damaged: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """What a model completes; of a run, what its network says of the crop alone, not of its mirror image."""
    predictor = load(name).predictor
    if isinstance(predictor, export.TorchPredictor):
        with torch.no_grad():
            told: torch.Tensor = predictor.module.method.networks["generator"](damaged, hole)
        return told
    return torch.from_numpy(predictor(damaged.numpy(), hole.numpy(), seed=0))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_from_a_teacher(method: str, photos: str, tmp_path: Path) -> None:
    losses = []
    for names in ((), ("telea",)):
        asked = settings(photos, tmp_path / str(names), size=SMALL[method].size, steps=1, teacher=names)
        losses += stats(train(method, asked, SMALL[method].config).run)
    alone, led = losses
    assert alone.keys() == led.keys() and alone != led and all(map(math.isfinite, led.values()))


def test_without_a_teacher_images_stay() -> None:
    image = torch.rand(2, 3, 16, 16)
    assert taught((), device=torch.device("cpu"))(image, torch.ones(2, 1, 16, 16)) is image


def test_resume_with_a_teacher_is_exactly_the_uninterrupted_run(
    photos: str, learned: Path, tmp_path: Path
) -> None:
    asked = {"size": 32, "teacher": (str(learned),)}
    run(photos, tmp_path / "whole", **asked)
    run(photos, tmp_path / "parts", **asked, steps=3)
    run(photos, tmp_path / "parts", **asked, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_resume_refuses_another_teacher_and_one_that_has_learned_since(
    photos: str, learned: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(learned, tmp_path / "own")
    asked = {"size": 32, "teacher": (str(own),)}
    run(photos, tmp_path / "run", **asked, steps=1)
    with pytest.raises(TrainingError, match=r"teacher = \['.*own'\] to resume it, got \[\]"):
        run(photos, tmp_path / "run", size=32, resume=True)
    shutil.rmtree(own)
    make_run(own, "glcic", settings=export.plain(settings("photos", own, size=32)), step=4)
    with pytest.raises(
        TrainingError, match=r"expected the run's own teachers to resume it, got other weights of"
    ):
        run(photos, tmp_path / "run", **asked, resume=True)


def test_a_model_tells_what_taught_it_and_has_its_licence(photos: str, learned: Path, tmp_path: Path) -> None:
    path = export.export(learned, "master", tmp_path, licence="of its own")
    config = SMALL["glcic"].config | {"adversarial": 0.0}
    asked = settings(photos, tmp_path / "student", size=32, steps=1, teacher=(str(path), "telea"))
    student = train("glcic", asked, config).run
    card = load(export.export(student, "pupil", tmp_path)).card
    assert card is not None and card.licence == "of its own"
    assert card.training_data == f"{photos}, taught by {tmp_path.name}/master.onnx and telea"
    assert f"--teacher {tmp_path.name}/master.onnx --teacher telea" in card.command


def test_a_student_comes_nearer_to_its_teacher(photos: str, tmp_path: Path) -> None:
    config = {**SMALL["glcic"].config, **SMALL["glcic"].learns, "adversarial": 0.0}
    asked = {"size": 32, "masks": ("center",), "ratio": (0.25, 0.25), "ema": 0.0, "teacher": ("telea",)}
    image = np.random.default_rng(0).random((4, 3, 1, 1), np.float32) * np.ones((1, 1, 32, 32), np.float32)
    hole = np.zeros((4, 1, 32, 32), np.float32)
    hole[..., 8:24, 8:24] = 1
    told = load("telea").predictor(image * (1 - hole), hole, seed=0)
    errors = []
    for steps in (1, 60):
        student = train("glcic", settings(photos, tmp_path / str(steps), steps=steps, **asked), config).run
        completed = load(student).predictor(image * (1 - hole), hole, seed=0)
        errors.append(float((np.abs(completed - told) * hole).sum() / (3 * hole.sum())))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no-such", "expected a model, got 'no-such'"),
        ("empty", "got a folder without checkpoint"),
        (
            "glcic-faces",
            "teacher: expected a model for crops of 32 px, got glcic-faces, for windows of 64 to",
        ),
    ],
)
def test_a_teacher_that_cannot_teach_is_one_line(
    name: str, words: str, photos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises((TrainingError, ModelError)):
        teachers(settings(photos, tmp_path / "run", size=32, teacher=(name,)))
    command = ["train", "glcic", "--data", photos, "--output", "run", "--size", "32", "--set", "size=32"]
    assert main([*command, "--teacher", name]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1 and not Path("run").exists()
