"""`retouch batch` on ``s3://``, against a server on this machine that speaks S3: what is lost comes back, whole."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from files import read_shard, write_shard
from fsspec.registry import _registry
from PIL import Image

from retouch.batch import pairs, run
from retouch.batch.settings import Settings
from retouch.cli import main

s3fs = pytest.importorskip("s3fs")
servers = pytest.importorskip("moto.moto_server.threaded_moto_server")

NAMES = [f"{folder}{number}.png" for folder in ("", "deep/") for number in range(4)]
STORED = 3  # outputs that the process which is killed leaves
SECONDS = 300  # until a test gives up waiting, on a loaded machine

# A process that is killed as it begins to write its next output.
KILLED = """
import os, signal, sys, threading
from retouch.batch import work
from retouch.cli import main

def write(job, output, data, written=[], lock=threading.Lock(), real=work.write):
    with lock:
        if len(written) == {stored}:
            os.kill(os.getpid(), signal.SIGKILL)
        real(job, output, data)
        written.append(job)

work.write = write
main(sys.argv[1:])
"""


@pytest.fixture
def store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smooth_pixels: Callable[[int, int], np.ndarray]
) -> Iterator[Any]:
    """``s3://retouch`` with ``photos`` and ``masks``, the same beside the test, completed in ``local``."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)
    server = servers.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    known = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    for name, value in (known | {"DEFAULT_REGION": "us-east-1", "EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    hole = np.zeros((40, 48), np.uint8)
    hole[10:20, 10:20] = 255
    for number, name in enumerate(NAMES):
        for folder, pixels in (("photos", smooth_pixels(40, 48)), ("masks", hole)):
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(pixels, 3 * number, axis=1)).save(path)
    assert batch("photos", "masks", "local") == 0
    system = s3fs.S3FileSystem()
    try:
        system.makedirs("retouch", exist_ok=True)  # the server's memory outlives it
        for folder in ("photos", "masks"):
            system.pipe({f"retouch/{folder}/{name}": Path(folder, name).read_bytes() for name in NAMES})
        yield system
    finally:
        s3fs.S3FileSystem.close_session(system.loop, system.s3)
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


def batch(*words: Any) -> int:
    return main(["batch", *map(str, words), "--model", "telea"])


def stored(store: Any, folder: str) -> dict[str, bytes]:
    """All objects below a folder."""
    store.invalidate_cache()  # another process may have written
    root = f"retouch/{folder}"
    return {path.removeprefix(f"{root}/"): store.cat_file(path) for path in store.find(root)}


def pictures(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in found.items() if not name.endswith(".jsonl")}


def lines(found: dict[str, bytes]) -> list[dict[str, Any]]:
    manifests = (found[name] for name in sorted(found) if name.startswith("manifest"))
    return [json.loads(line) for line in b"".join(manifests).splitlines()]


def test_a_kill_a_stop_and_the_rest(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed after some outputs, stopped after one more, ended: the bytes of a run on this machine."""
    expected = {name: Path("local", name).read_bytes() for name in NAMES}
    words = ("s3://retouch/photos", "s3://retouch/masks", "s3://retouch/out")
    command = [sys.executable, "-c", KILLED.format(stored=STORED), "batch", *words, "--model", "telea"]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = pictures(stored(store, "out"))
    assert len(left) == STORED and left.items() <= expected.items()

    stop = threading.Event()
    settings = Settings(model="telea", resume=True, workers=1)
    plan = pairs.plan(*words, "telea")
    done = run.run(plan, words[2], settings, lambda count, *_: stop.set() if count else None, stop)
    assert done.failed == done.there == 0 and done.done + done.left == len(NAMES) and done.done and done.left
    found = stored(store, "out")
    assert pictures(found).items() <= expected.items()
    assert len({line["output"] for line in lines(found)}) == len(lines(found)) == done.done

    assert batch(*words, "--resume") == 0
    assert f"{done.left} photos completed" in capsys.readouterr().out
    found = stored(store, "out")
    assert pictures(found) == expected
    assert sorted(line["output"] for line in lines(found)) == sorted(NAMES)  # each once
    assert batch(*words, "--resume") == 0
    assert "0 photos completed" in capsys.readouterr().out


def test_shards(store: Any) -> None:
    members = {}
    for number in range(4):
        members[f"{number}.png"] = Path(f"photos/{number}.png").read_bytes()
        members[f"{number}.mask.png"] = Path(f"masks/{number}.png").read_bytes()
    store.pipe_file("retouch/shards/a.tar", write_shard("a.tar", members).read_bytes())
    assert batch("s3://retouch/shards/*.tar", "s3://retouch/shards/*.tar", "s3://retouch/packed") == 0
    found = pictures(stored(store, "packed"))
    assert [*found] == ["a.tar"]
    assert read_shard(found["a.tar"]) == {
        f"{number}.png": Path(f"local/{number}.png").read_bytes() for number in range(4)
    }


def test_what_the_store_refuses_is_one_line(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch("s3://nowhere/photos", "masks", "out") == 2
    assert batch("photos", "masks", "s3://nowhere/out") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "retouch: s3://nowhere/photos: expected photos, got no such file or folder"
    assert second == "retouch: s3://nowhere/out: The specified bucket does not exist"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)
    assert batch("s3://retouch/photos", "masks", "out") == 2
    needs = "s3://retouch/photos needs the extra 's3': pip install '.[s3]' in Retouch's folder"
    assert capsys.readouterr().err == f"retouch: {needs}\n"
    assert not os.path.exists("out")
