"""`retouch batch` on addresses (fsspec's ``memory://`` and ``file://``) and on tar shards: as on local folders."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from files import contents, read_shard, write_shard
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from retouch.batch import manifest, storage, work
from retouch.batch import shards as packing
from retouch.batch.pairs import plan
from retouch.cli import main
from retouch.errors import DataError

MEMORY = "memory://retouch-tests"
NAMES = ("a.png", "b.jpg", "x/a.png")


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smooth_pixels: Callable[[int, int], np.ndarray]
) -> Iterator[Path]:
    """``photos`` and ``masks``, the same in memory, and completed in ``local``; the current folder."""
    monkeypatch.chdir(tmp_path)
    hole = np.zeros((40, 48), np.uint8)
    hole[10:20, 10:20] = 255
    for number, name in enumerate(NAMES):
        photo, mask = Path("photos", name), Path("masks", name).with_suffix(".png")
        photo.parent.mkdir(parents=True, exist_ok=True)
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(smooth_pixels(40, 48), number, axis=1)).save(photo)
        Image.fromarray(np.roll(hole, 4 * number, axis=1)).save(mask)
    memory = fsspec.filesystem("memory")
    for path in (*Path("photos").rglob("*.*"), *Path("masks").rglob("*.*")):
        memory.pipe_file(f"/retouch-tests/{path}", path.read_bytes())
    assert batch("photos", "masks", "local") == 0
    yield tmp_path
    memory.rm("/retouch-tests", recursive=True)


def batch(*words: Any) -> int:
    return main(["batch", *map(str, words), "--model", "telea"])


def in_memory(folder: str) -> dict[str, bytes]:
    memory = fsspec.filesystem("memory")
    root = f"/retouch-tests/{folder}"
    return {path.removeprefix(f"{root}/"): memory.cat_file(path) for path in memory.find(root)}


def pictures(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not name.endswith(".jsonl")}


def rows(files: dict[str, bytes]) -> list[dict[str, Any]]:
    found = sorted(name for name in files if name.endswith(".jsonl"))
    lines = b"".join(files[name] for name in found).decode().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if k in ("output", "status", "sha256", "hole")}
        for line in lines
    ]


def by_output(row: dict[str, Any]) -> str:
    return str(row["output"])


# ---- addresses --------------------------------------------------------------------------------------------


def test_from_memory_to_memory(here: Path) -> None:
    assert batch(f"{MEMORY}/photos", f"{MEMORY}/masks", f"{MEMORY}/out") == 0
    assert pictures(in_memory("out")) == pictures(contents("local"))
    assert sorted(rows(in_memory("out")), key=by_output) == sorted(rows(contents("local")), key=by_output)


@pytest.mark.parametrize("output", ["out", "file://HERE/out", f"{MEMORY}/out"])
@pytest.mark.parametrize("photos", ["photos", "file://HERE/photos", f"{MEMORY}/photos/**/*.*"])
def test_any_way_round(photos: str, output: str, here: Path) -> None:
    words = [word.replace("HERE", str(here)) for word in (photos, "masks", output)]
    assert batch(*words) == 0
    found = in_memory("out") if "memory" in output else contents("out")
    assert pictures(found) == pictures(contents("local"))


def test_resume_in_a_store(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    words = (f"{MEMORY}/photos", f"{MEMORY}/masks", f"{MEMORY}/out")
    assert batch(*words, "--resume") == 0
    assert batch(*words) == 2
    assert "expected a new output" in capsys.readouterr().err
    whole = in_memory("out")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/retouch-tests/out/a.png", whole["a.png"][:-3])
    memory.rm_file("/retouch-tests/out/b.jpg")
    monkeypatch.setattr(manifest, "EVERY", 0.0)  # a file of lines for each photo
    assert batch(*words, "--resume") == 0
    assert "2 photos completed" in capsys.readouterr().out
    again = in_memory("out")
    assert pictures(again) == pictures(whole)
    assert sorted(row["output"] for row in rows({k: v for k, v in again.items() if k not in whole})) == [
        "a.png",
        "b.jpg",
    ]


def test_brackets_in_an_output_in_a_store(here: Path) -> None:
    run = f"{MEMORY}/run[1]"
    assert batch("photos", "masks", run) == 0
    assert batch("photos", "masks", run) == 2
    assert batch("photos", "masks", run, "--resume") == 0
    assert not any(".parts" in name for name in in_memory("run[1]"))


def test_a_store_that_refuses(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise RuntimeError("AccessDenied\nrequest 7")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", denied)
    assert batch("photos", "masks", f"{MEMORY}/out") == 2
    err = capsys.readouterr().err
    assert err == f"retouch: {MEMORY}/out/manifest-000001.jsonl: the store refuses: AccessDenied\n"
    monkeypatch.setattr(MemoryFileSystem, "cat_file", denied)
    assert batch(f"{MEMORY}/photos", "masks", "out") == 1
    assert (
        f"failed: {MEMORY}/photos/a.png: {MEMORY}/photos/a.png: the store refuses" in capsys.readouterr().out
    )


def test_other_stores_get_a_rename(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PUT_WHOLE", ())
    assert batch("photos", "masks", f"{MEMORY}/out") == 0
    assert pictures(in_memory("out")) == pictures(contents("local"))

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(MemoryFileSystem, "mv", broken)
    with pytest.raises(OSError, match="no"):
        storage.write(f"{MEMORY}/new/a.png", b"data")
    assert in_memory("new") == {}


def test_ranges_and_removal(here: Path) -> None:
    for root in (MEMORY, "."):
        storage.write(f"{root}/deep/er/x", b"0123456789")
        assert storage.read(f"{root}/deep/er/x") == b"0123456789"
        assert storage.read(f"{root}/deep/er/x", 3, 4) == b"3456"
        assert storage.read(f"{root}/deep/er/x", 8) == b"89"
        assert storage.names(f"{root}/deep") == ["er/x"]
        storage.remove(f"{root}/deep")
        storage.remove(f"{root}/deep")
        assert not storage.is_folder(f"{root}/deep")
        with pytest.raises(FileNotFoundError):
            storage.read(f"{root}/deep/er/x")


# ---- shards -----------------------------------------------------------------------------------------------


@pytest.fixture
def shards(here: Path) -> dict[str, bytes]:
    """``shards``: one of the photos with captions and masks, one with the first photo alone; their outputs."""
    samples: dict[str, bytes] = {}
    for number, name in enumerate(NAMES):
        samples[f"{number}{Path(name).suffix}"] = Path("photos", name).read_bytes()
        samples[f"{number}.mask.png"] = Path("masks", name).with_suffix(".png").read_bytes()
        samples[f"{number}.txt"] = f"caption {number}".encode()
    write_shard("shards/one.tar", samples)
    write_shard("shards/more/two.tar", {name: samples[name] for name in ("0.png", "0.mask.png")})
    done = {f"{n}{Path(name).suffix}": Path("local", name).read_bytes() for n, name in enumerate(NAMES)}
    return done | {f"{number}.txt": samples[f"{number}.txt"] for number in range(3)}


def check(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert set(pictures(found)) == {"one.tar", "more/two.tar"}
    one = read_shard(found["one.tar"])
    assert one == expected
    assert list(one) == ["0.png", "0.txt", "1.jpg", "1.txt", "2.png", "2.txt"]
    assert read_shard(found["more/two.tar"]) == {"0.png": expected["0.png"]}


def test_shards_in_shards_out(shards: dict[str, bytes]) -> None:
    assert batch("shards", "shards", "out") == 0
    check(contents("out"), shards)
    assert {row["output"] for row in rows(contents("out"))} == {
        *(f"one.tar/{name}" for name in ("0.png", "1.jpg", "2.png")),
        "more/two.tar/0.png",
    }
    assert batch("shards", "shards", "again", "--workers", 1) == 0
    assert pictures(contents("again")) == pictures(contents("out"))  # whatever the order of finishing
    assert not Path("out", work.PARTS).exists()


def test_shards_in_a_store(shards: dict[str, bytes]) -> None:
    storage.upload(Path("shards/one.tar"), f"{MEMORY}/shards/one.tar")
    storage.upload(Path("shards/more/two.tar"), f"{MEMORY}/shards/more/two.tar")
    assert batch(f"{MEMORY}/shards", f"{MEMORY}/shards", f"{MEMORY}/out") == 0
    check(in_memory("out"), shards)
    before = in_memory("out")
    assert batch(f"{MEMORY}/shards", f"{MEMORY}/shards", f"{MEMORY}/out", "--resume") == 0
    assert in_memory("out").items() >= before.items()


def test_a_failed_photo_is_left_out_of_its_shard_until_it_is_done(
    shards: dict[str, bytes], capsys: Any
) -> None:
    samples = read_shard(Path("shards/one.tar").read_bytes())
    broken = samples | {"1.jpg": samples["1.jpg"][: len(samples["1.jpg"]) // 2]}
    write_shard("shards/one.tar", broken)
    assert batch("shards", "shards", "out") == 1
    one = read_shard(Path("out/one.tar").read_bytes())
    assert one == {name: data for name, data in shards.items() if name != "1.jpg"}
    write_shard("shards/one.tar", samples)
    capsys.readouterr()
    assert batch("shards", "shards", "out", "--resume") == 0
    assert "1 photos completed" in capsys.readouterr().out
    check(contents("out"), shards)


def test_a_shard_whose_packing_was_lost_is_packed(
    shards: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "out/one.tar")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "upload", full)
        assert batch("shards", "shards", "out") == 2
    assert not list(Path("out").rglob("*.tar.tmp")) and not Path("out/one.tar").is_file()
    assert batch("shards", "shards", "out", "--resume") == 0
    check(contents("out"), shards)
    Path("out/one.tar").unlink()
    assert batch("shards", "shards", "out", "--resume") == 0
    check(contents("out"), shards)


def test_a_damaged_output_shard(shards: dict[str, bytes], capsys: Any) -> None:
    assert batch("shards", "shards", "out") == 0
    Path("out/one.tar").write_bytes(b"no shard" * 300)
    assert batch("shards", "shards", "out", "--resume") == 0
    check(contents("out"), shards)


def test_long_names_in_shards(here: Path) -> None:
    name = f"{'d' * 120}/{'n' * 180}.png"
    write_shard("long/0.tar", {name: Path("photos/a.png").read_bytes()})
    assert batch("long", "masks/a.png", "out") == 0
    assert read_shard(Path("out/0.tar").read_bytes()) == {name: Path("local/a.png").read_bytes()}


@pytest.mark.parametrize("place", ["out", f"{MEMORY}/out"])
def test_names_in_shards_that_file_systems_spell_otherwise(place: str, here: Path) -> None:
    """`tar cf 0.tar .` names its members ./NAME; hidden files are photos too."""
    photo = Path("photos/a.png").read_bytes()
    names = ["./a.png", ".h.png", "./.x/c.png", "/d.png"]
    write_shard("odd/0.tar", dict.fromkeys(names, photo))
    assert batch("odd", "masks/a.png", place) == 0
    found = in_memory("out") if "memory" in place else contents("out")
    assert read_shard(found["0.tar"]) == dict.fromkeys(names, Path("local/a.png").read_bytes())
    assert not any(work.PARTS in name for name in found)
    assert batch("odd", "masks/a.png", place, "--resume") == 0
    write_shard("odd/0.tar", {"a.png": photo, "./a.png": photo})
    with pytest.raises(DataError, match=r"\Aexpected an output for each photo, got 0.tar/./a.png for "):
        plan("odd", "masks/a.png", "new", "telea")


def test_parts_that_cannot_be_packed_stay(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_shard("changing/0.tar", {name: Path("photos/a.png").read_bytes() for name in ("0.png", "1.png")})
    pack = packing.pack

    def changed(*given: Any) -> None:
        write_shard("changing/0.tar", {"1.png": Path("photos/a.png").read_bytes()})
        pack(*given)

    monkeypatch.setattr(packing, "pack", changed)
    assert batch("changing", "masks/a.png", "out") == 2
    assert capsys.readouterr().err == (
        "retouch: changing/0.tar: expected the photos that it had, got it without 0.png\n"
    )
    assert Path("out", work.PARTS, "0.tar/0.png").read_bytes() == Path("local/a.png").read_bytes()


@pytest.mark.parametrize("place", ["out", f"{MEMORY}/out"])
def test_a_shard_whose_photos_all_fail_stops_no_other(place: str, here: Path, capsys: Any) -> None:
    photo, done = Path("photos/a.png").read_bytes(), Path("local/a.png").read_bytes()
    write_shard("bad/1.tar", {"0.png": b"junk", "0.txt": b"caption"})
    write_shard("bad/2.tar", {"0.png": b"junk", "1.png": photo})
    write_shard("bad/3.tar", {"0.png": photo})
    for more in ((), ("--resume",), ("--resume",)):
        assert batch("bad", "masks/a.png", place, *more) == 1
        assert "2 failed" in capsys.readouterr().out
        found = in_memory("out") if "memory" in place else contents("out")
        expected = {"1.tar": {"0.txt": b"caption"}, "2.tar": {"1.png": done}, "3.tar": {"0.png": done}}
        assert {name: read_shard(data) for name, data in pictures(found).items()} == expected
    write_shard("bad/1.tar", {"0.png": photo, "0.txt": b"caption"})
    assert batch("bad", "masks/a.png", place, "--resume") == 1
    found = in_memory("out") if "memory" in place else contents("out")
    assert read_shard(found["1.tar"]) == {"0.png": done, "0.txt": b"caption"}


def test_a_lock_is_no_matter_of_stores(here: Path) -> None:
    with manifest.appending(f"{MEMORY}/out"), manifest.appending(f"{MEMORY}/out"):
        pass
    with manifest.appending("new"), pytest.raises(DataError, match="alone"), manifest.appending("new"):
        pass
