"""The registry of methods; every check runs for every paper."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import SMALL, center, faces, write_faces

from retouch.errors import TrainingError
from retouch.methods import METHODS
from retouch.training import export
from retouch.training.checkpoints import read_checkpoint
from retouch.training.loop import train
from retouch.training.settings import Settings, configure


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Bit for bit the same sums in every run, and no more cores than the test is given."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name: str, *, seed: int = 0, training: bool = True, **changes: Any) -> Any:
    kind, build = METHODS[name].load()
    torch.manual_seed(seed)
    return build(configure(kind, {**SMALL[name].config, **changes}), training=training)


def batch(name: str, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    size = SMALL[name].size
    return torch.from_numpy(faces(size, count)), torch.from_numpy(center(size, count))


def backward(loss: torch.Tensor) -> None:
    loss.backward()


def run(name: str, photos: str, output: Path, **changes: Any) -> Path:
    known: dict[str, Any] = {"size": SMALL[name].size, "batch": 4, "steps": 4, "workers": 0, "threads": 1}
    known |= {"log_every": 1, "accelerator": "cpu", "sample_every": 0, "masks": ("center",)}
    settings = Settings(data=(photos,), output=output, **{**known, **changes})
    return train(name, settings, SMALL[name].config).run


def test_the_registry_is_readable_without_pytorch():
    code = "import sys; from retouch.methods import METHODS; assert METHODS and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["dcgan_direct", "glcic", "recurrent"])
def test_mirror_makes_the_completion_of_a_mirrored_image_the_mirrored_completion(name):
    plain, both = (make(name, training=False, mirror=mirror) for mirror in (False, True))
    for parameter in plain.networks["generator"].parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    both.networks["generator"].load_state_dict(plain.networks["generator"].state_dict())
    image, hole = batch(name, 2)
    image, hole = image.roll(5, 3) * (1 - hole.roll(9, 3)), hole.roll(9, 3)
    for method in (plain, both):
        method.networks["generator"].eval()
    there, back = (method.complete(image, hole) for method in (plain, both))
    mirrored = [method.complete(image.flip(3), hole.flip(3)).flip(3) for method in (plain, both)]
    torch.testing.assert_close(back, mirrored[1])
    torch.testing.assert_close(back, (there + mirrored[0]) / 2)
    assert not torch.allclose(there, mirrored[0], atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_every_entry_is_complete(name):
    entry = METHODS[name]
    kind, build = entry.load()
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind() == kind()
    module = sys.modules[build.__module__]
    assert module.__doc__ is not None
    for heading in ("paper  ", "code", "Deviations"):
        assert heading in module.__doc__
    assert entry.citation.split(",")[0].strip() in module.__doc__
    assert entry.limits.native % entry.limits.multiple == 0
    assert entry.limits.largest >= entry.limits.native


def test_every_method_has_its_size_for_tests():
    assert set(SMALL) == set(METHODS)


@pytest.mark.parametrize(
    ("name", "begin"), [(name, begin) for name in SMALL for begin in SMALL[name].stages], ids=str
)
def test_two_steps_change_what_their_stage_optimises_and_nothing_else(name, begin):
    method = make(name)
    optimised = SMALL[name].stages[begin]
    before = {
        (key, part): value.detach().clone()
        for key, network in method.networks.items()
        for part, value in network.named_parameters()
    }
    for k in (begin, begin + 1):
        logs = method.step(*batch(name), k, backward=backward)
        assert logs and all(math.isfinite(value) for value in logs.values()), logs
    for key, network in method.networks.items():
        for part, value in network.named_parameters():
            changed = not torch.equal(before[key, part], value)
            if key not in optimised:
                assert not changed, f"{key}: {part} is frozen in this stage, and changed"
            elif value.ndim > 1:  # a bias before a norm cannot change anything
                assert changed, f"{key}: {part} is to be optimised, and did not change"
    assert set(optimised) <= set(method.networks)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_saved_completes_as_what_was_trained(name, tmp_path):
    output = run(name, write_faces(tmp_path / "photos", SMALL[name].size), tmp_path / "run", steps=2)
    _, weights = read_checkpoint(output)
    method = make(name, seed=1, training=False)
    for key, network in method.networks.items():
        network.load_state_dict(weights[f"{key}.ema"])
        network.eval()
    image, hole = batch(name, 2)
    image = image * (1 - hole)
    expected = method.complete(image, hole, generator=torch.Generator().manual_seed(3))
    for _ in range(2):  # a second call must not depend on the first
        got = export.predictor(output)[0](image.numpy(), hole.numpy(), seed=3)
        torch.testing.assert_close(torch.from_numpy(got), expected, atol=1e-6, rtol=0)
    assert got.shape == image.shape and got.min() >= 0 and got.max() <= 1
    ask = export.predictor(output)[0]
    alone = [ask(image.numpy()[i : i + 1], hole.numpy()[i : i + 1], seed=3) for i in range(2)]
    assert np.array_equal(ask(image.numpy(), hole.numpy(), seed=3), np.concatenate(alone))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of PyTorch's compiler
@pytest.mark.parametrize(
    ("name", "how"), [*((name, "bf16-mixed") for name in SMALL), ("wgan", "compiled"), ("glcic", "compiled")]
)
def test_every_stage_trains_in_half_precision_and_compiled(name, how, tmp_path, monkeypatch):
    """One step of each, as `--precision bf16-mixed --compile` does on a GPU: losses as in 32 bits."""
    compiled = (
        torch.compile
    )  # with a back end that needs no C++ compiler, but makes gradients as the real one does
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiled(network, backend="aot_eager"))
    fast = {"compile": True} if how == "compiled" else {"precision": how}
    # smaller crops come to one pixel before the discriminator's last layer: a CPU's bf16 has no gradient there
    size = 64 if name == "recurrent" else SMALL[name].size
    photos, steps = write_faces(tmp_path / "photos", size), max(SMALL[name].stages) + 1
    logs = []
    for output, options in ((tmp_path / "plain", {}), (tmp_path / "fast", fast)):
        run(name, photos, output, steps=steps, batch=2, size=size, **options)
        logs.append([json.loads(line) for line in (output / "stats.jsonl").read_text().splitlines()])
    assert len(logs[0]) == len(logs[1]) == steps
    for plain, other in zip(*logs, strict=True):
        assert plain.keys() == other.keys()
        for loss in plain.keys() - {"images_per_second", "seconds"}:
            assert other[loss] == pytest.approx(plain[loss], rel=0.2, abs=0.05), loss


@pytest.mark.parametrize("name", SMALL)
def test_a_resumed_run_is_the_uninterrupted_one(name, tmp_path):
    photos = write_faces(tmp_path / "photos", SMALL[name].size)
    whole = run(name, photos, tmp_path / "whole")
    parts = run(name, photos, tmp_path / "parts", steps=2)
    run(name, photos, parts, resume=True)
    (state, weights), (state2, weights2) = read_checkpoint(whole), read_checkpoint(parts)
    assert state["optimizers"] == state2["optimizers"]
    assert weights.keys() == weights2.keys()
    for group, tensors in weights.items():
        for part, tensor in tensors.items():
            assert torch.equal(tensor, weights2[group][part]), (group, part)


@pytest.mark.parametrize("name", SMALL)
def test_unknown_settings_are_one_clear_line(name):
    kind, _ = METHODS[name].load()
    with pytest.raises(TrainingError, match=r"^expected a setting among .*, got 'widht'$"):
        configure(kind, {"widht": 3})


@pytest.mark.parametrize("name", SMALL)
def test_it_can_learn_at_all(name):
    """A few steps on 16 fixed faces take the error of the reconstruction below a stated bound."""
    small = SMALL[name]
    method = make(name, **small.learns)
    image, hole = batch(name, 16)
    assert small.measure(method, image, hole) > 1.5 * small.error
    for k in range(small.steps):
        method.step(image, hole, k, backward=backward)
    assert small.measure(method, image, hole) < small.error
