"""The processes of a run: each is the command again, connected to the others, watched, and ended with them."""

import atexit
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import distributed, nn

from retouch.errors import TrainingError
from retouch.training.distributed import GoneError

START = PATIENCE = timedelta(minutes=10)  # how long a process waits for others: to begin, and then to answer
GRACE = 10.0  # seconds that processes have to end by themselves once one of them is gone
LEFT = 3  # exit status of a process that another one started, and that ends because one does not answer
RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")  # what the command needs on each of several machines


class Together(DDPStrategy):
    """Fabric's ``ddp``, its processes and their connections, without its wrapper around the networks."""

    def __init__(self) -> None:
        super().__init__(timeout=START)

    def setup_environment(self) -> None:
        """Connects the processes, until this one ends. Raises GoneError where one does not come."""
        try:
            super().setup_environment()
        except distributed.DistError as error:
            raise GoneError(f"expected {self.world_size} processes, got fewer within {START}") from error
        # Fabric does it for NCCL alone
        atexit.register(_disconnect)
        distributed.distributed_c10d._set_pg_timeout(PATIENCE)

    def setup_module(self, module: nn.Module) -> nn.Module:  # type: ignore[override]
        """The module itself."""
        return module


def _disconnect() -> None:
    """Ends Gloo's threads, one of which could meet the interpreter's end, and abort a process that is done."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


@contextmanager
def launched(fabric: Fabric) -> Iterator[None]:
    """Starts this machine's other processes of a run, unless Slurm or torchrun has; ends when they have ended.

    Each is this command again. Fabric's own launcher would kill this process before it says that one is gone.

    Raises:
        TrainingError: a process was lost; or machines that do not know of each other.
        SystemExit: a process that has said itself why it ended; in a process started here: one that is gone.
    """
    strategy = fabric.strategy
    if not isinstance(strategy, Together):
        yield
        return
    environment = strategy.cluster_environment
    if environment is None or environment.creates_processes_externally:
        try:
            yield
        except GoneError:
            if isinstance(environment, LightningEnvironment) and environment.local_rank():
                raise SystemExit(LEFT) from None  # the process that started this one says it
            raise
        return
    missing = [name for name in RENDEZVOUS if name not in os.environ]
    if strategy.num_nodes > 1 and missing:
        raise TrainingError(
            f"nodes: expected {', '.join(RENDEZVOUS)} in the environment of {strategy.num_nodes} machines (or "
            f"Slurm, or torchrun), got none of name {missing[0]}"
        )
    rank, size = environment.node_rank() * strategy.num_processes, strategy.num_nodes * strategy.num_processes
    shared = {
        "MASTER_ADDR": environment.main_address,
        "MASTER_PORT": str(environment.main_port),
        "NODE_RANK": str(environment.node_rank()),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": "0",
    }
    before = {name: os.environ.get(name) for name in shared}
    os.environ.update(shared)
    children = {
        rank + local: subprocess.Popen(_command(), env={**os.environ, "LOCAL_RANK": str(local)})
        for local in range(1, strategy.num_processes)
    }
    over = threading.Event()
    threading.Thread(target=_watch, args=(children, size, over), daemon=True).start()
    try:
        yield
    except GoneError as error:
        over.set()
        end = time.monotonic() + GRACE  # a dying process's connections are closed before it can be waited for
        while hanging := [rank for rank, child in children.items() if child.poll() is None]:
            if _lost(children, size) is not None or time.monotonic() > end:
                break
            time.sleep(0.05)
        if (lost := _lost(children, size)) == "":
            raise SystemExit(2) from None
        if lost is None and hanging:
            lost = _told(size, f"process {hanging[0]} that does not answer")
            _end(children.values(), 0)
        raise TrainingError(lost or str(error)) from error
    finally:
        over.set()
        _end(children.values(), GRACE)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _command() -> list[str]:
    """The command line of this process."""
    import __main__

    spec = getattr(__main__, "__spec__", None)
    start = [os.path.abspath(sys.argv[0])] if spec is None else ["-m", spec.name]
    return [sys.executable, *start, *sys.argv[1:]]


def _lost(children: Mapping[int, subprocess.Popen[bytes]], size: int) -> str | None:
    """What to say of a process that has ended too early by itself; "" if it has said so, None if there is none."""
    for rank, child in children.items():
        status = child.poll()
        if status == 2:
            return ""
        if status and status != LEFT:
            how = f"killed by signal {-status}" if status < 0 else f"ended with status {status}"
            return _told(size, f"process {rank} {how}")
    return None


def _told(size: int, what: str) -> str:
    whole = "the last checkpoint is whole, --resume goes on from it"
    return f"expected all {size} processes to train to the end, got {what}; {whole}"


def _watch(children: Mapping[int, subprocess.Popen[bytes]], size: int, over: threading.Event) -> None:
    """Ends this process where one is lost while this one waits for what will never come."""
    while not over.wait(0.2):
        if any(child.poll() for child in children.values()):
            if over.wait(GRACE):
                return
            waited_for = _told(size, f"process {min(children) - 1} that does not answer")  # this one
            lost = _lost(children, size)
            _end(children.values(), 0)
            if lost != "":
                os.write(2, f"retouch: {lost or waited_for}\n".encode())
            os._exit(2)


def _end(children: Iterable[subprocess.Popen[bytes]], seconds: float) -> None:
    """Waits so long for all of them, and then kills those that are left."""
    end = time.monotonic() + seconds
    for child in children:
        try:
            child.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
