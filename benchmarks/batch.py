"""Rate, growth and memory of ``retouch batch``: ``python benchmarks/batch.py``.

    rate     photos of 1024 x 768 with one small hole each, against a loop of ``retouch.complete`` in one process, and
             against starting ``retouch complete`` for each; with the default network and with a classical model
    growth   ten times as many photos, against ten times the time
    small    memory, the peak of whole processes: 10,000 small photos against 100
    large    the same of ten photos of 48 megapixels against four
    ray      the same photos by Ray on this machine, against the local engine

The loop and the single commands are measured on some of the photos and count per photo; the table says on how many.
Nothing is asserted: a busy machine gives other numbers.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import measure
import numpy as np
from measure import Row
from PIL import Image

import retouch
from retouch import masks
from retouch.batch import pairs, run
from retouch.batch.settings import Settings
from retouch.cards import DEFAULT

HEIGHT, WIDTH, SIDE = 768, 1024, 60  # px, of the photos and of their holes
CLASSICAL = "telea"


def folder(
    root: Path, count: int, height: int, width: int, side: int, *, distinct: int = 20
) -> tuple[str, str]:
    """So many JPEGs and masks, of which some are distinct and the others links to them."""
    photos, white = root / "photos", root / "masks"
    photos.mkdir(parents=True)
    white.mkdir()
    tile = measure.photograph(min(height, 1500), min(width, 2000))
    picture = np.tile(tile, (-(-height // len(tile)), -(-width // tile.shape[1]), 1))[:height, :width]
    for number in range(count):
        photo, mask = photos / f"{number:05d}.jpg", white / f"{number:05d}.png"
        if number >= distinct:
            photo.hardlink_to(photos / f"{number % distinct:05d}.jpg")
            mask.hardlink_to(white / f"{number % distinct:05d}.png")
            continue
        Image.fromarray(np.roll(picture, 37 * number, axis=1)).save(photo, quality=90)
        hole = np.zeros((height, width), np.bool_)
        top, left = (number + 1) * (height - side) // (distinct + 1), (number * 7919) % (width - side)
        hole[top : top + side, left : left + side] = True
        data = io.BytesIO()
        Image.fromarray(masks.to_image(hole)).save(data, "PNG")
        mask.write_bytes(data.getvalue())
    return str(photos), str(white)


def batch(
    photos: str,
    white: str,
    output: Path,
    model: str,
    count: int | None = None,
    engine: Literal["local", "ray"] = "local",
) -> float:
    """Seconds per photo, from the list of files to the last output; the model is loaded anew."""
    start = time.perf_counter()
    plan = pairs.plan(photos, white, str(output), model)
    plan = plan if count is None else pairs.Plan(plan.jobs[:count])
    done = run.run(plan, str(output), Settings(model=model, engine=engine))
    if done.failed or done.left:
        raise RuntimeError(f"{done.failed} photos failed: {done.failures[:1]}")
    return (time.perf_counter() - start) / len(plan.jobs)


def loop(photos: str, white: str, output: Path, model: str, count: int) -> float:
    """Seconds per photo of what a script would do."""
    output.mkdir()
    start = time.perf_counter()
    for photo in sorted(Path(photos).iterdir())[:count]:
        mask = Path(white, photo.name).with_suffix(".png")
        retouch.complete(photo, mask, model=model, output=output / photo.name)
    return (time.perf_counter() - start) / count


def commands(photos: str, white: str, output: Path, model: str, count: int) -> float:
    """Seconds per photo of a command for each."""
    output.mkdir()
    start = time.perf_counter()
    for photo in sorted(Path(photos).iterdir())[:count]:
        words = ["complete", str(photo), f"{white}/{photo.stem}.png", "--output", str(output / photo.name)]
        measure.process(["-m", "retouch.cli", *words, "--model", model])
    return (time.perf_counter() - start) / count


def rate(root: Path, model: str, count: int, some: int) -> Iterator[Row]:
    """All three on the same photos; the loop once before and once after the batch, so that heat falls on both."""
    photos, white = folder(root, count, HEIGHT, WIDTH, SIDE)
    batch(photos, white, root / "warm", model, 4)
    before = loop(photos, white, root / "before", model, some)
    ours = batch(photos, white, root / "batch", model)
    after = loop(photos, white, root / "after", model, some)
    single = commands(photos, white, root / "single", model, max(3, some // 8))
    for name in ("before", "after", "single"):
        for path in (root / name).iterdir():
            if path.read_bytes() != (root / "batch" / path.name).read_bytes():
                raise RuntimeError(f"{path.name}: expected the same bytes from both")
    peer = statistics.mean((before, after))
    told = f"{ours * 1e3:.0f} ms a photo"
    name = f"rate, {model}: {count} photos of {WIDTH} x {HEIGHT}"
    yield Row(
        f"{name}, loop",
        told,
        f"loop {peer * 1e3:.0f} ms",
        peer / ours,
        ">= 1.6",
        f"the loop: 2 x {some} photos",
    )
    note = f"the command: {max(3, some // 8)} photos"
    yield Row(f"{name}, command", told, f"command {single * 1e3:.0f} ms", single / ours, ">= 6", note)


def growth(root: Path, repeats: int) -> Iterator[Row]:
    """A classical model: what grows with the number of photos is ours, not a network's."""
    photos, white = folder(root, 1000, HEIGHT, WIDTH, SIDE)
    batch(photos, white, root / "warm", CLASSICAL, 20)
    hundred, thousand = list[float](), list[float]()
    for turn in range(repeats):
        hundred.append(batch(photos, white, root / f"hundred-{turn}", CLASSICAL, 100))
        thousand.append(batch(photos, white, root / f"thousand-{turn}", CLASSICAL))
        hundred.append(batch(photos, white, root / f"hundred-again-{turn}", CLASSICAL, 100))
    ours, peer = statistics.median(thousand), statistics.median(hundred)
    yield Row(
        f"growth, {CLASSICAL}: 1,000 photos",
        f"{ours * 1e3:.1f} ms a photo",
        f"100 photos {peer * 1e3:.1f} ms",
        ours / peer,
        "<= 1.1",
    )


def ray(root: Path, count: int, models: Sequence[str]) -> Iterator[Row]:
    """Ray on this machine against the local engine, with and without the time that Ray takes to start."""
    for model in models:
        photos, white = folder(root / model, count, HEIGHT, WIDTH, SIDE)
        few, many = count // 4, count
        local = batch(photos, white, root / f"{model}-local", model)
        short = batch(photos, white, root / f"{model}-few", model, few, "ray") * few
        long = batch(photos, white, root / f"{model}-ray", model, many, "ray") * many
        each = (long - short) / (many - few)  # seconds for one more photo
        yield Row(
            f"ray, {model}: {many} photos of {WIDTH} x {HEIGHT}",
            f"{each * 1e3:.0f} ms a photo",
            f"local engine {local * 1e3:.0f} ms",
            each / local,
            "",
            f"and {long - many * each:.1f} s to start and end Ray",
        )


def peak(photos: str, white: str, output: Path, model: str) -> float:
    """The largest memory of a whole process, in MB."""
    words = ["batch", photos, white, str(output), "--model", model]
    code = measure.PEAK + f"from retouch.cli import main\nassert main({words!r}) == 0\nprint(peak())\n"
    return float(measure.process(["-c", code]).split()[-1])


def small(root: Path, count: int) -> Iterator[Row]:
    """Whole processes, from the start to the end."""
    few, many = folder(root / "few", 100, 48, 64, 8), folder(root / "many", count, 48, 64, 8)
    least = peak(*few, root / "few-out", CLASSICAL)
    most = peak(*many, root / "many-out", CLASSICAL)
    note = f"the list of jobs: {(most - least) / (count - 100) * 1e3:.1f} kB a photo"
    name = f"memory, {CLASSICAL}: {count:,} photos of 64 x 48 (MB over 100 photos)"
    yield Row(name, f"{most:.0f} MB", f"100 photos {least:.0f} MB", most - least, "<= 50", note)


def large(root: Path, models: Sequence[str]) -> Iterator[Row]:
    """Whole processes, from the start to the end."""
    for model in models:
        all_ten = folder(root / f"large-{model}", 10, 6000, 8000, SIDE, distinct=1)
        four = folder(root / f"four-{model}", 4, 6000, 8000, SIDE, distinct=1)
        ten = peak(*all_ten, root / f"large-out-{model}", model)
        fewer = peak(*four, root / f"four-out-{model}", model)
        note = f"decoded, one photo takes {6000 * 8000 * 3 / 1e6:.0f} MB"
        yield Row(
            f"memory, {model}: ten of 48 MP",
            f"{ten:.0f} MB",
            f"four {fewer:.0f} MB",
            ten / fewer,
            "<= 1.2",
            note,
        )


def main() -> None:
    """Measure what is asked for and print the table."""
    parts = ("rate", "growth", "small", "large", "ray")
    parser = argparse.ArgumentParser(description="Rate, growth and memory of retouch batch.")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="which parts; all by default")
    parser.add_argument(
        "--model", nargs="+", default=[DEFAULT, CLASSICAL], help="models for rate, large and ray"
    )
    parser.add_argument("--photos", type=int, default=200, help="for rate and ray; default 200")
    parser.add_argument("--some", type=int, default=40, help="photos for a loop; default 40")
    parser.add_argument(
        "--small", type=int, default=10_000, help="small photos for the memory; default 10,000"
    )
    parser.add_argument("--repeats", type=int, default=2, help="of the growth; default 2")
    options = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in measure.machine().items()), flush=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        rates = (
            rate(root / f"rate-{i}", model, options.photos, options.some)
            for i, model in enumerate(options.model)
        )
        measured = {
            "rate": chain.from_iterable(rates),
            "growth": growth(root / "growth", options.repeats),
            "small": small(root / "small", options.small),
            "large": large(root / "large", options.model),
            "ray": ray(root / "ray", options.photos, options.model),
        }
        for row in chain.from_iterable(measured[part] for part in parts if part in options.only):
            print(f"{row.name}: {row.ours}, {row.peer}", file=sys.stderr, flush=True)
            rows.append(row)
    measure.show(rows)


if __name__ == "__main__":
    main()
