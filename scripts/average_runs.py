"""A run between two runs of one network: ``python scripts/average_runs.py FIRST SECOND MEAN --share 0.5``.

Another run goes on from it: ``retouch train ... --init MEAN``. Where the second run began with the first, and learned
from other crops, the mean of their weights keeps what both know: M. Wortsman et al., "Robust fine-tuning of zero-shot
models", 2022.
"""

from pathlib import Path

import cyclopts

from retouch.training.checkpoints import read_checkpoint, write_checkpoint


def average(first: Path, second: Path, mean: Path, /, *, share: float = 0.5) -> None:
    """Writes the second run with, of its averages, this share, and of the first's the rest; and no step of its own.

    A network that only one of them has, as a discriminator, is left as it is, or out.
    """
    (one, old), (state, new) = (
        read_checkpoint(run, lambda group: group.endswith(".ema")) for run in (first, second)
    )
    both = sorted(old.keys() & new.keys())
    shapes, wanted = (
        {(group, name): tensor.shape for group in both for name, tensor in averages[group].items()}
        for averages in (new, old)
    )
    if state["method"] != one["method"] or not both or shapes != wanted:
        raise SystemExit(
            f"{second}: expected a run of {one['method']} with the networks of {first}, got another"
        )
    for group in both:
        for name, tensor in new[group].items():
            if tensor.is_floating_point():
                tensor.lerp_(old[group][name], 1 - share)
    weights = new | {group.removesuffix(".ema"): tensors for group, tensors in new.items()}
    write_checkpoint(mean, state | {"optimizers": {}}, weights)


if __name__ == "__main__":
    cyclopts.run(average)
