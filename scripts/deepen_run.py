"""Makes a run of dcgan_direct deeper: ``python scripts/deepen_run.py RUN DEEPER BLOCKS``.

Another run goes on from it: ``retouch train dcgan_direct --init DEEPER --set blocks=BLOCKS ...``.

The deeper generator computes the same: each new residual block, behind those of its size, adds 0 until it has learned
what to add. After P. Goyal et al., "Accurate, large minibatch SGD", 2017, §5.1. The discriminator stays as it is.
"""

from pathlib import Path

import cyclopts
import torch
from torch import nn

from retouch.methods.dcgan_direct import Config, Generator, Residual
from retouch.training.checkpoints import read_checkpoint, write_checkpoint
from retouch.training.settings import configure

SEED = 22  # of the new blocks' weights


def deepen(run: Path, output: Path, blocks: int, /) -> None:
    """Writes the deeper run: the averages of the other's last checkpoint, and no step of its own."""
    state, weights = read_checkpoint(run, lambda group: "optimizer" not in group)
    if state["method"] != "dcgan_direct":
        raise SystemExit(f"{run}: expected a run of dcgan_direct, got one of {state['method']}")
    known = state["config"]["blocks"]
    if blocks <= known:
        raise SystemExit(f"{run}: expected more than its {known} blocks, got {blocks}")
    after = state["config"] | {"blocks": blocks}
    torch.manual_seed(SEED)
    deep = Generator(configure(Config, after))
    deep.load_state_dict(weights["generator.ema"], strict=False)
    for name, module in deep.named_modules():
        if isinstance(module, Residual) and f"{name}.block.0.weight" not in weights["generator.ema"]:
            norm = module.block[1]
            assert isinstance(norm, nn.BatchNorm2d)
            nn.init.zeros_(norm.weight)
    weights |= {"generator": deep.state_dict(), "generator.ema": deep.state_dict()}
    write_checkpoint(output, state | {"config": after, "optimizers": {}}, weights)


if __name__ == "__main__":
    cyclopts.run(deepen)
