"""The command ``retouch serve``; FastAPI and Uvicorn are imported when it runs, not for help."""

import logging
import secrets
import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from cyclopts import Parameter

from retouch import sessions
from retouch.errors import ServerError, needs
from retouch.options import Whole
from retouch.server.settings import Settings
from retouch.terminal import say

GRACE = 7  # seconds that running completions get when the server ends
GRACEFUL = 8  # seconds until connections are cut, so that all of it takes less than ten


def serve(
    *,
    host: str = "127.0.0.1",
    port: Whole = 8080,
    token: str | None = None,
    token_file: Path | None = None,
    allow_host: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    insecure: bool = False,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> None:
    """Open a page with a brush, and a REST service for programs.

    Photographs come to this machine and go no further; only what is stored from the page, in --output, is kept.
    Ctrl-C ends the server.

    Args:
        host: Address to listen at; only this machine reaches the default one.
        port: Port to listen at; 0 takes a free one.
        token: Password that clients have to send; needed for other addresses than 127.0.0.1.
        token_file: A file with that password, which no list of processes shows.
        allow_host: A name that the server goes by, beside its addresses; may be repeated.
        insecure: Listen to other machines without a token.
    """
    settings = settings or Settings()
    sessions.begin(settings.model, settings.threads)  # meanwhile the rest is imported
    with needs("serve", "serving"):
        import uvicorn

        from retouch.server.app import create_app
        from retouch.server.connections import Connection
        from retouch.server.security import is_host, is_loopback
    for name in allow_host:
        if not is_host(name):
            raise ServerError(
                f"expected --allow-host to be a name alone, such as photos.example, got {name!r}"
            )
    secret = _token(token, token_file)
    if not (secret or insecure or is_loopback(host)):
        raise ServerError(
            f"expected a --token to listen at {host}, where other machines reach the server, got none "
            f"(for instance --token {secrets.token_urlsafe(18)}; --insecure does without)"
        )
    app = create_app(settings, token=secret, hosts=allow_host)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells of every damaged form
    listening = _listening(host, port)
    address, number = listening.getsockname()[:2]
    shown = f"[{address}]" if ":" in address else address
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=GRACEFUL,
    )

    class Server(uvicorn.Server):
        """Uvicorn's, whose queue is closed when the server is told to end."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.context.queue.close(GRACE)
            await super().shutdown(sockets)

    # browsers send no server what stands behind the #
    fragment = f"#token={quote(token, safe='')}" if token else ""
    say(f"Retouch is at http://{shown}:{number}/{fragment} (Ctrl-C ends it)")
    try:
        Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        say("ended")


def _token(token: str | None, file: Path | None) -> str | None:
    if token is not None and file is not None:
        raise ServerError("expected --token or --token-file, got both")
    try:
        secret = file.read_text(encoding="utf-8-sig").strip() if file is not None else token
    except UnicodeDecodeError:
        raise ServerError(f"expected a token in plain text in {file}, got a binary file") from None
    if secret is not None and (
        len(secret) < 8 or not (secret.isascii() and secret.isprintable()) or secret != secret.strip()
    ):
        raise ServerError(
            "expected a token of at least 8 printable ASCII characters, no space around it, got another"
        )
    return secret


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens, so that the port is known before the first request."""
    if port >= 1 << 16:
        raise ServerError(f"expected a port from 0 to 65535, got {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)  # who comes while the server starts waits
    except OSError as error:
        raise ServerError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error
    listening.set_inheritable(True)
    return listening
