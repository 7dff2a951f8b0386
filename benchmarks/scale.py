"""What very many photographs cost: the arithmetic of docs/scale.md, and the measurements that it starts from.

    python benchmarks/scale.py            computes the tables again from the inputs that stand in the page
    python benchmarks/scale.py --measure  measures the inputs on this machine first
    ... --write                           and rewrites the page

Measured is the processor's time, not the clock's: a busy machine gives nearly the same numbers.
"""

import argparse
import json
import math
import re
import resource
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
MILLION, BILLION = 10**6, 10**9
HOUR = 3600
Inputs = dict[str, Any]


def core_hours(count: int, seconds: float) -> float:
    """n s / 3600: hours of one core for n photos of s seconds."""
    return count * seconds / HOUR


def machines(count: int, seconds: float, cores: int, share: float, hours: float) -> int:
    """⌈n s / (3600 c u h)⌉: machines of c cores, each busy for a share u of the time, that end in h hours."""
    return math.ceil(core_hours(count, seconds) / (cores * share * hours))


def photos_per_second(seconds: float, cores: int, share: float) -> float:
    """c u / s, of one machine."""
    return cores * share / seconds


def moved(count: int, photo: int, mask: int, output: int) -> int:
    """n (p + m + o): bytes that are read and written."""
    return count * (photo + mask + output)


def saturating(bandwidth: float, photo: int, mask: int, output: int) -> float:
    """B / (p + m + o): photos per second that fill a line of B bytes per second."""
    return bandwidth / (photo + mask + output)


def losses(count: int, hours: float, lifetime: float) -> float:
    """M h / L: machines lost in h hours, of M that live for L hours in the mean."""
    return count * hours / lifetime


def work_lost(lost: float, in_hand: float, seconds: float) -> float:
    """k d s: seconds of cores done again, k losses with d photos in hand each."""
    return lost * in_hand * seconds


def best_interval(save: float, lifetime: float) -> float:
    """√(2 δ L), seconds between checkpoints that cost δ seconds each (Young 1974)."""
    return math.sqrt(2 * save * lifetime * HOUR)


def inputs_of(page: str) -> Inputs:
    """The JSON block of the page."""
    found = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    if found is None:
        raise ValueError(f"{PAGE}: expected a block of JSON with the inputs, got none")
    inputs: Inputs = json.loads(found[1])
    return inputs


def tables(inputs: Inputs) -> str:
    """The page's tables, from its inputs alone."""
    measured, assumed = inputs["measured"], inputs["assumed"]
    cores, share = assumed["cores_per_machine"], assumed["busy_share"]
    sizes = [measured[name] for name in ("photo_bytes", "mask_bytes", "output_bytes")]
    lines = [
        "| photos | model | core hours | machines for a day | read and written | manifest | list of jobs |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for count in (MILLION, BILLION):
        for model, seconds in measured["core_seconds"].items():
            lines.append(
                f"| {count:,} | {model} | {core_hours(count, seconds):,.0f} | "
                f"{machines(count, seconds, cores, share, 24):,} | {_bytes(moved(count, *sizes))} | "
                f"{_bytes(count * measured['row_bytes'])} | {_bytes(count * measured['job_bytes'])} |"
            )
    lines += [
        "",
        "| model | photos a second of a machine | that fill its network | that fill one prefix of a store |",
    ]
    lines += ["|---|--:|--:|--:|"]
    full, prefix = saturating(assumed["network_bytes"], *sizes), assumed["puts_per_second"]
    for model, seconds in measured["core_seconds"].items():
        lines.append(
            f"| {model} | {photos_per_second(seconds, cores, share):,.0f} | {full:,.0f} | {prefix:,} |"
        )
    lines += ["", "| photos, in a day | model | machines | lost in that day | done again | of all work |"]
    lines += ["|--:|---|--:|--:|--:|--:|"]
    for count in (MILLION, BILLION):
        for model, seconds in measured["core_seconds"].items():
            used = machines(count, seconds, cores, share, 24)
            lost = losses(used, 24, assumed["machine_lifetime_hours"])
            again = work_lost(lost, assumed["photos_in_hand_per_core"] * cores, seconds)
            lines.append(
                f"| {count:,} | {model} | {used:,} | {lost:.3g} | {again:.3g} core seconds | "
                f"{again / (core_hours(count, seconds) * HOUR):.1e} |"
            )
    lines += [
        "",
        "| devices in training | a loss every | best interval of checkpoints | work lost at 5 minutes |",
    ]
    lines += ["|--:|--:|--:|--:|"]
    for devices in (8, 64, 512):
        lifetime = assumed["machine_lifetime_hours"] / (devices / 8)
        interval = best_interval(assumed["checkpoint_seconds"], lifetime)
        share_lost = (300 / 2) / (lifetime * HOUR)
        lines.append(f"| {devices} | {lifetime:,.0f} h | {interval / 60:.0f} min | {share_lost:.1e} |")
    return "\n".join(lines)


def updated(page: str) -> str:
    """The page with its tables made anew."""
    mark, end = "<!-- tables: begin -->\n", "\n<!-- tables: end -->"
    before, rest = page.split(mark)
    return before + mark + tables(inputs_of(page)) + end + rest.split(end)[1]


def measured() -> Inputs:
    """Processor seconds, bytes and memory per photo, of photos of 1024 x 768 with one small hole."""
    import batch

    from retouch.batch import pairs, run
    from retouch.batch.settings import Settings
    from retouch.cards import DEFAULT

    found: Inputs = {"core_seconds": {}}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        photos, white = batch.folder(root, 40, batch.HEIGHT, batch.WIDTH, batch.SIDE)
        for model in (DEFAULT, batch.CLASSICAL):
            plan = pairs.plan(photos, white, str(root / model), model)
            run.run(pairs.Plan(plan.jobs[:2]), str(root / f"{model}-warm"), Settings(model=model))
            before = _processor()
            run.run(plan, str(root / model), Settings(model=model))
            found["core_seconds"][model] = round((_processor() - before) / len(plan.jobs), 4)
        tracemalloc.start()
        plan = pairs.plan(photos, white, str(root / "none"), DEFAULT)
        found["job_bytes"] = round(tracemalloc.get_traced_memory()[0] / len(plan.jobs))
        tracemalloc.stop()
        output = root / DEFAULT
        found["row_bytes"] = (output / "manifest.jsonl").stat().st_size // len(plan.jobs)
        for key, folder, pattern in (
            ("photo", photos, "*"),
            ("mask", white, "*"),
            ("output", output, "*.jpg"),
        ):
            sizes = [file.stat().st_size for file in Path(folder).glob(pattern)]
            found[f"{key}_bytes"] = sum(sizes) // len(sizes)
    return found


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000 or unit == "PB":
            return f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    if asked.measure:
        inputs = inputs_of(page) | {"measured": measured()}
        block = "```json\n" + json.dumps(inputs, indent=2) + "\n```"
        page = re.sub(r"```json\n.*?```", lambda _: block, page, flags=re.DOTALL)
        print(block)
    page = updated(page)
    if asked.write:
        PAGE.write_text(page, encoding="utf-8")
    print(tables(inputs_of(page)))


if __name__ == "__main__":
    sys.exit(main())
