"""`retouch batch` on addresses (fsspec's ``memory://`` and ``file://``) and on tar shards: as on local folders."""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from files import contents, heic, read_shard, write_shard
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
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
    refused = f"retouch: {MEMORY}/out/manifest-000001-[0-9a-f]+.jsonl: the store refuses: AccessDenied\n"
    assert re.fullmatch(refused, capsys.readouterr().err)
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


def test_photographs_of_telephones_become_png_in_shards_too(shards: dict[str, bytes]) -> None:
    samples = read_shard(Path("shards/more/two.tar").read_bytes())
    photo = heic(Image.open(io.BytesIO(samples.pop("0.png"))).convert("RGB"))
    write_shard("phone/x.tar", {"0.heic": photo, **samples, "0.txt": b"caption"})
    for _ in range(2):
        assert batch("phone", "phone", "out", "--resume") == 0
        done = read_shard(Path("out/x.tar").read_bytes())
        assert list(done) == ["0.png", "0.txt"] and done["0.png"].startswith(b"\x89PNG")
        assert [row["output"] for row in rows(contents("out"))] == ["x.tar/0.png"]


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


@pytest.mark.parametrize("how", ["without", "none"])
def test_parts_that_cannot_be_packed_stay(
    how: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    write_shard("changing/0.tar", {name: Path("photos/a.png").read_bytes() for name in ("0.png", "1.png")})
    pack = packing.pack

    def changed(*given: Any) -> None:
        if how == "none":
            Path("changing/0.tar").write_bytes(b"no shard" * 300)
        else:
            write_shard("changing/0.tar", {"1.png": Path("photos/a.png").read_bytes()})
        pack(*given)

    monkeypatch.setattr(packing, "pack", changed)
    assert batch("changing", "masks/a.png", "out") == 2
    wrong = {
        "without": "the photos that it had, got it without 0.png",
        "none": "the tar shard that it was, got invalid header",
    }
    assert capsys.readouterr().err == f"retouch: changing/0.tar: expected {wrong[how]}\n"
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


def test_no_file_of_lines_is_written_over(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where one was removed, not by a run at the same time; files of earlier versions are read, in order."""
    monkeypatch.setattr(manifest, "EVERY", 0.0)
    for number, name in ((2, "a.png"), (9, "b.png")):  # of an earlier version, which has lost others
        row = {"output": name, "status": "failed"}
        storage.write(f"{MEMORY}/out/manifest-{number:06d}.jsonl", f"{json.dumps(row)}\n".encode())
    before = in_memory("out")
    with manifest.appending(f"{MEMORY}/out") as one, manifest.appending(f"{MEMORY}/out") as other:
        for append, name in ((one, "c.png"), (one, "d.png"), (other, "e.png")):
            append({"output": name, "status": "failed"})
    assert in_memory("out").items() >= before.items()
    assert manifest.read(f"{MEMORY}/out") == dict.fromkeys(f"{name}.png" for name in "abcde")

    sums = {"sha256": "", "bytes": 1} | dict.fromkeys(manifest.TERMS, "")
    with manifest.appending(f"{MEMORY}/out") as append:
        append({"output": "a.png", "status": "done", **sums})
    names = list(in_memory("out"))
    assert names == sorted(names) and [name[:15] for name in names] == [
        f"manifest-{number:06d}" for number in (2, 9, 10, 11, 11, 12, 12, 13, 14)
    ]
    found = manifest.read(f"{MEMORY}/out") or {}
    assert found["a.png"] and found["b.png"] is None  # the last line about a photo counts


def test_what_is_no_shard_is_not_blamed_on_the_store(here: Path, capsys: Any) -> None:
    for place in (MEMORY, "."):
        storage.write(f"{place}/none/0.tar", b"no shard" * 300)
        assert packing.members(f"{place}/none/0.tar") == {}
        assert batch(f"{place}/none/0.tar", "masks/a.png", "out") == 2
        expected = f"{storage.plain(place)}/none/0.tar: expected a tar shard of pictures, got invalid header"
        assert capsys.readouterr().err == f"retouch: {expected}\n"
    for mine in (KeyError("mine"), OSError("mine")):
        with pytest.raises(type(mine)) as caught, storage.opened(f"{MEMORY}/none/0.tar"):
            raise mine
        assert caught.value is mine and not (isinstance(mine, OSError) and mine.filename)


def test_opened_in_a_store_as_on_this_machine(here: Path) -> None:
    data = bytes(range(256)) * 100
    for root in (MEMORY, "."):
        storage.write(f"{root}/x", data)
        with storage.opened(f"{root}/x") as file:
            assert file.read(3) == data[:3] and file.tell() == 3
            assert file.seek(20_000) == 20_000 and file.read(9) == data[20_000:20_009]
            assert file.seek(-7, 2) == len(data) - 7 and file.read() == data[-7:] and file.read(1) == b""
        with pytest.raises(FileNotFoundError), storage.opened(f"{root}/y"):
            pass


@pytest.mark.parametrize("call", ["read", "seek"])
def test_a_store_that_refuses_while_a_file_is_read(
    here: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def denied(*_: Any) -> None:
        raise RuntimeError("AccessDenied\nrequest 7")

    monkeypatch.setattr(MemoryFile, call, denied)
    refused = f"{MEMORY}/photos/a.png: the store refuses: AccessDenied"
    with pytest.raises(DataError) as caught, storage.opened(f"{MEMORY}/photos/a.png") as file:
        file.seek(1)
        file.read()
    assert str(caught.value) == refused
