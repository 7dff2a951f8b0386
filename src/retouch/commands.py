"""The commands ``retouch evaluate``, ``report`` and ``curves``; what they need is imported when they run."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from retouch.evaluate import Settings
from retouch.evaluate import evaluate as run_evaluation
from retouch.terminal import say

EVERY = 30.0  # seconds between two lines of progress where there is no terminal


def evaluate(*, settings: Annotated[Settings, Parameter(name="*")]) -> None:
    """Measure models on photographs with holes; the same command goes on where it was stopped."""
    with _progress() as progress:
        done = run_evaluation(settings, progress)
    there = f", {done.found} were there" if done.found else ""
    failed = f', {done.failures} of them failures (see "error" in them)' if done.failures else ""
    say(f"{settings.output}: {done.made} rows measured{failed}{there}")
    say(f"next: retouch report {settings.output}")


@contextmanager
def _progress() -> Iterator[Callable[[int, int, int], None]]:
    """A bar on a terminal, a line now and then elsewhere, both on the standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if console.is_terminal:
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total, failures: bar.update(
                task, completed=done, total=total, description=f"{failures} failures" if failures else ""
            )
        return
    shown = time.monotonic()

    def line(done: int, total: int, failures: int) -> None:
        nonlocal shown
        if time.monotonic() - shown >= EVERY:
            shown = time.monotonic()
            print(f"{done} of {total} rows, {failures} failures", file=sys.stderr, flush=True)

    yield line


def report(
    results: Path,
    /,
    *,
    run: tuple[Path, ...] = (),
    card: Path | None = None,
    name: str | None = None,
) -> None:
    """Show results as one HTML page and as Markdown; no model is run.

    Args:
        results: The folder of "retouch evaluate", or its results.jsonl.
        run: Training runs whose curves to show; may be repeated.
        card: A model's card to write the means into.
        name: What the photographs are called in the card.
    """
    from retouch import report as reporting

    page, text = reporting.report(results, run)
    say(f"{page}: open it in a browser; the same in Markdown: {text}")
    if card is not None:
        rows = reporting.into_card(results, card, name)
        say(f"{card}: {rows} rows of quality written")


def curves(run: Path, /, *, output: Path | None = None, overwrite: bool = False) -> None:
    """Draw the training curves of a run.

    Args:
        run: The folder of the training run.
        output: A PNG; by default RUN/curves.png, which is replaced.
        overwrite: Replace the output if it exists.
    """
    from retouch import plots
    from retouch.image import atomic_write

    rows = plots.read_stats(run)
    target = output or run / "curves.png"
    data = plots.png(plots.curves(rows, run.resolve().name))
    atomic_write(target, data, overwrite=overwrite or output is None)
    say(f"{target}: {len(rows)} lines of {run / 'stats.jsonl'}")
