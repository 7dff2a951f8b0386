"""`retouch batch` killed at random moments, and interrupted: only whole files, and nothing is done twice or lost."""

import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from retouch.batch import manifest, work
from retouch.cli import main
from retouch.workers import as_they_come

PHOTOS = 90  # more than the kills let through
KILLS = 20
OPTIONS = ("--model", "telea", "--workers", "2", "--resume")

# Reads lines "number held"; for each it forks a process that kills itself at its n-th write, sync or rename (between
# two of those nothing on the disk changes), and prints how that ended. A write is cut in half first, and one of the
# threads is held up for ever at an earlier one.
KILLED = """
import os, random, signal, sys, threading
import retouch.batch.command, retouch.classical
from retouch.cli import main

def run(number, held):
    draw, lock, seen = random.Random(number), threading.Lock(), 0
    real_write, real_fsync, real_replace = os.write, os.fsync, os.replace

    def due():
        nonlocal seen
        with lock:
            seen += 1
            now = seen
        if now == held and threading.current_thread() is not threading.main_thread():
            threading.Event().wait()
        return now == number

    def die():
        os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()

    def write(descriptor, data):
        if due():
            real_write(descriptor, data[: draw.randrange(len(data))])
            die()
        return real_write(descriptor, data)

    def fsync(descriptor):
        if due():
            os.ftruncate(descriptor, draw.randrange(os.fstat(descriptor).st_size))  # as if not all had arrived yet
            die()
        return real_fsync(descriptor)

    def replace(source, target):
        return die() if due() else real_replace(source, target)

    os.write, os.fsync, os.replace = write, fsync, replace
    signal.alarm(120)  # a process that hangs does not end as it should
    os._exit(main(sys.argv[1:]))

for line in sys.stdin:
    process = os.fork()
    if not process:
        run(*map(int, line.split()))
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""

# A process whose photos in hand wait for a file named "go".
HELD = """
import os, signal, sys, time
from retouch.batch import work
from retouch.cli import main

def held(*given, completed=work.completed):
    os.write(1, b"begun\\n")  # at once: two threads write
    while not os.path.exists("go"):
        time.sleep(0.01)
    return completed(*given)

work.completed = held
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
signal.signal(signal.SIGTERM, signal.SIG_DFL)
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small photos in folders with one mask for all; the current folder."""
    monkeypatch.chdir(tmp_path)
    coarse = np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8)
    pixels = cv2.resize(coarse, (40, 32), interpolation=cv2.INTER_CUBIC)
    for number in range(PHOTOS):
        path = Path("photos", str(number % 3), f"{number:03d}.{('png', 'jpg')[number % 2]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(pixels, number, axis=1)).save(path)
    hole = np.zeros((32, 40), np.uint8)
    hole[8:14, 10:18] = 255
    Image.fromarray(hole).save("mask.png")
    return tmp_path


@contextmanager
def spawned(script: str, *words: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script, *map(str, words)], **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def pictures(folder: str) -> dict[str, bytes]:
    """The pictures of a folder, or its shards; not the parts of shards that are still to come."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.suffix in (".png", ".jpg", ".tar") and work.PARTS not in path.parts
    }


def finished(folder: str) -> list[str]:
    """The outputs of the manifest's whole lines."""
    path = Path(folder, manifest.NAME)
    lines = path.read_text(errors="replace").split("\n")[:-1] if path.exists() else []
    return [json.loads(line)["output"] for line in lines if line.startswith("{") and line.endswith("}")]


def kill_and_resume(draw: random.Random, photos: str, kills: int) -> None:
    """Kills so many runs, each going on with the last one's output; what is there is whole at every moment."""
    assert main(["batch", photos, "mask.png", "undisturbed", *OPTIONS]) == 0
    expected = pictures("undisturbed")
    with spawned(KILLED, "batch", photos, "mask.png", "out", *OPTIONS) as process:
        for kill in range(kills):
            number = draw.randint(1, 16)
            print(number, draw.randrange(number), file=process.stdin, flush=True)
            assert process.stdout.readline() == f"{-signal.SIGKILL}\n", process.communicate()
            assert pictures("out").items() <= expected.items(), f"kill {kill}"
    before = finished("out")
    assert 0 < len(set(before)) < PHOTOS, "the kills are to let some photos through, not all"
    assert main(["batch", photos, "mask.png", "out", *OPTIONS]) == 0
    last = finished("out")[len(before) :]
    assert sorted({*before, *last}) == sorted(finished("undisturbed"))
    assert len(before) == len(set(before)) and not set(last) & set(before)  # nothing twice
    assert pictures("out") == expected
    assert {path.name for path in Path("out").rglob("*") if path.is_file()} == {
        manifest.NAME,
        *(Path(name).name for name in expected),
    }


def sums(folder: str) -> dict[str, str]:
    rows = map(json.loads, Path(folder, manifest.NAME).read_text().splitlines())
    return {row["output"]: row["sha256"] for row in rows}


def test_kills_at_random_moments(here: Path) -> None:
    kill_and_resume(random.Random(7), "photos", KILLS)
    assert len(sums("out")) == PHOTOS and sums("out") == sums("undisturbed")


def test_kills_while_shards_are_made(here: Path) -> None:
    Path("shards").mkdir()
    photos = sorted(Path("photos").rglob("*.*"))
    for start in range(0, PHOTOS, 5):
        with tarfile.open(f"shards/{start:03d}.tar", "w") as shard:
            for path in photos[start : start + 5]:
                shard.add(path, path.name)
    kill_and_resume(random.Random(8), "shards", KILLS // 2)
    with tarfile.open("out/000.tar") as shard:
        assert shard.getnames() == [path.name for path in photos[:5]]


INTERRUPTED = ("batch", "photos", "mask.png", "out", "--model", "telea", "--workers", "2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_the_photos_in_hand(number: int, here: Path) -> None:
    with spawned(HELD, *INTERRUPTED) as process:
        assert [process.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
        process.send_signal(number)
        assert process.stderr.readline() == "finishing the photos in hand; once more ends at once\n"
        Path("go").touch()
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (128 + number, "")
    assert len(finished("out")) == len(pictures("out")) == 2
    assert "2 photos completed" in out and f"{PHOTOS - 2} left (--resume goes on)" in out
    assert main(["batch", "photos", "mask.png", "out", *OPTIONS]) == 0
    assert len(set(finished("out"))) == len(finished("out")) == len(pictures("out")) == PHOTOS


def test_a_signal_that_does_not_wake_the_main_thread_is_seen() -> None:
    """Another thread gets it here; so it is where one arrives in the moment in which the main thread begins to wait."""
    seen = threading.Event()

    def job() -> bool:
        time.sleep(0.1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)
        return seen.wait(20)

    before = signal.signal(signal.SIGUSR1, lambda *_: seen.set())
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        with ThreadPoolExecutor(1) as pool:
            assert list(as_they_come(pool, 1, job, [()])) == [True]
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGUSR1, before)


def test_a_second_interrupt_ends_at_once(here: Path) -> None:
    with spawned(HELD, *INTERRUPTED) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline().startswith("finishing")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert pictures("out") == {}
