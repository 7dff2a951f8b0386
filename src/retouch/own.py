"""A model of one's own: a Python file whose function ``predictor()`` returns a `Predictor`, in any framework.

It is shown windows around the holes, of ``native`` px or more, and its answers meet the photograph as those of any
model do. What it reads beside its own file is its own matter: a resumed evaluation sees only whether this file changed.

import numpy as np
import retouch

class Mean:
    limits = retouch.Limits(native=512, multiple=8, largest=2048)

    def __call__(self, image, hole, *, seed):
        known = (image * (1 - hole)).sum((2, 3), keepdims=True) / (1 - hole).sum((2, 3), keepdims=True)
        return np.where(hole > 0, known, image)

def predictor():
    return Mean()
"""

import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from retouch.boxes import Limits
from retouch.errors import ModelError, RetouchError, first_line

PYTHON = ".py"


@dataclass(frozen=True, slots=True)
class OwnPredictor:
    """What the function of a file returned; whatever it raises is told in one line, with the line of the file.

    Args:
        path: of the file.
        limits: of the windows.
        ask: what answers them; `batch` and the service may call it from several threads at once.
    """

    path: str
    limits: Limits
    ask: Callable[..., Any]

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        """As `Predictor` has it.

        Raises:
            ModelError: the code of the file raised something. (The engine checks its answer.)
        """
        with _told(self.path, "to complete a window"):
            answer: np.ndarray = self.ask(image, hole, seed=seed)
        return answer


def from_python(path: Path, source: bytes) -> OwnPredictor:
    """Runs a file and calls its ``predictor()``; from now on modules that lie beside it can be imported.

    Raises:
        ModelError: it cannot be run, has no such function, or this returns no `Predictor`.
    """
    module = ModuleType(
        f"retouch_own_{path.stem}_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:8]}"
    )
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where pickle and dataclasses look for it
    beside = str(path.resolve().parent)
    if beside not in sys.path:
        sys.path.append(beside)
    with _told(str(path), "Python that runs"):
        exec(compile(source, path, "exec"), module.__dict__)
    build = getattr(module, "predictor", None)
    if not callable(build):
        raise ModelError(f"{path}: expected a function predictor(), got none")
    with _told(str(path), "predictor() to return a model"):
        made: Any = build()
        limits = getattr(made, "limits", None)
    if not callable(made) or not isinstance(limits, Limits):
        lacks = "without limits" if limits is None else f"with limits of type {type(limits).__name__}"
        got = f"{type(made).__name__} {lacks}" if callable(made) else type(made).__name__
        raise ModelError(f"{path}: expected predictor() to return a callable with retouch.Limits, got {got}")
    return OwnPredictor(str(path), limits, made)


@contextmanager
def _told(path: str, expected: str) -> Iterator[None]:
    try:
        yield
    except (RetouchError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # sys.exit() would end a batch as if it were done
        own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        line = error.lineno if isinstance(error, SyntaxError) else own[-1] if own else None
        where = f"{path}, line {line}" if line else path
        got = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else first_line(error)}"
        raise ModelError(f"{where}: expected {expected}, got {got}") from error
