"""Values of settings: kinds that Cyclopts does not know by itself, and what Python may give and the command not."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from retouch.errors import DataError, RetouchError, check_whole


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """A whole number, and no other that would be rounded to one."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"expected a whole number, got {tokens[0].value!r}") from None


def _ratio(_: type, tokens: Sequence[Token]) -> tuple[float, float]:
    from retouch.masks import parse_ratio  # not for help

    return parse_ratio(tokens[0].value)


Whole = Annotated[int, Parameter(converter=_whole, validator=Number(gte=0))]
Positive = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1))]
Cores = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1, lte=1024))]
Output = Annotated[Path, Parameter(alias="-o")]
Ratio = Annotated[
    tuple[float, float],
    Parameter(
        converter=_ratio,
        n_tokens=1,
        metavar="LEAST-MOST",
        show_default=lambda ratio: ratio and "-".join(map(str, ratio)),
    ),
]


def at_least(settings: object, error: type[RetouchError] = DataError, /, **bounds: int) -> None:
    """Refuses settings with a field below its bound or not whole.

    Raises:
        DataError, or the ``error`` that is given: naming the field.
    """
    for name, bound in bounds.items():
        if (value := getattr(settings, name)) is not None:
            check_whole(error, bound, **{name: value})


def as_texts(settings: object, error: type[RetouchError], /, *names: str) -> None:
    """Makes fields of several texts tuples of them: a path is a text, and one alone is a tuple of one.

    Raises:
        the ``error`` that is given: naming the field.
    """
    for name in names:
        value = getattr(settings, name)
        try:
            texts = [value] if isinstance(value, str | os.PathLike) else list(value)
            texts = [os.fspath(text) for text in texts]
        except TypeError:
            texts = [None]
        if not all(isinstance(text, str) for text in texts):
            raise error(f"{name}: expected texts or paths, got {value!r}")
        object.__setattr__(settings, name, tuple(texts))


def as_paths(settings: object, error: type[RetouchError], /, *names: str) -> None:
    """Makes fields paths where they are texts.

    Raises:
        the ``error`` that is given: naming the field.
    """
    for name in names:
        value = getattr(settings, name)
        if not isinstance(value, str | os.PathLike | None):
            raise error(f"{name}: expected a path, got {value!r}")
        if value is not None:
            object.__setattr__(settings, name, Path(value))
