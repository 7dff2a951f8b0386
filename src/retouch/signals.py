"""SIGINT and SIGTERM taken for a while, and given back."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def taken(take: Callable[[int], None] | None = None) -> Iterator[Callable[[], None]]:
    """SIGINT and SIGTERM call ``take`` with their number; in the end they do what they did before.

    What is ignored, as SIGINT is by a shell's background jobs, stays so. Outside the main thread, which alone may
    set handlers, nothing changes.

    Args:
        take: None where the body sets handlers of its own.

    Yields:
        A function that gives the signals back before the end.
    """
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM) if main}

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number, handler in before.items():
        if take is not None and handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: take(number))
    try:
        yield give_back
    finally:
        give_back()
