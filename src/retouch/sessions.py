"""ONNX Runtime's inference sessions: one for each network and number of threads, shared, and begun early if asked.

ONNX Runtime is imported when the first is made. To make one takes as long as to import all else that completing
a photograph needs, and holds no lock of Python's: who knows the model calls ``begin`` before those imports.
"""

import contextlib
import importlib.resources
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from retouch.cards import DEFAULT, shipped_names, shipped_weights
from retouch.errors import ModelError, first_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

CONTRACT = (
    "inputs image (B, 3, H, W) and hole (B, 1, H, W), output completion (B, 3, H, W), float32, H and W open"
)
KEPT = 8  # sessions for sharing; the oldest goes first

_sessions: "dict[tuple[int, int, int], Future[InferenceSession]]" = {}
_lock = threading.Lock()


def shared(weights: bytes, threads: int, source: str) -> "InferenceSession":
    """The session for some weights and a number of threads (0: all cores): made once.

    Its key is the content, not the path: a file that was replaced is a new model, a copied one is not. Python's own
    hash of it, keyed anew in each process, takes a tenth of SHA-256's time, for which everybody would wait.

    Raises:
        ModelError: see ``onnx_session``.
    """
    key = hash(weights), len(weights), threads
    with _lock:
        session = _sessions.get(key)
        ours = session is None
        if session is None:
            while len(_sessions) >= KEPT:
                del _sessions[next(iter(_sessions))]
            session = _sessions[key] = Future()
    if ours:
        try:
            session.set_result(onnx_session(weights, threads, source))
        except BaseException as error:
            with _lock:
                _sessions.pop(key, None)
            session.set_exception(error)
    return session.result()


def begin(model: str | None, threads: int | None) -> None:
    """Begins to make the session that loading this model will ask for, in a thread, if it is an ONNX network.

    What is wrong with the model is said when it is loaded.
    """
    with contextlib.ExitStack() as stack:
        name = model or DEFAULT
        path = Path(name)
        if name in shipped_names():
            path = stack.enter_context(importlib.resources.as_file(shipped_weights(name)))
        if path.suffix.lower() != ".onnx" or not os.path.isfile(path):
            return
        with contextlib.suppress(OSError):
            weights = path.read_bytes()
            import onnxruntime  # noqa: F401  here, as imports take turns anyway

            # no daemon: who leaves early, for a photograph that cannot be read, waits for what is half made
            threading.Thread(target=_make, args=(weights, threads or 0, str(path))).start()


def _make(weights: bytes, threads: int, source: str) -> None:
    with contextlib.suppress(ModelError):
        shared(weights, threads, source)


def onnx_session(weights: bytes, threads: int, source: str) -> "InferenceSession":
    """A new session for a network on the CPU.

    Args:
        weights: the content of an ONNX file.
        threads: cores that it may use, of those that there are; 0: all.
        source: its name, for messages.

    Raises:
        ModelError: not a network in ONNX, or one with other inputs and outputs than Retouch expects.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = min(threads, os.cpu_count() or 1)
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it would hold the largest window's memory a second time
    options.log_severity_level = 4  # fatal only: what goes wrong is raised, and said in one line
    try:
        session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as in OnnxPredictor
        raise ModelError(f"{source}: expected a network in ONNX, got {first_line(error)}") from error
    inputs = [(value.name, value.type, value.shape) for value in session.get_inputs()]
    outputs = [(value.name, value.type, value.shape) for value in session.get_outputs()]
    if not (_fits(inputs, {"image": 3, "hole": 1}) and _fits(outputs, {"completion": 3})):
        got = ", ".join(f"{name} {tuple(shape)}" for name, _, shape in (*inputs, *outputs))
        raise ModelError(f"{source}: expected {CONTRACT}; got {got}")
    return session


def _fits(values: Sequence[tuple[str, str, Sequence[int | str | None]]], channels: dict[str, int]) -> bool:
    """Whether a network's inputs or outputs, (name, type, shape), are those of the contract."""
    return {name for name, _, _ in values} == set(channels) and all(
        kind == "tensor(float)"
        and len(shape) == 4
        and (shape[1] == channels[name] or not isinstance(shape[1], int))
        and not any(isinstance(side, int) for side in shape[2:])
        for name, kind, shape in values
    )
