"""The command ``retouch``: one function per command, which asks others to do the work and says what was done.

Modules that take long to import are imported where they are used. ``main`` turns every error that a user can
cause into one line and status 2; a traceback is a bug.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

import retouch
from retouch.errors import RetouchError, said
from retouch.options import Cores, Output, Positive, Ratio, Whole
from retouch.terminal import counted, one_line, say, say_json, say_table, windows_done

app = App(
    name="retouch",
    help="Fill holes in photographs: scratches, text, unwanted objects, lost blocks.",
    help_epilogue="Example: retouch complete photo.jpg mask.png",
    help_format="plaintext",
    version=lambda: f"retouch {retouch.__version__}",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),
)


@app.command(help_epilogue="Example: retouch complete photo.jpg mask.png --dilate 3 --output repaired.jpg")
def complete(
    image: Path,
    mask: Path,
    /,
    *,
    output: Output | None = None,
    model: str | None = None,
    seed: Whole = 0,
    dilate: Whole = 0,
    feather: Positive = 8,  # engine.FEATHER
    blend: Literal["none", "feather", "poisson"] = "feather",
    search: Literal["paper", "inverter"] | None = None,
    variants: Positive = 1,
    threads: Cores | None = None,
    overwrite: bool = False,
) -> None:
    """Fill the white parts of a mask in a photograph; all other pixels stay as they are.

    Args:
        image: The photograph: PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC.
        mask: A picture of the same size; what is white in it (128 to 255) is filled.
        output: Where to write; by default NAME-completed.EXT beside the photograph.
        model: Name from "retouch models" (patchmatch: for objects), .onnx or .py file, training run, or hf:OWNER/NAME.
        seed: For models that draw random numbers.
        dilate: Grow the hole by so many pixels first.
        feather: Width in pixels of the band in the hole that meets the photo.
        blend: How the two meet; none pastes.
        search: For models that search: from where.
        variants: Completions wanted; several are NAME-completed-1.EXT, ...
        threads: Cores that the model may use; all by default.
        overwrite: Replace the output if it exists.
    """
    from retouch import sessions

    sessions.begin(model, threads)  # meanwhile the rest is imported
    from retouch import files

    output = output or files.completed_path(image)
    with windows_done() as progress:
        completions = files.run(
            image,
            mask,
            output=output,
            model=model,
            seed=seed,
            dilate=dilate,
            feather=feather,
            blend=blend,
            search=search,
            variants=variants,
            threads=threads,
            overwrite=overwrite,
            progress=progress,
        )
    for done in completions:
        if done.share:
            say(
                f"{done.output}: {done.share:.1%} of the photo filled by {done.model} in {done.seconds:.2f} s"
            )
        else:
            say(f"{done.output}: a copy of the photo, as the mask has no hole")
    if done.share and len(completions) < variants:
        say(f"note: {done.model} has one answer to a photo and a hole, not {variants}")
    for note in done.notes:
        say(f"note: {note}")


@app.command(help_epilogue="Example: retouch models recurrent-scenes")
def models(name: str | None = None, /, *, json: bool = False) -> None:
    """List the models with their quality, size and licence; or show one.

    Args:
        name: The model, as for --model: its figures beside those of others, and where it comes from.
        json: Print JSON: all that is known.
    """
    from retouch import listing

    if name is None:
        listing.show_all(json=json)
    else:
        listing.show_one(name, json=json)


@app.command(help_epilogue="Example: retouch methods")
def methods(*, json: bool = False) -> None:
    """List the published methods that can be trained.

    Args:
        json: Print JSON.
    """
    entries = retouch.methods()
    if json:
        say_json(
            [
                {"name": name, "citation": e.citation, "summary": e.summary, "limits": asdict(e.limits)}
                for name, e in entries.items()
            ]
        )
        return
    rows = [(name, entry.citation, entry.summary) for name, entry in entries.items()]
    say_table(("method", "paper", "what it does"), rows)


@app.command(
    help_epilogue="Example: retouch mask scratches --like photo.jpg --ratio 0.1-0.2 --seed 3 mask.png"
)
def mask(
    kind: str,
    output: Path,
    /,
    *,
    like: Path | None = None,
    size: str | None = None,
    ratio: Ratio | None = None,
    seed: Whole = 0,
    overwrite: bool = False,
) -> int:
    """Draw a random mask, or one for each photograph of a folder; white is what is to be filled.

    Args:
        kind: One of center, rectangle, strokes, boxes, text, scratches, border, blocks.
        output: Where to write the mask; of a folder of photographs, the folder of their masks.
        like: The photograph that the mask is for, or a folder of them.
        size: Instead of a photograph: WIDTHxHEIGHT.
        ratio: Share of the pixels that are missing, e.g. 0.1-0.2; each kind has its own default.
        seed: The same seed draws the same mask.
        overwrite: Replace the output if it exists.
    """
    from retouch import mask_files

    if like is not None and output.exists() and like.exists() and output.samefile(like):
        raise RetouchError(f"expected an output apart from the photo, got {output} for both")
    if like is not None and like.is_dir() and size is None:
        with counted("masks") as progress:
            shares, failed = mask_files.write_masks(
                kind, like, output, ratio=ratio, seed=seed, overwrite=overwrite, progress=progress
            )
        for line in failed:
            say(f"failed: {line}")
        mean = f", {sum(shares) / len(shares):.1%} of the pixels to fill" if shares else ""
        say(f"{output}: {kind} for {len(shares)} of {len(shares) + len(failed)} photographs{mean}")
        return 1 if failed else 0
    height, width = mask_files.picture_size(like, size)
    share = mask_files.write_mask(kind, output, (height, width), ratio=ratio, seed=seed, overwrite=overwrite)
    say(f"{output}: {kind}, {width} x {height} px, {share:.1%} of them to fill")
    return 0


def _preset(*given: Any) -> None:
    from retouch.training.describe import fill_in

    fill_in(*given)


# Their options come from PyTorch's side of the house, which is imported when it is asked for.
app.command(
    "retouch.training.command:train",
    name="train",
    config=_preset,
    help="Train a method on photographs; with METHOD --help: its own settings too.",
    help_epilogue="Example: retouch train recurrent --preset shipped --data photos --output runs/first",
)
app.command(
    "retouch.training.command:export",
    name="export",
    help="Turn a training run into a model.",
    help_epilogue="Example: retouch export runs/first --name my-model",
)


app.command(
    "retouch.server.command:serve",
    name="serve",
    help="Open a page with a brush, and a REST service for programs.",
    help_epilogue="Example: retouch serve --port 8080",
)

app.command(
    "retouch.batch.command:batch",
    name="batch",
    help="Complete many photographs: folders, shards, lists; stop and go on.",
    help_epilogue="Example: retouch batch photos masks completed --model telea",
)

# The same for what measures: models, Matplotlib and Jinja2 come when they are asked for.
app.command(
    "retouch.evaluation.command:evaluate",
    name="evaluate",
    help="Measure models on photographs.",
    help_epilogue="Example: retouch evaluate --data photos --model telea --output results",
)
app.command(
    "retouch.evaluation.command:report",
    name="report",
    help="Show what was measured: a page and Markdown.",
    help_epilogue="Example: retouch report results",
)
app.command(
    "retouch.evaluation.command:curves",
    name="curves",
    help="Draw the curves of training runs, of several in one picture.",
    help_epilogue="Example: retouch curves runs/first runs/second --by images --output compared.png",
)


@app.command(name="--install-completion", help_epilogue="Example: retouch --install-completion --shell zsh")
def install_completion(*, shell: Literal["bash", "zsh", "fish", "powershell"] | None = None) -> None:
    """Let the shell complete this command's options.

    Args:
        shell: Which one; the running one by default.
    """
    from cyclopts.completion.detect import ShellDetectionError

    try:
        path = app.install_completion(shell=shell)
    except ShellDetectionError as error:
        raise RetouchError("expected a known shell, found none: say which with --shell") from error
    say(f"{path}: completion for new shells (sourced from the shell's own start file where it needs that)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: done. 1: done, but for some photos of a batch or rows of an evaluation. 2: one line on the standard error says
    what was expected and what came; no file is half written. 130, 143: interrupted, so too (128 + the signal).
    141: nobody reads the output.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold what a terminal cannot show
    try:
        tokens = list(sys.argv[1:] if argv is None else argv)
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        if tokens[:1] == ["train"] and {"--help", "-h"} & set(tokens):
            from retouch.training.describe import say_settings

            say_settings(tokens)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except UnusedCliTokensError as error:
        words = error.unused_tokens or []
        more = f" and {len(words) - 3} more" * (len(words) > 3)
        return _fail(
            f"expected fewer words, got {', '.join(words[:3])}{more} too "
            "(an option is repeated before each of its values; a pattern has to be quoted)"
        )
    except (RetouchError, CycloptsError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(said(error))
    except MemoryError as error:
        return _fail(f"expected more memory than there is{f': {error}' if str(error) else ''}")
    except ImportError as error:  # a library in C that was interrupted while it was imported says so
        if isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            return _fail("interrupted", 130)
        raise
    return result if isinstance(result, int) else 0


def run() -> None:
    """``main`` as a process of its own, with its status."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:  # closed by the caller: no later file may get its number
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            setattr(sys, name, os.fdopen(number, "w"))
    status = main()
    if sys.argv[1:2] == ["complete"]:
        # What it wrote is on the disk. To take networks and libraries apart would keep the caller waiting.
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _fail(message: str, status: int = 2) -> int:
    print(f"retouch: {one_line(message)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    run()
