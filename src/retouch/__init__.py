"""Retouch fills holes in photographs.

import retouch

model = retouch.load()  # or "telea", "path/to/model.onnx", ...
(picture,) = model(image="photo.jpg", mask_image="mask.png")  # white in the mask is filled
picture = retouch.complete("photo.jpg", "mask.png", output="completed.jpg")  # the same in one step
retouch.models(), retouch.methods()  # what there is
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from retouch.errors import (
    DataError,
    ImageError,
    MaskError,
    MissingExtraError,
    ModelError,
    OptionError,
    RetouchError,
    RetouchWarning,
    TrainingError,
)

if TYPE_CHECKING:
    from retouch.boxes import Limits
    from retouch.cards import Card
    from retouch.engine import Predictor
    from retouch.files import complete
    from retouch.methods import Entry
    from retouch.models import Model, load

    __version__: str

__all__ = [
    "Card",
    "DataError",
    "ImageError",
    "Limits",
    "MaskError",
    "MissingExtraError",
    "Model",
    "ModelError",
    "OptionError",
    "Predictor",
    "RetouchError",
    "RetouchWarning",
    "TrainingError",
    "__version__",
    "complete",
    "load",
    "methods",
    "models",
]

_LAZY = {  # name -> module: NumPy, OpenCV and Pillow are imported when the first of these is used
    "Card": "retouch.cards",
    "Limits": "retouch.boxes",
    "Model": "retouch.models",
    "Predictor": "retouch.engine",
    "complete": "retouch.files",
    "load": "retouch.models",
}


def models() -> "dict[str, Card]":
    """The cards of the shipped models by name, the default first."""
    from retouch.cards import cards

    return cards()


def methods() -> "dict[str, Entry]":
    """The published methods by name: those that can be trained. Needs no PyTorch."""
    from retouch.methods import METHODS

    return dict(METHODS)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value: Any = version("retouch")
        except PackageNotFoundError:  # run from a source tree
            value = "0+source"
    elif name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps the functions ``models`` and ``methods`` in their place.

    There are modules of the same names, which the import system would put there when they are first imported.
    ``from retouch.models import ...`` finds those nevertheless.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in ("models", "methods") and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
