"""What a list, a folder or an empty word may hold, and `retouch batch` refuses or leaves out before any work."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from retouch.batch.pairs import plan
from retouch.cli import main
from retouch.errors import DataError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``p/a.png`` with its mask ``m/a.png``; the current folder."""
    monkeypatch.chdir(tmp_path)
    for folder, mode in (("p", "RGB"), ("m", "L")):
        Path(folder).mkdir()
        Image.new(mode, (24, 16)).save(f"{folder}/a.png")
    return tmp_path


def batch(*words: Any) -> int:
    return main(["batch", *words, "--model", "telea"])


def write_list(*outputs: str) -> None:
    rows = ({"image": "p/a.png", "mask": "m/a.png", "output": output} for output in outputs)
    Path("jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


KIND = r"expected an output that can name a file \(whole characters, no NUL, at most 255 bytes between slashes\), got"
BAD_OUTPUTS = [
    (("a\0.png",), rf"line 1: {KIND} 'a\\x00.png'"),
    (("good.png", "a\ud800.png"), rf"line 2: {KIND} 'a\\ud800.png'"),
    ((f"{'x' * 300}.png",), rf"line 1: {KIND} 'x+.png'"),
    ((f"{'ü' * 126}.png/a.png",), rf"line 1: {KIND} 'ü+.png/a.png'"),
    (("x.png", "x.png/y.png"), r"line 1: expected an output that is no folder of another's, got x.png"),
    (("x.png/y/z.png", "./x.png"), r"line 2: expected an output that is no folder of another's, got x.png"),
]


@pytest.mark.parametrize(("outputs", "says"), BAD_OUTPUTS)
def test_outputs_of_a_list_that_no_file_can_have(
    outputs: tuple[str, ...], says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_list(*outputs)
    with pytest.raises(DataError, match=rf"\Ajobs.jsonl, {says}\Z"):
        plan("jobs.jsonl", "", "out", "telea")
    assert batch("jobs.jsonl", "out") == 2
    assert capsys.readouterr().err.count("\n") == 1 and not Path("out").exists()


def test_a_model_that_is_none_is_told_before_any_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("retouch.batch.run.load", loaded)
    Path("jobs.csv").write_text(
        "image,mask,output,model\np/a.png,m/a.png,b.png,\np/a.png,m/a.png,c.png,telae\n"
    )
    assert batch("jobs.csv", "out") == 2
    assert capsys.readouterr().err.startswith("retouch: jobs.csv, line 3: expected a model, got 'telae'")
    assert not Path("out").exists()


def test_outputs_of_a_list_that_a_file_can_have() -> None:
    outputs = ["x.png", "x/y.png", "x.png.d/z.png", f"{'x' * 251}.png", "\udcff.png", ".h.png"]
    write_list(*outputs)
    assert batch("jobs.jsonl", "out") == 0
    assert all(Path("out", output).is_file() for output in outputs)


def test_pipes_are_no_photos() -> None:
    """Opening one waits until somebody writes to it."""
    for name in ("p/f.png", "p/f.tar", "m/f.png"):
        os.mkfifo(name)
    Path("p/link.png").symlink_to("f.png")
    Path("p/gone.png").symlink_to("nowhere.png")
    for photos in ("p", "p/*"):
        found = plan(photos, "m", "out", "telea")
        assert [job.output for job in found.jobs] == ["a.png"]
        assert found.maskless == ("p/gone.png",) and not found.photoless  # a photo is missing: that is told
    with pytest.raises(DataError, match=r"\Ap/f.png: expected photos, got no such file or folder\Z"):
        plan("p/f.png", "m", "out", "telea")


@pytest.mark.parametrize("words", [("", "m", "out"), ("p", "", "out"), ("p", "m", ""), ("p", "m", "file://")])
def test_an_empty_word_is_no_path(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(*words, "--dry-run") == 2
    assert capsys.readouterr().err == "retouch: expected a path or an address, got an empty one\n"
