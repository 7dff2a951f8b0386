"""`retouch batch --resume` where photos or masks have changed, and where OUTPUT holds what no batch has written."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from conftest import tiny_network, write_model
from files import read_shard, write_shard
from PIL import Image

from retouch import jsonl
from retouch.batch import manifest, work
from retouch.cli import main

MEMORY = "memory://retouch-changed"
NAMES = ("a.png", "b.png", "c.png")
Batch = Callable[..., tuple[int, str, str]]


@pytest.fixture
def batch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    smooth_pixels: Callable[[int, int], np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Batch]:
    """Runs the command on ``photos`` and ``masks`` in the current folder: (status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        write_picture(f"photos/{name}", np.roll(smooth_pixels(32, 40), number, axis=1))
        write_picture(f"masks/{name}", hole(8 + number))

    def run_it(*words: Any) -> tuple[int, str, str]:
        status = main(["batch", *map(str, words), "--model", "telea"])
        return status, *capsys.readouterr()

    yield run_it
    memory = fsspec.filesystem("memory")
    if memory.exists("/retouch-changed"):
        memory.rm("/retouch-changed", recursive=True)


def hole(left: int) -> np.ndarray:
    pixels = np.zeros((32, 40), np.uint8)
    pixels[10:16, left : left + 6] = 255
    return pixels


def write_picture(path: str, pixels: np.ndarray) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def rows(output: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(output, manifest.NAME).read_text().splitlines()]


def files(output: str = "out") -> dict[str, bytes]:
    found = (path for path in Path(output).rglob("*") if path.is_file() and path.name != manifest.NAME)
    return {path.name: path.read_bytes() for path in found}


# ---- what has changed -------------------------------------------------------------------------------------


def test_other_masks_and_an_edited_photo_are_done_again(batch: Batch) -> None:
    assert batch("photos", "masks", "out")[0] == 0
    write_picture("masks/a.png", hole(20))
    write_picture("photos/b.png", 255 - np.asarray(Image.open("photos/b.png")))
    Path("masks/c.png").touch()  # newer, but the same
    status, out, _ = batch("photos", "masks", "out", "--resume")
    assert status == 0 and "2 photos completed" in out and "1 were there" in out
    assert sorted(row["output"] for row in rows()[3:]) == ["a.png", "b.png"]
    assert batch("photos", "masks", "new")[0] == 0
    assert files() == files("new")
    assert "0 photos completed" in batch("photos", "masks", "out", "--resume")[1]


def test_one_mask_for_all_that_is_another_now(batch: Batch) -> None:
    assert batch("photos", "masks/a.png", "out")[0] == 0
    write_picture("masks/a.png", hole(20))
    assert "3 photos to complete" in batch("photos", "masks/a.png", "out", "--resume", "--dry-run")[1]


def test_another_model_of_the_same_name_is_refused(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    def run_it(*more: str) -> tuple[int, str]:
        status = main(["batch", "photos", "masks", "out", "--partial", "--model", "mine.onnx", *more])
        return status, "".join(capsys.readouterr())

    Path("masks/c.png").rename("c.png")
    write_model(Path(), "mine", tiny_network(channels=8))
    assert run_it()[0] == 0
    before = files()
    write_model(Path(), "mine", tiny_network(channels=4))
    Path("c.png").rename("masks/c.png")
    for more in ((), ("--dry-run",)):
        status, said = run_it("--resume", *more)
        assert status == 2 and "mine.onnx with the weights that a.png was made with, got others" in said
    assert files() == before
    write_model(Path(), "mine", tiny_network(channels=8))
    status, said = run_it("--resume")
    assert status == 0 and "2 were there" in said


def test_a_photo_that_is_damaged_now_fails(batch: Batch) -> None:
    assert batch("photos", "masks", "out")[0] == 0
    Path("photos/a.png").write_bytes(b"junk")
    status, out, _ = batch("photos", "masks", "out", "--resume")
    assert status == 1 and "1 failed, 2 were there" in out


def test_lines_of_older_manifests_count_as_done(batch: Batch) -> None:
    assert batch("photos", "masks", "out")[0] == 0
    older = [{k: v for k, v in row.items() if k not in ("image_sha256", "mask_sha256")} for row in rows()]
    Path("out", manifest.NAME).write_text("".join(json.dumps(row) + "\n" for row in older))
    write_picture("masks/a.png", hole(20))
    status, out, _ = batch("photos", "masks", "out", "--resume")
    assert status == 0 and "3 were there" in out


@pytest.mark.parametrize("place", ["out", f"{MEMORY}/out"])
def test_a_changed_photo_of_a_shard(place: str, batch: Batch) -> None:
    def shard(*names: str) -> None:
        photos = {f"{number}.png": Path("photos", name).read_bytes() for number, name in enumerate(names)}
        write_shard("photos.tar", photos)

    def packed(output: str) -> dict[str, bytes]:
        with fsspec.open(f"{output}/photos.tar") as file:
            return read_shard(file.read())

    shard("a.png", "b.png")
    assert batch("photos.tar", "masks/a.png", place)[0] == 0
    shard("a.png", "c.png")
    status, out, _ = batch("photos.tar", "masks/a.png", place, "--resume")
    assert status == 0 and "1 photos completed" in out and "1 were there" in out
    assert batch("photos.tar", "masks/a.png", "new")[0] == 0
    assert packed(place) == packed("new")


# ---- what no batch has written ----------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["b.png", "x/.b.png"])
@pytest.mark.parametrize("place", ["out", f"{MEMORY}/out"])
def test_a_file_that_no_batch_wrote_is_refused(place: str, output: str, batch: Batch) -> None:
    lines = ["image,mask,output", "photos/a.png,masks/a.png,a.png"]
    Path("jobs.csv").write_text("\n".join(lines))
    assert batch("jobs.csv", place)[0] == 0
    with fsspec.open(f"{place}/{output}", "wb", auto_mkdir=True) as file:
        file.write(b"mine")
    Path("jobs.csv").write_text("\n".join([*lines, f"photos/b.png,masks/b.png,{output}"]))
    held = f"expected a new output, got one that holds {output}"
    assert batch("jobs.csv", place, "--resume") == (
        2,
        "",
        f"retouch: {place}: {held}, which its manifest does not tell of\n",
    )
    assert batch("jobs.csv", place, "--resume", "--dry-run")[0] == 2
    with fsspec.open(f"{place}/{output}") as file:
        assert file.read() == b"mine"


def test_a_hidden_file_is_refused_on_a_first_run_too(batch: Batch) -> None:
    Path("out").mkdir()
    Path("out/.b.png").write_bytes(b"mine")
    Path("jobs.csv").write_text("image,mask,output\nphotos/b.png,masks/b.png,.b.png")
    assert batch("jobs.csv", "out")[2] == "retouch: out: expected a new output, got one that holds .b.png\n"


def test_outputs_without_a_line_are_ours_where_a_run_was_cut_off(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "out/manifest.jsonl")

    with monkeypatch.context() as patch:
        patch.setattr(jsonl, "append", full)
        assert batch("photos", "masks", "out")[0] == 2
    assert len(files()) > 1 and not rows() and Path("out", manifest.BEGUN).is_file()
    status, out, _ = batch("photos", "masks", "out", "--resume")
    assert status == 0 and "3 photos completed" in out
    assert set(files()) == set(NAMES) and not Path("out", work.PARTS).exists()


def test_what_a_killed_run_left_stays_ours(batch: Batch) -> None:
    """A later run that leaves that photo out does not forget it."""
    assert batch("photos", "masks", "out")[0] == 0
    lines = Path("out", manifest.NAME).read_text().splitlines(keepends=True)
    Path("out", manifest.NAME).write_text("".join(line for line in lines if "b.png" not in line))
    manifest.begin("out", NAMES)  # as a kill leaves it: b.png is there, no line tells of it
    Path("masks/b.png").rename("b.png")
    assert batch("photos", "masks", "out", "--resume", "--partial")[0] == 0
    assert manifest.begun("out") == {"b.png"}
    Path("b.png").rename("masks/b.png")
    status, out, _ = batch("photos", "masks", "out", "--resume")
    assert status == 0 and "1 photos completed" in out and not Path("out", work.PARTS).exists()


def test_what_failed_may_have_left_an_output(batch: Batch) -> None:
    assert batch("photos", "masks", "out")[0] == 0
    photo = Path("photos/a.png").read_bytes()
    for data, status in ((b"junk", 1), (b"junk", 1), (photo, 0)):
        Path("photos/a.png").write_bytes(data)
        assert batch("photos", "masks", "out", "--resume")[0] == status


@pytest.mark.parametrize("place", ["out", f"{MEMORY}/out"])
def test_an_output_that_stays_although_its_photo_fails_now_is_told_of(place: str, batch: Batch) -> None:
    write_shard("photos/s.tar", {"x.png": Path("photos/a.png").read_bytes()})
    assert batch("photos", "masks/a.png", place)[0] == 0
    write_shard("photos/s.tar", {"x.png": b"junk" * 20})
    Path("photos/a.png").write_bytes(b"junk")
    Path("photos/d.png").write_bytes(b"junk")
    for _ in range(2):
        status, out, _ = batch("photos", "masks/a.png", place, "--resume")
        told = {line.split(": ")[1]: line for line in out.splitlines() if line.startswith("failed: ")}
        assert status == 1 and told.keys() == {"photos/a.png", "photos/d.png", "photos/s.tar"}
        assert told["photos/a.png"].endswith(f"; {place}/a.png of an earlier run stays as it was")
        assert told["photos/s.tar"].endswith(f"; {place}/s.tar/x.png of an earlier run stays as it was")
        assert "earlier" not in told["photos/d.png"]
