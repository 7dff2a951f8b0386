"""`retouch batch`: the same bytes as `retouch complete`, what becomes of bad photos, going on, bounds."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from files import avif, heic
from PIL import Image

import retouch
from retouch import files, terminal
from retouch import image as images
from retouch.batch import local, manifest, run, storage, work
from retouch.batch.pairs import Job, plan
from retouch.batch.settings import Settings
from retouch.cards import DEFAULT
from retouch.cli import main
from retouch.errors import DataError
from retouch.models import load
from retouch.sources import Source

Say = Callable[..., tuple[int, str, str]]
COUNT = 7  # photos in the folder


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smooth_pixels: Callable[[int, int], np.ndarray]
) -> Path:
    """``photos`` of all formats and kinds in folders, each with its mask in ``masks``; the current folder."""
    monkeypatch.chdir(tmp_path)
    pixels = smooth_pixels(40, 48)
    photos = {
        "a.jpg": Image.fromarray(pixels),
        "a.png": Image.fromarray(pixels).convert("RGBA"),
        "x/b.webp": Image.fromarray(np.roll(pixels, 9, axis=1)),
        "x/c.bmp": Image.fromarray(np.roll(pixels, 5, axis=0)),
        "x/y/d.tif": Image.fromarray(pixels[..., 0].astype(np.uint16) * 257),
        "x/y/e.JPG": Image.fromarray(pixels).convert("L"),
        "whole.jpg": Image.fromarray(pixels),
    }
    assert len(photos) == COUNT
    for number, (name, photo) in enumerate(photos.items()):
        path, mask = Path("photos", name), Path("masks", name).with_suffix(".png")
        for folder in (path.parent, mask.parent):
            folder.mkdir(parents=True, exist_ok=True)
        photo.save(path, **({"lossless": True} if name.endswith("webp") else {"quality": 85}))
        hole = np.zeros((40, 48), np.uint8)
        if name != "whole.jpg":
            hole[10:20, 10 + 2 * number : 20 + 2 * number] = 255
        Image.fromarray(hole).save(mask)
    return tmp_path


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs the command in this process: (status, standard output, standard error)."""

    def run_it(*words: Any) -> tuple[int, str, str]:
        status = main(["batch", *map(str, words)])
        out, err = capsys.readouterr()
        return status, out, err

    return run_it


def pictures(folder: str | Path) -> dict[str, bytes]:
    """All files of a folder but the manifest, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != manifest.NAME
    }


def rows_of(folder: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, manifest.NAME).read_text().splitlines()]


def status_of(folder: str | Path) -> dict[str, str]:
    return {row["output"]: row["status"] for row in rows_of(folder)}


# ---- the same bytes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [(), ("--dilate", 2, "--blend", "poisson", "--seed", 3), ("--feather", 3)]
)
def test_the_same_bytes_as_complete(options: tuple[Any, ...], here: Path, say: Say) -> None:
    assert say("photos", "masks", "out", "--model", "telea", *options)[0] == 0
    Path("single/x/y").mkdir(parents=True)
    for photo in Path("photos").rglob("*.*"):
        name = photo.relative_to("photos")
        words = [photo, Path("masks", name).with_suffix(".png"), "--output", Path("single", name), *options]
        assert main(["complete", *map(str, words), "--model", "telea"]) == 0
    assert len(pictures("out")) == COUNT
    assert pictures("out") == pictures("single")
    assert pictures("out")["whole.jpg"] == Path("photos/whole.jpg").read_bytes()


def test_photographs_of_telephones_become_png(tmp_path: Path, here: Path, say: Say) -> None:
    Path("phone").mkdir()
    pixels = np.asarray(Image.open("photos/a.jpg"))
    Path("phone/a.heic").write_bytes(heic(Image.fromarray(pixels)))
    Path("phone/whole.AVIF").write_bytes(avif(Image.fromarray(pixels)))
    assert say("phone", "masks", "out", "--model", "telea", "--partial")[0] == 0
    assert set(pictures("out")) == {"a.png", "whole.png"}
    assert [row["notes"] for row in sorted(rows_of("out"), key=lambda row: row["output"])] == [
        ["HEIC is written as PNG"],
        ["AVIF is written as PNG"],
    ]
    assert main(["complete", "phone/a.heic", "masks/a.png", "--model", "telea"]) == 0
    assert pictures("out")["a.png"] == Path("phone/a-completed.png").read_bytes()
    status, out, _ = say("phone", "masks", "out", "--model", "telea", "--partial", "--resume")
    assert status == 0 and "0 photos completed" in out


@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_bytes_from_a_network(workers: int, here: Path, tiny_model: Path, say: Say) -> None:
    assert say("photos", "masks", "out", "--model", tiny_model, "--workers", workers)[0] == 0
    for name, data in pictures("out").items():
        files.complete(
            f"photos/{name}",
            Path("masks", name).with_suffix(".png"),
            model=tiny_model,
            output=name.replace("/", "-"),
        )
        assert Path(name.replace("/", "-")).read_bytes() == data


def test_the_default_network_gives_one_core_the_same_bytes(
    tmp_path: Path, smooth_pixels: Callable[[int, int], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.fromarray(smooth_pixels(260, 300)).save("photos/a.png")
    hole = np.zeros((260, 300), np.bool_)
    hole[50:110, 100:170] = True
    Image.fromarray(hole).save("mask.png")
    assert main(["batch", "photos", "mask.png", "out"]) == 0
    assert rows_of("out")[0]["model"] == DEFAULT
    retouch.complete("photos/a.png", "mask.png", output="single.png")
    assert Path("single.png").read_bytes() == Path("out/a.png").read_bytes()


def test_the_manifest_tells_all(here: Path, say: Say) -> None:
    status, out, err = say("photos", "masks", "out", "--model", "telea", "--seed", 5)
    assert (status, err) == (0, "")
    assert re.fullmatch(r"out/manifest\.jsonl: 7 photos completed in 0:00:\d\d \([\d.]+ a second\)\n", out)
    for row in rows_of("out"):
        data = Path("out", row["output"]).read_bytes()
        assert row["bytes"] == len(data) and row["sha256"] == hashlib.sha256(data).hexdigest()
        assert row["image"] == f"photos/{row['output']}" and row["mask"].startswith("masks/")
        assert (row["status"], row["model"], row["seed"], row["blend"]) == ("done", "telea", 5, "feather")
        assert row["seconds"] > 0
        hole = images.read_mask(row["mask"], (40, 48)).mean()
        assert row["hole"] == pytest.approx(hole, abs=1e-6)
    assert len(rows_of("out")) == COUNT


def test_json(here: Path, say: Say) -> None:
    status, out, _ = say("photos", "masks", "out", "--model", "telea", "--json")
    told = json.loads(out)
    assert status == 0
    assert (told["done"], told["failed"], told["there"], told["left"], told["failures"]) == (
        COUNT,
        0,
        0,
        0,
        [],
    )


def test_a_list_with_models_and_other_formats(here: Path, tiny_model: Path, say: Say) -> None:
    lines = [
        "image,mask,output,model",
        "photos/a.jpg,masks/a.png,new/a.png,",
        f"photos/a.png,masks/a.png,,{tiny_model}",
    ]
    Path("jobs.csv").write_text("\n".join(lines))
    assert say("jobs.csv", "out", "--model", "telea")[0] == 0
    assert set(pictures("out")) == {"new/a.png", "photos/a.png"}
    assert {row["output"]: row["model"] for row in rows_of("out")} == {
        "new/a.png": "telea",
        "photos/a.png": str(tiny_model),
    }
    retouch.complete("photos/a.jpg", "masks/a.png", model="telea", output="single.png")
    assert Path("out/new/a.png").read_bytes() == Path("single.png").read_bytes()


# ---- bad photos -------------------------------------------------------------------------------------------


def damage() -> None:
    Path("photos/a.jpg").write_bytes(Path("photos/a.jpg").read_bytes()[:200])
    Path("masks/x/c.png").write_bytes(b"")
    Image.new("L", (3, 3), 255).save("masks/x/b.png")
    Image.new("L", (48, 40), 255).save("masks/x/y/d.png")


def test_bad_photos_do_not_stop_the_others(here: Path, say: Say) -> None:
    damage()
    status, out, err = say("photos", "masks", "out", "--model", "telea")
    assert (status, err) == (1, "")
    assert status_of("out") == {
        "a.jpg": "failed",
        "a.png": "done",
        "whole.jpg": "done",
        "x/b.webp": "failed",
        "x/c.bmp": "failed",
        "x/y/d.tif": "failed",
        "x/y/e.JPG": "done",
    }
    assert set(pictures("out")) == {"a.png", "whole.jpg", "x/y/e.JPG"}
    assert "failed: photos/a.jpg: expected a whole picture, got a damaged one: photos/a.jpg (" in out
    assert "failed: photos/x/c.bmp: expected a picture, got an empty file: masks/x/c.png\n" in out
    assert re.search(
        r"failed: photos/x/b.webp: expected a mask of the image's size, 48 x 40, got one of 3 x 3: masks/x/b.png\n",
        out,
    )
    assert re.search(r"failed: photos/x/y/d.tif: expected a hole that leaves known pixels", out)
    assert re.search(r"3 photos completed in .*, 4 failed\n\Z", out)


def test_an_unreadable_photo_and_one_that_vanished(
    here: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = work.read

    def vanishing(job: Job) -> tuple[bytes, bytes]:
        if job.output == "a.jpg":
            os.unlink(job.image.path)
        if job.output == "a.png":
            raise PermissionError(errno.EACCES, "Permission denied", job.image.path)
        return read(job)

    monkeypatch.setattr(work, "read", vanishing)
    status, out, _ = say("photos", "masks", "out", "--model", "telea")
    assert status == 1
    assert "failed: photos/a.jpg: photos/a.jpg: No such file or directory\n" in out
    assert "failed: photos/a.png: photos/a.png: Permission denied\n" in out


def test_a_bug_is_a_failed_photo_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retouch.encode.encode", lambda *_: {}["x"])
    assert main(["batch", "photos", "masks", "out", "--model", "telea"]) == 1
    assert {row.get("error") for row in rows_of("out")} == {None, "KeyError: 'x'"}


def test_only_the_first_failures_are_shown(here: Path, say: Say) -> None:
    for number in range(15):
        Path(f"photos/bad{number}.png").write_bytes(b"bad")
    Image.new("L", (48, 40)).save("mask.png")
    status, out, _ = say("photos", "mask.png", "out", "--model", "telea")
    assert status == 1
    assert out.count("failed: photos/") == 10 and "failed: 5 more\n" in out


def test_fail_fast(here: Path, say: Say) -> None:
    damage()
    status, out, _ = say("photos", "masks", "out", "--model", "telea", "--fail-fast", "--workers", 1)
    assert status == 1
    done = status_of("out")
    assert done["a.jpg"] == "failed" and len(done) < COUNT
    assert re.search(r"\d failed, \d left \(--resume goes on\)\n\Z", out)


# ---- what is refused --------------------------------------------------------------------------------------

BAD = [
    ("photos masks", "expected IMAGES MASKS OUTPUT, or LIST OUTPUT"),
    ("photos masks out --model telae", "did you mean telea"),
    ("photos masks out --workers 0", "workers"),
    ("photos masks out --seed 1.5", "expected a whole number"),
    ("photos masks out --blend soft", "blend"),
    ("photos masks a-file", "a-file: expected a folder, got a file"),
    ("photos masks a-file/out", "a-file/out: expected a folder, got a file there or above"),
    ("photos masks /proc/nowhere", "/proc/nowhere"),
    (
        "photos other out",
        r"expected pairs of photos and masks with the same names, got none: 7 photos without a mask \(photos/.*\) "
        r"and 1 masks without a photo \(other/q\.png\)\Z",
    ),
    (
        "gone.csv out",
        r"got none: 1 masks without a photo \(gone\.csv, line 2: gone\.jpg\)\Z",
    ),
    ("photos ./photos out", r"got none: 7 masks without a photo \(\./photos/"),
    ("photos masks used", r"used: expected a new output, got that of another batch \(--resume goes on"),
    ("photos masks full", r"full: expected a new output, got one that holds a\.jpg\Z"),
    ("photos masks full --resume", r"full: expected a new output, got one that holds a\.jpg\Z"),
    (
        "photos masks used --resume --seed 1",
        r"used: expected seed 0 as .* was made with, got 1: name another",
    ),
    ("photos masks used --resume --model fsr", "used: expected model 'telea'"),
    ("photos masks broken --resume", "manifest.jsonl, line 1: expected a line of JSON"),
    ("photos masks strange --resume", "line 1: expected a line of retouch batch, got one without 'model'"),
    ("photos masks photos/out", "expected an output outside of photos"),
    ("photos broken.png out", r"expected a PNG, JPEG, .* picture, got broken\.png"),
    ("photos red.png out", r"expected a mask with white .*, got none brighter than 76\Z"),
    ("jobs.csv out", r"jobs\.csv, line 1: expected the columns .*'phot'"),
    ("no masks out", "no: expected photos, got no such file or folder"),
    (
        "more masks out",
        r"\(--partial leaves out the rest\), got 1 photos without a mask \(more/z\.png\) and 5 masks",
    ),
]


@pytest.mark.parametrize(("arguments", "says"), BAD, ids=[arguments for arguments, _ in BAD])
def test_bad_input(arguments: str, says: str, here: Path, say: Say) -> None:
    assert say("photos", "masks", "used", "--model", "telea")[0] == 0
    for folder in ("other", "full", "broken", "strange", "more"):
        Path(folder).mkdir()
    Image.new("L", (48, 40)).save("other/q.png")
    Path("a-file").touch()
    Path("broken.png").write_text("no picture")
    red = Image.new("RGB", (48, 40))
    red.putpixel((9, 9), (255, 0, 0))
    red.save("red.png")
    Path("full/a.jpg").write_bytes(b"mine")
    Path("jobs.csv").write_text("phot,mask\n")
    Path("gone.csv").write_text("image,mask\ngone.jpg,masks/a.png\n")
    Path("broken/manifest.jsonl").write_text("{\n")
    Path("strange/manifest.jsonl").write_text('{"output": "a.jpg"}\n')
    for name in ("a.jpg", "z.png"):
        Path("more", name).write_bytes(Path("photos/a.jpg").read_bytes())
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    words = arguments.split()
    status, out, err = say(*words, *([] if "--model" in words else ["--model", "telea"]))
    assert (status, out) == (2, "")
    assert re.fullmatch(r"retouch: [^\n]+\n", err) and "Traceback" not in err
    assert re.search(says, err[:-1])
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_output(here: Path, say: Say) -> None:
    Path("locked").mkdir(mode=0o500)
    for output in ("locked", "locked/out"):
        status, out, err = say("photos", "masks", output, "--model", "telea")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "locked" in err


def test_partial_leaves_out_the_rest(here: Path, say: Say) -> None:
    Path("masks/a.png").unlink()
    Image.new("L", (48, 40)).save("masks/z.png")
    status, _, err = say("photos", "masks", "out", "--model", "telea")
    assert status == 2
    assert (
        "2 photos without a mask (photos/a.jpg, photos/a.png) and 1 masks without a photo (masks/z.png)"
        in err
    )
    assert say("photos", "masks", "out", "--model", "telea", "--partial")[0] == 0
    assert len(pictures("out")) == COUNT - 2


def test_pictures_that_cannot_be_read_are_not_passed_over(here: Path, say: Say) -> None:
    Path("photos/loop.gif").write_bytes(b"GIF89a")
    status, _, err = say("photos", "masks", "out", "--model", "telea")
    assert status == 2 and "1 photos without a mask (photos/loop.gif)" in err
    Image.new("L", (48, 40)).save("masks/loop.png")
    status, out, err = say("photos", "masks", "out", "--model", "telea")
    assert status == 1 and f"{COUNT} photos completed" in out and "1 failed" in out
    assert (
        "failed: photos/loop.gif: expected a PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC picture, got GIF" in out
    )


def test_dry_run(here: Path, say: Say) -> None:
    status, out, err = say("photos", "masks", "out", "--dry-run", "--model", "telea")
    assert (status, err) == (0, "")
    assert "photos/x/b.webp + masks/x/b.png -> out/x/b.webp (telea)\n" in out
    assert out.count(" -> ") == COUNT and out.endswith("nothing was written\n")
    status, out, err = say("photos", "masks", "out", "--dry-run", "--model", "nosuch")
    assert status == 2 and "nosuch" in err
    Path("masks/a.png").unlink()
    Path("masks/z.png").touch()
    status, out, err = say("photos", "masks", "out", "--dry-run")
    assert status == 2 and "--partial" in err
    assert out.count(" -> ") == COUNT - 2
    assert "no mask: photos/a.jpg\nno mask: photos/a.png\nno photo: masks/z.png\n" in out
    status, out, _ = say("photos", "masks", "out", "--dry-run", "--json", "--partial")
    told = json.loads(out)
    assert status == 0 and not Path("out").exists()
    assert len(told["jobs"]) == COUNT - 2 and told["jobs"][0]["model"] == DEFAULT
    assert (told["photos_without_mask"], told["masks_without_photo"]) == (
        ["photos/a.jpg", "photos/a.png"],
        ["masks/z.png"],
    )


def test_a_full_disk_stops_the_run_and_resume_goes_on(
    here: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say("photos", "masks", "undisturbed", "--model", "telea")[0] == 0
    left = threading.Semaphore(4)  # what may be written, and three photos
    synced = os.fsync

    def full(descriptor: int) -> None:
        if not left.acquire(blocking=False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        status, out, err = say("photos", "masks", "out", "--model", "telea")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"retouch: out/\S+: No space left on device\n", err)
    found = pictures("out")
    assert len(found.pop(manifest.BEGUN).splitlines()) == COUNT
    assert len(found) == 3 and found.items() <= pictures("undisturbed").items()
    assert say("photos", "masks", "out", "--model", "telea", "--resume")[0] == 0
    assert pictures("out") == pictures("undisturbed")


def test_a_full_disk_for_the_manifest(here: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    written = os.write
    left = [2]

    def full(descriptor: int, data: bytes) -> int:
        if b'"status"' not in data:
            return written(descriptor, data)
        left[0] -= 1
        return written(descriptor, data if left[0] >= 0 else data[:20])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        status, _, err = say("photos", "masks", "out", "--model", "telea")
    assert status == 2 and re.fullmatch(r"retouch: out/manifest.jsonl: No space left on device\n", err)
    assert len(rows_of("out")) == 2
    assert say("photos", "masks", "out", "--model", "telea", "--resume")[0] == 0
    assert len(pictures("out")) == COUNT


# ---- going on ---------------------------------------------------------------------------------------------


def test_resume_does_exactly_what_is_missing(here: Path, say: Say) -> None:
    damage()
    repaired = {path: path.read_bytes() for path in Path("photos").rglob("*.*")}
    assert say("photos", "masks", "out", "--model", "telea")[0] == 1
    whole = pictures("out")
    Path("out/a.png").write_bytes(whole["a.png"][:-1])  # cut
    flipped = bytearray(whole["whole.jpg"])
    flipped[50] ^= 1
    Path("out/whole.jpg").write_bytes(flipped)
    Image.new("L", (48, 40)).save("masks/x/c.png")  # one is repaired
    with open("out/manifest.jsonl", "ab") as file:
        file.write(b'{"output": "x/y/e.JPG", "sta')  # a line that was cut off
    Path("out/.retouch-0123456789ab.tmp").write_bytes(b"half")
    before = len(rows_of_whole_lines("out"))
    status, out, _ = say("photos", "masks", "out", "--model", "telea", "--resume")
    assert status == 1
    assert re.search(r"3 photos completed in .*, 3 failed, 1 were there\n\Z", out)
    again = rows_of("out")[before:]
    assert {row["output"]: row["status"] for row in again} == {
        "a.png": "done",
        "whole.jpg": "done",
        "x/c.bmp": "done",
        "a.jpg": "failed",
        "x/b.webp": "failed",
        "x/y/d.tif": "failed",
    }
    found = pictures("out")
    assert {name: found[name] for name in whole} == whole and set(found) == {*whole, "x/c.bmp"}
    assert {path: path.read_bytes() for path in Path("photos").rglob("*.*")} == repaired


def rows_of_whole_lines(folder: str) -> list[str]:
    return Path(folder, manifest.NAME).read_text().split("\n")[:-1]


def test_resume_of_a_finished_and_of_a_new_batch(here: Path, say: Say) -> None:
    assert say("photos", "masks", "out", "--model", "telea", "--resume")[0] == 0
    before = Path("out/manifest.jsonl").read_bytes()
    status, out, _ = say("photos", "masks", "out", "--model", "telea", "--resume")
    assert status == 0 and "0 photos completed" in out and f"{COUNT} were there" in out
    assert Path("out/manifest.jsonl").read_bytes() == before
    status, out, _ = say("photos", "masks", "out", "--model", "telea", "--resume", "--dry-run")
    assert status == 0 and f"0 photos to complete, {COUNT} completed already" in out


def test_two_runs_do_not_write_to_one_output(here: Path, say: Say) -> None:
    pytest.importorskip("fcntl")
    with manifest.appending("out"):
        status, _, err = say("photos", "masks", "out", "--model", "telea", "--resume")
    assert status == 2 and "expected an output of this run alone" in err
    assert say("photos", "masks", "out", "--model", "telea", "--resume")[0] == 0


# ---- bounds -----------------------------------------------------------------------------------------------


def test_few_photos_are_in_flight_however_slow_the_reader(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds for 500 jobs holds for any number: no photo is read before another one's row was taken."""
    workers, reads, computing, most = 2, [0], [0], [0]
    lock = threading.Lock()
    read, completed = work.read, work.completed

    def counted_read(job: Job) -> tuple[bytes, bytes]:
        with lock:
            reads[0] += 1
        return read(job)

    def counted_work(*given: Any) -> Any:
        with lock:
            computing[0] += 1
            most[0] = max(most[0], computing[0])
        try:
            return completed(*given)
        finally:
            with lock:
                computing[0] -= 1

    monkeypatch.setattr(work, "read", counted_read)
    monkeypatch.setattr(work, "completed", counted_work)
    photo, mask = Source("photos/a.png", "", 0, -1), Source("masks/a.png", "", 0, -1)
    jobs = [Job(photo, mask, f"{number}.png", "telea") for number in range(60)]
    settings = Settings(model="telea", workers=workers)
    done = 0
    for row in local.rows(jobs, "out", settings, {"telea": load("telea")}, threading.Event()):
        done += 1
        assert row["status"] == "done"
        # Those taken, at most as many that are finished and wait, and as many in flight.
        assert reads[0] <= done + 2 * (2 * workers)
    assert done == reads[0] == 60
    assert most[0] <= workers


def test_stopping_between_photos(here: Path) -> None:
    stop = threading.Event()
    told: list[tuple[int, int, int]] = []

    def progress(done: int, total: int, failed: int) -> None:
        told.append((done, total, failed))
        if done == 2:
            stop.set()

    settings = Settings(model="telea", workers=1)
    found = plan("photos", "masks", "out", "telea")
    done = run.run(found, "out", settings, progress, stop)
    assert done.left > 0 and done.done + done.left == COUNT and done.failed == 0
    assert told == [(n, COUNT, 0) for n in range(done.done + 1)]
    assert len(pictures("out")) == len(rows_of("out")) == done.done


def test_settings_and_plans_are_checked_without_the_command(here: Path) -> None:
    for wrong in ({"seed": -1}, {"workers": 0}, {"threads": 0}, {"dilate": -2}, {"feather": 0}):
        with pytest.raises(DataError, match=f"^{next(iter(wrong))}: expected a whole number of at least"):
            Settings(**wrong)
    assert Settings(workers=5).at_once == 5 and Settings().at_once >= 1
    assert Settings(threads=10_000).at_once == 1


def test_progress_without_a_terminal(here: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "EVERY", 0.0)
    _, _, err = say("photos", "masks", "out", "--model", "telea")
    lines = err.splitlines()
    assert len(lines) == COUNT + 1
    assert re.fullmatch(r"7 of 7 photos, [\d.e+]+ photos/s, 0:00:00 left", lines[-1])


def test_progress_on_a_terminal(here: Path, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    damage()
    _, _, err = say("photos", "masks", "out", "--model", "telea")
    plain = re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", err)
    assert re.search(r"7 of 7 photos, [\d.e+]+ photos/s, 0:00:00 left, 4 failures", plain)


def test_light_start() -> None:
    """Neither PyTorch nor fsspec nor ONNX Runtime for local files and a classical model."""
    script = (
        "import sys; from retouch.cli import main; main(['batch', '--help']); import retouch.batch.run\n"
        "print([name for name in ('torch', 'fsspec', 'onnxruntime', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout.endswith("\n[]\n")


def test_names_that_are_one_file_on_the_disk_of_the_output_are_refused(
    here: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("photos/A.JPG").write_bytes(Path("photos/a.jpg").read_bytes())
    assert not storage.are_one("photos", "x/a.jpg", "X/a.jpg") and storage.are_one("photos", "x/a", "x/a")
    with monkeypatch.context() as patch:
        patch.setattr(storage, "are_one", lambda *_: True)  # as on many a disk
        status, out, err = say("photos", "masks/a.png", "out", "--model", "telea")
    assert (status, out) == (2, "")
    assert err == "retouch: out: expected an output for each photo, got one file for A.JPG and a.jpg\n"
    assert not any(Path("out").iterdir())
    assert say("photos", "masks/a.png", "out", "--model", "telea")[0] == 0
    assert {"A.JPG", "a.jpg"} <= pictures("out").keys()
    assert not list(Path("photos").glob(".retouch-*"))
