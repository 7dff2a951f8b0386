"""Passes that several threads share: what waits goes together, nothing else changes, nobody waits for company."""

import ctypes
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import until
from serving import Slow

from retouch.cards import shipped_names, shipped_weights
from retouch.dynamic_batching import Shareable, Shared, shared
from retouch.models import load
from retouch.server.job_queue import StoppedError
from retouch.windows import Limits

BAD = 1.0  # the first value of a window that the Fake refuses


class Fake:
    """A Shareable that notes its passes, (windows, height, width, seed), and can be held at a gate."""

    limits = Limits(native=32, multiple=4, largest=64)

    def __init__(self, most: int = 3, free: int = 1000) -> None:
        self.most, self.free, self.gate = most, free, threading.Event()
        self.passes: list[tuple[int, ...]] = []
        self.on_fewer: list[int] = []  # passes, by number, that ran on fewer cores
        self.running, self.peak, self.lock = 0, 0, threading.Lock()

    def together(self, height: int, width: int) -> int:
        return self.most

    def on(self, threads: int) -> Any:
        assert threads == 1
        return lambda image, hole, *, seed: self(image, hole, seed=seed, fewer=True)

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int, fewer: bool = False) -> np.ndarray:
        with self.lock:
            self.on_fewer += [len(self.passes)] if fewer else []
            self.passes.append((len(image), *image.shape[2:], seed))
            number = len(self.passes)
            self.running += 1
            self.peak = max(self.peak, self.running)
        try:
            assert number <= self.free or self.gate.wait(60)
            if (image[:, 0, 0, 0] == BAD).any():
                raise StoppedError("bad")
            return np.asarray(image * 0.5 + hole * 0.25 + np.float32(seed), np.float32)
        finally:
            with self.lock:
                self.running -= 1


def windows(value: float, count: int = 1, side: int = 8, seed: int = 0) -> dict[str, Any]:
    """The arguments of a call."""
    image = np.full((count, 3, side, side), value, np.float32)
    image += np.arange(count, dtype=np.float32)[:, None, None, None] / 64
    return {"image": image, "hole": np.ones((count, 1, side, side), np.float32), "seed": seed}


def right(asked: dict[str, Any], answer: np.ndarray) -> bool:
    return Fake()(**asked).tobytes() == answer.tobytes()


@contextmanager
def waiting(ours: Shared, fake: Fake, *asked: dict[str, Any]) -> Iterator[list[Future[np.ndarray]]]:
    """The first call is at the gate, the others wait behind it in this order; the gate opens at the end."""
    with ThreadPoolExecutor(len(asked)) as pool:
        calls = [pool.submit(ours, **asked[0])]
        try:
            until(lambda: len(fake.passes) == 1)
            for number, call in enumerate(asked[1:], 1):
                calls.append(pool.submit(ours, **call))
                until(lambda number=number: len(ours._waiting) == number)
            yield calls
        finally:
            fake.gate.set()


def test_a_lone_caller_is_alone_and_has_all_cores() -> None:
    fake = Fake()
    ours = Shared(fake, 2, threads=1)
    assert ours.limits == fake.limits
    for count in (1, 2, 5):  # more than share a pass go on as they came
        asked = windows(0.5, count)
        assert right(asked, ours(**asked))
    assert fake.passes == [(1, 8, 8, 0), (2, 8, 8, 0), (5, 8, 8, 0)]
    assert fake.on_fewer == []


def test_what_waits_shares_a_pass() -> None:
    fake = Fake(most=3, free=0)
    asked = [windows(number / 8) for number in range(6)]
    with waiting(Shared(fake, 1), fake, *asked) as calls:
        pass
    assert all(right(one, call.result()) for one, call in zip(asked, calls, strict=True))
    assert [count for count, *_ in fake.passes] == [1, 3, 2]


def test_nobody_waits_behind_a_call_that_was_interrupted() -> None:
    fake = Fake(most=1, free=0)
    ours, identity = Shared(fake, 1), Future[int]()

    def interrupted() -> np.ndarray:
        identity.set_result(threading.get_ident())
        return ours(**windows(0.5))

    with waiting(ours, fake, windows(0.25)) as (first,), ThreadPoolExecutor(1) as pool:
        second = pool.submit(interrupted)
        until(lambda: len(ours._waiting) == 1)
        set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
        assert set_exception(ctypes.c_ulong(identity.result()), ctypes.py_object(KeyError)) == 1
        fake.gate.set()
        assert right(windows(0.25), first.result())
        with pytest.raises(KeyError):
            second.result()
    assert ours._waiting == [] and right(windows(0.75), ours(**windows(0.75)))


def test_calls_of_several_windows_share_what_there_is_room_for() -> None:
    fake = Fake(most=4, free=0)
    asked = [windows(number / 8, count) for number, count in enumerate((1, 2, 3, 1, 5, 1, 4))]
    with waiting(Shared(fake, 1), fake, *asked) as calls:
        pass
    assert all(right(one, call.result()) for one, call in zip(asked, calls, strict=True))
    assert [count for count, *_ in fake.passes] == [1, 2 + 1 + 1, 3, 5, 4]


def test_sizes_and_seeds_are_not_mixed() -> None:
    fake = Fake(free=0)
    kinds = [(8, 0), (8, 0), (16, 0), (8, 1), (8, 0), (16, 0)]
    asked = [windows(number / 8, side=side, seed=seed) for number, (side, seed) in enumerate(kinds)]
    with waiting(Shared(fake, 1), fake, *asked) as calls:
        pass
    assert all(right(one, call.result()) for one, call in zip(asked, calls, strict=True))
    assert fake.passes == [(1, 8, 8, 0), (2, 8, 8, 0), (2, 16, 16, 0), (1, 8, 8, 1)]


def test_an_error_reaches_its_owner_alone() -> None:
    fake = Fake(free=0)
    ours = Shared(fake, 1)
    asked = [windows(0.5), windows(0.25), windows(BAD), windows(0.125)]
    with waiting(ours, fake, *asked) as calls:
        pass
    for one, call in zip(asked, calls, strict=True):
        if one is asked[2]:
            with pytest.raises(StoppedError, match="bad"):
                call.result()
        else:
            assert right(one, call.result())
    assert [count for count, *_ in fake.passes] == [1, 3, 1, 1, 1]
    with pytest.raises(StoppedError, match="bad"):
        ours(**windows(BAD))
    assert right(asked[0], ours(**asked[0]))  # it goes on


def test_an_answer_of_another_shape_is_passed_on() -> None:
    """The engine says what is wrong with it."""

    class Wrong(Fake):
        def __call__(self, *_: Any, **__: Any) -> Any:
            return None

    assert Shared(Wrong(), 1)(**windows(0.5)) is None


def test_a_core_each_as_soon_as_there_are_as_many_as_cores() -> None:
    fake = Fake(free=0)
    ours = Shared(fake, 2, threads=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ours, **windows(0.5))
        until(lambda: len(fake.passes) == 1)
        second = pool.submit(ours, **windows(0.25))
        until(lambda: len(fake.passes) == 2)  # it does not wait for the first
        fake.gate.set()
        assert right(windows(0.5), first.result()) and right(windows(0.25), second.result())
    ours(**windows(0.5))
    assert fake.on_fewer == [1] and len(fake.passes) == 3


def test_fewer_cores_that_cannot_be_had_are_an_error_of_the_call() -> None:
    class Never(Fake):
        def on(self, threads: int) -> Any:
            raise StoppedError("no cores")

    ours = Shared(Never(), 1, threads=1)
    for _ in range(2):
        with pytest.raises(StoppedError, match="no cores"):
            ours(**windows(0.5))


@pytest.mark.parametrize("passes", [1, 2, 5])
def test_many_threads_get_what_each_would_get_alone(passes: int) -> None:
    fake, rng = Fake(), np.random.default_rng(passes)
    ours = Shared(fake, passes, threads=1)
    asked = [
        windows(float(value), int(count), side=int(side), seed=int(seed))
        for value, count, side, seed in zip(
            rng.choice([*np.arange(16) / 32, BAD], 400), rng.integers(1, 5, 400),
            rng.choice([8, 12], 400), rng.integers(0, 2, 400), strict=True,
        )
    ]  # fmt: skip

    def one(call: dict[str, Any]) -> bool:
        if call["image"][0, 0, 0, 0] == BAD:
            with pytest.raises(StoppedError, match="bad"):
                ours(**call)
            return True
        return right(call, ours(**call))

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(one, asked))
    assert fake.peak <= passes
    assert not ours._waiting and ours._running == 0


def test_what_cannot_be_shared_stays_as_it_is() -> None:
    predictor = Slow()
    assert shared(predictor, 2, threads=1) is predictor
    assert isinstance(shared(Fake(), 2), Shared)


# ---- with networks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in shipped_names() if shipped_weights(n).name.endswith(".onnx")])
def test_shipped_networks_give_a_window_the_same_bits_in_any_company(name: str) -> None:
    predictor = load(name, threads=2).predictor
    assert isinstance(predictor, Shareable)
    side, rng = predictor.limits.smallest, np.random.default_rng(0)
    hole = (rng.random((3, 1, side, side)) < 0.3).astype(np.float32)
    image = rng.random((3, 3, side, side), np.float32) * (1 - hole)
    alone = [predictor(image[i : i + 1], hole[i : i + 1], seed=0) for i in range(3)]
    assert predictor.together(side, side) >= 3
    for threads in (1, 3):
        assert predictor.on(threads)(image, hole, seed=0).tobytes() == np.concatenate(alone).tobytes()


def test_threads_share_a_network(tiny_model: Path) -> None:
    predictor = load(tiny_model).predictor
    ours, rng = shared(predictor, 2, threads=1), np.random.default_rng(0)
    asked = []
    for _ in range(60):
        height, width = 4 * rng.integers(5, 9, 2)
        asked.append(
            (rng.random((1, 3, height, width), np.float32), np.ones((1, 1, height, width), np.float32))
        )
    serial = [predictor(*each, seed=0).tobytes() for each in asked]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: ours(*each, seed=0).tobytes(), asked))
    assert isinstance(ours, Shared) and together == serial


def test_large_windows_pass_one_by_one(tiny_model: Path) -> None:
    predictor = load(tiny_model).predictor
    assert isinstance(predictor, Shareable)
    assert predictor.together(256, 256) == predictor.together(4000, 4000) == 1
    assert predictor.together(64, 64) > predictor.together(128, 128) > 1
