"""Cuts photographs: ``python scripts/cut_photos.py CUT --data 'faces/val-*.tar' --share 0.03-0.06``.

Each one becomes a PNG in the folder CUT, smaller by a share of both sides and from anywhere in it. Faces of CelebA all
have their eyes in one place, and photographs of people have not: ``retouch evaluate --data CUT`` tells what a model is
worth there.
"""

import io
from pathlib import Path

import cyclopts
import numpy as np
from rich.progress import track

from retouch import image as images
from retouch.options import Ratio
from retouch.sources import index, names, read_bytes


def cut(output: Path, /, *, data: list[str], share: Ratio = (0.03, 0.06), seed: int = 0) -> None:
    """Writes the cut photographs.

    Args:
        output: a folder.
        data: folders of photographs or tar shards.
        share: LEAST-MOST, drawn for each photograph.
        seed: of share and place; those of photograph n are drawn from (seed, n).
    """
    photographs = index(data)
    output.mkdir(parents=True, exist_ok=True)
    for number, (source, name) in enumerate(
        track(list(zip(photographs, names(photographs, data), strict=True)))
    ):
        file = io.BytesIO(read_bytes(source))
        file.name = source.label  # for what is wrong with it
        photo = images.to_pil(images.read(file))
        rng = np.random.default_rng((seed, number))
        left = 1 - rng.uniform(*share)
        width, height = (round(side * left) for side in photo.size)
        x, y = (
            int(rng.integers(whole - part + 1))
            for whole, part in zip(photo.size, (width, height), strict=True)
        )
        part = photo.crop((x, y, x + width, y + height))
        images.write(images.read(part), (output / name.replace("/", "-")).with_suffix(".png"))


if __name__ == "__main__":
    cyclopts.run(cut)
