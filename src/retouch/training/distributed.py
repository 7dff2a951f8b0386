"""Several processes that train as one: the same losses as one process with the same batch.

Every process takes its part of each batch (see ``data.Numbers``) and does the same steps with the same weights.
What the parts of a batch have in common is shared:

    gradients     averaged over the processes after every backward pass
    batch norm    one mean and variance over the whole batch, with gradients through both
    noise         drawn for the whole batch in every process, which takes its own rows

Not shared are divisions inside a loss, as by the area of all holes (``recurrent``'s hole_l1, the inverters): there each
process divides by that of its own part.

The networks are not wrapped, as PyTorch's DistributedDataParallel would: it counts calls and gradients, while a
method may call a network several times for one backward pass, freeze it, differentiate twice, or search with a
number of calls that differs from one process to the next.
"""

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from retouch.errors import TrainingError

START = PATIENCE = timedelta(minutes=10)  # how long a process waits for others: to begin, and then to answer
GRACE = 10.0  # seconds that processes have to end by themselves once one of them is gone
LEFT = 3  # exit status of a process that another one started, and that ends because one does not answer
RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")  # what the command needs on each of several machines


class GoneError(TrainingError):
    """Another process of the run has ended, or does not answer."""


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


# ---- the processes ----------------------------------------------------------------------------------------


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


def agree_on(fabric: Fabric, **facts: Any) -> None:
    """Raises TrainingError where a process sees other photos, or another checkpoint, than the first one."""
    if fabric.world_size == 1:
        return
    for (name, mine), (_, first) in zip(facts.items(), _broadcast(facts).items(), strict=True):
        if mine != first:
            raise TrainingError(
                f"process {fabric.global_rank} on {socket.gethostname()}: expected the same {name} as process 0, "
                f"{first!r}, got {mine!r}"
            )


def _broadcast(facts: dict[str, Any]) -> dict[str, Any]:
    box = [facts]
    try:
        distributed.broadcast_object_list(box, src=0)
    except RuntimeError as error:
        raise _gone(error) from error
    return box[0]


def total(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place. Raises GoneError."""
    try:
        distributed.all_reduce(tensor)
    except RuntimeError as error:
        raise _gone(error) from error
    return tensor


def meet(fabric: Fabric) -> None:
    """Returns when all processes have come here. Raises GoneError."""
    if fabric.world_size > 1:
        total(torch.zeros(1, device=fabric.device)).item()


def _gone(error: RuntimeError) -> GoneError:
    reason = " ".join(str(error).split())[:200]
    return GoneError(
        f"expected an answer of all {distributed.get_world_size()} processes, got one that has ended or hangs; "
        f"the last checkpoint is whole, --resume goes on from it ({reason})"
    )


# ---- what they share --------------------------------------------------------------------------------------


def backward(fabric: Fabric, networks: Mapping[str, nn.Module]) -> Callable[[Tensor], None]:
    """Fabric's backward pass, after which gradients are means over the processes.

    Gradients are averaged where this pass has added to them. A gradient that several passes add up stays right:
    the mean of what is equal everywhere and what is not is the sum of their means.
    """
    if fabric.world_size == 1:
        return fabric.backward
    parameters = [parameter for network in networks.values() for parameter in network.parameters()]
    changed: set[int] = set()

    def note(number: int) -> Callable[[Tensor], None]:
        return lambda _: changed.add(number)

    for number, parameter in enumerate(parameters):
        frozen = not parameter.requires_grad
        parameter.requires_grad_().register_post_accumulate_grad_hook(note(number))  # type: ignore[no-untyped-call]
        parameter.requires_grad_(not frozen)

    def mean(loss: Tensor) -> None:
        fabric.backward(loss)
        found = [parameters[number].grad for number in sorted(changed)]
        gradients = [gradient for gradient in found if gradient is not None]
        changed.clear()
        if not gradients:
            return
        flat = total(torch.cat([gradient.flatten() for gradient in gradients])) / fabric.world_size
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    return mean


def share_norms(fabric: Fabric, networks: Mapping[str, nn.Module]) -> None:
    """Batch norm of the networks by the statistics of the whole batch; PyTorch's own is for GPUs alone."""
    if fabric.world_size > 1:
        for network in networks.values():
            for layer in network.modules():
                if isinstance(layer, _BatchNorm):
                    shared = _shared_norm(layer, fabric.global_rank, fabric.world_size)
                    layer.forward = shared  # type: ignore[method-assign, assignment]


def _shared_norm(norm: _BatchNorm, rank: int, size: int) -> Callable[[Tensor], Tensor]:
    alone = norm.forward

    def forward(x: Tensor) -> Tensor:
        if not norm.training:
            return alone(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        axes = [0, *range(2, x.ndim)]
        own = torch.stack([values.mean(axes), values.var(axes, correction=0)])  # (2, C)
        slots = [own if i == rank else torch.zeros_like(own) for i in range(size)]
        every: Tensor = _Total.apply(torch.stack(slots))  # type: ignore[no-untyped-call]
        means, variances = every.unbind(1)  # (processes, C) each
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        seen = norm.num_batches_tracked
        if norm.running_mean is not None and norm.running_var is not None and seen is not None:
            seen.add_(1)
            share = 1 / float(seen) if norm.momentum is None else norm.momentum
            count = size * x.numel() // x.shape[1]
            norm.running_mean.lerp_(mean.detach(), share)
            norm.running_var.lerp_(variance.detach() * count / (count - 1), share)
        shape = (1, -1, *(1 for _ in axes[1:]))
        y: Tensor = (values - mean.view(shape)) * (variance + norm.eps).rsqrt().view(shape)
        if norm.affine:
            y = y * norm.weight.view(shape) + norm.bias.view(shape)
        return y.to(x.dtype)

    return forward


class _Total(torch.autograd.Function):
    """The sum over all processes; a gradient is the sum of all processes' gradients, and so on."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return total(tensor.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed: Tensor = _Total.apply(gradient)  # type: ignore[no-untyped-call]
        return summed


class SharedNoise(TorchFunctionMode):
    """Within it, noise without a generator of its own has a row for each sample: those of this process's part.

    All processes draw the whole batch's, from the same state, so that one process would draw the same.

    Args:
        rank: of this process.
        size: how many there are.
    """

    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        self.rank, self.size = rank, size

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is None:
            if func in (torch.randn, torch.rand):
                rows, *rest = args if isinstance(args[0], int) else args[0]
                return func(self.size * rows, *rest, **kwargs).chunk(self.size)[self.rank]
            if func in (torch.randn_like, torch.rand_like):
                return func(torch.cat([args[0]] * self.size), **kwargs).chunk(self.size)[self.rank]
        return func(*args, **kwargs)
