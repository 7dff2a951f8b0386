"""Makes a run of GLCIC wider: ``python scripts/widen_run.py RUN WIDER WIDTH``.

Another run goes on from it: ``retouch train glcic --init WIDER --set width=WIDTH ...``.

The wider generator computes the same, as nothing reads its new channels yet: these see what the others of their layer
see, by random weights of the same size, and learn at once what to tell. After T. Chen, I. Goodfellow, J. Shlens,
"Net2Net", 2016, but for that: copied channels would have to be told apart first. The discriminators stay as they are.
"""

from pathlib import Path

import cyclopts
import numpy as np
import torch
from torch import Tensor, nn

from retouch.methods.glcic import GLCIC, Config, Generator
from retouch.training.checkpoints import read_checkpoint, write_checkpoint
from retouch.training.export import completion, crops
from retouch.training.settings import configure

SEED = 21  # of the new channels' weights


def wider(narrow: Generator, config: Config) -> Generator:
    """A generator of ``config``, of more channels, that computes what ``narrow`` does; in evaluation mode."""
    torch.manual_seed(SEED)
    wide = GLCIC(config, training=False).networks["generator"].eval()
    assert isinstance(wide, Generator)
    with torch.no_grad():
        for old, new in zip(narrow.modules(), wide.modules(), strict=True):
            if isinstance(old, nn.Conv2d | nn.ConvTranspose2d):
                swap = isinstance(old, nn.ConvTranspose2d)  # its weights are (inputs, outputs, ...)
                few, many = ((x.weight.transpose(0, 1) if swap else x.weight) for x in (old, new))
                outputs, inputs = few.shape[:2]
                # By tap: a kernel wider than its picture has one tap that is not 0.
                many.copy_(torch.randn_like(many) * few.std((0, 1)))
                many[:outputs, :inputs] = few
                many[:outputs, inputs:] = 0
                if old.bias is not None:
                    new.bias[:outputs] = old.bias
            elif isinstance(old, nn.BatchNorm2d):
                new.weight.fill_(old.weight.abs().mean())
                new.bias.fill_(old.bias.mean())
                for name in ("weight", "bias", "running_mean", "running_var"):
                    getattr(new, name)[: len(old.weight)] = getattr(old, name)
    return wide


def settle(wide: Generator, narrow: Generator, image: Tensor, hole: Tensor) -> None:
    """Gives the batch norms' new channels the mean and variance that they have on these pictures."""

    def measured(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        new = slice(known[norm], None)
        norm.running_mean[new], norm.running_var[new] = mean[new], variance[new]

    pairs = zip(wide.modules(), narrow.modules(), strict=True)
    known = {new: len(old.weight) for new, old in pairs if isinstance(old, nn.BatchNorm2d)}
    hooks = [norm.register_forward_pre_hook(measured) for norm in known]
    with torch.no_grad():
        wide(image, hole)
    for hook in hooks:
        hook.remove()


def widen(run: Path, output: Path, width: int, /) -> None:
    """Writes the wider run: the averages of the other's last checkpoint, and no step of its own."""
    state, weights = read_checkpoint(run, lambda group: "optimizer" not in group)
    if state["method"] != "glcic":
        raise SystemExit(f"{run}: expected a run of glcic, got one of {state['method']}")
    narrow = completion(run)[0].method.networks["generator"]
    after = state["config"] | {"width": width}
    wide = wider(narrow, configure(Config, after))
    image, hole = (
        torch.from_numpy(np.concatenate(part))
        for part in zip(*crops(state["settings"]["data"], state), strict=True)
    )
    settle(wide, narrow, image, hole)
    weights |= {"generator": wide.state_dict(), "generator.ema": wide.state_dict()}
    write_checkpoint(output, state | {"config": after, "optimizers": {}}, weights)


if __name__ == "__main__":
    cyclopts.run(widen)
