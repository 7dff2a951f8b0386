"""What the README claims is generated or true."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_names_every_file():
    tree = README.split("## The tree")[1]
    for file in (*ROOT.glob("src/**/*.py"), *ROOT.glob("benchmarks/*.py"), *ROOT.glob("scripts/*.py")):
        if file.name != "__init__.py":
            assert re.search(rf"\b{re.escape(file.name)}\b", tree), (
                f"{file.relative_to(ROOT)} is not in the tree"
            )
    for name in re.findall(r"^ +(\w+\.py) ", tree, re.MULTILINE):
        assert list(ROOT.rglob(f"src/**/{name}")) or list(ROOT.glob(f"benchmarks/{name}")), (
            f"{name} does not exist"
        )


def test_the_tables_are_those_of_the_cards():
    path = ROOT / "scripts" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.updated(README) == README, "run python scripts/update_readme.py"


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
    commands = re.findall(r"^retouch ((?:mask|complete|models).*?)(?: {2,}#.*)?$", README, re.MULTILINE)
    assert len(commands) >= 4
    commands.sort(key=lambda command: not command.startswith("mask"))  # the mask first
    for command in commands:
        if "first.onnx" not in command:  # what training makes
            assert main(command.split()) == 0, command
    assert {"photo-completed.jpg", "out.png", "mask.png"} <= {path.name for path in tmp_path.iterdir()}
