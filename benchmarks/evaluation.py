"""What measuring costs, as ratios in one run: ``python benchmarks/evaluation.py``.

    metrics    all that is computed for one pair of 256 x 256 px, against scikit-image's SSIM of that pair alone
    overhead   evaluating photos with the default network in two processes, against only completing them in two

Nothing is asserted: a busy machine gives other numbers. Needs the extra ``report``.
"""

import argparse
import tempfile
import time
from pathlib import Path

import cv2
import measure
import numpy as np
from measure import Row
from PIL import Image
from skimage.metrics import structural_similarity

from retouch import engine, metrics, sources
from retouch.cards import DEFAULT
from retouch.evaluation import cases
from retouch.evaluation.cases import Job, Terms
from retouch.evaluation.run import Settings, evaluate
from retouch.workers import in_processes

MASKS = "strokes:0.1-0.2"


def metrics_row(repeats: int) -> Row:
    """One pair, on one core."""
    cv2.setNumThreads(1)
    image = measure.photograph(256, 256).astype(np.float32) / 255
    noise = np.random.default_rng(0).normal(0, 0.05, image.shape).astype(np.float32)
    completion = np.clip(image + noise, 0, 1)
    hole = measure.squares(256, 256, 1, 100)[None, None]
    pair = [np.ascontiguousarray(x.transpose(2, 0, 1)[None]) for x in (image, completion)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    works = {
        "ours": lambda: metrics.measure(*pair, hole),
        "SSIM": lambda: structural_similarity(image, completion, channel_axis=2, **options),
    }
    seconds = measure.medians(works, warmups=2, repeats=repeats)
    peer = f"scikit-image's SSIM {seconds['SSIM'] * 1e3:.1f} ms"
    return Row(
        "metrics: 16 of one 256 x 256 pair", f"{seconds['ours'] * 1e3:.1f} ms", peer,
        seconds["ours"] / seconds["SSIM"], "<= 3",
    )  # fmt: skip


def only_completed(terms: Terms, job: Job) -> None:
    """What a job is without measuring: read, hole, completion."""
    photo = cases.photo_of(job.source, terms.size)
    hole = cases.hole_of(terms, job, photo.size)
    engine.complete(photo, hole, cases.model_of(job.model, terms.threads).predictor, seed=terms.seed)


def overhead_row(model: str, photos: int, repeats: int) -> Row:
    """Both from the start of the processes to their end, in turns."""
    seconds: dict[str, list[float]] = {"evaluated": [], "completed": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        for number in range(photos):
            picture = np.roll(measure.photograph(256, 256), 31 * number, axis=1)
            Image.fromarray(picture).save(folder / "photos" / f"{number:03d}.png")
        data = (str(folder / "photos"),)
        for turn in range(repeats + 1):
            settings = Settings(
                data=data, output=folder / f"evaluated-{turn}", model=(model,), masks=(MASKS,),
                workers=2, threads=1, pictures=0,
            )  # fmt: skip
            start = time.perf_counter()
            evaluate(settings)
            middle = time.perf_counter()
            terms = Terms(folder / f"completed-{turn}", None, 0, None, None, 1)
            jobs = [
                Job(n, source, source.path, MASKS, model, False)
                for n, source in enumerate(sources.index(data))
            ]
            for _ in in_processes(2, 1, only_completed, ((terms, job) for job in jobs)):
                pass
            if turn:  # the first warms the caches of the file system
                seconds["evaluated"].append(middle - start)
                seconds["completed"].append(time.perf_counter() - middle)
    evaluated, completed = (float(np.median(values)) for values in seconds.values())
    return Row(
        f"overhead: {photos} photos, {model}", f"{evaluated:.1f} s", f"only completed {completed:.1f} s",
        evaluated / completed, "<= 1.15",
    )  # fmt: skip


def main() -> None:
    """Measure, print a line each."""
    parser = argparse.ArgumentParser(description="What measuring costs, as ratios.")
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = [metrics_row(10 * options.repeats), overhead_row(options.model, options.photos, options.repeats)]
    measure.show(rows)


if __name__ == "__main__":
    main()
