"""A real server on loopback for tests, in a thread or a process of its own."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import requests
import uvicorn
from processes import until

from retouch.models import Model
from retouch.server.app import create_app
from retouch.server.connections import Connection
from retouch.server.settings import Settings
from retouch.windows import Limits


@dataclass
class Slow:
    """A Predictor that takes its time, answers mid-grey, and counts how often it was asked."""

    seconds: float = 0.0
    calls: int = 0
    limits: ClassVar[Limits] = Limits(native=32, multiple=4, largest=64)

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        self.calls += 1
        time.sleep(self.seconds)
        return np.full(image.shape, 0.5, np.float32)


class Gated(Slow):
    """A Slow model whose calls, but the first ``free`` ones, wait until the gate is opened."""

    def __init__(self, free: int = 0) -> None:
        super().__init__()
        self.free, self.gate = free, threading.Event()

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        answer = super().__call__(image, hole, seed=seed)
        assert self.calls <= self.free or self.gate.wait(60)
        return answer


class Watched(Gated):
    """A Gated model that tells of a half of its window before it waits, and of three quarters behind the gate."""

    tell: Callable[[float], None] | None = None

    def watched(self, tell: Callable[[float], None]) -> "Watched":
        self.tell = tell
        return self

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        assert self.tell is not None
        self.tell(0.5)
        answer = super().__call__(image, hole, seed=seed)
        self.tell(0.75)
        self.free += 1  # it was not ended
        return answer


class Held(Slow):
    """A Slow model whose calls wait until there is a file."""

    def __init__(self, gate: str) -> None:
        super().__init__()
        self.gate = gate

    def __call__(self, image: np.ndarray, hole: np.ndarray, *, seed: int) -> np.ndarray:
        until(lambda: os.path.exists(self.gate))
        return super().__call__(image, hole, seed=seed)


class Site:
    """A server under test: ``site.post("/api/v1/inpaint", ...)`` is of ``requests``."""

    def __init__(self, url: str, context: Any = None) -> None:
        self.url, self.context = url, context

    def __getattr__(self, method: str) -> Callable[..., requests.Response]:
        def call(path: str, **options: Any) -> requests.Response:
            return getattr(requests, method)(self.url + path, timeout=60, **options)

        return call

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)


@contextmanager
def serving(settings: Settings | None = None, *, predictor: Any = None, **options: Any) -> Iterator[Site]:
    """A server in a thread. ``predictor`` takes the place of the model ``telea``."""
    app = create_app(settings or Settings(model="telea"), **options)
    context = app.state.context
    if predictor is not None:
        context.models._loaded["telea"] = Model("telea", predictor)
    # By its protocol's name, as `retouch serve` does: asyncio then sends small answers at once.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)  # some kernels would take megabytes
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="critical",
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=600,  # a busy machine may leave a kept connection idle for longer than the usual 5 s
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    site = Site(f"http://127.0.0.1:{listening.getsockname()[1]}", context)
    try:
        while not server.started:
            time.sleep(0.01)
        yield site
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive()


def idle(site: Site) -> bool:
    """Nothing runs and no body is held; true only a moment after the last answer has arrived."""
    return site.context.bodies.held == site.context.queue.running == 0


def unwanted(site: Site) -> bool:
    """Whoever asked for what runs is gone, and the server has noticed."""
    return all(stop.is_set() for stop, _ in site.context.queue._jobs.values())


SLOW_SERVER = """
import sys
sys.path.insert(0, sys.argv[1])
from serving import Held, Slow
import retouch.classical, retouch.cli
gate = sys.argv[3]
retouch.classical.CLASSICAL["telea"] = lambda: Held(gate) if gate else Slow(float(sys.argv[2]))
sys.exit(retouch.cli.main(["serve", "--model", "telea", *sys.argv[4:]]))
"""


@contextmanager
def process(
    *arguments: str, seconds: float = 0.0, gate: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], Site]]:
    """``retouch serve`` in a process of its own, with a Slow model or one Held by a gate; killed in the end."""
    own = (os.path.dirname(__file__), str(seconds), str(gate or ""))
    command = [sys.executable, "-c", SLOW_SERVER, *own, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            assert line.startswith("Retouch is at "), line + server.stderr.read()
            site = Site(line.split()[3].partition("#")[0].rstrip("/"))
            ready(site)
            yield server, site
        finally:
            server.kill()


def ready(site: Site) -> None:
    """Waits until the model is loaded."""
    until(lambda: site.get("/readyz").status_code == 200)
