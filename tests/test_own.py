"""Models of one's own: a Python file is run, asked for its predictor, and told by line where it is wrong."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from serving import serving

import retouch
from retouch import own
from retouch.batch import lists
from retouch.cli import main
from retouch.errors import DataError, ModelError
from retouch.evaluation import results
from retouch.server.settings import Settings

LAMA = Path(__file__).parents[1] / "scripts" / "lama.py"
MEAN = own.__doc__[own.__doc__.index("import numpy") :]


@pytest.fixture
def mean(tmp_path: Path) -> Iterator[Path]:
    """The example of the module's own words, as a file."""
    before, path = list(sys.path), tmp_path / "mean.py"
    path.write_text(MEAN)
    yield path
    sys.path[:] = before  # where its folder stands from when it is loaded


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Of one colour, and another in the hole."""
    path = tmp_path / "photo.png"
    hole = np.zeros((60, 50, 1), np.uint8)
    hole[20:30, 10:40] = 255
    Image.fromarray(np.where(hole, 0, np.array([10, 20, 30])).astype(np.uint8)).save(path)
    Image.fromarray(hole[..., 0]).save(tmp_path / "mask.png")
    return path


def test_the_example_completes(mean: Path, photo: Path, tmp_path: Path) -> None:
    model = retouch.load(mean)
    (picture,) = model(photo, tmp_path / "mask.png", blend="none")
    assert (np.asarray(picture) == (10, 20, 30)).all()
    assert model.card is None and len(model.sha256) == 64
    assert isinstance(model.predictor.limits, retouch.Limits)


def test_the_command_takes_it(mean: Path, photo: Path, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    command = [sys.executable, "-m", "retouch", "complete", str(photo), str(tmp_path / "mask.png")]
    done = subprocess.run([*command, "--model", "mean.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} - before == {
        "photo-completed.png"
    }  # and no __pycache__


def test_batch_and_service_take_it(mean: Path, photo: Path, tmp_path: Path) -> None:
    retouch.complete(photo, tmp_path / "mask.png", model=mean, output=tmp_path / "one.png")
    assert (
        main(["batch", str(photo), str(tmp_path / "mask.png"), str(tmp_path / "out"), "--model", str(mean)])
        == 0
    )
    assert (tmp_path / "out" / "photo.png").read_bytes() == (tmp_path / "one.png").read_bytes()
    with serving(Settings(model=str(mean))) as site:
        files = {"image": photo.read_bytes(), "mask": (tmp_path / "mask.png").read_bytes()}
        answer = site.post("/api/v1/inpaint", files=files)
        assert answer.content == (tmp_path / "one.png").read_bytes()
        assert site.get("/api/v1/model").json()["name"] == "mean"


@pytest.mark.parametrize("name", ["recurrent-scenes", "telea"])
def test_the_service_knows_it_from_the_model_of_its_name(mean: Path, name: str) -> None:
    mean = mean.rename(mean.with_name(f"{name}.py"))
    with serving(Settings(model=str(mean))) as site:
        (own,) = (model for model in site.get("/api/v1/models").json() if model["name"] == name)
    about = [own[key] for key in ("good_for", "licence", "bytes", "classical", "quality")]
    assert about == ["a model of your own", "", 0, False, []]


def test_it_is_run_once(mean: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    mean.write_text(f"print('executed')\n{MEAN}")
    (tmp_path / "photos").mkdir()
    for number in range(2):
        (tmp_path / "photos" / f"{number}.png").write_bytes(photo.read_bytes())
    photos, mask, out = (str(tmp_path / name) for name in ("photos", "mask.png", "out"))
    for asked in (
        ["batch", photos, mask, out, "--model", str(mean)],
        ["batch", photos, mask, out, "--model", str(mean), "--resume"],
        ["evaluate", "--data", photos, "--output", str(tmp_path / "measured"), "--model", str(mean)],
    ):
        assert main(asked) == 0
        assert capfd.readouterr().out.count("executed") == 1, asked
        (tmp_path / "out" / "1.png").unlink(missing_ok=True)


@pytest.mark.parametrize(("height", "width"), [(60, 50), (64, 64), (150, 90)])
def test_lama_completes_pictures_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    """A network of LaMa's inputs and outputs, of one size: a quarter of white in the hole, all else shown again."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, depth, 64, 64])
        for name, depth in (("image", 3), ("mask", 1), ("output", 3))
    ]
    numbers = [numpy_helper.from_array(np.float32(value), f"n{value:g}") for value in (0.25, 1, 255)]
    nodes = [
        helper.make_node("Sub", ["n1", "mask"], ["known"]),
        helper.make_node("Mul", ["image", "known"], ["shown"]),
        helper.make_node("Mul", ["mask", "n0.25"], ["filled"]),
        helper.make_node("Add", ["shown", "filled"], ["sum"]),
        helper.make_node("Mul", ["sum", "n255"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "lama", values[:2], values[2:], numbers)
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "small.onnx").write_bytes(network.SerializeToString())
    monkeypatch.setenv("LAMA", str(tmp_path / "small.onnx"))

    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), bool)
    mask[5 : height - 9, 20:40] = True
    (picture,) = retouch.load(LAMA)(photo, mask, blend="none")
    assert (np.asarray(picture) == np.where(mask[..., None], 64, photo)).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_measured_beside_the_others(mean: Path, photo: Path, tmp_path: Path, workers: int) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(2):
        (tmp_path / "photos" / f"{number}.png").write_bytes(photo.read_bytes())
    asked = [
        "evaluate",
        "--data",
        str(tmp_path / "photos"),
        "--output",
        str(tmp_path / "out"),
        "--masks",
        "center",
    ]
    asked += ["--model", str(mean), "--model", "telea", "--workers", str(workers)]
    assert main(asked) == 0
    rows = results.read(tmp_path / "out").measured
    assert sorted(row["model"] for row in rows) == sorted([str(mean), "telea"] * 2)
    mean.write_text(MEAN + "\n# another\n")
    assert main(asked) == 2  # its results would be others


def test_modules_beside_it_can_be_imported(mean: Path, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "own_beside.py").write_text("NATIVE = 64\n")
    (tmp_path / "own_later.py").write_text("")
    late = MEAN.replace("        known =", "        import own_later\n        known =")
    mean.write_text("import own_beside\n" + late.replace("native=512", "native=own_beside.NATIVE"))
    path = list(sys.path)
    try:
        model = retouch.load(mean)
        assert model.predictor.limits.native == 64
        model(photo, tmp_path / "mask.png")  # which imports the other one
        retouch.load(mean)
        assert sys.path == [*path, str(tmp_path)]
    finally:
        for name in ("own_beside", "own_later"):
            sys.modules.pop(name, None)


def test_files_of_one_name_are_apart(mean: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / mean.name
    other.parent.mkdir()
    other.write_text(MEAN.replace("native=512", "native=64"))
    first, second = retouch.load(mean), retouch.load(other)
    assert (first.predictor.limits.native, second.predictor.limits.native) == (512, 64)
    modules = [sys.modules[type(model.predictor.ask).__module__] for model in (first, second)]
    assert modules[0] is not modules[1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "expected a function predictor(), got none"),
        ("predictor = 3", "expected a function predictor(), got none"),
        ("def predictor(:", "line 1: expected Python that runs, got SyntaxError: "),
        ("\0", "expected Python that runs, got SyntaxError: "),
        ("\n\nimport no_such_module", "line 3: expected Python that runs, got ModuleNotFoundError: No module "),
        ("def predictor():\n    return 1 / 0", "line 2: expected predictor() to return a model, got ZeroDivision"),
        ("import sys\nsys.exit('no lama')", "line 2: expected Python that runs, got SystemExit: no lama"),
        ("def predictor(): quit()", "line 1: expected predictor() to return a model, got SystemExit: None"),
        ("def predictor(a):\n    return a", "expected predictor() to return a model, got TypeError: "),
        ("def predictor(): return 3", "expected predictor() to return a callable with retouch.Limits, got int"),
        ("def predictor(): return max", "retouch.Limits, got builtin_function_or_method without limits"),
        (MEAN.replace("retouch.Limits(native=512, multiple=8, largest=2048)", "512"), "Mean with limits of type int"),
        (MEAN.replace("    limits =", "    @property\n    def limits(self): 1 / 0 #"), "line 6: expected predictor()"),
        (MEAN.replace("multiple=8", "multiple=7"), "expected limits with native >= 16"),
        (MEAN.replace("native=512", "native=1024 / 2"), "expected limits in whole numbers of pixels, got native=512.0"),
        (MEAN.replace("largest=2048", "largest='2048'"), "multiple=8, largest='2048', smallest=0"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_one_line(mean: Path, source: str, words: str) -> None:
    mean.write_text(source)
    with pytest.raises(ModelError) as caught:
        retouch.load(mean)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.py: expected the Python of a model, got: No such file"):
        retouch.load(tmp_path / "none.py")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("return image[:, :2]", "expected the model to return floats of shape"),
        ("return None", "expected the model to return floats of shape"),
        ("return image * 255", r"expected the model to return values in \[0, 1\], got some from 0 to 30"),
        (
            "return 2 * image - 1",
            r"expected the model to return values in \[0, 1\], got some from -1 to -0\.7",
        ),
        ("return image * np.nan", "expected the model to return finite values"),
        ("return missing", r"mean\.py, line 8: expected to complete a window, got NameError: name 'missing'"),
        ("raise SystemExit", r"mean\.py, line 8: expected to complete a window, got SystemExit: SystemExit"),
    ],
)
def test_a_model_that_fails_is_one_line(
    mean: Path, photo: Path, line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mean.write_text("\n".join(MEAN.splitlines()[:7]) + f"\n        {line}\n" + MEAN[MEAN.index("\ndef") :])
    with pytest.raises(ModelError, match=words):
        retouch.load(mean)(photo, photo.with_name("mask.png"))
    assert main(["complete", str(photo), str(photo.with_name("mask.png")), "--model", str(mean)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not photo.with_name("photo-completed.png").exists()


def test_a_list_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text("image,mask,model\na.png,b.png,mean.PY\n")
    with pytest.raises(DataError, match=r"line 2: expected a model that is no Python file.*got mean\.PY"):
        lists.read(str(tmp_path / "jobs.csv"))
