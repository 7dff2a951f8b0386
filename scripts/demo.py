"""Completes the three example photographs and writes before / mask / after pictures."""

import sys
import time
from importlib.resources import files
from pathlib import Path

from PIL import Image

import retouch

EXAMPLES = {
    "astronaut": ("scratches and text", None),
    "rocket": ("an object on a smooth ground", None),
    "camera": ("an object on a texture", "patchmatch"),
}  # and the model, None: the default one


def main(output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    examples = Path(str(files("retouch") / "examples"))
    for name, (what, chosen) in EXAMPLES.items():
        start = time.perf_counter()
        model = retouch.load(chosen)
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
        print(
            f"{name} ({what}, {before.width} x {before.height}): completed by {model.name} in {elapsed:.2f} s"
        )
    print(f"before, mask and after: {output.resolve()}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
