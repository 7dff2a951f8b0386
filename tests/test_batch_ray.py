"""`retouch batch --engine ray`: two workers on this machine, of which one is killed; the bytes of the local engine.

Everything runs in the command's own process, as Ray leaves its traces in whichever process starts it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import retouch

pytest.importorskip("ray")

SECONDS = 300  # until a test gives up waiting, on a loaded machine
ONCE = "05.png"  # the photo that takes its worker with it at the first try

# Read by every Python process at its start: a worker loses its life to a photo.
KILLS = """
import os, signal, sys
if any("default_worker" in word for word in sys.orig_argv):
    from pathlib import Path
    from retouch.batch import work
    real, killed = work.completed, Path({killed!r})

    def completed(job, *rest):
        with open(killed / f"{{job.output}}.tries", "a") as tries:
            tries.write("x")
            first = tries.tell() == 1
        if job.output == {once!r} and first:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(job, *rest)

    work.completed = completed
"""


def batch(*words: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command, with a folder in front of where Python looks for modules."""
    own = Path(retouch.__file__).parents[1]
    known = [str(folder) for folder in (path, own) if folder] + [os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, known))}
    command = [sys.executable, "-m", "retouch.cli", "batch", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)


def starved() -> bool:
    """Whether each core has many processes to run: a test is then not over in any time that could be waited for."""
    return os.getloadavg()[0] > 3 * (os.cpu_count() or 1)


def rows(output: Path) -> dict[str, dict[str, Any]]:
    """The manifest's last row about each output, without times."""
    lines = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    return {line["output"]: {k: v for k, v in line.items() if k != "seconds"} for line in lines}


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


def test_a_killed_worker_changes_nothing(photos: Path, tmp_path: Path) -> None:
    """What a worker had in hand when it was killed is done by another, with the bytes of the local engine."""
    local, output, killed = tmp_path / "local", tmp_path / "ray", tmp_path / "killed"
    assert batch(photos, photos, local, "--model", "telea").returncode == 1
    expected = rows(local)
    assert [name for name, row in expected.items() if row["status"] == "failed"] == ["11.png"]

    killed.mkdir()
    (killed / "sitecustomize.py").write_text(KILLS.format(killed=str(killed), once=ONCE))
    words = [photos, photos, output, "--model", "telea", "--engine", "ray", "--workers", 2]
    if starved():
        pytest.skip(
            "a machine with too much to do: Ray starts a dozen processes, and has deadlines of its own"
        )
    try:
        done = batch(*words, path=killed)
    except subprocess.TimeoutExpired:
        assert starved()
        pytest.skip("a machine with too much to do")
    if "expected a Ray cluster at this machine" in done.stderr:
        pytest.skip("Ray has not started in three times 30 seconds: a machine with too much to do")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "11 photos completed" in done.stdout and "1 failed" in done.stdout
    assert rows(output) == expected
    for name in expected.keys() - {"11.png"}:
        assert (output / name).read_bytes() == (local / name).read_bytes()
    assert (killed / f"{ONCE}.tries").read_text() == "xx"


def test_no_cluster_is_one_line(photos: Path, tmp_path: Path) -> None:
    done = batch(
        photos, photos, tmp_path / "out", "--model", "telea", "--engine", "ray", "--address", "127.0.0.1:1"
    )
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert line.startswith(
        "retouch: expected a Ray cluster at 127.0.0.1:1 (ray start --head starts one), got: "
    )


def test_ray_that_is_not_installed_is_one_line(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "none" / "ray").mkdir(parents=True)
    (tmp_path / "none" / "ray" / "__init__.py").write_text("raise ModuleNotFoundError('none', name='ray')")
    done = batch(
        photos, photos, tmp_path / "out", "--model", "telea", "--engine", "ray", path=tmp_path / "none"
    )
    assert (done.returncode, done.stderr) == (
        2, "retouch: --engine ray needs the extra 'ray': pip install 'retouch[ray]'\n"
    )  # fmt: skip


def test_an_address_is_for_ray(photos: Path, tmp_path: Path) -> None:
    done = batch(photos, photos, tmp_path / "out", "--address", "auto")
    assert done.returncode == 2 and "expected --address with --engine ray alone" in done.stderr
