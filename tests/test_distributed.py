"""Training in several processes: as one process, for every method; what is lost when a process is.

The processes of the first tests are started as Slurm's ``srun`` would start them, those of the others by the
command itself.
"""

import atexit
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from processes import alive, until
from small import SMALL, write_faces
from test_training import Config, Tiny, environment, make_photos, stats
from torch import Tensor, distributed, nn
from torch.nn.utils.parametrizations import spectral_norm

from retouch import sources
from retouch.cli import app
from retouch.errors import TrainingError
from retouch.methods import METHODS
from retouch.training import data
from retouch.training.checkpoints import holds_run, read_checkpoint
from retouch.training.loop import train
from retouch.training.settings import Settings

STEPS, HALF = 20, 10
SECONDS = 600  # until a test gives up waiting, on a loaded machine
RESUMED = "dcgan_direct"  # whose first steps one process does, and the rest two


class Watched(Tiny):
    """Logs how far the processes' weights are apart, and the share of the noise that they have in common."""

    def step(
        self, image: Tensor, hole: Tensor, k: int, *, backward: Callable[[Tensor], None]
    ) -> dict[str, float]:
        values = super().step(image, hole, k, backward=backward)
        own = torch.cat([p.detach().flatten() for n in self.networks.values() for p in n.parameters()])
        low, high = own.clone(), own.clone()
        noise = torch.randn(len(image), 2)
        rows = [torch.empty_like(noise) for _ in range(2)]
        if distributed.is_initialized():
            distributed.all_reduce(low, distributed.ReduceOp.MIN)
            distributed.all_reduce(high, distributed.ReduceOp.MAX)
            distributed.all_gather(rows, noise)
            rows = [torch.cat(rows)]
        else:
            rows = [noise]
        distance = (rows[0][:, None] - rows[0][None]).norm(dim=2)
        same = float((distance == 0).sum() - len(rows[0]))
        return values | {"drift": float((high - low).max()), "same": same, "noise": float(rows[0].sum())}


def doubled(build: type) -> type:
    """A method in float64, where PyTorch makes that: sums in another order differ less than the losses do."""

    class Doubled(build):  # type: ignore[misc]
        def step(self, image: Tensor, hole: Tensor, k: int, **options: Any) -> dict[str, float]:
            values: dict[str, float] = super().step(image.double(), hole.double(), k, **options)
            return values

    return Doubled


def narrowed(layer: nn.Conv2d) -> nn.Module:
    """A convolution of `recurrent`'s discriminator, which has one size and that a large one, at a twelfth of it."""
    inputs, outputs = (n if n <= 4 else n // 12 for n in (layer.in_channels, layer.out_channels))
    return spectral_norm(nn.Conv2d(inputs, outputs, 5, layer.stride, 2))  # type: ignore[arg-type]


def train_one(name: str, photos: str, output: Path, **changes: Any) -> None:
    """A method of the registry in float64, or the tiny one in float32, for 20 steps with a batch of 4."""
    known: dict[str, Any] = {
        "steps": STEPS,
        "sample_every": 0,
        "strategy": "ddp",
        "size": 16,
    }
    known |= {"batch": 4, "workers": 0, "threads": 1, "log_every": 1, "accelerator": "cpu"}
    known |= {"masks": ("center",), "ratio": (0.25, 0.25), "data": (photos,), "output": output}
    if name not in METHODS:
        entry = SimpleNamespace(load=lambda: (Config, Watched))
        known |= {"sample_every": STEPS, "validate": (f"{photos}-held-out",), "validate_every": STEPS // 2}
        train(name, Settings(**known | changes), entry=entry)
        return
    kind, build = METHODS[name].load()
    known |= {"size": SMALL[name].size, "precision": "64-true"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retouch.training.settings.PRECISIONS", ("64-true", "32-true"))
        if name == "recurrent":
            patch.setattr(sys.modules[build.__module__], "spectral_norm", narrowed)
        torch.set_default_dtype(torch.float64)
        try:
            entry = SimpleNamespace(load=lambda: (kind, doubled(build)))
            train(name, Settings(**known | changes), SMALL[name].config, entry=entry)
        finally:
            torch.set_default_dtype(torch.float32)


def train_two(photos: str, folder: str) -> None:
    """Says so where the connections outlive the training: their threads can abort a process that ends."""
    atexit.register(lambda: print("connected" * distributed.is_initialized(), end=""))
    for name in (*METHODS, "tiny"):
        train_one(name, photos, Path(folder) / name, devices=2, resume=name == RESUMED)


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def slurm(rank: int, size: int, master: int) -> dict[str, str]:
    """The environment that ``srun`` gives to a task on one machine."""
    known: dict[str, Any] = {
        "SLURM_JOB_ID": 4711, "SLURM_JOB_NAME": "retouch", "SLURM_NTASKS": size, "SLURM_NTASKS_PER_NODE": size,
        "SLURM_NNODES": 1, "SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": 0,
        "SLURM_NODELIST": "localhost", "MASTER_PORT": master,
    }  # fmt: skip
    return environment() | {name: str(value) for name, value in known.items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Runs of every method in one process, and in two."""
    folder = tmp_path_factory.mktemp("distributed")
    photos = write_faces(folder / "faces", 64)
    write_faces(folder / "faces-held-out", 64, 5)  # one more for the first process
    start = f"from test_distributed import train_two\ntrain_two({photos!r}, {str(folder / 'two')!r})"
    train_one(RESUMED, photos, folder / "two" / RESUMED, steps=HALF)
    master = port()
    command = [sys.executable, "-c", start]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        pair = []
        for rank in range(2):
            process = subprocess.Popen(
                command, env=slurm(rank, 2, master), cwd=Path(__file__).parent, **pipes
            )
            pair.append(stack.enter_context(process))
            stack.callback(process.kill)
        for name in (*METHODS, "tiny"):
            train_one(name, photos, folder / "one" / name)
        for process in pair:
            out, err = process.communicate(timeout=5 * SECONDS)
            assert (process.returncode, out) == (0, "") and "Traceback" not in err, err
    yield folder / "one", folder / "two"


@pytest.mark.parametrize("name", [*METHODS, "tiny"])
def test_two_processes_have_the_losses_of_one(folders: tuple[Path, Path], name: str) -> None:
    one, two = (stats(folder / name) for folder in folders)
    assert [line["step"] for line in one] == [*range(1, STEPS + 1)]
    near = 1e-6 if name in METHODS else 1e-4
    for alone, shared in zip(one, two, strict=True):
        assert alone == pytest.approx(shared, rel=near, abs=near), alone["step"]
    validated = [line["step"] for line in one if "validation_psnr" in line]
    assert validated == ([] if name in METHODS else [STEPS // 2, STEPS])


@pytest.mark.parametrize("name", [*METHODS, "tiny"])
def test_the_first_process_alone_writes(folders: tuple[Path, Path], name: str) -> None:
    one, two = (
        sorted(
            str(file.relative_to(folder))
            for file in (folder / name).rglob("*")
            if "tfevents" not in file.name
        )
        for folder in folders
    )
    assert one == two
    assert len(list((folders[1] / name / "tensorboard").iterdir())) == 1 + (name == RESUMED)


def test_weights_stay_equal_and_noise_differs_from_sample_to_sample(folders: tuple[Path, Path]) -> None:
    for line in stats(folders[1] / "tiny"):
        assert (line["drift"], line["same"]) == (0, 0)


# what is lost when a process is


def command(photos: str, output: Path, start: Sequence[str | Path] = ("-m", "retouch.cli")) -> list[str]:
    """A run of the command in two processes that writes a checkpoint after every step."""
    config = [f"--set={name}={value}" for name, value in SMALL["dcgan_search"].config.items()]
    options = (
        f"--size 64 --batch 4 --devices 2 --strategy ddp --accelerator cpu --workers 0 --threads 1 {FAST}"
    )
    words = [sys.executable, *map(str, start), "train", "dcgan_search", "--data", photos]
    return [*words, "--output", str(output), *options.split(), *config]


FAST = "--steps 100000 --checkpoint-minutes 0 --sample-every 0 --log-every 1"
PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def said(err: str) -> list[str]:
    assert "Traceback" not in err, err
    return [line for line in err.splitlines() if line.startswith("retouch:")]


LINUX = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds child processes as Linux shows them"
)


def child(process: subprocess.Popen[str]) -> int:
    """The other process of a run."""
    (other,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    return other


@LINUX
@pytest.mark.parametrize("victim", ["first", "second"])
def test_a_killed_process_ends_the_run_and_leaves_a_whole_checkpoint(tmp_path: Path, victim: str) -> None:
    photos, output = write_faces(tmp_path / "faces", 64), tmp_path / "run"
    with subprocess.Popen(command(photos, output), env=environment(), **PIPES) as process:
        until(lambda: holds_run(output) and read_checkpoint(output)[0]["step"] >= 2, process)
        second = child(process)
        os.kill(process.pid if victim == "first" else second, signal.SIGKILL)
        out, err = process.communicate(timeout=SECONDS)
    assert out == ""
    if victim == "first":
        assert process.returncode == -signal.SIGKILL and said(err) == []
    else:
        (line,) = said(err)
        assert process.returncode == 2
        assert "expected all 2 processes to train to the end, got process 1 killed by signal 9" in line
    until(lambda: not alive(second))
    goes_on(photos, output)


def goes_on(photos: str, output: Path) -> None:
    """The last checkpoint is whole: one process does another step from it."""
    step = read_checkpoint(output)[0]["step"]
    settings = Settings(
        data=(photos,), output=output, size=64, batch=4, workers=0, steps=step + 1, resume=True, threads=1,
        accelerator="cpu", sample_every=0,
    )  # fmt: skip
    assert train("dcgan_search", settings, SMALL["dcgan_search"].config).step == step + 1


IMPATIENT = """
import sys
from datetime import timedelta
from retouch.cli import main
from retouch.training import launching
launching.{name} = timedelta(seconds={seconds})
sys.exit(main(sys.argv[1:]))
"""


@LINUX
@pytest.mark.parametrize("victim", ["first", "second"])
def test_a_process_that_hangs_ends_the_run_and_leaves_a_whole_checkpoint(tmp_path: Path, victim: str) -> None:
    """As if it read from a disk that is gone; the other waits for 15 seconds, where it otherwise would for minutes."""
    photos, output = write_faces(tmp_path / "faces", 64), tmp_path / "run"
    script = tmp_path / "impatient.py"
    script.write_text(IMPATIENT.format(name="PATIENCE", seconds=15))
    with subprocess.Popen(command(photos, output, [script]), env=environment(), **PIPES) as process:
        until(lambda: holds_run(output) and read_checkpoint(output)[0]["step"] >= 2, process)
        second = child(process)
        os.kill(process.pid if victim == "first" else second, signal.SIGSTOP)
        if victim == "first":
            until(lambda: not alive(second))
            os.kill(process.pid, signal.SIGCONT)
        out, err = process.communicate(timeout=SECONDS)
    (line,) = said(err)
    assert (process.returncode, out) == (2, "")
    lost = "expected all 2 processes to train to the end, got process {} that does not answer; the last"
    if victim == "first":  # as it goes on, it finds the other gone, or its watch is quicker and tells why
        gone = "expected an answer of all 2 processes, got one that has ended or hangs; the last"
        assert gone in line or lost.format(0) in line
    else:
        assert lost.format(1) in line
    assert not alive(second)
    goes_on(photos, output)


def test_a_process_that_never_comes_is_one_line(tmp_path: Path) -> None:
    photos, script = make_photos(tmp_path / "photos"), tmp_path / "impatient.py"
    script.write_text(IMPATIENT.format(name="START", seconds=1))
    words = command(photos, tmp_path / "run", [script])
    done = subprocess.run(words, env=slurm(0, 2, port()), capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (2, "")
    assert said(done.stderr) == ["retouch: expected 2 processes, got fewer within 0:00:01"]


STRICT = """
import sys
from retouch.cli import main
from retouch.training import data
data.TRIES = 1  # no other photo stands for one that cannot be read
sys.exit(main(sys.argv[1:]))
"""


def test_what_stops_one_process_is_said_once(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", 6)
    order = data._order(6, 0, 0)
    names = [source.label for source in sources.index((photos,))]
    broken = Path(names[order[3]])  # in the second process's part of the first batch
    broken.write_bytes(b"not a photo")
    script = tmp_path / "strict.py"
    script.write_text(STRICT)
    words = command(photos, tmp_path / "run", [script])
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=SECONDS)
    (line,) = said(done.stderr)
    assert (done.returncode, done.stdout) == (2, "") and str(broken) in line


def test_machines_that_do_not_know_of_each_other_are_one_line(tmp_path: Path) -> None:
    settings = Settings(
        data=(make_photos(tmp_path / "photos"),), output=tmp_path / "run", batch=4, nodes=2, accelerator="cpu"
    )
    with pytest.raises(
        TrainingError, match=r"^nodes: expected MASTER_ADDR, MASTER_PORT, NODE_RANK in the env"
    ):
        train("glcic", settings)


def test_another_strategy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="strategy: expected one of auto, ddp, got 'fsdp'"):
        Settings(data=("photos",), output=tmp_path, strategy="fsdp")


# the page on training at scale

PAGE = Path(__file__).parents[1] / "docs" / "training-at-scale.md"
BLOCKS = re.findall(r"```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split()[0])
def test_the_commands_of_the_page_are_real(block: str, tmp_path: Path) -> None:
    """Each is read by the command's own parser; what Slurm and Ray are asked for is what the run is told."""
    line = next(line for line in block.replace("\\\n", " ").splitlines() if "retouch train" in line)
    tokens = shlex.split(line.partition("retouch ")[2].replace("$resume", "--resume"))
    _, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    settings = bound.arguments["settings"]
    asked = {
        name: int(value) for name, value in re.findall(r"--(nodes|ntasks-per-node|gpus)[= ](\d+)", block)
    }
    if "SBATCH" in block:
        assert (settings.nodes, settings.devices) == (asked["nodes"], asked["ntasks-per-node"])
    if "train_on_ray" in block:
        assert (settings.nodes, settings.devices) == (asked["nodes"], asked["gpus"])
        assert f"--nodes {settings.nodes} --gpus" in line
    assert settings.batch % (settings.nodes * settings.devices) == 0
