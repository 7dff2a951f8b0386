"""Values of settings: kinds that Cyclopts does not know by itself, and lower bounds."""

from collections.abc import Sequence
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


Whole = Annotated[int, Parameter(converter=_whole, validator=Number(gte=0))]
Positive = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1))]
Cores = Annotated[int, Parameter(converter=_whole, validator=Number(gte=1, lte=1024))]


def at_least(settings: object, error: type[RetouchError] = DataError, /, **bounds: int) -> None:
    """Refuses settings with a field below its bound or not whole, which Python may give where the command would not.

    Raises:
        DataError, or the ``error`` that is given: naming the field.
    """
    for name, bound in bounds.items():
        if (value := getattr(settings, name)) is not None:
            check_whole(error, bound, **{name: value})
