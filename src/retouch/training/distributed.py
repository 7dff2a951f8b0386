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

import socket
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from retouch.errors import TrainingError


class GoneError(TrainingError):
    """Another process of the run has ended, or does not answer."""


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
