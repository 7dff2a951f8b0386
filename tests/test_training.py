"""The training loop with a tiny method: resume, kills, signals, bad input."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.metrics
import torch
import torch.nn.functional as F
from files import contents
from processes import alive, descendants, until
from rich.console import Console
from small import STATE
from torch import Tensor, nn

import retouch
from retouch import sources
from retouch.errors import DataError, TrainingError
from retouch.evaluation import plots
from retouch.training import checkpoints, data, loop, validation
from retouch.training.checkpoints import read_checkpoint, write_checkpoint
from retouch.training.loop import Finished, train
from retouch.training.process import restored
from retouch.training.progress import logs, progress
from retouch.training.settings import Settings, configure

NEVER = 1 << 30  # steps


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 4
    rate: float = 0.01
    noise: bool = True
    frozen: bool = True
    fail_at: int = NEVER
    signal_at: int = NEVER
    signal: int = int(signal.SIGTERM)
    pause: float = 0.0
    label: str = "tiny"


class Tiny:
    """Two convolutions against two others; noise from PyTorch's global state, as dropout would take it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        first, second = (nn.Conv2d(4, config.width, 3, padding=1), nn.Conv2d(config.width, 3, 3, padding=1))
        self.networks: dict[str, nn.Module] = {
            "generator": nn.Sequential(first, nn.ELU(), second),
            "discriminator": nn.Sequential(nn.Conv2d(3, config.width, 3, stride=2), nn.ELU(), nn.Flatten()),
        }
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "generator": torch.optim.Adam(self.networks["generator"].parameters(), config.rate),
            "discriminator": torch.optim.SGD(
                self.networks["discriminator"].parameters(), config.rate, momentum=0.9
            ),
        }

    def step(
        self, image: Tensor, hole: Tensor, k: int, *, backward: Callable[[Tensor], None]
    ) -> dict[str, float]:
        config, discriminator = self.config, self.networks["discriminator"]
        time.sleep(config.pause)
        damaged = image * (1 - hole) + (0.1 * torch.randn_like(image) if config.noise else 0)
        fake = self.networks["generator"](torch.cat([damaged, hole], 1))
        self.optimizers["discriminator"].zero_grad()
        judged = F.softplus(-discriminator(image)).mean() + F.softplus(discriminator(fake.detach())).mean()
        backward(judged)
        self.optimizers["discriminator"].step()
        if config.frozen:
            discriminator.requires_grad_(False)
        self.optimizers["generator"].zero_grad()
        total = (fake - image).abs().mean() + 0.01 * F.softplus(-discriminator(fake)).mean()
        backward(total)
        self.optimizers["generator"].step()
        discriminator.requires_grad_(True)
        if k == config.signal_at:
            os.kill(os.getpid(), config.signal)
        value = float("nan") if k == config.fail_at else float(total.detach())
        return {"total": value, "judged": float(judged.detach()), "lr": config.rate}

    def complete(self, image: Tensor, hole: Tensor, *, generator: torch.Generator) -> Tensor:
        completed: Tensor = self.networks["generator"](torch.cat([image, hole], 1))
        return completed


ENTRY = SimpleNamespace(load=lambda: (Config, Tiny))


def make_photos(folder: Path, count: int = 10) -> str:
    folder.mkdir(parents=True)
    for n in range(count):
        pixels = np.random.default_rng(n).integers(0, 256, (6, 6, 3), np.uint8)
        cv2.imwrite(str(folder / f"{n}.png"), cv2.resize(pixels, (24, 24), interpolation=cv2.INTER_CUBIC))
    return str(folder)


@pytest.fixture
def photos(tmp_path: Path) -> str:
    return make_photos(tmp_path / "photos")


def settings(photos: str, output: Path, **changes: Any) -> Settings:
    known: dict[str, Any] = {"size": 16, "batch": 4, "steps": 6, "workers": 0, "threads": 1, "log_every": 2}
    known |= {"accelerator": "cpu", "sample_every": 0, "zoom": 1.25}
    return Settings(data=(photos,), output=output, **{**known, **changes})


def run(photos: str, output: Path, overrides: Mapping[str, Any] | None = None, **changes: Any) -> Finished:
    return train("tiny", settings(photos, output, **changes), overrides, entry=ENTRY)


def stats(output: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (output / "stats.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines]


def assert_same(one: Path, other: Path) -> None:
    """The same weights, averages, optimisers, counters and logs, bit for bit."""
    (state, weights), (state2, weights2) = read_checkpoint(one), read_checkpoint(other)
    for name in ("step", "images", "sums", "counts", "optimizers"):
        assert state[name] == state2[name], name
    assert weights.keys() == weights2.keys()
    for group, tensors in weights.items():
        assert tensors.keys() == weights2[group].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, weights2[group][name]), (group, name)
    assert stats(one) == stats(other)


# what a run writes


def test_a_run_writes_checkpoint_logs_and_samples(photos: str, tmp_path: Path) -> None:
    output = tmp_path / "a" / "run"
    finished = run(photos, output, {"width": 5}, sample_every=4)
    assert finished == Finished(output, "steps", None, 6, 24)
    state, weights = read_checkpoint(output)
    assert (state["step"], state["images"], state["images_before"]) == (6, 24, 0)
    assert state["method"] == "tiny" and state["config"]["width"] == 5 and state["settings"]["batch"] == 4
    assert all(numbers["begun"] for numbers in state["optimizers"].values())
    assert state["photos"] == 10 and state["versions"]["torch"] == torch.__version__
    networks = ("generator", "discriminator")
    assert set(weights) == {f"{name}{end}" for name in networks for end in ("", ".ema", ".optimizer")}
    network = Tiny(Config(width=5)).networks["generator"]
    network.load_state_dict(weights["generator.ema"])
    assert [line["step"] for line in stats(output)] == [2, 4, 6]
    assert [line["images"] for line in stats(output)] == [8, 16, 24]
    assert set(stats(output)[0]) == {"step", "images", "total", "judged", "lr"}
    assert [grid.name for grid in sorted((output / "samples").iterdir())] == ["00000004.png", "00000006.png"]
    grid = cv2.imread(str(output / "samples" / "00000006.png"))
    assert grid is not None and grid.shape == (3 * 16, 8 * 16, 3)
    original, _, completed = grid.reshape(3, 16, 128, 3)
    kept = (original == completed).all(-1).mean()
    assert 0.4 < kept < 1  # known pixels stay, holes are filled
    assert list((output / "tensorboard").iterdir())
    suffixes = {file.suffix for file in (output / "checkpoint").rglob("*") if file.is_file()}
    assert suffixes == {".safetensors", ".json"}


def test_training_lowers_the_loss_and_the_average_follows(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "run", steps=60, log_every=10)
    losses = [line["total"] for line in stats(tmp_path / "run")]
    assert losses[-1] < 0.7 * losses[0]
    _, weights = read_checkpoint(tmp_path / "run")
    raw, average = weights["generator"]["0.weight"], weights["generator.ema"]["0.weight"]
    start = read_checkpoint(run(photos, tmp_path / "start", steps=0).run)[1]["generator"]["0.weight"]
    assert 0 < (raw - average).norm() < (raw - start).norm()


def test_the_average_is_the_recurrence_over_the_weights(photos: str, tmp_path: Path) -> None:
    expected = read_checkpoint(run(photos, tmp_path / "0", steps=0).run)[1]["generator"]
    for k in range(4):
        one = run(photos, tmp_path / "run", steps=k + 1, ema=0.3, resume=k > 0)
        _, weights = read_checkpoint(one.run)
        decay = min(0.3, (1 + k) / (10 + k))
        expected = {n: decay * kept + (1 - decay) * weights["generator"][n] for n, kept in expected.items()}
        for name, tensor in weights["generator.ema"].items():
            torch.testing.assert_close(tensor, expected[name])


def test_the_logs_are_means_over_their_steps(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "each", log_every=1)
    run(photos, tmp_path / "thirds", log_every=3)
    each = [line["total"] for line in stats(tmp_path / "each")]
    means = [line["total"] for line in stats(tmp_path / "thirds")]
    assert means == pytest.approx([sum(each[:3]) / 3, sum(each[3:]) / 3])


def test_a_loss_is_not_logged_as_a_metric(tmp_path: Path) -> None:
    """1 - SSIM falls as a run gets better; its setting is ``ssim``. Logs of before are read alike."""
    state = {"step": 2, "images": 8, "seconds": 1.0, "sums": {"ssim": 0.4, "total": 1.0}}
    with logs(tmp_path, state | {"counts": {"ssim": 2, "total": 2}}, quiet=False) as log:
        log(8.0, {"validation_ssim": 0.9})
    (row,) = stats(tmp_path)
    assert (row["ssim_loss"], row["validation_ssim"], row["total"]) == (0.2, 0.9, 0.5) and "ssim" not in row
    (tmp_path / "stats.jsonl").write_text('{"step": 2, "psnr": -2.0, "ssim": 0.2}\n')
    assert plots.read_stats(tmp_path) == [{"step": 2, "psnr_loss": -2.0, "ssim_loss": 0.2}]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
@pytest.mark.parametrize("lines", [1, 100])
def test_a_disk_that_fills_up_under_the_logs_is_one_line(
    lines: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    state = {"step": 2, "images": 8, "seconds": 1.0, "sums": {}, "counts": {}}
    hook = threading.excepthook
    full = pytest.raises(TrainingError, match=r"expected to write logs, got .*No space left")
    with full, logs(tmp_path, state, quiet=False) as log:
        (events,) = (tmp_path / "tensorboard").iterdir()
        (tmp_path / "full").symlink_to("/dev/full")
        (tmp_path / "full").replace(events)  # at once: TensorBoard's thread writes whenever it likes
        for _ in range(lines):
            log(8.0, {})
    assert threading.excepthook is hook and capfd.readouterr().err == ""


def test_a_seed_gives_a_run_and_another_seed_another(photos: str, tmp_path: Path) -> None:
    for name, seed in {"a": 0, "b": 0, "c": 1}.items():
        torch.rand(seed + len(name))  # whatever was drawn before
        run(photos, tmp_path / name, seed=seed)
    assert_same(tmp_path / "a", tmp_path / "b")
    assert stats(tmp_path / "a") != stats(tmp_path / "c")


def test_threads_random_state_and_handlers_are_put_back(photos: str, tmp_path: Path) -> None:
    def state() -> tuple[Any, ...]:
        handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        return torch.get_num_threads(), torch.get_rng_state().tolist(), *handlers

    before = state()
    run(photos, tmp_path / "run", steps=1, threads=2)
    assert state() == before


def test_threads_of_python_that_overlap_put_back_what_the_first_found() -> None:
    def threads() -> int:
        with ThreadPoolExecutor(1) as new:  # a new one sees the process's count
            return new.submit(torch.get_num_threads).result()

    before, entered = threads(), threading.Event()
    left = threading.Event()

    def second() -> int:
        with restored(before + 1):
            entered.set()
            left.wait(60)
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as pool:
        with restored(before + 1):
            after = pool.submit(second)
            assert entered.wait(60)
        left.set()
        assert after.result() == before
    assert threads() == torch.get_num_threads() == before


# going on


@pytest.mark.parametrize("options", [{}, {"channels_last": True}, {"precision": "bf16-mixed"}], ids=str)
def test_resume_is_exactly_the_uninterrupted_run(
    photos: str, tmp_path: Path, options: dict[str, Any]
) -> None:
    options |= {"log_every": 5}
    run(photos, tmp_path / "whole", steps=13, sample_every=4, **options)
    for steps in (3, 7, 13):  # in the middle of an epoch, and of the steps that one line of the log covers
        resume = steps > 3
        run(photos, tmp_path / "parts", steps=steps, resume=resume, workers=int(resume), **options)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_resume_drops_the_logs_of_steps_to_be_done_again(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "whole", steps=8, log_every=1)
    run(photos, tmp_path / "killed", steps=5, log_every=1)
    with open(tmp_path / "killed" / "stats.jsonl", "ab") as file:
        file.write(b'{"step": 6, "total": 1.0}\n\xff\x00\n{"step": 7, "tot')  # as a kill or a crash leaves it
    run(photos, tmp_path / "killed", steps=8, log_every=1, resume=True)
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_resume_of_a_finished_run_does_nothing(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "run")
    before = contents(tmp_path / "run" / "checkpoint")
    assert run(photos, tmp_path / "run", resume=True).step == 6
    assert contents(tmp_path / "run" / "checkpoint") == before


def test_minutes_count_over_sessions(photos: str, tmp_path: Path) -> None:
    finished = run(photos, tmp_path / "run", {"pause": 0.05}, steps=None, minutes=0.5 / 60)
    assert finished.why == "minutes" and 1 <= finished.step <= 10
    again = run(photos, tmp_path / "run", {"pause": 0.05}, steps=None, minutes=0.6 / 60, resume=True)
    assert again.why == "minutes" and again.step - finished.step <= 3


def test_a_run_from_before_a_setting_existed_is_resumed(photos: str, tmp_path: Path) -> None:
    output = run(photos, tmp_path / "run", steps=1).run
    file = next((output / "checkpoint").glob("*/state.json"))
    state = json.loads(file.read_text())
    for name in ("whole", "jitter", "jittered", "colour", "mirror"):
        del state["settings"][name]
    file.write_text(json.dumps(state))
    with pytest.raises(TrainingError, match="mirror = True to resume it, got False"):
        run(photos, output, steps=2, resume=True, mirror=False)
    assert run(photos, output, steps=2, resume=True).step == 2


def cut(photos: str, position: int) -> tuple[Path, bytes]:
    """Makes the photo at a position of the first epoch unreadable, at its size; gives it and what it held."""
    paths = [source.path for source in sources.index((photos,))]
    file = Path(paths[data._order(len(paths), 0, 0)[position]])
    held = file.read_bytes()
    file.write_bytes(bytes(len(held)))
    return file, held


def test_a_run_with_a_photo_that_cannot_be_read_is_resumed_exactly(
    photos: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, _ = cut(photos, 9)
    run(photos, tmp_path / "whole")
    assert capfd.readouterr().err.count(f"left out: {file}") == 1
    for steps in (2, 6):
        run(photos, tmp_path / "parts", steps=steps, resume=steps > 2, workers=steps // 6)
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_what_was_learned_is_saved_where_photos_fail(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, tmp_path / "whole")
    file, held = cut(photos, 9)  # of the third step
    monkeypatch.setattr(data, "TRIES", 1)
    with pytest.raises(TrainingError, match=file.name):
        run(photos, tmp_path / "run")
    assert read_checkpoint(tmp_path / "run")[0]["step"] == 2
    file.write_bytes(held)
    run(photos, tmp_path / "run", resume=True)
    assert_same(tmp_path / "whole", tmp_path / "run")
    cut(photos, 0)  # of the first: there is nothing to save
    with pytest.raises(TrainingError, match="expected a photo"):
        run(photos, tmp_path / "none")
    assert not checkpoints.holds_run(tmp_path / "none")


def test_the_same_photos_elsewhere_are_the_same_run(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photos, tmp_path / "whole")
    output = run(photos, tmp_path / "run", steps=2).run
    with pytest.raises(TrainingError, match="photos"):
        run(f"{photos}=2", output, resume=True)
    Path(photos).rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    run("moved", output, resume=True)
    assert_same(tmp_path / "whole", output)
    assert read_checkpoint(output)[0]["settings"]["data"] == ["moved"]


def test_init_starts_from_averages_and_adds_up_images(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "a")
    run(photos, tmp_path / "b", {"rate": 0.005}, steps=5, init=str(tmp_path / "a"), size=8)
    state, _ = read_checkpoint(run(photos, tmp_path / "c", steps=0, init=tmp_path / "b", seed=3).run)
    assert (state["step"], state["images"], state["images_before"]) == (0, 0, 24 + 20)
    assert state["init"] == str(tmp_path / "b")
    start, end = read_checkpoint(tmp_path / "c")[1], read_checkpoint(tmp_path / "b")[1]
    for name, tensor in start["generator"].items():
        assert torch.equal(tensor, end["generator.ema"][name])
        assert torch.equal(tensor, start["generator.ema"][name])
    assert not start["generator.optimizer"] and not state["optimizers"]["generator"]["begun"]


# settings that only the method knows to be wrong


@pytest.mark.parametrize(
    ("method", "overrides", "changes"),
    [
        ("dcgan_direct", {}, {"size": 40}),
        ("glcic", {"size": 32}, {"size": 64}),
        ("wgan", {}, {"size": 32}),
        ("dcgan_search", {}, {"size": 32}),
        ("recurrent", {"adversarial": 0.0, "feature_matching": 0.0}, {"size": 36}),
        ("recurrent", {"adversarial": 0.0, "feature_matching": 0.0}, {"size": 8}),
        ("recurrent", {"width": 1}, {}),
        ("recurrent", {"warmup": -1}, {}),
        ("dcgan_direct", {"width": 0}, {}),
        ("glcic", {"size": 32, "vector": 0}, {}),
        ("glcic", {"size": 32, "width": 0}, {}),
        ("glcic", {"size": 32, "width": -1}, {}),
        ("glcic", {"size": 32, "learning_rate": -1.0}, {}),
        ("recurrent", {"beta1": 1.0}, {}),
        ("recurrent", {"clip": 1.0}, {"precision": "16-mixed"}),
        ("dcgan_search", {"reconstruction": 1.0}, {"precision": "16-mixed", "size": 64}),
        ("dcgan_direct", {}, {"precision": "16-mixed", "size": 64}),
        ("glcic", {"size": 32}, {"precision": "16-mixed"}),
    ],
    ids=str,
)
def test_a_refused_run_is_one_line_and_leaves_its_folder_free(
    photos: str, tmp_path: Path, method: str, overrides: dict[str, Any], changes: dict[str, Any]
) -> None:
    free = {"perceptual": 0.0, "style": 0.0, "low_pass_perceptual": 0.0} if method == "recurrent" else {}
    with pytest.raises(TrainingError, match=r"^[^\n]*expected [^\n]*, got[^\n]*$"):
        train(method, settings(photos, tmp_path / "run", **{"size": 32, **changes}), free | overrides)
    assert run(photos, tmp_path / "run").step == 6
    assert [line["step"] for line in stats(tmp_path / "run")] == [2, 4, 6]


def test_too_little_memory_is_one_line(photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any, **__: Any) -> dict[str, float]:
        torch.empty(1 << 60)  # more than any machine has
        return {}

    monkeypatch.setattr(Tiny, "step", step)
    with pytest.raises(TrainingError, match="expected memory for batches of 4 at size 16, got too little"):
        run(photos, tmp_path / "run")


def test_validation_measures_the_averaged_weights_on_photos_that_are_held_out(
    photos: str, tmp_path: Path
) -> None:
    held_out = make_photos(tmp_path / "held-out", 7)
    asked = {"validate": (held_out,), "validate_photos": 5, "validate_every": 4}
    run(photos, tmp_path / "run", jitter=0.2, whole=True, colour=0.2, zoom=1, **asked)
    rows = [row for row in stats(tmp_path / "run") if "validation_psnr" in row]
    assert [row["step"] for row in rows] == [4, 6]  # and at the end

    _, weights = read_checkpoint(tmp_path / "run")
    method = Tiny(Config())
    method.networks["generator"].load_state_dict(weights["generator.ema"])
    plain = settings(held_out, tmp_path, whole=True, zoom=1, mirror=False)
    samples = data.Photos(sources.index((held_out,)), plain, data.VALIDATION)
    other = validation.held_out(settings(photos, tmp_path, seed=7, whole=True, zoom=1, **asked), ())
    assert other is not None
    assert all(a.equal(b) for a, b in zip(other[3], samples[3], strict=True))  # of each seed the same
    psnr, ssim = [], []
    for number in range(5):
        image, hole = (tensor[None].float() for tensor in samples[number])
        image /= 255
        with torch.no_grad():
            predicted = method.complete(image * (1 - hole), hole, generator=torch.Generator())
        pair = [
            one[0].permute(1, 2, 0).numpy()
            for one in (image, image * (1 - hole) + predicted.clamp(0, 1) * hole)
        ]
        psnr.append(skimage.metrics.peak_signal_noise_ratio(*pair, data_range=1.0))
        ssim.append(
            skimage.metrics.structural_similarity(
                *pair, data_range=1.0, channel_axis=2, gaussian_weights=True, use_sample_covariance=False
            )
        )
    assert rows[-1]["validation_psnr"] == pytest.approx(np.mean(psnr), abs=1e-3)
    assert rows[-1]["validation_ssim"] == pytest.approx(np.mean(ssim), abs=1e-4)
    assert 0 < rows[-1]["validation_l1"] < 100


def test_validation_changes_nothing_in_what_is_learned_and_resumes(photos: str, tmp_path: Path) -> None:
    asked = {"validate": (make_photos(tmp_path / "held-out"),), "validate_every": 2}
    run(photos, tmp_path / "without", {"noise": True})
    run(photos, tmp_path / "with", {"noise": True}, **asked)
    run(photos, tmp_path / "resumed", {"noise": True}, steps=3, **asked)
    run(photos, tmp_path / "resumed", {"noise": True}, resume=True, **asked)
    assert_same(tmp_path / "with", tmp_path / "resumed")
    (_, one), (_, other) = (read_checkpoint(tmp_path / name) for name in ("with", "without"))
    for group, tensors in one.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, other[group][name]), (group, name)


def test_held_out_photos_that_cannot_be_read_cost_nothing_learned(photos: str, tmp_path: Path) -> None:
    held_out = Path(make_photos(tmp_path / "held-out", 2))
    for photo in held_out.iterdir():
        photo.write_bytes(b"none")
    with pytest.raises(TrainingError, match="expected a photo, got 4 bytes"):
        run(photos, tmp_path / "run", validate=(str(held_out),), validate_every=4)
    assert read_checkpoint(tmp_path / "run")[0]["step"] == 4


def test_photos_that_are_trained_on_are_not_held_out(photos: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photos)
    for validate in (photos, str(tmp_path / "link"), f"{photos}/3.png"):
        with pytest.raises(TrainingError, match=r"not trained on, got (10|1) of --data, such as .*\.png"):
            run(photos, tmp_path / "run", validate=(validate,))
    assert not (tmp_path / "run").exists()


def test_the_last_steps_are_logged(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "run", steps=3, log_every=2)
    assert [line["step"] for line in stats(tmp_path / "run")] == [2, 3]


def test_a_run_that_time_ends_is_logged_and_measured(photos: str, tmp_path: Path) -> None:
    """However few its steps; resumed, its steps since the last whole line are in that line, as if it had not ended."""
    held_out = make_photos(tmp_path / "held_out", 3)
    known = {"log_every": 1000, "validate_every": 1000, "validate": (held_out,), "steps": None}
    finished = run(photos, tmp_path / "run", minutes=0.001 / 60, **known)
    (line,) = stats(tmp_path / "run")
    assert (finished.why, line["step"]) == ("minutes", finished.step) and "validation_psnr" in line
    again = run(photos, tmp_path / "run", resume=True, **(known | {"steps": finished.step + 2}))
    assert [line["step"] for line in stats(tmp_path / "run")] == [again.step]


def test_a_run_among_its_photos_is_no_photo(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    run(".", Path("run"), steps=2, sample_every=1)
    assert list(Path("run").rglob("*.png"))
    assert run(".", Path("run"), resume=True).step == 6


def test_a_run_of_before_a_setting_goes_on(photos: str, tmp_path: Path) -> None:
    """What a method has learned to do since counts as it was: its default."""
    output = run(photos, tmp_path / "run", steps=2).run
    (path,) = output.glob("checkpoint/*/state.json")
    state = json.loads(path.read_text())
    del state["config"]["noise"]
    path.write_text(json.dumps(state))
    with pytest.raises(TrainingError, match=r"run's own noise = True to resume it, got False"):
        run(photos, output, {"noise": False}, resume=True)
    assert run(photos, output, resume=True).step == 6


def test_a_run_notices_other_photos_of_the_same_names(photos: str, tmp_path: Path) -> None:
    output = run(photos, tmp_path / "run", steps=2).run
    cv2.imwrite(f"{photos}/0.png", np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(TrainingError, match="photos"):
        run(photos, output, resume=True)


# kills and signals


@pytest.mark.parametrize("stage", range(9))
def test_whatever_fails_while_writing_a_whole_checkpoint_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int
) -> None:
    def weights(value: float) -> dict[str, dict[str, Tensor]]:
        return {group: {"w": torch.full((3,), value)} for group in ("generator", "generator.ema")}

    write_checkpoint(tmp_path, STATE | {"step": 1}, weights(1))
    passed = []

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            passed.append(real)
            if len(passed) > stage:
                raise KeyboardInterrupt  # as good as a kill: nothing here tidies up after it
            return real(*args, **options)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", failing(Path.write_bytes))
        patched.setattr(checkpoints, "_flush", failing(checkpoints._flush))
        patched.setattr(Path, "rename", failing(Path.rename))
        patched.setattr(checkpoints.shutil, "rmtree", failing(checkpoints.shutil.rmtree))
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(tmp_path, STATE | {"step": 2}, weights(2))
    state, kept = read_checkpoint(tmp_path)
    assert state["step"] in (1, 2)
    for tensors in kept.values():
        assert torch.equal(tensors["w"], torch.full((3,), float(state["step"])))
    write_checkpoint(tmp_path, STATE | {"step": 3}, weights(3))
    assert [left.name for left in (tmp_path / "checkpoint").iterdir()] == ["0000000003"]


def test_whoever_may_read_the_folder_may_read_a_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STATE, {"generator": {"w": torch.ones(3)}})
    files = [path for path in (tmp_path / "checkpoint").rglob("*") if path.is_file()]
    assert len({path.stat().st_mode for path in files}) == 1 and len(files) == 2


def test_a_full_disk_is_not_left_fuller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, STATE | {"step": 1}, {"generator": {"w": torch.ones(3)}})
    before = contents(tmp_path)

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_flush", full)
    with pytest.raises(TrainingError, match=r"expected to write a checkpoint, got .*No space left"):
        write_checkpoint(tmp_path, STATE | {"step": 2}, {"generator": {"w": torch.zeros(3)}})
    assert contents(tmp_path) == before
    assert [kept.name for kept in (tmp_path / "checkpoint").iterdir()] == ["0000000001"]


def script(tmp_path: Path, photos: str, output: Path, overrides: str = "{}", **changes: Any) -> list[str]:
    """The command line of a process that trains the tiny method."""
    file = tmp_path / f"train-{len(list(tmp_path.iterdir()))}.py"
    file.write_text(
        f"import os\nimport sys\nsys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "from pathlib import Path, PosixPath\nfrom test_training import run\n"
        f"if __name__ == '__main__':\n"
        f"    finished = run({photos!r}, Path({str(output)!r}), {overrides}, **{changes!r})\n"
        "    line = f'{finished.why} {finished.signal} {finished.step} {finished.first}\\n'\n"
        "    os.write(1, line.encode())\n"
    )
    return [sys.executable, "-W", "error", str(file)]


def environment() -> dict[str, str]:
    path = [str(Path(retouch.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), "OMP_NUM_THREADS": "1"}


def test_a_killed_run_can_be_resumed(photos: str, tmp_path: Path) -> None:
    output, rng = tmp_path / "run", random.Random(0)
    every = {"steps": 100_000, "log_every": 1, "checkpoint_minutes": 0}  # a checkpoint after every step
    steps = [0]
    for resume in (False, True):
        command = script(tmp_path, photos, output, resume=resume, **every)
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment(), **pipes) as process:
            until(lambda: checkpoints.holds_run(output), process)
            until(lambda: read_checkpoint(output)[0]["step"] > steps[-1] + 2, process)
            with pytest.raises(DataError, match="one that another writes to"):
                run(photos, output, steps=steps[-1] + 2, log_every=1, resume=True)
            time.sleep(0.2 * rng.random())
            process.kill()
        steps.append(read_checkpoint(output)[0]["step"])
    run(photos, output, steps=steps[-1] + 2, log_every=1, resume=True)
    run(photos, tmp_path / "whole", steps=steps[-1] + 2, log_every=1)
    assert_same(tmp_path / "whole", output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(photos: str, tmp_path: Path, number: signal.Signals) -> None:
    overrides = {"signal_at": 3, "signal": int(number)}
    before = signal.signal(number, signal.default_int_handler)  # a background job starts with one ignored
    try:
        finished = run(photos, tmp_path / "run", overrides)
    finally:
        signal.signal(number, before)
    assert finished == Finished(tmp_path / "run", "signal", int(number), 4, 16)
    assert run(photos, tmp_path / "run", overrides, resume=True).why == "steps"
    run(photos, tmp_path / "whole", {"signal_at": NEVER})
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_a_signal_to_all_processes_ends_the_workers_in_order(photos: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    command = script(tmp_path, photos, output, "{'pause': 0.2}", steps=100_000, workers=1, log_every=1)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), start_new_session=True, **pipes) as process:
        until(lambda: (output / "stats.jsonl").exists() and len(stats(output)) > 0, process)
        os.killpg(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=600)
    step = read_checkpoint(output)[0]["step"]
    assert (out, process.returncode) == (f"signal {int(signal.SIGTERM)} {step} True\n", 0), err
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_a_killed_run_leaves_no_worker_behind(photos: str, tmp_path: Path) -> None:
    output = tmp_path / "run"
    command = script(tmp_path, photos, output, steps=100_000, workers=1, log_every=1)
    with subprocess.Popen(command, env=environment()) as process:
        until(lambda: (output / "stats.jsonl").exists() and len(stats(output)) > 0, process)
        left = descendants(process.pid)
        process.kill()
    assert left
    until(lambda: not any(map(alive, left)), seconds=60)


def test_training_outside_the_main_thread_leaves_signals_alone(photos: str, tmp_path: Path) -> None:
    ended: list[Finished] = []
    thread = threading.Thread(target=lambda: ended.append(run(photos, tmp_path / "run", steps=2)))
    thread.start()
    thread.join()
    assert ended[0].step == 2


# what cannot go on


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "run", {"fail_at": 4}, steps=4)
    before = contents(tmp_path / "run" / "checkpoint")
    with pytest.raises(TrainingError, match=r"^step 4: expected a finite total, got nan$"):
        run(photos, tmp_path / "run", {"fail_at": 4}, resume=True, checkpoint_minutes=0)
    assert contents(tmp_path / "run" / "checkpoint") == before


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, STATE | {"step": 1}, {"generator": {"w": torch.ones(2)}})
    before = contents(tmp_path)
    with pytest.raises(TrainingError, match="step 2: expected finite weights, got others in generator: w"):
        write_checkpoint(
            tmp_path, STATE | {"step": 2}, {"generator": {"w": torch.tensor([1.0, float("inf")])}}
        )
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("changes", "overrides", "words"),
    [
        ({"batch": 2}, {}, "batch = 4 to resume it, got 2"),
        ({"seed": 1}, {}, "seed = 0"),
        ({"masks": ("boxes=1",)}, {}, "masks ="),
        ({}, {"rate": 0.5}, "rate = 0.01 to resume it, got 0.5"),
    ],
)
def test_resume_refuses_another_run(
    photos: str, tmp_path: Path, changes: dict[str, Any], overrides: dict[str, Any], words: str
) -> None:
    run(photos, tmp_path / "run", steps=1)
    before = contents(tmp_path / "run")
    with pytest.raises(TrainingError) as caught:
        run(photos, tmp_path / "run", overrides, resume=True, **changes)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert contents(tmp_path / "run") == before


def test_resume_refuses_another_method_and_other_photos(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "run", steps=1)
    with pytest.raises(TrainingError, match="method = 'tiny' to resume it, got 'other'"):
        train("other", settings(photos, tmp_path / "run", resume=True), entry=ENTRY)
    (Path(photos) / "3.png").unlink()
    with pytest.raises(TrainingError, match=rf"run's own photos \(10 of {photos}\) to resume it, got others"):
        run(photos, tmp_path / "run", resume=True)


def test_a_run_is_not_overwritten_and_none_is_not_resumed(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "run", steps=1)
    before = contents(tmp_path / "run")
    with pytest.raises(TrainingError, match="expected a folder without a run"):
        run(photos, tmp_path / "run")
    assert contents(tmp_path / "run") == before
    with pytest.raises(TrainingError, match=r"none: expected the folder of a training run, got no folder$"):
        run(photos, tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_what_another_process_saves_in_its_last_moment_is_kept(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resume: bool
) -> None:
    """It ends after this one has looked for a checkpoint, and before this one has the folder for itself."""
    output, alone = tmp_path / "run", loop.alone
    state, weights = read_checkpoint(run(photos, tmp_path / "other", steps=3).run)
    if resume:
        run(photos, output, steps=1)

    def late(folder: Path) -> AbstractContextManager[None]:
        write_checkpoint(folder, state, weights)
        return alone(folder)

    monkeypatch.setattr(loop, "alone", late)
    with pytest.raises(
        TrainingError, match=r"run: expected no other process .* got its checkpoint of step 3"
    ):
        run(photos, output, resume=resume)
    assert read_checkpoint(output)[0]["step"] == 3


def test_a_checkpoint_of_a_later_step_is_never_removed(tmp_path: Path) -> None:
    for step in (1, 5, 3):
        write_checkpoint(tmp_path, STATE | {"step": step}, {"generator": {"w": torch.ones(2)}})
    assert read_checkpoint(tmp_path)[0]["step"] == 5
    assert sorted(left.name for left in (tmp_path / "checkpoint").iterdir()) == ["0000000003", "0000000005"]


def changed(file: Path, name: str, *value: object) -> None:
    """A JSON object with another value of one name, or without it."""
    document = json.loads(file.read_text())
    del document[name]
    file.write_text(json.dumps(document | dict(zip([name], value, strict=False))))


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "state.json").write_text("{"),
        lambda f: (f / "state.json").write_text('{"format": 99}'),
        lambda f: (f / "state.json").write_bytes(b"\xff\xfe\x00"),
        lambda f: changed(f / "state.json", "images_before"),
        lambda f: changed(f / "state.json", "data_sha256"),
        lambda f: changed(f / "state.json", "settings", []),
        lambda f: (f / "generator.safetensors").unlink(),
        lambda f: (f / "generator.safetensors").write_bytes(b"\x80\x04pickle"),
        lambda f: os.truncate(f / "generator.safetensors", 100),
    ],
)
def test_a_damaged_checkpoint_is_one_line(
    photos: str, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    damage(run(photos, tmp_path / "run", steps=1).run / "checkpoint" / "0000000001")
    with pytest.raises(TrainingError) as caught:
        run(photos, tmp_path / "run", resume=True)
    assert str(tmp_path / "run") in str(caught.value) and "\n" not in str(caught.value)


def test_init_that_does_not_fit_is_one_line(photos: str, tmp_path: Path) -> None:
    run(photos, tmp_path / "run", steps=1)
    with pytest.raises(TrainingError, match="expected weights that fit generator, got") as caught:
        run(photos, tmp_path / "other", {"width": 7}, init=str(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="without a checkpoint"):
        run(photos, tmp_path / "other", init=str(tmp_path / "empty"))
    with pytest.raises(TrainingError, match=r"run: expected a run of other, got one of tiny$"):
        train("other", settings(photos, tmp_path / "other", init=str(tmp_path / "run")), entry=ENTRY)


def test_an_output_that_cannot_be_written_is_one_line(photos: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="expected a folder to write to, got"):
        run(photos, tmp_path / "file")
    with pytest.raises(TrainingError, match="expected to write logs, got"):
        run(photos, tmp_path / os.fsdecode(b"caf\xe9"))  # TensorBoard's are named in UTF-8


def test_a_method_that_is_unknown_is_named(photos: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"expected a method among .*recurrent.*, got 'recurent'"):
        train("recurent", settings(photos, tmp_path / "run"))


def test_devices_that_are_not_there_are_one_line(photos: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="expected devices that this machine has"):
        run(photos, tmp_path / "run", accelerator="tpu")


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0}, {"batch": 0}, {"ema": 1.0}, {"ratio": (0.5, 0.2)}, {"ratio": (0.0, 0.2)}, {"zoom": 0.5},
        {"zoom": float("nan")}, {"mask_size": 8}, {"precision": "fp8"}, {"masks": ("strokes=x",)},
        {"masks": ("stroke=1",)}, {"masks": ("strokes=0",)}, {"masks": ()}, {"batch": 5, "devices": 2},
        {"jitter": 0.1}, {"jitter": 1.0, "whole": True}, {"colour": -0.1}, {"colour": float("nan")},
        {"jittered": 0.0}, {"jittered": 1.1},
        {"zoom": float("inf")}, {"minutes": float("inf")}, {"checkpoint_minutes": float("nan")},
        {"resume": True, "init": "run"}, {"log_every": 0}, {"steps": -1}, {"minutes": -1},
        {"seed": 1 << 64}, {"whole": True, "zoom": 2.0}, {"validate_photos": 0}, {"validate_every": 0},
        {"validate": ("photos",), "validate_every": 3, "log_every": 2},
    ],
    ids=str,
)  # fmt: skip
def test_settings_say_what_is_wrong(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=r"expected [^\n]*, got [^\n]*$"):
        settings("photos", tmp_path, **wrong)


def test_configure_types_what_the_command_gives_as_text() -> None:
    given = {"width": "7", "rate": "1e-3", "noise": "False", "label": "5"}
    assert configure(Config, given) == Config(width=7, rate=1e-3, noise=False, label="5")
    assert type(configure(Config, {"rate": 1}).rate) is float
    # as the help shows them
    assert configure(Config, {"width": "100_000", "rate": "1_0.5"}) == Config(width=100_000, rate=10.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"widht": 3},
        {"width": "3.5"},
        {"width": 3.5},
        {"width": True},
        {"noise": 1},
        {"rate": "fast"},
        {"rate": "NaN"},
        {"rate": -0.1},
        {"width": "-1"},
    ],
)
def test_configure_says_what_is_wrong(wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=r"expected [^\n]*, got [^\n]*$"):
        configure(Config, wrong)


# options of the machine


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # PyTorch's own tracing
def test_compiled_networks_train_alike(photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.compile  # with a back end that needs no C++ compiler
    monkeypatch.setattr(torch, "compile", lambda network, **_: real(network, backend="eager"))
    run(photos, tmp_path / "plain", steps=3)
    run(photos, tmp_path / "compiled", steps=2, compile=True)
    run(photos, tmp_path / "compiled", steps=3, compile=True, resume=True)
    assert_same(tmp_path / "plain", tmp_path / "compiled")


# what a person sees


def lines(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("retouch.terminal.EVERY", 0.0)
    console = Console(record=True, file=open(os.devnull, "w"), force_terminal=terminal, width=200)  # noqa: SIM115
    state = {"step": 10, "images": 40, "seconds": 5.0}
    with progress(settings("photos", Path(), steps=20), state, quiet=False, console=console) as show:
        state |= {"step": 15, "images": 60, "seconds": 10.0}
        show({"total": 0.25, "psnr": -2.0, "validation_psnr": 25.0})
    console.file.close()
    return console.export_text()


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_rate_and_time_left(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = lines(terminal, monkeypatch)
    for part in ("75%", "step 15", "4.0 images/s", "0:00:05 left", "total 0.25"):
        assert part in shown
    for part in ("psnr_loss -2", "validation_psnr 25"):
        assert part in shown


def test_the_loop_names_no_method() -> None:
    source = Path(loop.__file__).read_text()
    assert not [name for name in loop.METHODS if name in source]
