"""A network in ONNX -> the same with its large convolutions in 8 bits: a smaller file, and faster.

ONNX Runtime has transposed convolutions in 32 bits alone: their weights are stored in 16.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from onnx import helper, numpy_helper
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]

from retouch.errors import ModelError

Sample = tuple[np.ndarray, np.ndarray]

INPUTS = 512  # a convolution of fewer numbers to one gains little in 8 bits; late ones of those cost the most quality
# % of an activation's values that keep their size; steps are finer where the few beyond are cut
RANGE = 99.995
TOLERANCE = 0.01  # mean difference to the network in 32 bits, in the holes of the samples, in [0, 1]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Samples, as ONNX Runtime asks for them."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._all, self._samples = samples, iter(samples)

    def __len__(self) -> int:
        return len(self._all)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._samples = iter(self._all[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        sample = next(self._samples, None)
        return None if sample is None else {"image": sample[0], "hole": sample[1]}


def to_int8(data: bytes, samples: Sequence[Sample]) -> tuple[bytes, str]:
    """Static quantization: weights per output channel, activations by the ranges that the samples show (but ``RANGE``).

    Weights keep 7 bits: on processors without instructions for 8-bit products, sums of two would overflow. Sums of
    whole numbers are exact, so the result depends neither on the batch nor on the number of cores.

    Args:
        data: an ONNX file with the inputs "image" and "hole".
        samples: what it is to see: (1, 3, H, W) in [0, 1] and (1, 1, H, W), 1 = missing, float32.

    Returns:
        The ONNX file, and what was done in one sentence for the card.

    Raises:
        ModelError: no convolution is large enough, or the completions differ by more than ``TOLERANCE``.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        given, prepared, quantized = (
            Path(folder) / f"{name}.onnx" for name in ("given", "prepared", "quantized")
        )
        given.write_bytes(data)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        graph = onnx.load(prepared).graph
        shapes = {weights.name: weights.dims for weights in graph.initializer}
        convolutions = [node for node in graph.node if node.op_type == "Conv"]
        large = [node.name for node in convolutions if np.prod(shapes[node.input[1]][1:]) >= INPUTS]
        if not large:
            raise ModelError(
                f"expected convolutions of {INPUTS} numbers to one to quantize, got smaller ones"
            )
        quantize_static(
            prepared,
            quantized,
            _Reader(samples),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=large,
            op_types_to_quantize=["Conv"],  # else the values of all layers are kept
            calibrate_method=CalibrationMethod.Percentile,
            # one sample after the other: it keeps every layer's values of those that it takes at once
            extra_options={"CalibPercentile": RANGE, "CalibStridedMinMax": 1},
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(quantized)
        _store_once(model.graph)
        transposed = _store_in_16_bits(model.graph)
        result = model.SerializeToString()
    difference = _difference(data, result, samples)
    if not difference <= TOLERANCE:
        raise ModelError(f"expected 8 bits within {TOLERANCE} of 32 bits in the holes, got {difference:.2g}")
    halved = f", weights of {transposed} transposed ones in 16" if transposed else ""
    return result, (
        f"{len(large)} of {len(convolutions)} convolutions in 8 bits{halved} (ranges from {len(samples)} crops; mean "
        f"difference to 32 bits in their holes {difference:.2g} of [0, 1])."
    )


def _store_once(graph: onnx.GraphProto) -> None:
    """Keeps one copy of equal weights: preparation makes one for each use, as by a mirrored network."""
    kept: dict[bytes, str] = {}
    names: dict[str, str] = {}
    for weights in list(graph.initializer):
        name, weights.name = weights.name, ""
        names[name] = kept.setdefault(weights.SerializeToString(deterministic=True), name)
        weights.name = name
        if names[name] != name:
            graph.initializer.remove(weights)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def _store_in_16_bits(graph: onnx.GraphProto) -> int:
    """Stores the weights of transposed convolutions so, and counts them; a session makes 32 bits of them at once."""
    wanted = {node.input[1] for node in graph.node if node.op_type == "ConvTranspose"}
    for weights in graph.initializer:
        if weights.name in wanted:
            name, stored = weights.name, f"{weights.name}_16_bits"
            weights.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(weights).astype(np.float16), stored)
            )
            graph.node.insert(0, helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    return len(wanted)


def _difference(data: bytes, other: bytes, samples: Sequence[Sample]) -> float:
    """Mean difference of two networks in the holes."""
    sessions = [
        onnxruntime.InferenceSession(each, providers=["CPUExecutionProvider"]) for each in (data, other)
    ]
    total, count = 0.0, 0.0
    for image, hole in samples:
        one, two = (session.run(["completion"], {"image": image, "hole": hole})[0] for session in sessions)
        total += float((np.abs(one - two) * hole).sum())
        count += 3 * float(hole.sum())
    return total / count


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the quantizer's advice and progress off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
