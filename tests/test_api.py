"""The Python API: what is public, that it is quick and free of PyTorch, and what it returns."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import retouch
from retouch import engine
from retouch.boxes import Limits
from retouch.cli import main


def test_all_is_what_is_exported() -> None:
    assert sorted(retouch.__all__) == retouch.__all__
    for name in retouch.__all__:
        assert getattr(retouch, name) is not None
    public = {
        name
        for name, value in vars(retouch).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    typing_only = {"Any", "TYPE_CHECKING", "import_module", "ModuleType"}
    assert public - typing_only == set(retouch.__all__) - {"__version__"}
    assert set(retouch.__all__) <= set(dir(retouch))


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="'retouch' has no attribute 'lod'"):
        _ = retouch.lod  # type: ignore[attr-defined]


def test_functions_stay_though_modules_have_their_names() -> None:
    from retouch.methods import METHODS
    from retouch.models import load

    assert retouch.methods() == METHODS
    assert retouch.methods() is not METHODS
    assert all(name == card.name for name, card in retouch.models().items())
    assert retouch.load is load


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def in_a_process(script: str, *arguments: Any) -> Any:
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_import_is_light() -> None:
    heavy = ["numpy", "cv2", "PIL", "onnxruntime", "rich", "cyclopts", "huggingface_hub", "torch"]
    script = (
        "import json, sys, retouch; print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))"
    )
    assert in_a_process(script, *heavy) == []


def test_no_pytorch_to_complete(photo_path: Path, mask_path: Path, tiny_model: Path) -> None:
    script = """
import json, sys
import retouch
retouch.methods(), retouch.models()
(picture,) = retouch.load(sys.argv[3])(image=sys.argv[1], mask_image=sys.argv[2])
retouch.complete(sys.argv[1], sys.argv[2], model="telea", output=sys.argv[1] + ".png")
print(json.dumps([picture.size, "torch" in sys.modules, "onnxruntime" in sys.modules]))
"""
    assert in_a_process(script, photo_path, mask_path, tiny_model) == [[60, 50], False, True]


def test_classical_needs_no_onnxruntime(photo_path: Path, mask_path: Path) -> None:
    script = """
import json, sys
import retouch
retouch.complete(sys.argv[1], sys.argv[2], model="telea")
print(json.dumps([name for name in sys.argv[3:] if name in sys.modules]))
"""
    assert (
        in_a_process(script, photo_path, mask_path, "torch", "onnxruntime", "huggingface_hub", "rich") == []
    )


def test_call_takes_paths_pictures_and_arrays(photo_path: Path, mask_path: Path, tiny_model: Path) -> None:
    model = retouch.load(tiny_model)
    photo, mask = (Image.fromarray(pixels(path)) for path in (photo_path, mask_path))
    hole = np.asarray(mask) >= 128
    sources = [
        (photo_path, mask_path),
        (str(photo_path), str(mask_path)),
        (photo, mask),
        (np.asarray(photo), np.asarray(mask)),
        (photo, hole),
    ]
    pictures = [model(image=image, mask_image=mask_image) for image, mask_image in sources]
    assert all(len(found) == 1 and isinstance(found[0], Image.Image) for found in pictures)
    assert len({found[0].tobytes() for found in pictures}) == 1
    completed = np.asarray(pictures[0][0])
    assert np.array_equal(completed[~hole], np.asarray(photo)[~hole])
    assert not np.array_equal(completed[hole], np.asarray(photo)[hole])


def test_caller_keeps_its_pixels(photo_path: Path, mask_path: Path) -> None:
    photo, mask = pixels(photo_path), pixels(mask_path)
    before = photo.copy(), mask.copy()
    retouch.load("telea")(photo, mask, dilate=3)
    assert np.array_equal(photo, before[0])
    assert np.array_equal(mask, before[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_completion_is_the_callers_own(dtype: type) -> None:
    """As where one array takes frame after frame of a film, most of them without a hole."""
    frame = np.full((8, 8, 3) if dtype is np.uint8 else (8, 8), 7, dtype)
    (picture,) = retouch.load("telea")(frame, np.zeros((8, 8), bool))
    frame[:] = 9
    assert np.array_equal(np.unique(np.asarray(picture)), [7])


def test_deterministic_models_have_one_completion(
    photo_path: Path, mask_path: Path, tiny_model: Path
) -> None:
    model = retouch.load(tiny_model)
    first = model(photo_path, mask_path, seed=1)
    again = model(photo_path, mask_path, seed=2, num_images=5)
    assert len(first) == len(again) == 1
    assert first[0].tobytes() == again[0].tobytes()
    with pytest.raises(retouch.ModelError, match="num_images: expected a whole number of at least 1, got 0"):
        model(photo_path, mask_path, num_images=0)


def test_model_says_what_it_is(tiny_model: Path) -> None:
    model = retouch.load(tiny_model)
    assert isinstance(model, retouch.Model)
    assert isinstance(model.card, retouch.Card)
    assert (model.name, model.card.name) == (str(tiny_model), "tiny")
    assert model.predictor.limits == model.card.limits


def test_options_reach_the_engine(photo_path: Path, mask_path: Path, hole: np.ndarray) -> None:
    class White:
        limits = Limits(32, 4, 64)
        seeds: set[int] = set()  # noqa: RUF012

        def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
            self.seeds.add(seed)
            return np.ones_like(image)

    white = White()
    model = retouch.Model("white", white)
    (picture,) = model(photo_path, mask_path, seed=7, blend="none", dilate=2)
    assert white.seeds == {7}
    changed = (np.asarray(picture) == 255).all(axis=2)
    assert changed[hole].all()
    assert changed.sum() > hole.sum() * 1.3
    assert retouch.complete(photo_path, mask_path, model=model, blend="none", dilate=2) == picture
    assert retouch.complete(photo_path, mask_path, model=model, feather=3) != picture


def test_complete_writes_the_file_too(
    photo_path: Path, mask_path: Path, tiny_model: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "source.png", tmp_path / "output.png"
    Image.fromarray(pixels(photo_path)).save(source, icc_profile=b"profile" * 30, dpi=(300, 300))
    picture = retouch.complete(source, mask_path, model=tiny_model, output=output)
    written = Image.open(output)
    assert np.array_equal(np.asarray(written), np.asarray(picture))
    assert written.info["icc_profile"] == b"profile" * 30
    with pytest.raises(FileExistsError):
        retouch.complete(source, mask_path, model=tiny_model, output=output)
    retouch.complete(source, mask_path, model=retouch.load("telea"), output=output, overwrite=True)
    assert not np.array_equal(pixels(output), np.asarray(picture))


def test_errors_are_of_one_family(photo_path: Path, mask_path: Path, tmp_path: Path) -> None:
    kinds = [
        retouch.ImageError,
        retouch.MaskError,
        retouch.ModelError,
        retouch.OptionError,
        retouch.TrainingError,
        retouch.MissingExtraError,
    ]
    assert all(issubclass(kind, retouch.RetouchError) for kind in kinds)
    missing = retouch.MissingExtraError("a part", "train")  # as another process may send it
    assert str(pickle.loads(pickle.dumps(missing))) == str(missing)
    with pytest.raises(retouch.MaskError):
        retouch.complete(photo_path, np.ones((5, 5), np.bool_), model="telea")
    with pytest.raises(retouch.ImageError):
        retouch.complete(b"nothing", mask_path, model="telea")
    with pytest.raises(retouch.ModelError):
        retouch.complete(photo_path, mask_path, model="telae")
    with pytest.raises(FileNotFoundError):
        retouch.complete(tmp_path / "no.png", mask_path, model="telea")
    with pytest.raises(retouch.OptionError, match="blend"):
        retouch.complete(photo_path, mask_path, model="telea", blend="soft")  # type: ignore[arg-type]


def test_what_is_converted_or_lost_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the line that called; a copy loses nothing, and the command prints its notes once."""
    photo, output = tmp_path / "photo.jpg", tmp_path / "out.png"
    Image.new("CMYK", (8, 8)).save(photo, comment=b"of mine")
    hole = np.zeros((8, 8), np.bool_)
    copy = retouch.complete(photo, hole, model="telea", output=tmp_path / "copy.jpg")
    assert copy.mode == "RGB" and (tmp_path / "copy.jpg").read_bytes() == photo.read_bytes()
    hole[2:4, 2:4] = True
    with pytest.warns(retouch.RetouchWarning) as told:
        retouch.complete(photo, hole, model="telea", output=output)
    assert [str(one.message).split()[0] for one in told] == ["CMYK", "a"]
    with pytest.warns(retouch.RetouchWarning, match="CMYK") as again:
        retouch.load("telea")(photo, hole)
    assert {one.filename for one in (*told, *again)} == {__file__}
    Image.fromarray(hole).save(tmp_path / "mask.png")
    arguments = [photo, tmp_path / "mask.png", "--output", output, "--overwrite", "--model", "telea"]
    assert main(["complete", *map(str, arguments)]) == 0
    said = capsys.readouterr()
    assert said.out.count("CMYK") == 1 and said.err == ""


@pytest.mark.parametrize("given", [{"threads": 1}, {"search": "paper"}])
def test_a_loaded_model_has_its_own_threads_and_search(tmp_path: Path, given: dict[str, Any]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    Image.new("L", (8, 8)).save(tmp_path / "mask.png")
    with pytest.raises(retouch.ModelError, match=r"^expected threads and search for a model that is named"):
        retouch.complete(tmp_path / "photo.png", tmp_path / "mask.png", model=retouch.load("telea"), **given)


@pytest.mark.parametrize("given", [Path, Path.read_bytes, lambda path: bytearray(path.read_bytes())])
def test_a_photo_without_a_hole_is_copied(tmp_path: Path, given: Callable[[Path], Any]) -> None:
    photo, output = tmp_path / "photo.jpg", tmp_path / "output.jpg"
    Image.effect_noise((40, 30), 60).save(photo, quality=70)
    retouch.complete(given(photo), np.zeros((30, 40), bool), model="telea", output=output)
    assert output.read_bytes() == photo.read_bytes()


def test_an_output_that_appears_meanwhile_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a photo without a hole too, which is copied."""
    photo, output = tmp_path / "photo.png", tmp_path / "output.png"
    Image.new("RGB", (8, 8)).save(photo)
    Image.new("L", (8, 8)).save(tmp_path / "mask.png")

    def complete(*arguments: Any, **named: Any) -> Any:
        output.write_bytes(b"of another")
        return engine_complete(*arguments, **named)

    engine_complete = engine.complete
    monkeypatch.setattr(engine, "complete", complete)
    with pytest.raises(
        FileExistsError, match=r"^expected a new output file, got one that exists .*: .*output\.png$"
    ):
        retouch.complete(photo, tmp_path / "mask.png", model="telea", output=output)
    assert output.read_bytes() == b"of another"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.png", "output.png", "photo.png"]
