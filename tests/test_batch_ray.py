"""`retouch batch --engine ray`: stopped, then gone on with while a worker is killed; the bytes of the local engine.

Ray runs in the command's own process, as it leaves its traces in whichever process starts it. A run here takes a
minute of work on one core, nearly all to start and end Ray, so one pair of runs shows all of it.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from processes import until

import retouch
from retouch.cli import main

pytest.importorskip("ray")

SECONDS = 1500  # until a test gives up waiting: Ray starts a dozen processes, which a loaded machine may take long for
ONCE = "09.png"  # the photo that takes its worker with it at the first try
FIRST, MORE = 3, 6  # photos that are completed before the signal, and by then

# Read by every Python process at its start: workers complete so many photos as a file says, the others wait; one loses
# its life to a photo.
WORKERS = """
import os, signal, sys, time
if any("default_worker" in word for word in sys.orig_argv):
    from pathlib import Path
    from retouch.batch import work
    real, here = work.completed, Path({here!r})

    def completed(job, *rest):
        while int(job.output[:2]) >= (here / "free").stat().st_size:
            time.sleep(0.05)
        with open(here / f"{{job.output}}.tries", "a") as tries:
            tries.write("x")
            first = tries.tell() == 1
        if job.output == {once!r} and first:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(job, *rest)

    work.completed = completed
"""


def rows(output: Path) -> dict[str, dict[str, Any]]:
    """The manifest's last row about each output, without times."""
    lines = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    return {line["output"]: {k: v for k, v in line.items() if k != "seconds"} for line in lines}


def pictures(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.rglob("*.png")}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photos with their masks beside them, one of them damaged."""
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for n in range(12):
        pixels = cv2.resize(
            rng.integers(0, 256, (6, 8, 3), np.uint8), (64 + n, 48), interpolation=cv2.INTER_CUBIC
        )
        mask = np.zeros(pixels.shape[:2], np.uint8)
        mask[10:20, 5 + n : 30] = 255
        cv2.imwrite(str(folder / f"{n:02d}.png"), pixels)
        cv2.imwrite(str(folder / f"{n:02d}.mask.png"), mask)
    (folder / "11.png").write_bytes(b"not a photo")
    return folder


def test_a_stop_and_a_killed_worker_change_nothing(photos: Path, tmp_path: Path) -> None:
    local, output, here = tmp_path / "local", tmp_path / "ray", tmp_path / "here"
    assert main(["batch", str(photos), str(photos), str(local), "--model", "telea"]) == 1
    expected = rows(local)
    assert [name for name, row in expected.items() if row["status"] == "failed"] == ["11.png"]

    here.mkdir()
    (here / "sitecustomize.py").write_text(WORKERS.format(here=str(here), once=ONCE))
    free = here / "free"
    free.write_text("x" * FIRST)
    known = [str(here), str(Path(retouch.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    options: dict[str, Any] = {
        "env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, known))},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    words = [sys.executable, "-m", "retouch.cli", "batch", *map(str, (photos, photos, output))]
    words += ["--model", "telea", "--engine", "ray", "--workers", "2", "--resume"]

    # 1. SIGTERM while some photos are done and two are in hand
    with subprocess.Popen(words, **options) as process:
        try:
            until(lambda: len(pictures(output)) == FIRST and len(rows(output)) > 0, process)
            process.send_signal(signal.SIGTERM)
            assert process.stderr is not None
            told = "giving up the photos in hand; once more ends at once\n"
            assert told in iter(process.stderr.readline, "")  # reads up to it
            free.write_text("x" * MORE)
            out, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    # but progress, and what Ray itself may say of a worker that it ends
    ours = [line for line in err.splitlines() if "(raylet)" not in line]
    assert [line for line in ours if " of 12 photos" not in line] == []
    done = rows(output)
    assert f"{len(done)} photos completed" in out and f"{12 - len(done)} left (--resume goes on)" in out
    assert 0 < len(done) <= MORE and done.items() <= expected.items()
    assert pictures(output).items() <= pictures(local).items()

    # 2. The rest, while a worker is killed
    free.write_text("x" * 12)
    ended = subprocess.run(words, **options, timeout=SECONDS)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr, ended.stderr
    assert f"{11 - len(done)} photos completed" in ended.stdout and "1 failed" in ended.stdout
    assert rows(output) == expected
    assert pictures(output) == pictures(local)
    assert (here / f"{ONCE}.tries").read_text() == "xx"


def batch(*words: str | Path) -> int:
    return main(["batch", *map(str, words), "--model", "telea"])


@pytest.mark.filterwarnings("ignore")  # Ray's own, as it is imported
def test_no_cluster_is_one_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(photos, photos, tmp_path / "out", "--engine", "ray", "--address", "127.0.0.1:1") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(
        "retouch: expected a Ray cluster at 127.0.0.1:1 (ray start --head starts one), got: "
    )


def test_ray_that_is_not_installed_is_one_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert batch(photos, photos, tmp_path / "out", "--engine", "ray") == 2
    needs = "--engine ray needs the extra 'ray': pip install '.[ray]' in Retouch's folder"
    assert capsys.readouterr().err == f"retouch: {needs}\n"


def test_an_address_is_for_ray(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(photos, photos, tmp_path / "out", "--address", "auto") == 2
    assert "expected --address with --engine ray alone" in capsys.readouterr().err
