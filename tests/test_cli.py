"""The command: what it writes and says, and every bad input as one line, status 2, nothing written."""

import errno
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_network, write_model
from files import avif, contents, heic, png_bomb
from PIL import Image

import retouch
import retouch.own
from retouch import cli, terminal
from retouch.boxes import Limits
from retouch.classical import CLASSICAL
from retouch.engine import FEATHER
from retouch.errors import RetouchError
from retouch.masks import KINDS

COMMANDS = (
    "complete", "models", "methods", "mask", "train", "export", "evaluate", "report", "curves",
    "serve",
    "batch",
    "--install-completion",
)  # fmt: skip
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    """Runs the command in this process, in a folder of its own: arguments -> (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: Any) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def spawn(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own."""
    command = [sys.executable, "-m", "retouch.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


# ---- complete ---------------------------------------------------------------------------------------------


def test_completes_beside_the_photo(say: Say, photo_path: Path, mask_path: Path, hole: np.ndarray) -> None:
    status, out, err = say("complete", photo_path, mask_path, "--model", "telea")
    assert (status, err) == (0, "")
    assert re.fullmatch(r".*photo-completed\.png: 8\.3% of the photo filled by telea in [\d.]+ s\n", out)
    photo, completed = pixels(photo_path), pixels(photo_path.parent / "photo-completed.png")
    assert np.array_equal(photo[~hole], completed[~hole])
    assert not np.array_equal(photo[hole], completed[hole])


def test_all_options_in_any_order(say: Say, photo_path: Path, mask_path: Path, tiny_model: Path) -> None:
    options = [
        "--seed",
        "3",
        "--dilate=2",
        "--feather",
        "4",
        "--blend",
        "poisson",
        "--threads",
        "1",
        "--overwrite",
    ]
    status, out, _ = say(
        "complete", "--model", tiny_model, photo_path, *options, "--output", "o.tif", mask_path
    )
    assert status == 0
    assert out.startswith("o.tif: ")
    assert (
        say("complete", photo_path, mask_path, "--model", tiny_model, *options, "--output", "p.tif")[0] == 0
    )
    assert Path("o.tif").read_bytes() == Path("p.tif").read_bytes()


def test_overwrites_when_asked(say: Say, photo_path: Path, mask_path: Path) -> None:
    Path("o.png").write_bytes(b"old")
    assert (
        say("complete", photo_path, mask_path, "--model", "telea", "--output", "o.png", "--overwrite")[0] == 0
    )
    assert pixels("o.png").shape == (50, 60, 3)


def test_never_over_its_mask(say: Say, photo_path: Path, mask_path: Path) -> None:
    before = mask_path.read_bytes()
    Path("link.png").symlink_to(mask_path)
    for output in (mask_path, "link.png"):
        options = "--model", "telea", "--output", output, "--overwrite"
        status, out, err = say("complete", photo_path, mask_path, *options)
        assert (status, out) == (2, "") and re.fullmatch(
            "retouch: expected an output apart from the mask, .*\n", err
        )
    assert mask_path.read_bytes() == before


def test_a_name_with_a_line_break_is_told_whole(say: Say, mask_path: Path) -> None:
    status, _, err = say("complete", "new\nline.png", mask_path)
    assert status == 2 and err.count("\n") == 1 and "new line.png" in err


def test_a_private_file_stays_private(say: Say, photo_path: Path, mask_path: Path) -> None:
    photo_path.chmod(0o640)
    options = "--model", "telea", "--output", photo_path, "--overwrite"
    assert say("complete", photo_path, mask_path, *options)[0] == 0
    assert photo_path.stat().st_mode & 0o777 == 0o640


def test_a_pipe_and_a_folder_are_no_outputs(say: Say, photo_path: Path, mask_path: Path) -> None:
    os.mkfifo("pipe.png")
    Path("folder").mkdir()
    for output, kind in (("pipe.png", "a device or a pipe"), ("folder", "a folder")):
        options = "--model", "telea", "--output", output, "--overwrite"
        status, _, err = say("complete", photo_path, mask_path, *options)
        assert status == 2 and f"expected an output file, got {kind}: {output}\n" in err
    assert Path("pipe.png").is_fifo()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_without_a_hole_it_copies(say: Say, photo_path: Path, suffix: str) -> None:
    photo = photo_path.with_suffix(f".{suffix}")
    Image.fromarray(pixels(photo_path)).save(photo)
    Image.new("L", (60, 50)).save("empty.png")
    status, out, err = say("complete", photo, "empty.png", "--output", f"copy.{suffix}", "--model", "telea")
    assert (status, out, err) == (0, f"copy.{suffix}: a copy of the photo, as the mask has no hole\n", "")
    assert Path(f"copy.{suffix}").read_bytes() == photo.read_bytes()


def test_without_a_hole_in_another_format(say: Say, photo_path: Path) -> None:
    Image.new("L", (60, 50)).save("empty.png")
    assert say("complete", photo_path, "empty.png", "--output", "copy.bmp", "--model", "telea")[0] == 0
    assert np.array_equal(pixels("copy.bmp"), pixels(photo_path))
    assert Path("copy.bmp").read_bytes()[:2] == b"BM"


def test_says_what_was_converted(say: Say, mask_path: Path) -> None:
    Image.new("CMYK", (60, 50), (10, 20, 30, 40)).save("cmyk.jpg")
    status, out, _ = say("complete", "cmyk.jpg", mask_path, "--model", "telea")
    assert status == 0
    assert re.search(r"^note: .*CMYK", out, re.MULTILINE)


def test_a_copy_has_nothing_converted(say: Say) -> None:
    Image.new("CMYK", (60, 50), (10, 20, 30, 40)).save("cmyk.jpg")
    Image.new("L", (60, 50)).save("empty.png")
    status, out, _ = say("complete", "cmyk.jpg", "empty.png", "--model", "telea")
    assert (status, out) == (0, "cmyk-completed.jpg: a copy of the photo, as the mask has no hole\n")


def test_one_file_for_two_purposes(say: Say, photo_path: Path, mask_path: Path) -> None:
    status, _, err = say("complete", "photo.png", f"./{photo_path.name}")
    assert (status, "expected a photo and its mask, got photo.png for both" in err) == (2, True)
    before = photo_path.read_bytes()
    status, _, err = say("mask", "center", photo_path, "--like", photo_path, "--overwrite")
    assert (status, "expected an output apart from the photo" in err) == (2, True)
    assert photo_path.read_bytes() == before


@pytest.mark.parametrize(("words", "told"), [("c", "c"), ("c d e f g", "c, d, e and 2 more")])
def test_words_too_many(words: str, told: str, say: Say) -> None:
    status, _, err = say("complete", "a", "b", *words.split())
    assert (status, err) == (
        2,
        f"retouch: expected fewer words, got {told} too "
        "(an option is repeated before each of its values; a pattern has to be quoted)\n",
    )  # fmt: skip


def test_a_photo_without_a_suffix(say: Say, photo_path: Path, mask_path: Path) -> None:
    photo_path.rename("photo")
    status, _, err = say("complete", "photo", mask_path)
    assert (status, "expected an output (--output) for a photo whose name has no suffix" in err) == (2, True)
    assert say("complete", "photo", mask_path, "--output", "done.png", "--model", "telea")[0] == 0


def test_odd_names(say: Say, photo_path: Path, mask_path: Path) -> None:
    folder = Path("a b")
    folder.mkdir()
    name = os.fsdecode(b"caf\xe9 \x1b[31m\n.png")  # not UTF-8, a colour, a line break
    photo = folder / name
    photo.write_bytes(photo_path.read_bytes())
    status, out, _ = say("complete", photo, mask_path, "--model", "telea")
    assert (status, out.count("\n"), "\x1b" in out) == (0, 1, False)
    assert len(list(folder.iterdir())) == 2


def test_image_named_like_an_option(say: Say, photo_path: Path, mask_path: Path) -> None:
    photo_path.rename("-photo.png")
    status, _, _ = say("complete", "--model", "telea", "--", "-photo.png", mask_path)
    assert status == 0
    assert Path("-photo-completed.png").exists()


def test_windows_are_counted_with_the_time_left_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal.windows_done() as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(terminal.time, "monotonic", iter((100.0, 130.0, 160.0, 200.0, 230.0, 230.0)).__next__)
    with terminal.windows_done() as progress:
        assert progress is not None
        for done in (0, 0.5, 1, 2.25):
            progress(done, 6)
    with terminal.windows_done() as progress:  # one window that takes long
        assert progress is not None
        for done in (0.05, 0.5, 1):
            progress(done, 1)
    shown = (
        "0 of 6 windows",
        "0.5 of 6 windows",
        "1 of 6 windows, 0:02:30 left",
        "2.2 of 6 windows, 0:01:40 left",
        "",
        "0.1 of 1 windows",
        "0.5 of 1 windows, 0:00:30 left",
        "1 of 1 windows, 0:00:00 left",
        "",
    )
    assert capsys.readouterr().err == "".join(f"\r\x1b[K{line}" for line in shown)


# ---- bad input --------------------------------------------------------------------------------------------


def make_bad_files(folder: Path, photo: Path, weights: bytes) -> None:
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not an image")
    (folder / "truncated.png").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    (folder / "bomb.png").write_bytes(png_bomb(60_000, 50_000))
    Image.new("L", (59, 50), 255).save(folder / "small-mask.png")
    Image.new("L", (60, 50), 255).save(folder / "full-mask.png")
    Image.fromarray(pixels(photo)).convert("RGBA").save(folder / "alpha.png")
    (folder / "exists.png").write_bytes(b"precious")
    (folder / "folder.png").mkdir()
    write_model(folder, "tampered", weights).write_bytes(weights[:-1] + b"!")
    write_model(folder, "truncated", weights).write_bytes(weights[:100])
    write_model(folder, "foreign", tiny_network(names=("x", "y", "z")))
    (folder / "lonely.onnx").write_bytes(weights)


BAD = [  # (arguments, what the line says); PHOTO and MASK are good ones
    ("complete missing.png MASK", r"missing\.png"),
    ("complete . MASK", "expected the file of a photo, got '.'"),
    ("complete / MASK", "expected the file of a photo, got '/'"),
    ("complete PHOTO missing.png", r"missing\.png"),
    ("complete empty.png MASK", "empty file.*empty.png"),
    ("complete PHOTO empty.png", "empty file.*empty.png"),
    ("complete text.png MASK", "text.png"),
    ("complete truncated.png MASK", "truncated.png"),
    ("complete PHOTO truncated.png", "truncated.png"),
    ("complete folder.png MASK", "folder.png"),
    ("complete bomb.png MASK", "60000 x 50000"),
    ("complete PHOTO bomb.png", "60000 x 50000"),
    ("complete PHOTO small-mask.png", r"60 x 50.*59 x 50"),
    ("complete PHOTO full-mask.png", "covers all"),
    ("complete PHOTO MASK --dilate 99", "covers all"),
    ("complete PHOTO MASK --output exists.png", r"exists\.png"),
    ("complete PHOTO MASK --output no/such/folder.png", "folder"),
    ("complete PHOTO MASK --output folder.png", r"folder\.png"),
    ("complete PHOTO MASK --output folder.png --overwrite", r"folder\.png"),
    ("complete PHOTO MASK --output /dev/null/x.png", "/dev/null"),
    ("complete PHOTO MASK --output photo.gif", r"\.png.*\.gif"),
    ("complete PHOTO MASK --output photo", r"\.png"),
    ("complete alpha.png MASK --output alpha.jpg", "alpha"),
    ("complete PHOTO MASK --model telae", "did you mean telea"),
    ("complete PHOTO MASK --model nothing-like-it", "retouch models"),
    ("complete PHOTO MASK --model tampered.onnx", "tampered.onnx: expected SHA-256"),
    ("complete PHOTO MASK --model truncated.onnx", "truncated.onnx: expected SHA-256"),
    ("complete PHOTO MASK --model foreign.onnx", "foreign.onnx: expected inputs"),
    ("complete PHOTO MASK --model lonely.onnx", "lonely.onnx: expected its card lonely.json"),
    ("complete PHOTO MASK --model gone.onnx", "gone.onnx"),
    ("complete PHOTO MASK --model text.png", "text.png"),
    ("complete PHOTO MASK --model folder.png", "folder.png"),
    ("complete PHOTO MASK --model hf:not/a/name", "hf:OWNER/NAME"),
    ("complete PHOTO MASK --modle telea", "--modle.*--model"),
    ("complete PHOTO MASK --seed x", "--seed.*x"),
    ("complete PHOTO MASK --seed -1", "--seed"),
    ("complete PHOTO MASK --seed", "--seed"),
    ("complete PHOTO MASK --dilate -1", "--dilate"),
    ("complete PHOTO MASK --feather 1.5", "--feather"),
    ("complete PHOTO MASK --feather 0", "--feather"),
    ("complete PHOTO MASK --blend soft", "feather.*poisson"),
    ("complete PHOTO MASK --threads 0", "--threads"),
    ("batch PHOTO MASK out --threads 1000000000000", "--threads"),
    ("evaluate --data PHOTO --output out --threads 1000000000000", "--threads"),
    ("complete PHOTO MASK --overwrite=maybe", "--overwrite"),
    ("complete PHOTO MASK third.png", "third.png"),
    ("complete PHOTO", "MASK"),
    ("complete", "IMAGE"),
    ("compleet PHOTO MASK", "compleet.*complete"),
    ("--nonsense", "--nonsense"),
    ("models --jsn", "--jsn.*--json"),
    ("models telea fsr", "fewer words, got fsr"),
    ("methods extra", "extra"),
    ("mask strks --size 64x64 out.png", "strks.*strokes"),
    ("mask strokes out.png", "--like.*--size"),
    ("mask strokes out.png --like PHOTO --size 64x64", "--like.*--size"),
    ("mask strokes --size 64 out.png", "640x480.*64"),
    ("mask strokes --size 0x64 out.png", "0x64"),
    ("mask strokes --size 99999x99999 out.png", "100,000,000"),
    (f"mask strokes --size {'9' * 5000}x64 out.png", "640x480.*999"),
    ("mask strokes --like missing.png out.png", "missing.png"),
    ("mask strokes --size 64x64 --ratio 0.2-0.1 out.png", "0.2-0.1"),
    ("mask strokes --size 64x64 --ratio lots out.png", "lots"),
    ("mask strokes --size 64x64 --seed -3 out.png", "--seed"),
    ("mask strokes --size 64x64 exists.png", r"exists\.png"),
    ("mask strokes --size 64x64 out.gif", r"\.gif"),
    ("mask strokes --size 64x64 out.jpg", "lossless"),
    ("mask strokes --size 64x64", "OUTPUT"),
    ("train", "METHOD"),
    ("train recurrent --output run", "--data"),
    ("train recurrent --data . --output run --batch 0", "batch"),
    ("train recurrent --data . --output run --no-such 3", "--no-such"),
    ("train recurrent --data . --output run --set channels", "KEY=VALUE"),
    ("train recurrent --data . --output run --config missing.toml", "missing.toml"),
    ("train recurrent --data . --output run --config text.png", "TOML"),
    ("export", "RUN"),
    ("export folder.png", "--name"),
    ("--install-completion --shell tcsh", "tcsh.*bash"),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=[arguments for arguments, _ in BAD])
def test_bad_input(
    arguments: str,
    says: str,
    say: Say,
    photo_path: Path,
    mask_path: Path,
    tiny_weights: bytes,
    tmp_path: Path,
) -> None:
    make_bad_files(tmp_path, photo_path, tiny_weights)
    before = contents(tmp_path)
    words = [{"PHOTO": "photo.png", "MASK": "mask.png"}.get(word, word) for word in arguments.split()]
    if words[0] == "complete" and "--model" not in words:
        words += ["--model", "telea"]
    status, out, err = say(*words)
    assert (status, out) == (2, "")
    assert re.fullmatch(r"retouch: [^\n]+\n", err)
    assert re.search(says, err)
    assert "Traceback" not in err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("arguments", ["complete missing.png MASK", "complete PHOTO MASK --sed 3", "no-such"])
def test_bad_input_in_a_process(arguments: str, photo_path: Path, mask_path: Path) -> None:
    before = contents(photo_path.parent)
    words = [{"PHOTO": "photo.png", "MASK": "mask.png"}.get(word, word) for word in arguments.split()]
    done = spawn(*words, cwd=photo_path.parent)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("retouch: ")
    assert contents(photo_path.parent) == before


def test_settings_in_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As Notepad writes it."""
    from retouch.training.command import _from_file

    path = tmp_path / "settings.toml"
    path.write_text("blocks = 3\r\n", encoding="utf-8-sig")
    assert _from_file(path) == {"blocks": 3}


def test_an_unknown_method_is_told_before_pytorch_is_imported(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "lightning", "retouch.training.loop"):
        monkeypatch.setitem(sys.modules, name, None)
    status, _, err = say("train", "pix2pix", "--data", "photos", "--output", "run")
    assert (status, "expected a method among dcgan_direct" in err) == (2, True)


def test_a_mask_is_not_drawn_for_an_output_that_exists(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mask.png").touch()
    monkeypatch.setattr("retouch.masks.draw", lambda *_, **__: pytest.fail("drawn"))
    status, _, err = say("mask", "center", "mask.png", "--size", "9x9")
    assert (status, "expected a new output file" in err) == (2, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_unwritable_folder(say: Say, photo_path: Path, mask_path: Path) -> None:
    Path("locked").mkdir(mode=0o500)
    status, _, err = say("complete", photo_path, mask_path, "--model", "telea", "--output", "locked/o.png")
    assert (status, err.count("\n")) == (2, 1)
    assert "locked" in err


def test_full_disk(say: Say, photo_path: Path, mask_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = contents(photo_path.parent)
    status, out, err = say("complete", photo_path, mask_path, "--model", "telea")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "No space left" in err
    assert contents(photo_path.parent) == before


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (RetouchError("two\nlines and \x1b[31m colour"), 2, "retouch: two lines and \\x1b[31m colour\n"),
        (PermissionError(13, "Permission denied", "x.png"), 2, "retouch: x.png: Permission denied\n"),
        (OSError("something else"), 2, "retouch: something else\n"),
        (MemoryError(), 2, "retouch: expected more memory than there is\n"),
        (MemoryError("9 GiB"), 2, "retouch: expected more memory than there is: 9 GiB\n"),
        (KeyboardInterrupt(), 130, "retouch: interrupted\n"),
    ],
)
def test_errors_of_the_work(
    error: BaseException, status: int, says: str, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(retouch, "methods", fail)
    assert say("methods") == (status, "", says)


def test_a_bug_keeps_its_traceback(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retouch, "methods", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        say("methods")


INTERRUPTED = """
import os, signal, sys
from retouch import cli, classical
from retouch.boxes import Limits

class Slow:
    limits = Limits(256, 1, 1024)
    def __call__(self, image, hole, *, seed):
        os.kill(os.getpid(), signal.SIGINT)
        return image

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
classical.CLASSICAL["slow"] = Slow
sys.exit(cli.main(sys.argv[1:]))
"""


def test_ctrl_c(photo_path: Path, mask_path: Path) -> None:
    before = contents(photo_path.parent)
    command = [sys.executable, "-c", INTERRUPTED, "complete", "photo.png", "mask.png", "--model", "slow"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=photo_path.parent, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "retouch: interrupted\n")
    assert contents(photo_path.parent) == before


def test_ctrl_c_while_it_starts() -> None:
    code = """
import builtins, retouch.__main__ as start
real = builtins.__import__
def interrupted(name, *more, **others):
    if name == "retouch.cli":
        raise KeyboardInterrupt
    return real(name, *more, **others)
builtins.__import__ = interrupted
start.run()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "retouch: interrupted\n")


@pytest.mark.skipif(os.name != "posix", reason="a shell's way to close a stream")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams(photo_path: Path, mask_path: Path, closed: str) -> None:
    command = (
        f"{sys.executable} -m retouch complete photo.png mask.png --model telea --output done.png {closed}"
    )
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=photo_path.parent, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(photo_path.with_name("done.png")) as made, Image.open(photo_path) as photo:
        assert made.size == photo.size


def test_what_an_output_does_not_keep_is_said(photo_path: Path, mask_path: Path, say: Say) -> None:
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    with Image.open(photo_path) as photo:
        photo.save(photo_path.with_name("tagged.png"), exif=tags)
    status, out, _ = say(
        "complete", str(photo_path.with_name("tagged.png")), str(mask_path), "--model", "telea",
        "--output", str(photo_path.with_name("done.bmp")),
    )  # fmt: skip
    assert status == 0 and "note: a BMP keeps no EXIF" in out


def test_reader_that_leaves() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "retouch.cli", "methods", "--json"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=120)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


# ---- models, methods, mask --------------------------------------------------------------------------------


@pytest.fixture
def shipped(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes the tiny model the only one that is shipped."""
    monkeypatch.setattr("retouch.cards.weights_folder", lambda: tiny_model.parent)
    return tiny_model


def test_models(say: Say, shipped: Path) -> None:
    status, out, err = say("models")
    assert (status, err) == (0, "")
    (line,) = (line for line in out.splitlines() if "tiny" in line)
    assert re.search(r"tests +\d\.\d MB, Apache-2\.0 +26\.2", line)
    for name, make in CLASSICAL.items():
        (line,) = (line for line in out.splitlines() if line.split()[:1] == [name])
        assert str(make.__doc__).splitlines()[0] in line  # a pipe has no width: nothing is cut or wrapped


def test_a_model_beside_those_of_the_same_holes(say: Say, shipped: Path) -> None:
    for name in "tiny", str(shipped), "telea":
        status, out, err = say("models", name)
        assert (status, err) == (0, "")
        title, *_ = filter(None, map(str.strip, out.splitlines()))
        assert title == ("telea" if name == "telea" else "tiny")
        figures = [line.split() for line in out.splitlines() if re.search(r"\d\d\.\d\d ", line)]
        assert figures == [
            ["set,", "strokes", "10-20%", "tiny", "26.25", "0.9000"],
            ["telea", "25.25", "0.8000"],
        ]
        shown = json.loads(say("models", name, "--json")[1])
        assert shown["name"] == title
        assert ("bytes" in shown) == (name == "tiny")


def test_nothing_is_known_of_a_model_of_ones_own(say: Say, tmp_path: Path) -> None:
    example = inspect.getdoc(retouch.own)
    (own := tmp_path / "own.py").write_text(example[example.index("import numpy") :])
    status, out, err = say("models", str(own))
    assert (status, out) == (2, "")
    assert "expected a model that has a card" in err
    status, _, err = say("models", "nobody")
    assert (status, "nobody" in err) == (2, True)


def test_models_as_json(say: Say, shipped: Path) -> None:
    status, out, _ = say("models", "--json")
    listed = json.loads(out)
    (model,) = listed["models"]
    assert status == 0
    assert model["bytes"] == shipped.stat().st_size
    assert model["quality"][1]["model"] == "telea"
    assert model["notes"] == "“Notes”: [bold]none[/bold]"
    assert model["default"] is False
    assert [entry["name"] for entry in listed["classical"]] == list(CLASSICAL)


@pytest.mark.parametrize(
    "arguments", [["models"], ["models", "--json"], ["methods", "--json"], ["--version"]]
)
def test_lists_in_a_process_with_a_poor_terminal(arguments: list[str]) -> None:
    done = spawn(*arguments, env=os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "20"})
    assert (done.returncode, done.stderr) == (0, "")
    if "--json" in arguments:
        json.loads(done.stdout)


def test_json_on_a_terminal_that_cannot_show_it(tmp_path: Path) -> None:
    names = tmp_path / "é", tmp_path / "m", tmp_path / "out"
    for folder in names[:2]:
        folder.mkdir()
        Image.new("L", (8, 8)).save(folder / "\U0001f600.png")
    done = spawn("batch", *names, "--dry-run", "--json", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    (job,) = json.loads(done.stdout)["jobs"]
    assert job["image"] == str(names[0] / "\U0001f600.png")


def test_methods(say: Say) -> None:
    status, out, err = say("methods")
    assert (status, err) == (0, "")
    entries = {entry["name"]: entry for entry in json.loads(say("methods", "--json")[1])}
    assert set(entries) == set(retouch.methods())
    for name, entry in entries.items():
        assert name in out
        assert entry["citation"] in out
        assert set(entry["limits"]) == {field.name for field in fields(Limits)}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_mask_like_a_photo(kind: str, say: Say, photo_path: Path) -> None:
    status, out, _ = say("mask", kind, "--like", photo_path, "--ratio", "0.1-0.2", "--seed", 0, "out.png")
    drawn = pixels("out.png")
    assert status == 0
    assert drawn.shape == (50, 60)
    assert set(np.unique(drawn)) == {0, 255}
    assert 0.1 <= (drawn == 255).mean() <= 0.2
    assert out == f"out.png: {kind}, 60 x 50 px, {(drawn == 255).mean():.1%} of them to fill\n"
    assert say("complete", photo_path, "out.png", "--model", "telea")[0] == 0


def test_mask_of_a_size(say: Say) -> None:
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        assert say("mask", "strokes", name, "--size", "64x48", "--seed", seed)[0] == 0
    a, b, c = (Path(f"{name}.png").read_bytes() for name in "abc")
    assert pixels("a.png").shape == (48, 64)
    assert a == b != c


def test_mask_like_a_turned_photo(say: Say, photo_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter for display
    Image.fromarray(pixels(photo_path)).save("turned.jpg", exif=exif)
    assert say("mask", "center", "out.png", "--like", "turned.jpg")[0] == 0
    assert pixels("out.png").shape == (60, 50)


@pytest.fixture
def folder(say: Say, photo_path: Path) -> Path:
    """Photographs of several sizes, one of them in a folder of its own."""
    for name, side in (("photos/a.jpg", 40), ("photos/b.png", 48), ("photos/inner/a.png", 56)):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(photo_path)).resize((side, 40)).save(name)
    return Path("photos")


def test_masks_for_a_folder_are_those_of_an_evaluation(say: Say, folder: Path) -> None:
    options = "--ratio", "0.1-0.2", "--seed", 3
    status, out, _ = say("mask", "strokes", "--like", folder, "masks", *options)
    holes = {name: pixels(f"masks/{name}") == 255 for name in ("a.png", "b.png", "inner/a.png")}
    assert list(contents("masks")) == list(holes)
    mean = np.mean([hole.mean() for hole in holes.values()])
    assert (status, out) == (0, f"masks: strokes for 3 of 3 photographs, {mean:.1%} of the pixels to fill\n")

    drawn = "--masks", "strokes:0.1-0.2", "--seed", 3, "--output", "results"
    assert say("evaluate", "--data", folder, "--model", "telea", *drawn)[0] == 0
    for number, hole in enumerate(holes.values()):
        assert np.array_equal(hole, pixels(f"results/masks/strokes-0.1-0.2/{number:06d}.png") == 255)

    # another program's turn: its pictures are measured on those masks
    assert say("batch", folder, "masks", "elsewhere", "--model", "telea")[0] == 0
    both = "--model", "elsewhere", "--model", "telea", "--output", "both"
    assert say("evaluate", "--data", folder, "--masks", "masks", *both)[0] == 0
    rows = [json.loads(line) for line in Path("both/results.jsonl").read_text().splitlines()[1:]]
    figures = {(row["name"], row["hole"], row["model"]): row["psnr"] for row in rows}
    assert len(figures) == 6
    for (name, hole, model), psnr in figures.items():  # a JPEG is compressed anew by a batch
        if name.endswith(".png"):
            assert psnr == figures[name, hole, "elsewhere" if model == "telea" else "telea"]


def test_masks_for_a_folder_leave_out_what_is_no_photo(say: Say, folder: Path) -> None:
    (folder / "b.png").write_bytes(b"none")
    status, out, _ = say("mask", "blocks", "--like", folder, "masks")
    assert status == 1
    assert re.match(r"failed: photos/b\.png: expected .*\nmasks: blocks for 2 of 3 photographs, ", out)
    assert not Path("masks/b.png").exists() and Path("masks/inner/a.png").exists()


def test_masks_for_a_folder_replace_nothing_unasked(say: Say, folder: Path) -> None:
    Path("masks/inner").mkdir(parents=True)
    Path("masks/inner/a.png").write_bytes(b"old")
    status, _, err = say("mask", "center", "--like", folder, "masks")
    assert status == 2 and "got one that exists (--overwrite replaces it): masks/inner/a.png" in err
    assert contents("masks") == {"inner/a.png": b"old"}
    assert say("mask", "center", "--like", folder, "masks", "--overwrite")[0] == 0
    assert pixels("masks/inner/a.png").shape == (40, 56)


@pytest.mark.parametrize(
    ("kind", "clash", "expected"),
    [
        (
            "strokes",
            "a.png",
            "expected a mask for each photo, got masks/a.png for photos/a.jpg and photos/a.png",
        ),
        ("stroke", None, "stroke"),
    ],
)
def test_masks_for_a_folder_are_refused_before_any_is_drawn(
    kind: str, clash: str | None, expected: str, say: Say, folder: Path
) -> None:
    if clash:
        (folder / clash).write_bytes((folder / "b.png").read_bytes())
    status, _, err = say("mask", kind, "--like", folder, "masks")
    assert status == 2 and expected in err and err.count("\n") == 1
    assert not Path("masks").exists()


def test_masks_never_go_over_their_photos(say: Say, folder: Path) -> None:
    before = contents(folder)
    Path("link").symlink_to(folder)
    for output in (folder, "link", "photos/../photos"):
        status, _, err = say("mask", "center", "--like", folder, output, "--overwrite")
        assert status == 2 and "expected an output apart from the photo" in err
    assert contents(folder) == before


def test_a_shard_cannot_lead_masks_out_of_their_folder(say: Say, folder: Path) -> None:
    with tarfile.open(folder / "shard.tar", "w") as shard:
        shard.add(folder / "b.png", "../out.png")
    status, _, err = say("mask", "center", "--like", folder, "masks")
    assert status == 2 and "expected a name inside of the output, got shard.tar/../out.png" in err
    assert not Path("masks").exists() and not Path("out.png").exists()


# ---- help, version, completion ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str, say: Say) -> None:
    status, out, err = say(*command.split(), "--help")
    assert (status, err) == (0, "")
    assert f"Example: retouch {command}" in out
    assert max(map(len, out.splitlines())) <= 100
    assert len(out.splitlines()) <= {"train": 70, "serve": 50, "batch": 56}.get(command, 24)


def test_help_without_arguments(say: Say) -> None:
    status, out, _ = say()
    assert status == 0
    assert all(command in out for command in COMMANDS)


def test_help_names_all_kinds_of_masks(say: Say) -> None:
    assert f"One of {', '.join(KINDS)}." in say("mask", "--help")[1]


@pytest.mark.parametrize("command", ["complete", "batch"])
def test_help_names_the_band_that_is_taken(command: str, say: Say) -> None:
    assert f"[default: {FEATHER}]" in " ".join(say(command, "--help")[1].replace("│", " ").split())


def test_version(say: Say) -> None:
    assert say("--version") == (0, f"retouch {retouch.__version__}\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ZSH", "ZSH_CUSTOM", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    status, out, err = say("--install-completion", "--shell", shell)
    assert (status, err) == (0, "")
    path = Path(out.partition(": ")[0])
    assert path.is_relative_to(tmp_path)
    assert "retouch" in path.read_text()


def test_shell_completion_of_an_unknown_shell(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclopts.completion import detect

    def unknown() -> str:
        raise detect.ShellDetectionError("unknown")

    monkeypatch.setattr(detect, "detect_shell", unknown)
    assert say("--install-completion") == (
        2,
        "",
        "retouch: expected a known shell, found none: say which with --shell\n",
    )


# ---- without PyTorch --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [avif, heic])
def test_a_photograph_of_a_telephone(make: Any, say: Say) -> None:
    kind = make.__name__.upper()
    Path("IMG_1.heic").write_bytes(make(Image.new("RGB", (60, 50), "teal")))
    Image.new("L", (60, 50)).save("mask.png")
    status, out, _ = say("complete", "IMG_1.heic", "mask.png", "--model", "telea")
    assert status == 0 and "IMG_1-completed.png" in out and f"note: {kind} is written as PNG" in out
    with Image.open("IMG_1-completed.png") as opened:
        assert (opened.format, opened.size) == ("PNG", (60, 50))
    for arguments, words in {
        ("--output", "a.heic"): "expected an output that ends in .png, .jpg, .webp, .tif, .bmp, got .heic",
        ("--output", "b.avif"): "expected an output that ends in .png, .jpg, .webp, .tif, .bmp, got .avif",
        (): "expected a new output file",
    }.items():
        status, _, err = say("complete", "IMG_1.heic", "mask.png", "--model", "telea", *arguments)
        assert status == 2 and words in err and err.count("\n") == 1
    Path("IMG_1.heic").write_bytes(Path("IMG_1.heic").read_bytes()[:150])
    status, _, err = say("complete", "IMG_1.heic", "mask.png", "--model", "telea", "--overwrite")
    assert status == 2 and "expected a whole picture, got a damaged one: IMG_1.heic" in err


def test_heic_without_the_extra(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    Path("IMG_1.heic").write_bytes(heic(Image.new("RGB", (60, 50), "teal")))
    Image.new("L", (60, 50)).save("mask.png")
    status, _, err = say("complete", "IMG_1.heic", "mask.png")
    words = "reading HEIC needs the extra 'heic': pip install '.[heic]' in Retouch's folder: IMG_1.heic"
    assert (status, err) == (2, f"retouch: {words}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        "train recurrent --data . --output run",
        "export run --name x",
        "complete photo.png mask.png --model run",
    ],
)
def test_without_the_extra(arguments: str, photo_path: Path, mask_path: Path) -> None:
    (photo_path.parent / "run/checkpoint").mkdir(parents=True)
    script = (
        "import sys; sys.modules['torch'] = None; from retouch.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=photo_path.parent, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"retouch: .* needs the extra 'train': pip install '\.\[train\]' in Retouch's folder\n", done.stderr
    )
