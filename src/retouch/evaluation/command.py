"""The commands ``retouch evaluate``, ``report`` and ``curves``; what they need is imported when they run."""

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from retouch.errors import DataError
from retouch.evaluation import plots
from retouch.evaluation.plots import Along
from retouch.evaluation.run import Settings
from retouch.evaluation.run import evaluate as run_evaluation
from retouch.options import Output
from retouch.terminal import counted, say
from retouch.writing import atomic_write, check_new


def evaluate(*, settings: Annotated[Settings, Parameter(name="*")]) -> int:
    """Measure models on photographs with holes; the same command goes on where it was stopped."""
    with counted("rows") as progress:
        done = run_evaluation(settings, progress)
    there = f", {done.found} were there" if done.found else ""
    failed = (
        f', {done.failures} failed (see "error" in their rows; the same command tries them again)'
        if done.failures
        else ""
    )
    if done.first:
        say(f"failed: {done.first}")
    say(f"{settings.output}: {done.made - done.failures} rows measured{there}{failed}")
    say(f"next: retouch report {shlex.quote(str(settings.output))}")
    return 1 if done.failures else 0


def report(
    results: Path,
    /,
    *,
    model: str | None = None,
    run: Annotated[tuple[Path, ...], Parameter(show_default=False)] = (),
    card: Path | None = None,
    name: str | None = None,
) -> None:
    """Show results as one HTML page and as Markdown; no model is run.

    Args:
        results: The folder of "retouch evaluate", or its results.jsonl.
        model: Whose differences from each other one to show; by default those of the best.
        run: Training runs whose curves to compare; may be repeated.
        card: A model's card to write the means into.
        name: What the photographs are called in the card.
    """
    from retouch.evaluation import report as reporting

    if name is not None and card is None:
        raise DataError(f"expected --card with --name, got --name {name} alone")
    if card is not None:
        rows = reporting.into_card(results, card, name)
        say(f"{card}: {rows} rows of quality written")
    page, text = reporting.report(results, run, model)
    say(f"{page}: open it in a browser; the same in Markdown: {text}")


def curves(
    runs: tuple[Path, ...], /, *, output: Output | None = None, by: Along = "step", overwrite: bool = False
) -> None:
    """Draw the training curves of a run, or of several for comparison.

    Args:
        runs: The folders of the training runs.
        output: A PNG; by default RUN/curves.png, which is replaced; of several runs curves.png here, which is not.
        by: What stands along the axis: steps, images seen (which compares runs of other batches), or seconds.
        overwrite: Replace the output if it exists.
    """
    named = plots.titles(runs)
    own = output is None and len(named) == 1
    target = output or (runs[0] if own else Path()) / "curves.png"
    if target.suffix.lower() != ".png":
        raise DataError(f"expected an output that ends in .png, got {target}")
    if not own and not overwrite:
        check_new(target)
    drawn = {title: plots.read_stats(run) for title, run in named.items()}
    atomic_write(target, plots.png(plots.curves(drawn, by)), overwrite=overwrite or own)
    lines = [f"{len(drawn[title])} lines of {run / 'stats.jsonl'}" for title, run in named.items()]
    say(f"{target}: {', '.join(lines)}")
