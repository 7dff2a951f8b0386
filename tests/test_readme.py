"""What the README claims is generated or true."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest

from retouch.cards import cards

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def named(tree: str) -> set[str]:
    """The Python files of a tree drawn by indentation, as paths."""
    folders, found = [""], set()
    for spaces, name in re.findall(r"^( {0,4})(\S+)(?: |$)", tree, re.MULTILINE):
        folders[len(spaces) // 2 + 1 :] = [folders[len(spaces) // 2] + name]
        if name.endswith(".py"):
            found.add(folders[-1])
    return found


def test_the_tree_names_every_file():
    tree = README.split("## The tree")[1].split("```")[1]
    own = {
        str(path.relative_to(ROOT)) for top in ("src", "benchmarks") for path in ROOT.glob(f"{top}/**/*.py")
    }
    apart = {"src/retouch/__init__.py", "src/retouch/methods/__init__.py"}  # those with more than a docstring
    assert named(tree) == {path for path in own if not path.endswith("__init__.py")} | apart
    assert all(path.name in tree for path in ROOT.glob("scripts/*"))


def test_the_tables_are_those_of_the_cards():
    path = ROOT / "scripts" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.updated(README) == README, "run python scripts/update_readme.py"
    partial = [card.name for card in module.cards().values() if not card.limits.whole]
    assert partial == re.findall(r"as all but `([\w-]+)` do", README)
    assert module.details() == (ROOT / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_pictures_are_there():
    for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / target).is_file()


def test_the_commands_are_real(tmp_path, monkeypatch):
    """Every `retouch ...` line that completes or draws something runs as printed."""
    cv2 = pytest.importorskip("cv2")
    np = pytest.importorskip("numpy")
    from retouch.cli import main

    monkeypatch.chdir(tmp_path)
    photo = np.full((48, 64, 3), 90, np.uint8)
    photo[:, 20:40] = 160
    cv2.imwrite("photo.jpg", photo)
    Path("photos").mkdir()
    cv2.imwrite("photos/photo.jpg", photo)
    commands = re.findall(r"^retouch ((?:mask|complete|models).*?)(?: {2,}#.*)?$", README, re.MULTILINE)
    assert len(commands) >= 4
    commands.sort(key=lambda command: not command.startswith("mask"))  # the mask first
    for command in commands:
        if "first.onnx" not in command:  # what training makes
            assert main(command.split()) == 0, command
    assert {"photo-completed.jpg", "out.png", "mask.png"} <= {path.name for path in tmp_path.iterdir()}


LINES = [
    line.partition("  #")[0].strip()
    for name in ("README.md", "CONTRIBUTING.md")
    for line in re.findall(r"^retouch .*", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("line", LINES)
def test_every_command_can_be_read(line):
    """By the command's own parser: names of commands and options, and the types of their values."""
    from retouch.cli import app

    command, _, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert command.__name__ == line.split()[1]


def test_patchmatch_is_what_the_page_says():
    rows = {(row["masks"], row["model"]): row for row in cards()["recurrent-scenes"].quality}
    gains = {}
    for (masks, model), own in rows.items():
        if model == "recurrent-scenes":
            other = rows[masks, "patchmatch"]
            assert other["photos"] == own["photos"] and other["psnr"] < own["psnr"]
            gains[masks] = 1 - other["lpips"] / own["lpips"]
    assert "by a tenth or more in rectangles" in README and len(gains) == 5 and min(gains.values()) > 0
    thin, large = (
        [gain for masks, gain in gains.items() if kind in masks] for kind in ("strokes", "rectangle")
    )
    assert min(large) >= 0.1 > max(thin)
    faces = {(row["masks"], row["model"]): row["lpips"] for row in cards()["recurrent-faces"].quality}
    assert "not for\nfaces" in README
    assert all(
        faces[masks, "patchmatch"] > value for (masks, model), value in faces.items() if "faces" in model
    )


def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, name in (
        ("examples/astronaut.jpg", "photo.jpg"),
        ("examples/astronaut-mask.png", "mask.png"),
    ):
        shutil.copy(ROOT / "src" / "retouch" / source, name)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    found = {}
    exec(code, found)
    assert Path("completed.jpg").is_file() and found["picture"].size == (512, 512)
