"""What the command says: lines, JSON, tables and a counter, whatever file names hold and wherever the output goes."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 30.0  # seconds between two lines of progress where there is no terminal
TELLING = 0.1  # of the only window: before, it is mostly preparation, which says nothing of the time left


def one_line(text: str) -> str:
    """Line breaks become spaces, and what would steer a terminal is shown as it is written in code."""
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in joined)


def say(text: str) -> None:
    print(one_line(text))


def say_json(value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # what would be shown by backslashes otherwise, which JSON does not know
        text = json.dumps(value, indent=2)
    print(text)


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
def windows_done() -> Iterator[Callable[[float, int], None] | None]:
    """A counter with the time left on a terminal's last line, gone when the work is."""
    if not sys.stderr.isatty():
        yield None
        return
    began = time.monotonic()

    def progress(done: float, total: int) -> None:
        at = f"{done:.1f}" if done % 1 else f"{done:.0f}"
        # of several windows, the others may take far less than the first
        tells = done >= (TELLING if total == 1 else 1)
        left = f", {_left(done, total, time.monotonic() - began)} left" if tells else ""
        print(f"\r\x1b[K{at} of {total} windows{left}", end="", file=sys.stderr, flush=True)

    try:
        yield progress
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextmanager
def bar(console: "Console | None" = None) -> Iterator[Callable[[float, str], None]]:
    """A bar with a line beside it on a terminal, the line alone now and then elsewhere.

    Args:
        console: the standard error by default.

    Yields:
        A function of the share that is done, in [0, 1], and of the line.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = console or Console(stderr=True)
    if console.is_terminal:
        columns = (BarColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=console, refresh_per_second=2) as shown:
            task = shown.add_task("", total=None)
            yield lambda share, line: shown.update(task, completed=share, total=1.0, description=line)
        return
    said = time.monotonic()

    def show(_: float, line: str) -> None:
        nonlocal said
        if time.monotonic() - said >= EVERY:
            said = time.monotonic()
            console.print(line, soft_wrap=True, highlight=False, markup=False)

    yield show


@contextmanager
def counted(noun: str) -> Iterator[Callable[[int, int, int], None]]:
    """Progress of many things, with rate and time left.

    Called with those done, all, and failures, the first time before any work.
    """
    began: list[float] = []  # time and things done at the first call
    with bar() as show:

        def told(done: int, total: int, failures: int) -> None:
            began[:] = began or [time.monotonic(), done]
            made, seconds = done - began[1], time.monotonic() - began[0]
            parts = [f"{done} of {total} {noun}"]
            if made and seconds > 0:
                left = _left(made, total - began[1], seconds)
                parts += [f"{made / seconds:.3g} {noun}/s", f"{left} left"]
            parts += [f"{failures} failures"] if failures else []
            show(done / max(total, 1), ", ".join(parts))

        yield told


def _left(done: float, total: float, seconds: float) -> timedelta:
    """The time that the rest takes if it goes on as it did."""
    return timedelta(seconds=round((total - done) * seconds / done))
