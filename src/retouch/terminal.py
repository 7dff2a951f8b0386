"""What the command says: lines, JSON, tables and a counter, whatever file names hold and wherever the output goes."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def one_line(text: str) -> str:
    """Line breaks become spaces, and what would steer a terminal is shown as it is written in code."""
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in joined)


def say(text: str) -> None:
    print(one_line(text))


def say_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def say_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table that wraps at a terminal's width and is never cut short where it goes elsewhere."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console.width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.print(table)


@contextmanager
def windows_done() -> Iterator[Callable[[int, int], None] | None]:
    """A counter on a terminal's last line, gone when the work is."""
    if not sys.stderr.isatty():
        yield None
        return

    def progress(done: int, total: int) -> None:
        print(f"\r{done} of {total} windows", end="", file=sys.stderr, flush=True)

    try:
        yield progress
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
