"""Measures models on photographs with seeded holes: PSNR, SSIM and LPIPS of the whole composite.

    python benchmarks/quality.py --data shards/val-00.tar --output results.jsonl \
        --model recurrent-scenes --model telea --trunk squeezenet.safetensors --heads lpips_heads.safetensors

One line per photo, hole and model is written as it is measured; what stands in the file is not measured again.
``--card NAME.json`` puts the means into a model's card, in place of earlier ones of this data's name. PSNR (at most
60 dB) and SSIM (Gaussian weights, sigma 1.5) are scikit-image's, on 8-bit RGB, per photo, then averaged; LPIPS is
v0.1 on SqueezeNet.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import track
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from retouch import engine, masks
from retouch.cards import parse_card
from retouch.image import atomic_write, read
from retouch.models import load
from retouch.sources import index
from retouch.training.data import decode

CAP = 60.0  # dB; where a completion is exact, as in a plain sky, PSNR would be infinite
METRICS = {"psnr": "PSNR dB", "ssim": "SSIM", "lpips": "LPIPS"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder or tar shard of photographs")
    parser.add_argument("--model", action="append", required=True, help="may be repeated")
    parser.add_argument("--mask", default="strokes", choices=list(masks.KINDS))
    parser.add_argument("--ratio", action="append", help="a bin such as 0.1-0.2; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only the first so many photographs")
    parser.add_argument("--trunk", help="SqueezeNet 1.1, safetensors, for LPIPS")
    parser.add_argument("--heads", help="LPIPS heads, safetensors")
    parser.add_argument("--output", type=Path, required=True, help="results, JSON lines")
    parser.add_argument(
        "--name", help="what the data is called in the card; default: its path's last two parts"
    )
    parser.add_argument("--card", type=Path, help="card to write the means into")
    parser.add_argument("--threads", type=int, help="of ONNX Runtime; default: all cores")
    args = parser.parse_args()
    ratios = args.ratio or ["0.1-0.2", "0.2-0.3", "0.3-0.4"]
    name = args.name or "/".join(Path(args.data).with_suffix("").parts[-2:])

    done = {(row["model"], row["masks"], row["photo"]) for row in rows(args.output)}
    for model in args.model:
        todo = [
            (number, ratio)
            for number in range(count(args))
            for ratio in ratios
            if (model, f"{args.mask} {ratio}", number) not in done
        ]
        if todo:
            measure(args, model, todo)
    within = (row for row in rows(args.output) if int(row["photo"]) < count(args))
    table = means(within, name, args.model)
    show(table)
    if args.card:
        card = parse_card(args.card.read_bytes(), str(args.card))
        kept = [row for row in card.quality if row["data"] != name]
        atomic_write(args.card, dataclasses.replace(card, quality=(*kept, *table)).to_json().encode())
        print(f"{args.card}: {len(table)} rows of quality for {name!r} written")


def count(args: argparse.Namespace) -> int:
    photos = len(index([args.data]))
    return min(photos, args.limit or photos)


def measure(args: argparse.Namespace, model: str, todo: list[tuple[int, str]]) -> None:
    """Completes and measures; appends a line each."""
    import torch

    from retouch.methods.perceptual import LPIPS

    predictor = load(model, threads=args.threads).predictor
    distance = LPIPS(args.trunk, args.heads).eval() if args.trunk and args.heads else None
    sources = index([args.data])
    with args.output.open("a", encoding="utf-8") as file:
        for number, ratio in track(todo, description=f"{model:>18}", disable=not sys.stderr.isatty()):
            pixels = decode(sources[number])
            hole = masks.draw(
                args.mask, *pixels.shape[:2], ratio=masks.parse_ratio(ratio),
                seed=np.random.default_rng((args.seed, number)),
            )  # fmt: skip
            completed = engine.complete(read(pixels), hole, predictor, seed=args.seed).pixels
            row = {
                "model": model,
                "masks": f"{args.mask} {ratio}",
                "photo": number,
                "hole": float(hole.mean()),
            }
            with np.errstate(divide="ignore"):  # a completion without any error: infinite
                row["psnr"] = min(CAP, float(peak_signal_noise_ratio(pixels, completed)))
            row["ssim"] = float(
                structural_similarity(
                    pixels,
                    completed,
                    channel_axis=2,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                )
            )
            if distance is not None:
                a, b = (
                    torch.from_numpy(x.transpose(2, 0, 1)[None] / np.float32(255))
                    for x in (pixels, completed)
                )
                with torch.inference_mode():
                    row["lpips"] = float(distance(a, b))
            file.write(json.dumps(row) + "\n")
            file.flush()


def rows(path: Path) -> Iterator[dict[str, float | str]]:
    """The whole lines of a results file."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)


def means(
    results: Iterator[dict[str, float | str]], name: str, wanted: list[str]
) -> list[dict[str, float | str]]:
    """Per model and kind of hole: the mean over the photographs."""
    groups: dict[tuple[str, str], list[dict[str, float | str]]] = {}
    for row in results:
        if row["model"] in wanted:
            groups.setdefault((str(row["masks"]), str(row["model"])), []).append(row)
    table: list[dict[str, float | str]] = []
    for masks_name, model in sorted(groups, key=lambda key: (key[0], wanted.index(key[1]))):
        group = groups[masks_name, model]
        line: dict[str, float | str] = {
            "data": name,
            "masks": masks_name,
            "model": model,
            "photos": len(group),
        }
        for metric in METRICS:
            if metric in group[0]:
                line[metric] = round(statistics.fmean(float(row[metric]) for row in group), 4)
        table.append(line)
    return table


def show(table: list[dict[str, float | str]]) -> None:
    print(f"| masks | model | photos | {' | '.join(METRICS.values())} |")
    print("|---|---|---|" + "---|" * len(METRICS))
    for row in table:
        figures = " | ".join(f"{row[metric]:.3f}" if metric in row else "" for metric in METRICS)
        print(f"| {row['masks']} | {row['model']} | {row['photos']} | {figures} |")


if __name__ == "__main__":
    main()
