"""What a method's file says about its settings: defaults, sources, presets. Read as text: PyTorch is not needed.

Every field of a ``Config`` stands on one line, with its source as the comment behind it; ``PRESETS`` is a literal.
"""

import ast
import io
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from retouch.errors import TrainingError
from retouch.methods import METHODS
from retouch.terminal import say_table


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a method's Config.

    Args:
        name: of the field.
        kind: its type, as written.
        default: its value, as written.
        source: where it comes from: a place in the paper, or "ours".
    """

    name: str
    kind: str
    default: str
    source: str


def described(method: str) -> tuple[Setting, ...]:
    """The settings of a method, in their order.

    Raises:
        TrainingError: an unknown method.
    """
    text = _text(method)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    found = (
        node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == "Config"
    )
    fields = (
        field for node in found for field in node.body if isinstance(field, ast.AnnAssign) and field.value
    )
    return tuple(
        Setting(
            ast.unparse(field.target),
            ast.unparse(field.annotation),
            (ast.get_source_segment(text, field.value) if field.value else "") or "",
            comments.get(field.end_lineno or 0, ""),
        )
        for field in fields
    )


def presets(method: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The presets of a method: name -> ``settings`` (of the run) and ``config`` (of the method).

    Raises:
        TrainingError: an unknown method.
    """
    for node in ast.parse(_text(method)).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "PRESETS" and node.value:
            found: dict[str, dict[str, dict[str, Any]]] = ast.literal_eval(node.value)
            return found
    return {}


def preset(method: str, name: str) -> dict[str, dict[str, Any]]:
    """One preset; TrainingError where the method or the preset is unknown."""
    known = presets(method)
    if name not in known:
        raise TrainingError(f"expected a preset of {method} among {', '.join(known)}, got {name!r}")
    return known[name]


def fill_in(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """For Cyclopts: the settings of ``--preset`` stand in for options that are not given."""
    given = {argument.name: [token.value for token in argument.tokens] for argument in arguments}
    method, name = given.get("METHOD") or [], given.get("--preset") or []
    if method and name:
        # below the command's name: Cyclopts would take "batch" for the other command
        settings = {commands[-1]: preset(method[0], name[0])["settings"]}
        Dict(settings, source=f"preset {name[0]}")(app, commands, arguments)


def say_settings(tokens: Sequence[str]) -> None:
    """Prints the settings and presets of the method that a ``retouch train METHOD --help`` names."""
    for method in [token for token in tokens if token in METHODS][:1]:
        rows = [(f"{one.name}={one.default}", one.kind, one.source) for one in described(method)]
        say_table((f"--set, for {method}", "type", "what it is, and its source"), rows)
        parts = [
            (name, ", ".join(f"{key}={value}" for key, value in values.items()))
            for name, both in presets(method).items()
            for values in both.values()
            if values
        ]
        say_table(("--preset", "sets"), parts)


def _text(method: str) -> str:
    if method not in METHODS:
        raise TrainingError(f"expected a method among {', '.join(METHODS)}, got {method!r}")
    spec = find_spec(f"retouch.methods.{method}")
    assert spec is not None and spec.origin is not None  # the registry's names are those of its files
    return Path(spec.origin).read_text(encoding="utf-8")
