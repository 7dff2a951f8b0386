"""Connections: how many there may be at a time, how long one may take to say what it wants, and to take the answer."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from retouch.server.problems import HttpError

MOST = 512  # a process may often have no more than 1,024 files open
SECONDS = 20.0  # for a request's line and headers; its body has a limit of its own
STUCK = 30.0  # seconds in which somebody who is sent an answer has to take some of it


class Connection(H11Protocol):
    """Uvicorn's, closed where there are too many, or nothing comes or goes for long: each holds a socket."""

    late: asyncio.TimerHandle | None = None
    stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def send_400_response(self, msg: str) -> None:
        """To what is no request: in the shape of all problems, where Uvicorn sends plain text."""
        problem = HttpError("malformed", "expected a request of HTTP/1.1, got something else").response()
        headers = [*problem.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(problem.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wait_no_more()
        self._taken()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taken()

    def _look_again(self) -> None:
        self.stuck = self.loop.call_later(STUCK, self._look, self.transport.get_write_buffer_size())

    def _look(self, before: int) -> None:
        if self.transport.get_write_buffer_size() < before:
            self._look_again()
        else:
            self.transport.abort()

    def _taken(self) -> None:
        if self.stuck is not None:
            self.stuck.cancel()
            self.stuck = None

    def _wait(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._wait_no_more()
        elif self.late is None:
            self.late = self.loop.call_later(SECONDS, self.transport.close)

    def _wait_no_more(self) -> None:
        if self.late is not None:
            self.late.cancel()
            self.late = None
