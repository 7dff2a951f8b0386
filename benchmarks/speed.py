"""Speed and memory of Retouch as ratios against peers, measured in one run: ``python benchmarks/speed.py``.

    start    the command on a 512 x 512 photo with a 10 % hole, in one piece and as strokes all over it, against
             ``python -c "import torch"``
    photo    a 12-megapixel JPEG with three holes of 150 px, against Pillow's decoding and encoding of it plus
             three passes of the network; and the memory that it takes beyond the imports
    runtime  the network in ONNX Runtime, against the same network in eager PyTorch
    growth   the same hole in ever larger photos: the time beyond decoding and encoding

Nothing is asserted: a busy machine gives other numbers. ``start`` and ``runtime`` need the extra ``train``.
"""

import argparse
import importlib.util
import io
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import measure
import numpy as np
from measure import Row
from PIL import Image

from retouch import engine, files, image, masks
from retouch.engine import Predictor
from retouch.errors import RetouchError
from retouch.models import DEFAULT, Model, OnnxPredictor, load

SIDE = 150  # px, of each hole of the large photos


def start(model: Model, folder: Path, repeats: int) -> Iterator[Row]:
    """(a) Whole processes, from the command line to the prompt."""
    photo, output = folder / "photo.png", folder / "completed.png"
    Image.fromarray(measure.photograph(512, 512)).save(photo)
    works = {}
    for name, kind in (("one hole", "center"), ("strokes", "strokes")):
        mask = folder / f"{kind}.png"
        hole = masks.draw(kind, 512, 512, ratio=(0.099, 0.101), seed=0)
        Image.fromarray(masks.to_image(hole)).save(mask)
        command = ["-m", "retouch.cli", "complete", str(photo), str(mask), "--output", str(output)]
        works[name] = partial(measure.process, [*command, "--overwrite", "--model", model.name])
    works |= {
        "import retouch": partial(measure.process, ["-c", "import retouch"]),
        "python": partial(measure.process, ["-c", "pass"]),
        "torch": partial(measure.process, ["-c", "import torch"]),
    }
    if importlib.util.find_spec("torch") is None:
        del works["torch"]
    seconds = measure.medians(works, warmups=1, repeats=repeats)
    torch = seconds.get("torch")
    peer = f"import torch {torch:.2f} s" if torch else "no torch here"
    for name, target in (("one hole", "<= 0.5"), ("strokes", ""), ("import retouch", ""), ("python", "")):
        ratio = seconds[name] / torch if torch else None
        yield Row(f"start: {name}, whole process", f"{seconds[name]:.2f} s", peer, ratio, target)


def passes(predictor: Predictor, count: int) -> None:
    """So many forward passes over windows of the native size."""
    side = predictor.limits.native
    picture, hole = np.zeros((1, 3, side, side), np.float32), np.ones((1, 1, side, side), np.float32)
    for _ in range(count):
        predictor(picture, hole, seed=0)


def transcode(data: bytes) -> None:
    """Decode and encode a JPEG with Pillow, at the tables and subsampling that it has."""
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        opened.save(io.BytesIO(), "JPEG", quality="keep")


def photo(model: Model, folder: Path, repeats: int) -> Iterator[Row]:
    """(b) Time of a large photo, the model loaded; memory in a process of its own."""
    source, mask, output = folder / "large.jpg", folder / "large-mask.png", folder / "large-completed.jpg"
    Image.fromarray(measure.photograph(3000, 4000)).save(source, quality=90)
    Image.fromarray(masks.to_image(measure.squares(3000, 4000, 3, SIDE))).save(mask)
    works: dict[str, Callable[[], object]] = {
        "ours": partial(files.complete, source, mask, model=model, output=output, overwrite=True),
        "Pillow": partial(transcode, source.read_bytes()),
        "passes": partial(passes, model.predictor, 3),
    }
    seconds = measure.medians(works, warmups=1, repeats=repeats)
    peer = seconds["Pillow"] + seconds["passes"]
    note = f"Pillow {seconds['Pillow']:.2f} s, three passes {seconds['passes']:.2f} s"
    ours = f"{seconds['ours']:.2f} s"
    yield Row("photo: 12 MP, 3 holes", ours, f"{peer:.2f} s", seconds["ours"] / peer, "<= 2.5", note)
    code = measure.PEAK + (
        "import cv2, numpy, onnxruntime, PIL.Image, retouch.cli, retouch.files, retouch.models\n"
        "PIL.Image.init()\n"
        "before = peak()\n"
        f"retouch.files.complete({str(source)!r}, {str(mask)!r}, model={model.name!r},\n"
        f"    output={str(output)!r}, overwrite=True)\n"
        "print(before, peak())\n"
    )
    before, most = (float(word) for word in measure.process(["-c", code]).split())
    note = f"of which the decoded photo {3000 * 4000 * 3 / 1e6:.0f} MB"
    yield Row(
        "photo: peak memory over imports (MB)", f"{most:.0f}", f"{before:.0f}", most - before, "<= 450", note
    )


def runtime(model: Model, run: Path | None, repeats: int) -> Iterator[Row]:
    """(c) One window of 256 x 256, with as many threads as each runtime takes by itself."""
    if importlib.util.find_spec("torch") is None:
        yield Row("runtime: ONNX Runtime, 256 x 256", "", "no torch here", None, ">= 1.5")
        return
    import torch

    from retouch.training import export

    if run is not None:
        network, note = export.completion(run)[0], f"weights of {run}"
    else:
        network, note = same_architecture(model), "random weights in PyTorch, same architecture"
    size = sum(parameter.numel() for parameter in network.parameters())
    rng = np.random.default_rng(0)
    picture = rng.random((1, 3, 256, 256), np.float32)
    hole = masks.draw("strokes", 256, 256, ratio=(0.2, 0.3), seed=0)[None, None].astype(np.float32)
    inputs = torch.from_numpy(picture), torch.from_numpy(hole)

    def eager() -> None:
        with torch.inference_mode():
            network(*inputs)

    ours = partial(model.predictor, picture, hole, seed=0)
    seconds = measure.medians({"ours": ours, "eager": eager}, warmups=3, repeats=3 * repeats)
    yield Row(
        "runtime: ONNX Runtime, 256 x 256",
        f"{seconds['ours'] * 1e3:.0f} ms",
        f"eager {seconds['eager'] * 1e3:.0f} ms",
        seconds["eager"] / seconds["ours"],
        ">= 1.5",
        f"{note}, {size / 1e6:.2f} M parameters, {torch.get_num_threads()} threads",
    )


def same_architecture(model: Model) -> Any:
    """The model's network in PyTorch as its card's command sets it up; its speed needs no trained weights."""
    from retouch.methods import METHODS
    from retouch.training import export, settings

    if model.card is None:
        raise RetouchError(f"expected a model with a card, got {model.name}")
    words = shlex.split(model.card.command)
    pairs = [words[i + 1].split("=", 1) for i, word in enumerate(words[:-1]) if word == "--set"]
    config, build = METHODS[model.card.method].load()
    method = build(settings.configure(config, dict(pairs)), training=False)
    return export.Completion(method).eval().requires_grad_(False)


def growth(model: Model, repeats: int) -> Iterator[Row]:
    """(d) One hole in photos of 1 to 64 MP, from the decoded photo to the one that is to be encoded."""
    sizes = {1: (866, 1155), 4: (1732, 2309), 16: (3464, 4619), 64: (6928, 9238)}
    first: float | None = None
    for megapixels, (height, width) in sizes.items():
        loaded = image.read(measure.photograph(height, width))
        hole = measure.squares(height, width, 1, SIDE)
        work = partial(engine.complete, loaded, hole, model.predictor)
        seconds = measure.medians({"ours": work}, warmups=1, repeats=repeats)["ours"]
        first = first or seconds
        target = "<= 1.5" if megapixels == 64 else ""  # "flat": a copy of the pixels is all that may grow
        ours, peer = f"{seconds:.3f} s", f"1 MP {first:.3f} s"
        yield Row(f"growth: {megapixels} MP, one hole", ours, peer, seconds / first, target)


def main() -> None:
    """Measure what is asked for, print the table, write the JSON."""
    parts = ("start", "photo", "runtime", "growth")
    parser = argparse.ArgumentParser(description="Speed and memory of Retouch as ratios against peers.")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="which parts; all by default")
    parser.add_argument("--model", default=DEFAULT, help="a shipped model or a .onnx file")
    parser.add_argument("--run", type=Path, help="the model's training run, for its weights in PyTorch")
    parser.add_argument("--repeats", type=int, default=5, help="the median of so many; default 5")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results.json"))
    options = parser.parse_args()
    try:
        model = load(options.model)
    except RetouchError as error:
        parser.error(str(error))
    if not isinstance(model.predictor, OnnxPredictor):
        parser.error(f"expected a network in ONNX, got {model.name}")
    about = measure.machine() | {"model": model.name}
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        measured = {
            "start": start(model, Path(name), options.repeats),
            "photo": photo(model, Path(name), options.repeats),
            "runtime": runtime(model, options.run, options.repeats),
            "growth": growth(model, options.repeats),
        }
        for row in chain.from_iterable(measured[part] for part in parts if part in options.only):
            print(f"{row.name}: {row.ours}", file=sys.stderr, flush=True)
            rows.append(row)
    measure.show(rows)
    results = [asdict(row) | {"passes": row.passes} for row in rows]
    options.output.write_text(json.dumps({"machine": about, "rows": results}, indent=2) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
