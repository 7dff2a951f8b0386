"""Kinds of values that the command's options take, beyond what Cyclopts knows by itself."""

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter, Token
from cyclopts.validators import Number


def _whole(_: type, tokens: Sequence[Token]) -> int:
    """A whole number, and no other that would be rounded to one."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"expected a whole number, got {tokens[0].value!r}") from None


Whole = Annotated[int, Parameter(converter=_whole, validator=Number(gte=0))]
Positive = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1))]
