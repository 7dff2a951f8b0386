"""Evaluation: what a row holds, resuming, failures that are recorded, kills and full disks."""

import errno
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_network, write_model
from files import contents, write_shard
from PIL import Image
from processes import alive, descendants

from retouch import engine, jsonl, masks, metrics
from retouch import image as images
from retouch.batch.pairs import plan
from retouch.cli import main
from retouch.errors import DataError, MaskError, ModelError, RetouchError
from retouch.evaluation import cases, results
from retouch.evaluation import run as evaluate
from retouch.evaluation.protocols import PROTOCOLS
from retouch.evaluation.run import Settings
from retouch.evaluation.summary import extremes, ranked
from retouch.mask_files import write_masks
from retouch.models import load
from retouch.workers import in_processes, put_off

STROKES = "strokes:0.1-0.2"
Rows = list[dict[str, Any]]


@pytest.fixture
def data(tmp_path: Path, smooth_pixels: Callable[[int, int], np.ndarray]) -> Path:
    """A folder of four photos of 48 x 40 px, each another picture."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(4):
        turned = np.roll(smooth_pixels(40, 48), 7 * number, axis=1)
        Image.fromarray(turned).save(folder / f"{number}.png")
    return folder


def settings(data: Path, output: Path, **changes: Any) -> Settings:
    known = {"data": (str(data),), "output": output, "model": ("telea",), "masks": (STROKES,), "pictures": 0}
    return Settings(**(known | {"threads": 1} | changes))


def rows_of(output: Path) -> Rows:
    """The rows in one order, without the times."""
    kept = [{k: v for k, v in row.items() if k != "seconds"} for row in results.read(output).rows]
    return sorted(kept, key=results.key)


def spawn(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "retouch.cli", "evaluate", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


# ---- what is measured -------------------------------------------------------------------------------------


def test_a_row_is_what_users_get_measured(data: Path, tmp_path: Path) -> None:
    done = evaluate.evaluate(settings(data, tmp_path / "out", masks=(STROKES, "center"), pictures=1))
    assert (done.made, done.found, done.failures) == (8, 0, 0)
    for row in results.read(tmp_path / "out").rows:
        saved = tmp_path / "out" / "masks" / cases.slug(row["masks"]) / f"{row['photo']:06d}.png"
        (picture,) = load("telea")(data / row["name"], saved)
        image, completion = (
            np.asarray(x, np.float32).transpose(2, 0, 1)[None] / 255
            for x in (Image.open(data / row["name"]), picture)
        )
        hole = images.read_mask(saved, (40, 48))
        assert row["hole"] == hole.mean()
        for name, (value,) in metrics.measure(image, completion, hole[None, None]).items():
            assert row.get(name, np.nan) == pytest.approx(float(value), rel=1e-5, nan_ok=True), name
        kept = tmp_path / "out" / cases.picture_of(row)
        if kept.exists():
            assert np.array_equal(np.asarray(Image.open(kept)), picture)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_photos_are_kept_and_those_that_tell_most(
    tmp_path: Path, workers: int, smooth_pixels: Callable[[int, int], np.ndarray]
) -> None:
    data, masks = tmp_path / "photos", (STROKES, "center")
    data.mkdir()
    for number in range(9):
        pixels = np.roll(smooth_pixels(40, 48), 5 * number, axis=1) // (1 + number % 4)
        Image.fromarray(pixels.astype(np.uint8)).save(data / f"{number}.png")
    known = settings(data, tmp_path / "out", masks=masks, model=("telea", "navier-stokes"), workers=workers)
    for pictures in (0, 1):
        evaluate.evaluate(replace(known, pictures=pictures))
        rows = results.read(tmp_path / "out").rows
        kept = {(row["photo"], row["masks"], row["model"]) for row in rows
                if (tmp_path / "out" / cases.picture_of(row)).exists()}  # fmt: skip
        ahead = ranked(rows)[0]
        told = {kind: extremes([row for row in rows if row["masks"] == kind], ahead)
                for kind in map(cases.masks_name, masks)}  # fmt: skip
        assert all(len(of) == 3 for of in told.values())
        wanted = {(photo, kind, model) for kind, of in told.items() for photo in of for model in known.model}
        assert kept == (wanted if pictures else set())


def test_holes_follow_the_seed_alone(data: Path, tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    evaluate.evaluate(settings(data, first, seed=3))
    evaluate.evaluate(settings(data, second, seed=3, model=("navier-stokes",), photos=2))
    evaluate.evaluate(settings(data, other, seed=4))
    drawn = {folder: {path.name: path.read_bytes() for path in folder.rglob("masks/*/*.png")}
             for folder in (first, second, other)}  # fmt: skip
    assert len(drawn[second]) == 2 and drawn[second].items() <= drawn[first].items()
    assert drawn[first] != drawn[other]


def test_saved_masks_are_used_as_they_lie(data: Path, tmp_path: Path) -> None:
    evaluate.evaluate(settings(data, tmp_path / "out", photos=1))
    (path,) = (tmp_path / "out").rglob("masks/*/*.png")
    hole = np.zeros((40, 48), np.bool_)
    hole[5:15, 5:15] = True
    Image.fromarray(masks.to_image(hole)).save(path)
    evaluate.evaluate(settings(data, tmp_path / "out", photos=1, model=("navier-stokes",)))
    assert results.read(tmp_path / "out").rows[-1]["hole"] == hole.mean()


def test_shards_and_crops(tmp_path: Path, smooth_pixels: Callable[[int, int], np.ndarray]) -> None:
    sizes = {"a.png": (40, 70), "b.png": (31, 90), "c.png": (32, 32)}
    pictures = {name: images.read(smooth_pixels(*size)) for name, size in sizes.items()}
    write_shard(tmp_path / "val.tar", {name: images.encode(photo, "PNG") for name, photo in pictures.items()})
    evaluate.evaluate(settings(tmp_path / "val.tar", tmp_path / "out", size=32))
    found = {row["name"]: row for row in results.read(tmp_path / "out").rows}
    assert (found["a.png"]["height"], found["a.png"]["width"]) == (32, 32)
    assert found["b.png"]["error"] == "expected at least 32 px a side, got 90 x 31"
    assert "psnr" in found["c.png"]


def test_photos_of_one_name_are_told_apart(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their paths in the folder that was given, wherever that lies; of several folders, in what holds them."""
    for folder in ("set/a", "set/b"):
        shutil.copytree(data, tmp_path / folder)
    evaluate.evaluate(settings(tmp_path / "set", tmp_path / "out", photos=8))
    names = sorted(row["name"] for row in results.read(tmp_path / "out").rows)
    assert names == sorted(f"{folder}/{n}.png" for folder in "ab" for n in range(4))
    monkeypatch.chdir(tmp_path)
    both = Settings(data=("set/a", "./set/b"), output=Path("both"), model=("telea",), masks=(STROKES,))
    evaluate.evaluate(both)
    assert sorted(row["name"] for row in results.read(tmp_path / "both").rows) == names


def test_a_photo_smaller_than_the_model_is_measured(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "small" / "s.png")
    evaluate.evaluate(
        settings(tmp_path / "small", tmp_path / "out", model=(str(tiny_model), "telea"), masks=("center",))
    )
    for row in results.read(tmp_path / "out").rows:
        assert "psnr" in row and "ssim" not in row and "error" not in row  # no window of SSIM fits


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16"])
def test_other_modes_are_measured_as_rgb(tmp_path: Path, mode: str) -> None:
    (tmp_path / "odd").mkdir()
    ramp = np.add.outer(np.arange(40), np.arange(40)).astype(np.uint8)
    picture = (
        Image.fromarray(ramp.astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(ramp).convert(mode)
    )
    picture.save(tmp_path / "odd" / "a.png")
    evaluate.evaluate(settings(tmp_path / "odd", tmp_path / "out", pictures=1))
    (row,) = results.read(tmp_path / "out").rows
    assert 20 < row["psnr"] <= 60
    assert np.asarray(Image.open(tmp_path / "out" / cases.picture_of(row))).shape == (40, 40, 3)


# ---- going on ---------------------------------------------------------------------------------------------


def test_what_is_there_is_not_measured_again(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    evaluate.evaluate(settings(data, output, photos=2))
    before = (output / "results.jsonl").read_bytes()
    assert evaluate.evaluate(settings(data, output, photos=2)).made == 0
    assert (output / "results.jsonl").read_bytes() == before
    done = evaluate.evaluate(settings(data, output, model=("telea", "telea", "navier-stokes")))
    assert (done.made, done.found) == (6, 2)
    assert (output / "results.jsonl").read_bytes().startswith(before)
    assert len({results.key(row) for row in results.read(output).rows}) == 8


def test_a_torn_line_is_measured_again(data: Path, tmp_path: Path) -> None:
    evaluate.evaluate(settings(data, tmp_path / "out"))
    whole, path = rows_of(tmp_path / "out"), tmp_path / "out" / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert len(results.read(path).rows) == 3
    assert evaluate.evaluate(settings(data, tmp_path / "out")).made == 1
    assert rows_of(tmp_path / "out") == whole


def test_a_first_line_that_was_torn_is_written_again(data: Path, tmp_path: Path) -> None:
    evaluate.evaluate(settings(data, tmp_path / "out"))
    whole, path = rows_of(tmp_path / "out"), tmp_path / "out" / "results.jsonl"
    for end in (0, 5, 40):
        (tmp_path / "out" / "masks").rename(tmp_path / f"masks{end}")
        path.write_bytes(path.read_bytes()[:end])
        assert evaluate.evaluate(settings(data, tmp_path / "out")).made == 4
        assert rows_of(tmp_path / "out") == whole


def test_a_line_torn_within_a_letter_is_left_out(data: Path, tmp_path: Path) -> None:
    (data / "0.png").rename(data / "Straße-日本.png")
    evaluate.evaluate(settings(data, tmp_path / "out"))
    path = tmp_path / "out" / "results.jsonl"
    whole = path.read_bytes()
    start = whole.index("ße-日本".encode())
    for end in range(start, start + 10):
        path.write_bytes(whole[:end])
        assert len(results.read(path).rows) == whole[:end].count(b"\n") - 1


def test_other_files_of_the_same_names_need_another_folder(data: Path, tmp_path: Path) -> None:
    """Photos, masks and weights may not be mixed in one table."""
    first, second = (tmp_path / name / "holes" for name in "ab")
    for folder, side in ((first, 9), (second, 20)):
        folder.mkdir(parents=True)
        for number in range(4):
            mask = np.zeros((40, 48), np.uint8)
            mask[3 : 3 + side, 3 : 3 + side] = 255
            Image.fromarray(mask).save(folder / f"{number}.png")
    (tmp_path / "weights").mkdir()
    model = write_model(tmp_path / "weights", "mine", tiny_network(channels=4))
    known = {"masks": (str(first),), "model": (str(model), "telea"), "photos": 2}
    evaluate.evaluate(settings(data, tmp_path / "out", **known))
    before = rows_of(tmp_path / "out")
    with pytest.raises(DataError, match="masks holes as in what is there, got other files"):
        evaluate.evaluate(settings(data, tmp_path / "out", **known | {"masks": (str(second),)}))
    write_model(tmp_path / "weights", "mine", tiny_network(channels=8))
    with pytest.raises(DataError, match=r"model .*mine\.onnx as in what is there, got other files"):
        evaluate.evaluate(settings(data, tmp_path / "out", **known))
    assert rows_of(tmp_path / "out") == before
    done = evaluate.evaluate(settings(data, tmp_path / "out", **known | {"model": ("telea",), "photos": 4}))
    assert (done.made, done.found) == (2, 2)
    Image.new("RGB", (48, 40)).save(data / "3.png")
    with pytest.raises(DataError, match="name another --output"):
        evaluate.evaluate(settings(data, tmp_path / "out", **known | {"model": ("telea",)}))


def test_weights_that_change_meanwhile_end_the_run(data: Path, tmp_path: Path) -> None:
    """Those of one process stay as it has loaded them; several processes load their own."""
    model = write_model(tmp_path, "mine", tiny_network(channels=4))

    def trained_on(*_: int) -> None:
        write_model(tmp_path, "mine", tiny_network(channels=8))

    with pytest.raises(DataError, match=r"mine\.onnx: expected the weights that this evaluation began with"):
        evaluate.evaluate(settings(data, tmp_path / "out", model=(str(model),), workers=2), trained_on)
    assert results.read(tmp_path / "out").rows == []


def test_pictures_of_models_that_are_not_asked_for_are_left_alone(
    data: Path, tmp_path: Path, tiny_model: Path
) -> None:
    """What such a model is now, nobody says: it may be another, or gone."""
    known = settings(data, tmp_path / "out", model=(str(tiny_model),))
    evaluate.evaluate(known)
    tiny_model.unlink()
    evaluate.evaluate(replace(known, model=("telea",), pictures=1))
    assert len(list((tmp_path / "out").rglob("telea-completed.png"))) >= 1
    assert not list((tmp_path / "out").rglob("*onnx*-completed.png"))


@pytest.mark.parametrize("pair", [("m.onnx", "../m.onnx"), ("old/m.onnx", "old-m.onnx"), ("...", "-")])
def test_models_have_pictures_of_their_own(pair: tuple[str, str]) -> None:
    one, other = map(cases.slug, pair)
    assert one != other and not {"/", ""} & {one, other}


def test_masks_without_results_are_not_taken_over(data: Path, tmp_path: Path) -> None:
    """They may be of another seed or other photos."""
    evaluate.evaluate(settings(data, tmp_path / "out"))
    (tmp_path / "out" / "results.jsonl").unlink()
    with pytest.raises(DataError, match="expected a new output, got masks of another evaluation"):
        evaluate.evaluate(settings(data, tmp_path / "out", seed=1))


@pytest.mark.parametrize("changes", [{"seed": 1}, {"size": 32}, {"data": "other"}])
def test_other_settings_need_another_folder(data: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    evaluate.evaluate(settings(data, tmp_path / "out", photos=1))
    if "data" in changes:
        (data / "4.png").write_bytes((data / "0.png").read_bytes())
        changes = {}
    with pytest.raises(DataError, match="name another --output"):
        evaluate.evaluate(settings(data, tmp_path / "out", photos=1, **changes))


def test_workers_give_the_same_rows(data: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    one = settings(data, tmp_path / "one", masks=(STROKES, "center"), pictures=2)
    evaluate.evaluate(one)
    two = replace(one, output=tmp_path / "two", workers=2)
    evaluate.evaluate(two, lambda *counts: seen.append(counts))
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")
    assert seen == [(n, 8, 0) for n in range(9)]
    pictures = contents(one.output / "pictures")
    assert pictures and contents(two.output / "pictures") == pictures


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path, workers: int, smooth_pixels: Callable[[int, int], np.ndarray]
) -> None:
    data = tmp_path / "photos"
    data.mkdir()
    for number in range(16):  # so many that the kill comes before the end
        Image.fromarray(np.roll(smooth_pixels(150, 200), 5 * number, axis=1)).save(data / f"{number}.png")
    options = ["--data", data, "--model", "telea", "--model", "navier-stokes", "--masks", STROKES,
               "--threads", 1, "--workers", workers, "--pictures", 0]  # fmt: skip
    process = spawn(*options, "--output", tmp_path / "killed")
    path, deadline = tmp_path / "killed" / "results.jsonl", time.monotonic() + 90
    while not (path.exists() and path.read_bytes().count(b"\n") > 3):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    left = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    made = len(results.read(path).rows)
    assert 3 <= made < 32
    while any(map(alive, left)):
        assert time.monotonic() < deadline, "workers outlived the killed run"
        time.sleep(0.05)
    known = settings(data, tmp_path / "killed", model=("telea", "navier-stokes"))
    assert evaluate.evaluate(known).found >= made
    evaluate.evaluate(replace(known, output=tmp_path / "whole"))
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")


# ---- failures ---------------------------------------------------------------------------------------------


def test_unreadable_photos_are_recorded(data: Path, tmp_path: Path) -> None:
    (data / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    (data / "empty.jpg").touch()
    done = evaluate.evaluate(settings(data, tmp_path / "out"))
    assert (done.made, done.failures) == (6, 2)
    failed = {row["name"]: row["error"] for row in results.read(tmp_path / "out").failed}
    assert set(failed) == {"bad.png", "empty.jpg"}
    assert all("\n" not in text and "expected" in text for text in failed.values())
    before = results.path_of(tmp_path / "out").read_bytes()
    again = evaluate.evaluate(settings(data, tmp_path / "out"))
    assert (again.made, again.found, again.failures) == (2, 4, 2)
    assert results.path_of(tmp_path / "out").read_bytes() == before  # the same is not written twice


def test_masks_of_ones_own(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "own masks"
    folder.mkdir()
    for name, (height, width, white) in {
        "0.png": (40, 48, 5),
        "1.png": (40, 48, 0),
        "2.png": (20, 48, 5),
    }.items():
        mask = np.zeros((height, width), np.uint8)
        mask[:white, :white] = 255
        Image.fromarray(mask).save(folder / name)
    evaluate.evaluate(settings(data, tmp_path / "out", masks=(str(folder),)))
    found = {row["name"]: row for row in results.read(tmp_path / "out").rows}
    assert found["0.png"]["hole"] == 25 / (40 * 48) and found["0.png"]["masks"] == "own masks"
    assert found["1.png"]["error"] == "expected a hole, got a mask without one"
    assert "expected a mask of the image's size" in found["2.png"]["error"]
    assert "expected a picture named 3" in found["3.png"]["error"]


def test_masks_in_folders_as_the_photos_and_among_them(data: Path, tmp_path: Path) -> None:
    for folder, white in (("a", 5), ("b", 9)):
        (data / folder).mkdir()
        shutil.copy(data / "0.png", data / folder / "x.png")
        mask = np.zeros((40, 48), np.uint8)
        mask[:white, :white] = 255
        (data / "masks" / folder).mkdir(parents=True)
        Image.fromarray(mask).save(data / "masks" / folder / "x.png")
        (data / "masks" / folder / "x.json").write_text("{}")  # what else may lie there
    for number in range(4):
        (data / f"{number}.png").unlink()
    evaluate.evaluate(settings(data, tmp_path / "out", masks=(str(data / "masks"),)))
    rows = results.read(tmp_path / "out").rows
    assert sorted(row["hole"] * 40 * 48 for row in rows) == pytest.approx([25, 81])
    shutil.copy(data / "masks/a/x.png", data / "masks/a/x.bmp")
    evaluate.evaluate(settings(data, tmp_path / "two", masks=(str(data / "masks"),)))
    (error,) = [row["error"] for row in results.read(tmp_path / "two").rows if "error" in row]
    assert re.fullmatch(r"expected a picture named x in .*masks, got a/x\.bmp and a/x\.png", error)


def test_masks_pair_however_their_accents_are_written(data: Path, tmp_path: Path) -> None:
    for number, (photo, mask) in enumerate((("\u00e9", "e\u0301"), ("a\u0308", "\u00e4"))):
        (data / f"{number}.png").rename(data / f"{photo}.png")
        hole = masks.draw("center", 40, 48, seed=0)
        (tmp_path / "own").mkdir(exist_ok=True)
        Image.fromarray(masks.to_image(hole)).save(tmp_path / "own" / f"{mask}.png")
    for number in (2, 3):
        (data / f"{number}.png").unlink()
    done = evaluate.evaluate(settings(data, tmp_path / "out", masks=(str(tmp_path / "own"),)))
    assert (done.made, done.failures) == (2, 0)


def test_pictures_completed_elsewhere(data: Path, tmp_path: Path) -> None:
    """Measured as the model that made them; what they do to known pixels does not count, and they have no time."""
    masks_there, made = tmp_path / "masks", tmp_path / "made"
    for folder in (masks_there, made, tmp_path / "photos" / "of-another"):
        folder.mkdir()
    for number in range(4):
        hole = masks.draw("strokes", 40, 48, ratio=(0.1, 0.2), seed=number)
        Image.fromarray(masks.to_image(hole)).save(masks_there / f"{number}.png")
        (picture,) = load("telea")(data / f"{number}.png", masks_there / f"{number}.png")
        pixels = np.where(hole[..., None], np.asarray(picture), 255 - np.asarray(picture))
        Image.fromarray(pixels).save(made / f"{number}.bmp")
    known = settings(
        data, tmp_path / "out", masks=(str(masks_there),), model=("telea", str(made)), pictures=1
    )
    assert evaluate.evaluate(known) == evaluate.Finished(8, 0, 0)
    by_model: dict[str, Rows] = {"telea": [], str(made): []}
    for row in results.read(tmp_path / "out").rows:
        by_model[row.pop("model")].append(row)
        assert (row.pop("seconds", None) is None) == (row.pop("model_sum", None) is not None)
    assert by_model["telea"] == by_model[str(made)]
    main(["report", str(tmp_path / "out")])
    assert "| –" in (tmp_path / "out" / "report.md").read_text()

    again = evaluate.evaluate(replace(known, model=("telea", f"{made}/")))  # the same by another spelling
    assert again == evaluate.Finished(0, 8, 0)
    Image.new("RGB", (48, 40)).save(made / "3.bmp")  # of the same size in bytes, too
    with pytest.raises(DataError, match="got other files of that name"):
        evaluate.evaluate(known)
    Image.new("RGB", (3, 4)).save(made / "3.bmp")
    wrong = replace(known, output=tmp_path / "second", model=(str(made),))
    assert evaluate.evaluate(wrong).failures == 1
    errors = {row["name"]: row.get("error", "") for row in results.read(tmp_path / "second").rows}
    assert errors["3.png"] == f"expected 48 x 40 px as the photo has, got 3 x 4 px in {made}/3.bmp"


def test_pictures_completed_elsewhere_are_one_for_each_photo(data: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    shutil.copytree(data, made)
    (data / "more").mkdir()
    shutil.copy(data / "2.png", data / "more")
    known = settings(data, tmp_path / "out", model=(str(made),))
    with pytest.raises(
        DataError, match=r"expected a picture for each photo, got one for .*2\.png and .*2\.png$"
    ):
        evaluate.evaluate(known)
    (made / "more").mkdir()
    shutil.move(made / "2.png", made / "more")
    lacks = r"^1 photos lack their picture, .*/photos/2\.png the first: expected a picture named 2 in .*made, got none$"
    with pytest.raises(DataError, match=lacks):
        evaluate.evaluate(known)
    shutil.copy(data / "2.png", made)
    with pytest.raises(DataError, match=r"several kinds of holes, got no strokes-0\.1-0\.2 in it$"):
        evaluate.evaluate(replace(known, masks=(STROKES, "center")))
    assert not (tmp_path / "out").exists()
    assert evaluate.evaluate(known) == evaluate.Finished(5, 0, 0)


def test_a_folder_named_as_a_model_is_not_that_model(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data, "telea")
    assert evaluate.evaluate(settings(data, tmp_path / "out")) == evaluate.Finished(4, 0, 0)
    for name in ("./telea", "telea/"):  # a path, and no model's name
        found = evaluate.evaluate(settings(data, tmp_path / "own", model=(name,)))
    assert found == evaluate.Finished(0, 4, 0)
    assert {row["model"] for row in rows_of(tmp_path / "own")} == {"./telea"}


def test_pictures_completed_elsewhere_for_several_kinds_of_holes(data: Path, tmp_path: Path) -> None:
    """Each kind has a folder of its name."""
    for number, kind in enumerate(("center", "strokes-0.1-0.2")):
        (data / "made" / kind).mkdir(parents=True)
        for path in data.glob("*.png"):
            Image.new("RGB", (48, 40), (100 * number,) * 3).save(data / "made" / kind / path.name)
    black = settings(
        data, tmp_path / "out", masks=("center", STROKES), model=(str(data / "made"),), pictures=9
    )
    assert evaluate.evaluate(black) == evaluate.Finished(8, 0, 0)
    for row in results.read(tmp_path / "out").rows:
        grey = np.asarray(Image.open(tmp_path / "out" / cases.picture_of(row)))
        saved = tmp_path / "out" / "masks" / cases.slug(row["masks"]) / f"{row['photo']:06d}.png"
        assert np.unique(grey[images.read_mask(saved, (40, 48))]) == (100 if "strokes" in row["masks"] else 0)


def test_photos_count_once(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected each photo once, got some of them twice"):
        evaluate.evaluate(settings(Path(f"{data}=2"), tmp_path / "out"))


def test_two_folders_of_masks_need_two_names(data: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name / "holes" for name in "ab"]
    for folder in folders:
        folder.mkdir(parents=True)
    with pytest.raises(DataError, match=r"different names.*, got .*/a/holes and .*/b/holes$"):
        evaluate.evaluate(settings(data, tmp_path / "out", masks=tuple(map(str, folders))))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("order", [("center", "./center"), ("./center", "center")])
def test_a_folder_of_masks_is_not_the_kind_of_its_name(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_masks("text", data, "center", ratio=None, seed=0, overwrite=False)
    evaluate.evaluate(settings(data, tmp_path / "out", masks=order[:1]))
    with pytest.raises(DataError, match="masks center as in what is there, got other files"):
        evaluate.evaluate(settings(data, tmp_path / "out", masks=order[1:]))


def test_a_folder_of_masks_has_a_name_from_within(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row without a name of its masks would be taken for a photo's features."""
    monkeypatch.chdir(data)
    evaluate.evaluate(settings(data, tmp_path / "out", masks=(".",)))
    assert {row["masks"] for row in rows_of(tmp_path / "out")} == {"photos"}


def test_a_hole_without_anything_known_is_recorded(data: Path, tmp_path: Path) -> None:
    evaluate.evaluate(settings(data, tmp_path / "out", masks=("center:1-1",)))
    assert all("leaves known pixels" in row["error"] for row in results.read(tmp_path / "out").rows)


def test_a_models_failure_is_recorded(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def complete(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a bug\nof two lines")

    monkeypatch.setattr(engine, "complete", complete)
    assert evaluate.evaluate(settings(data, tmp_path / "out")).failures == 4
    assert results.read(tmp_path / "out").rows[0]["error"] == "ZeroDivisionError: a bug"

    monkeypatch.undo()  # the bug is mended: what failed is tried again, and its rows take the others' place
    done = evaluate.evaluate(settings(data, tmp_path / "out"))
    assert (done.made, done.found, done.failures) == (4, 0, 0)
    there = results.read(tmp_path / "out")
    assert (len(there.measured), len(there.failed)) == (4, 0)
    evaluate.evaluate(settings(data, tmp_path / "anew"))
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "anew")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": ("nowhere",)}, DataError, "no such file"),
        ({"data": (".",)}, DataError, "got none"),
        ({"model": ("telia",)}, ModelError, "did you mean telea"),
        ({"masks": ("stroke:0.1-0.2",)}, MaskError, "KIND:LEAST-MOST"),
        ({"masks": ("strokes:0.2-0.1",)}, MaskError, "lo <= hi"),
        ({"protocol": "wgam", "masks": ()}, DataError, "expected a protocol among wgan"),
        ({"protocol": "wgan"}, DataError, "--protocol without --masks"),
        ({"lpips": "squeze"}, DataError, "expected --lpips as alex, vgg, squeeze or a folder, got squeze"),
        ({"lpips": "."}, FileNotFoundError, "no feature network at squeeze"),
        ({"features": Path("nowhere")}, FileNotFoundError, "no feature network at nowhere"),
        ({"lpips": "alex"}, RetouchError, "torchvision"),
    ],
)
def test_what_cannot_start_is_refused_at_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any],
    error: type[Exception], words: str,
) -> None:  # fmt: skip
    if changes.get("lpips") == "alex":
        try:
            import torchvision  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("torchvision is here")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(error, match=words) as caught:
        evaluate.evaluate(replace(settings(data, tmp_path / "out"), **changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"photos": 0}, "photos: expected a whole number of at least 1"),
        ({"workers": 0}, "workers: expected a whole number of at least 1"),
        ({"threads": 1.5}, "threads: expected a whole number of at least 1, got 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        settings(tmp_path, tmp_path / "out", **changes)


def test_numbers_that_are_not_whole_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--photos", "--size", "--seed", "--pictures", "--workers", "--threads"):
        assert main(["evaluate", "--data", str(data), "--output", str(tmp_path / "out"), option, "1.5"]) == 2
        assert f"{option}: expected a whole number, got '1.5'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        "{}\n", "no json\n", "[1]\n", '{"format": 1}\n{"photo": 1}\n', "\xff\n",
        '{"mine": 1}', "no line", '{"mine": 1}\n{"mine": 2}',
    ],
)  # fmt: skip
def test_foreign_results_are_refused(data: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=r"results\.jsonl"):
        evaluate.evaluate(settings(data, tmp_path / "out"))
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == content.encode("latin-1")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_line_and_whole_rows(data: Path, tmp_path: Path, workers: int) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1700, 1700))  # three rows; a mask fits

    options = ["--data", data, "--model", "telea", "--masks", STROKES, "--threads", 1, "--pictures", 0,
               "--workers", workers, "--output", tmp_path / "out"]  # fmt: skip
    process = spawn(*options, preexec_fn=limit)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert said.count("\n") == 1 and "results.jsonl: No space left on device" in said
    path = tmp_path / "out" / "results.jsonl"
    assert path.read_bytes().endswith(b"\n") and 0 < len(results.read(path).rows) < 4
    evaluate.evaluate(settings(data, tmp_path / "out"))
    evaluate.evaluate(settings(data, tmp_path / "whole"))
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "whole")


def test_masks_that_cannot_be_saved_end_the_run(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "masks").touch()  # where a folder should be
    with pytest.raises(OSError, match="masks"):
        evaluate.evaluate(settings(data, tmp_path / "out"))
    assert results.read(tmp_path / "out").rows == []


# ---- the rest of the house --------------------------------------------------------------------------------


def test_jobs_are_taken_few_at_a_time() -> None:
    taken, ahead = 0, []

    def jobs() -> Any:
        nonlocal taken
        for number in range(200):
            taken += 1
            yield (number,)

    for done, _ in enumerate(in_processes(2, 1, abs, jobs())):
        ahead.append(taken - done)
    assert len(ahead) == 200
    assert max(ahead) <= 9  # four in flight, four done and not yet given, one just taken


def test_a_worker_that_dies_is_one_line() -> None:
    with pytest.raises(DataError, match="the same command goes on"):
        list(in_processes(2, 1, os._exit, [(3,)] * 4))


def test_an_interrupt_while_workers_start_leaves_no_traceback() -> None:
    """As a terminal sends it: to all processes."""
    code = (
        "import os, signal, sys, threading, time\nfrom retouch.workers import in_processes\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    threading.Timer(float(sys.argv[1]), os.kill, (0, signal.SIGINT)).start()\n"
        "    try:\n"
        "        list(in_processes(2, 1, time.sleep, [(0.05,)] * 100))\n"
        "    except KeyboardInterrupt:\n"
        "        print('interrupted')\n"
    )
    for seconds in ("0.02", "0.1", "0.2"):
        command = [sys.executable, "-c", code, seconds]
        done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
        assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_an_interrupt_is_put_off_and_comes() -> None:
    before, reached = signal.signal(signal.SIGINT, signal.default_int_handler), False
    try:
        with pytest.raises(KeyboardInterrupt), put_off():
            os.kill(os.getpid(), signal.SIGINT)
            reached = True
        assert reached and signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGINT, before)


def test_torch_stays_away(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom retouch.cli import main\n"
        f"assert main(['evaluate', '--data', {str(data)!r}, '--model', 'telea', '--photos', '1',\n"
        f"    '--output', {str(tmp_path / 'out')!r}]) == 0\n"
        "assert not {'torch', 'matplotlib', 'jinja2', 'skimage'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
    assert {row["masks"] for row in results.read(tmp_path / "out").rows} == {
        "strokes 0.1-0.2", "strokes 0.2-0.3", "strokes 0.3-0.4",
    }  # fmt: skip


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_every_protocol_runs(
    tmp_path: Path, name: str, smooth_pixels: Callable[[int, int], np.ndarray]
) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(smooth_pixels(260, 300)).save(tmp_path / "photos" / "a.png")
    evaluate.evaluate(settings(tmp_path / "photos", tmp_path / "out", masks=(), protocol=name))
    fixed, found = PROTOCOLS[name], results.read(tmp_path / "out")
    assert found.about["protocol"] == name and not found.failed
    assert {row["masks"] for row in found.rows} == {cases.masks_name(spec) for spec in fixed.masks}
    for row in found.rows:
        assert (row["height"], row["width"]) == (fixed.size, fixed.size)
        if row["masks"] == "center 0.0976-0.0977":
            assert row["hole"] == 20 * 20 / 64**2
        if row["masks"] == "center 0.25-0.25":
            assert row["hole"] == 0.25


def test_the_command(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "bad.png").write_bytes(b"no picture")
    options = ["evaluate", "--data", str(data), "--model", "telea", "--masks", "center", "--output"]
    assert main([*options, str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert re.search(r"^failed: \S*bad.*: expected a PNG, .*$", said, re.MULTILINE)
    assert "out: 4 rows measured, 1 failed" in said and "next: retouch report" in said
    assert main([*options, str(tmp_path / "out")]) == 1
    assert "out: 0 rows measured, 4 were there, 1 failed" in capsys.readouterr().out
    assert main([*options, str(tmp_path / "out"), "--seed", "2"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([*options, str(tmp_path / "my results")]) == 1
    told = capsys.readouterr().out.partition("next: retouch ")[2]
    assert main(shlex.split(told)) == 0  # as a shell reads it


def test_results_are_json_that_anyone_reads(data: Path, tmp_path: Path) -> None:
    (data / os.fsdecode(b"caf\xe9.png")).write_bytes((data / "0.png").read_bytes())
    evaluate.evaluate(settings(data, tmp_path / "out"))
    for line in (tmp_path / "out" / "results.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_folders_of_any_bytes_are_measured_and_gone_on_with(data: Path, tmp_path: Path) -> None:
    masks, pictures = (tmp_path / os.fsdecode(name) for name in (b"m\xe9", b"p\xe9"))
    write_masks("center", data, masks, ratio=None, seed=0, overwrite=False)
    shutil.copytree(data, pictures)
    asked = settings(data, tmp_path / "out", model=(str(pictures),), masks=(str(masks),))
    first, again = evaluate.evaluate(asked), evaluate.evaluate(asked)
    assert (first.failures, again.made, again.found) == (0, 0, first.made)


@pytest.mark.parametrize("by_shard", [True, False])
def test_masks_of_a_folder_of_shards_pair_here_and_in_a_batch(
    data: Path, tmp_path: Path, by_shard: bool
) -> None:
    shards, masks = tmp_path / "shards", tmp_path / "masks"
    shards.mkdir()
    for number in range(2):
        name = "0.png" if by_shard else f"{number}.png"  # the same in both, or not
        write_shard(shards / f"{number}.tar", {name: (data / f"{number}.png").read_bytes()})
    write_masks("center", shards, masks, ratio=None, seed=0, overwrite=False)
    assert len(plan(str(shards), str(masks), "out", "telea").jobs) == 2
    if not by_shard:  # also where they lie without their shards
        for path in masks.glob("*/*.png"):
            path.rename(masks / path.name)
    asked = settings(shards, tmp_path / "out", masks=(str(masks),))
    assert evaluate.evaluate(asked).made == 2


# ---- evaluations side by side -----------------------------------------------------------------------------


def add(output: Path, photo: int) -> None:
    """An evaluation of one row; a lock is that of an open file, so that threads stand for processes."""
    with results.appending(output, {"format": results.FORMAT}, ()) as (_, append):
        append({"photo": photo, "masks": "", "model": "telea"})


def photos_in(output: Path) -> list[int]:
    return sorted(row["photo"] for row in results.read(output).rows)


def test_evaluations_that_start_together_write_one_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    append = jsonl.append

    def slowly(*given: Any) -> None:
        time.sleep(0.2)
        append(*given)

    monkeypatch.setattr(jsonl, "append", slowly)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, [tmp_path] * 3, range(3)))
    assert photos_in(tmp_path) == [0, 1, 2]


def test_a_line_that_another_evaluation_is_writing_is_not_torn(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    add(tmp_path, 0)
    line = b'{"photo": 1, "masks": "", "model": "telea"}\n'
    with open(tmp_path / results.NAME, "ab", buffering=0) as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(line[:20])
        waiting = pool.submit(add, tmp_path, 2)
        time.sleep(0.3)
        other.write(line[20:])
        fcntl.flock(other, fcntl.LOCK_UN)
        waiting.result(timeout=60)
    assert photos_in(tmp_path) == [0, 1, 2]


def test_a_row_waits_for_that_of_another_evaluation(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    with (
        results.appending(tmp_path, {"format": results.FORMAT}, ()) as (_, append),
        open(tmp_path / results.NAME, "ab", buffering=0) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        fcntl.flock(other, fcntl.LOCK_EX)  # at once: nobody has it between two rows
        other.write(b'{"photo": 0, ')
        waiting = pool.submit(append, {"photo": 1, "masks": "", "model": "telea"})
        time.sleep(0.3)
        other.write(b'"masks": "", "model": "telea"}\n')
        fcntl.flock(other, fcntl.LOCK_UN)
        waiting.result(timeout=60)
    assert photos_in(tmp_path) == [0, 1]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", flock)
    add(tmp_path, 0)
    add(tmp_path, 1)
    assert photos_in(tmp_path) == [0, 1]
