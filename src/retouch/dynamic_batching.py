"""Forward passes that photographs share: one Predictor, called by the threads of several photographs at once.

How fast a network is depends on who else wants it. A pass for one photograph is done soonest on all cores; where there
are as many as cores, a pass on a core each does more, since no core waits for another; and where more are wanted than
may run, one pass over several small windows costs less than one after another. `Shared` does all three, without a
delay: a pass takes along what waits already when it begins.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from retouch.engine import Predictor

Floats = npt.NDArray[np.float32]

MORE = 2  # photographs in hand beyond the passes that run: a core never waits for a decoder, and two can share a pass


@runtime_checkable
class Shareable(Predictor, Protocol):
    """A Predictor that says how it is called best; each element's bits depend on that element and the seed alone."""

    def together(self, height: int, width: int) -> int:
        """How many windows of this size one pass does faster than one after another, at least 1."""

    def on(self, threads: int) -> "Shareable":
        """The same on so many cores."""


def shared(predictor: Predictor, passes: int, threads: int | None = None) -> Predictor:
    """A `Shared` where the Predictor is one that can be."""
    return Shared(predictor, passes, threads) if isinstance(predictor, Shareable) else predictor


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """What one thread asks for, (B, 3, h, w) and (B, 1, h, w), and what becomes of it."""

    image: Floats
    hole: Floats
    seed: int
    answer: Future[Floats] = field(default_factory=Future)

    def like(self, other: "_Call") -> bool:
        return self.image.shape[2:] == other.image.shape[2:] and self.seed == other.seed


class Shared:
    """A Predictor for several threads, whose answers are those of the one that it is made of, bit for bit.

    Whoever waits longest runs the next pass, in its own thread, as soon as one of ``passes`` is free, together with
    other waiting calls of the same size and seed. An error reaches those alone whose windows raise it. A photograph
    that is given up meanwhile has its window in hand done, and leaves nothing behind.

    Args:
        predictor: runs the passes while there are fewer than ``passes``.
        passes: that run at the same time, at most.
        threads: cores of each where that many are wanted; None: as ``predictor`` has.
    """

    def __init__(self, predictor: Shareable, passes: int, threads: int | None = None) -> None:
        self.limits = predictor.limits
        self._passes = passes
        self._predictor = predictor
        # made when it is first wanted
        self._on = functools.cache(lambda: predictor if threads is None else predictor.on(threads))
        self._running = 0
        self._waiting: list[_Call] = []  # the oldest first
        self._changed = threading.Condition()

    def __call__(self, image: Floats, hole: Floats, *, seed: int) -> Floats:
        """As the Predictor that is shared; raises what that raises."""
        call = _Call(image, hole, seed)
        group: Sequence[_Call] = ()
        with self._changed:
            self._waiting.append(call)
            try:
                self._changed.wait_for(lambda: call.answer.done() or self._is_next(call))
            except BaseException:  # interrupted: nobody waits behind it
                self._waiting = [other for other in self._waiting if other is not call]
                self._changed.notify_all()
                raise
            if not call.answer.done():
                group, crowded = self._take()
        if group:
            try:
                _answer(group, self._beside if crowded else self._predictor)
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()
        return call.answer.result()

    def _beside(self, image: Floats, hole: Floats, *, seed: int) -> Floats:
        return self._on()(image, hole, seed=seed)

    def _is_next(self, call: _Call) -> bool:
        return self._running < self._passes and self._waiting[:1] == [call]

    def _take(self) -> tuple[list[_Call], bool]:
        """Begins a pass: the calls that share it, the oldest first, and whether all passes are wanted."""
        first = self._waiting[0]
        most, group, left = self._predictor.together(*first.image.shape[2:]), list[_Call](), list[_Call]()
        for call in self._waiting:
            fits = call is first or (call.like(first) and len(call.image) <= most)
            (group if fits else left).append(call)
            most -= len(call.image) if fits else 0
        self._waiting = left
        self._running += 1
        self._changed.notify_all()  # another one waits longest now
        return group, self._running + len(left) >= self._passes


def _answer(group: Sequence[_Call], predictor: Callable[..., Floats]) -> None:
    """One pass; where it fails, one for each, so that every call gets its own answer or error."""
    try:
        image, hole = (np.concatenate([getattr(call, name) for call in group]) for name in ("image", "hole"))
        answer = predictor(image, hole, seed=group[0].seed)
        ends = np.cumsum([len(call.image) for call in group])[:-1]
        parts = np.split(answer, ends) if len(group) > 1 else [answer]
    except BaseException as error:
        if len(group) == 1:
            group[0].answer.set_exception(error)
            return
        for call in group:
            _answer([call], predictor)
        return
    for call, part in zip(group, parts, strict=True):
        call.answer.set_result(part)
