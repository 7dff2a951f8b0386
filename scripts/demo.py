"""Completes the two example photographs with the default network and writes before / mask / after pictures."""

import sys
import time
from importlib.resources import files
from pathlib import Path

from PIL import Image

import retouch

WHAT = {"astronaut": "scratches and text", "rocket": "an object to remove"}


def main(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    examples = Path(str(files("retouch") / "examples"))
    start = time.perf_counter()
    model = retouch.load()
    print(f"model {model.name}: loaded in {time.perf_counter() - start:.2f} s")
    for name, what in WHAT.items():
        start = time.perf_counter()
        photo, mask = examples / f"{name}.jpg", examples / f"{name}-mask.png"
        (after,) = model(image=photo, mask_image=mask)
        elapsed = time.perf_counter() - start
        before, hole = Image.open(photo).convert("RGB"), Image.open(mask).convert("L")
        damaged = Image.composite(Image.new("RGB", before.size, "white"), before, hole)
        pictures = {"before": damaged, "mask": hole, "after": after}
        strip = Image.new("RGB", (3 * before.width + 20, before.height), "white")
        for column, (suffix, picture) in enumerate(pictures.items()):
            picture.save(output / f"{name}-{suffix}.png")
            strip.paste(picture.convert("RGB"), (column * (before.width + 10), 0))
        strip.save(output / f"{name}.jpg", quality=90)
        print(f"{name} ({what}, {before.width} x {before.height}): completed in {elapsed:.2f} s")
    print(f"before, mask and after: {output.resolve()}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
