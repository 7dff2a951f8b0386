"""ONNX -> the networks that it was exported from, with their weights as far as the file tells them.

Large convolutions may be in 8 bits there, and batch norms may lie in the convolutions before them. Weights are found by
their names; whether the networks then complete as the file does is looked at.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from retouch.errors import ModelError

# what becomes of a name where ONNX Runtime puts a batch norm into a convolution, repeats weights, takes 8 bits for them
NAME = re.compile(
    r"(?:ConvBnFusion_(?:W|BN_B)_)?networks\.(.+?)(?:_token_\d+)?(?:_quantized)?(?:_DequantizeLinear_Output\w*)?"
)
SLICE = re.compile(r"slice_(\d+)")  # a part, along its inputs, of a weight that is used in parts
TOLERANCE = (
    0.1  # mean difference of completions in their holes, in [0, 1]: 8 bits make less, even of odd pictures
)


def load_onnx(
    networks: Mapping[str, nn.Module],
    data: bytes,
    samples: Sequence[tuple[np.ndarray, np.ndarray]],
    complete: Callable[[Tensor, Tensor], Tensor],
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    """Gives networks the weights of an ONNX file that ``retouch export`` wrote of such networks.

    Args:
        networks: by name, of the file's settings; in evaluation mode.
        data: the file's content.
        samples: (1, 3, H, W) in [0, 1] and (1, 1, H, W), 1 = missing, float32; what the batch norms are to see.
        complete: completes by these networks, (B, 3, H, W), (B, 1, H, W) -> (B, 3, H, W).
        predict: completes by the file, likewise.

    Raises:
        ModelError: weights are missing or of other shapes, or complete otherwise.
    """
    seen: dict[nn.BatchNorm2d, list[Tensor]] = {
        norm: [] for norm in _fill(nn.ModuleDict(networks), _values(data))
    }

    def measure(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        x = inputs[0].double()
        seen[norm].append(torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))]))

    hooks = [norm.register_forward_pre_hook(measure) for norm in seen]
    difference = numbers = 0.0
    with torch.no_grad():
        for image, hole in samples:
            completed = complete(torch.from_numpy(image), torch.from_numpy(hole)).numpy()
            difference += float((np.abs(completed - predict(image, hole)) * hole).sum())
            numbers += 3 * float(hole.sum())
    for hook in hooks:
        hook.remove()
    if not difference <= TOLERANCE * numbers:
        raise ModelError(f"expected weights that complete as the model, got {difference / numbers:.2g} apart")
    for norm, moments in seen.items():  # the same function, with the mean and the variance that training sees
        mean, square = torch.stack(moments).mean(0)
        variance = square - mean.square()
        weight, bias = (variance + norm.eps).sqrt(), norm.bias.detach() + mean
        own = {"running_mean": mean, "running_var": variance, "weight": weight, "bias": bias}
        norm.load_state_dict(own, strict=False)


def _fill(networks: nn.ModuleDict, values: dict[str, Tensor]) -> list[nn.BatchNorm2d]:
    """Gives networks a file's weights; returns the norms that lie in convolutions there: they add a bias alone."""
    folded, convolution = list[nn.BatchNorm2d](), ""
    for name, module in networks.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            convolution = name  # the one before the next norm
        elif isinstance(module, nn.BatchNorm2d) and f"{name}.weight" not in values:
            folded.append(module)
            if f"{convolution}.weight_bias" in values:
                values.setdefault(f"{name}.bias", values[f"{convolution}.weight_bias"])
            neutral = {"weight": 1.0, "running_mean": 0.0, "running_var": 1 - module.eps}
            values |= {f"{name}.{key}": torch.full_like(module.bias, value) for key, value in neutral.items()}
    shapes = {k: v.shape for k, v in networks.state_dict().items() if not k.endswith("num_batches_tracked")}
    lacking = [key for key in shapes if key not in values]
    if "slices" in values and (fitting := [k for k in lacking if shapes[k] == values["slices"].shape]):
        values[fitting[0]] = values["slices"]
        lacking.remove(fitting[0])
    if lacking:
        raise ModelError(f"expected weights that were trained, each with its name, got no {lacking[0]}")
    for key, shape in shapes.items():
        if values[key].shape != shape:
            raise ModelError(f"expected {key} of shape {tuple(shape)}, got {tuple(values[key].shape)}")
    networks.load_state_dict({key: values[key] for key in shapes}, strict=False)
    return folded


def _values(data: bytes) -> dict[str, Tensor]:
    """The weights in a file by their names in the networks; the parts of one that is used in parts as "slices"."""
    graph = onnx.load_from_string(data).graph
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    values = dict(stored)
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in stored:
            values[node.output[0]] = stored[node.input[0]].astype(np.float32)
        if node.op_type == "DequantizeLinear" and node.input[0] in stored:
            numbers, scale = (stored[name] for name in node.input[:2])
            axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
            shape = [-1 if n == axis else 1 for n in range(numbers.ndim)] if scale.ndim else []
            # by both names: equal weights are stored once, under one of theirs
            values[node.input[0]] = values[node.output[0]] = numbers.astype(np.float32) * scale.reshape(shape)
    found = {match[1]: value for name, value in values.items() if (match := NAME.fullmatch(name))}
    parts = {int(match[1]): value for name, value in stored.items() if (match := SLICE.fullmatch(name))}
    if parts:  # each pass may have its own
        once = {parts[number].tobytes(): parts[number] for number in sorted(parts)}
        found["slices"] = np.concatenate(list(once.values()), axis=1)
    return {name: torch.from_numpy(np.array(value)) for name, value in found.items()}
