"""A bounded queue: so many jobs at a time, so many waiting, a time limit, and an end that can be waited for.

Each job runs in a thread of its own, which is a daemon: one that hangs in a library does not keep the server from
ending. A job that is no longer wanted (the client is gone, its time is up, the server ends) is told through the
function ``progress`` that it calls between windows, and within long ones: that raises `StoppedError`.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from retouch.server.problems import HttpError

T = TypeVar("T")
Progress = Callable[[float, int], None]  # what is done, of how much

RECENT = 20  # jobs whose mean duration tells how long the queue takes


class StoppedError(Exception):
    """Raised inside a job that nobody wants any more."""


class JobQueue:
    """The queue of one server; its methods belong to its event loop.

    Args:
        workers: jobs that run at the same time.
        places: jobs that may wait.
        seconds: that a job may take, waiting included.
    """

    def __init__(self, workers: int, places: int, seconds: float) -> None:
        self.workers, self.places, self.seconds = workers, places, seconds
        self.running = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.closing = False
        # the results of what runs; what stops each, and when it began
        self._jobs: dict[asyncio.Future[Any], tuple[threading.Event, float]] = {}
        self._recent: deque[float] = deque(maxlen=RECENT)

    async def run(self, job: Callable[[Progress], T], tell: Progress | None = None) -> T:
        """Waits for a worker and for the job; cancelling this stops the job.

        Args:
            job: called in a thread with a function (done, total) that it has to call now and then.
            tell: called in the event loop with the same numbers.

        Raises:
            HttpError: 429 where the queue is full, 503 where the time is up or the server ends.
        """
        self.check()
        try:
            async with asyncio.timeout(self.seconds):
                await self._enter()
                return await self._run(job, tell)
        except TimeoutError:
            raise HttpError("too_long", f"not done within the time limit of {self.seconds:g} s") from None
        except StoppedError:
            raise _closing() from None

    def check(self) -> None:
        """Raises the `HttpError` of a job that would not be taken now."""
        if self.closing:
            raise _closing()
        if self.running >= self.workers and len(self.waiting) >= self.places:
            seconds = self._wait_estimate()
            raise HttpError(
                "busy",
                f"{self.running} photographs are being completed and {len(self.waiting)} are waiting: "
                f"come back in {seconds} s",
                {"Retry-After": str(seconds)},
            )

    async def _enter(self) -> None:
        """Waits for one of the workers to be free, in the order of arrival."""
        if self.running < self.workers:
            self.running += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(place)
        try:
            await place
        except BaseException:
            if place in self.waiting:
                self.waiting.remove(place)
            elif place.done() and not place.cancelled() and place.exception() is None:
                self._leave()  # it was our turn in the very moment in which we left
            raise

    def _leave(self) -> None:
        """Hands the worker to whoever waits longest."""
        while self.waiting:
            place = self.waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1

    async def _run(self, job: Callable[[Progress], T], tell: Progress | None) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs[done] = stop, started = threading.Event(), time.monotonic()

        def progress(number: float, total: int) -> None:
            if stop.is_set():
                raise StoppedError
            if tell is not None:
                loop.call_soon_threadsafe(tell, number, total)

        def settle(result: T | None, error: BaseException | None) -> None:
            del self._jobs[done]
            self._recent.append(time.monotonic() - started)
            self._leave()
            if done.done():  # its client is gone, or the server ends
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]
            else:
                done.set_exception(error)

        def body() -> None:
            try:
                outcome: tuple[T | None, BaseException | None] = (job(progress), None)
            except BaseException as error:
                outcome = (None, error)
            # where the loop is closed the server has ended, and nobody waits for this
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, *outcome)

        try:
            threading.Thread(target=body, name="retouch-job", daemon=True).start()
        except RuntimeError as error:  # as where a container allows no more
            del self._jobs[done]
            self._leave()
            raise HttpError(
                "overloaded", "the server cannot start a thread now", {"Retry-After": "10"}
            ) from error
        try:
            return await done
        finally:
            stop.set()

    def _wait_estimate(self) -> int:
        """Whole seconds until a place is probably free."""
        mean = sum(self._recent) / len(self._recent) if self._recent else 1
        # What runs has taken so long already: a photograph of another size than the recent ones.
        youngest = min((time.monotonic() - began for _, began in self._jobs.values()), default=0.0)
        return max(1, min(60, math.ceil(max(mean, youngest) / self.workers)))

    def close(self, grace: float) -> None:
        """Refuses what comes and what waits; what runs is stopped after ``grace`` seconds."""
        self.closing = True
        while self.waiting:
            place = self.waiting.popleft()
            if not place.done():
                place.set_exception(_closing())
        asyncio.get_running_loop().call_later(grace, self._stop_all)

    def _stop_all(self) -> None:
        """Answers what runs at once: a job in the middle of one long call reads no stop."""
        for done, (stop, _) in self._jobs.items():
            stop.set()
            if not done.done():
                done.set_exception(_closing())


def _closing() -> HttpError:
    return HttpError("stopping", "the server is shutting down", {"Retry-After": "10"})
