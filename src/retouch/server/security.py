"""Who may come in: hosts, sites and tokens are checked first; every answer gets security headers.

- Host: an address or a name that the server knows. A page of another site that makes its name point here (DNS
  rebinding) comes with that name, and is refused.
- Site: what a browser sends for a page of another site is refused, so that no page can use the server unasked.
- Token: ``Authorization: Bearer TOKEN`` for all under /api and for /metrics, compared in constant time.

A HEAD is answered as a GET, whose body the server leaves out.
"""

import hmac
import ipaddress
import re
import time
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retouch.server.problems import HttpError, problem_of

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
GUARDED = ("/api/", "/metrics")
WHOLE = re.compile(rb"(?i:https?)://([^/]*)(/.*)?")  # an address as clients of a proxy send it
NAME = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)  # of a host, as it stands in a header


class SecurityMiddleware:
    """ASGI middleware.

    Args:
        app: what is protected.
        token: what clients have to know; None lets all in.
        hosts: names that the server goes by, beside localhost and all addresses.
        count: called with each request's scope, status and seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        hosts: Collection[str],
        count: Callable[[Scope, int, float], None],
    ) -> None:
        self.app, self.token, self.count = app, token, count
        self.hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = _plain(scope)
        started = time.perf_counter()
        status = 0

        async def secured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self.check(scope)
            await self.app(scope, receive, secured)
        except HttpError as problem:
            await problem.response()(scope, receive, secured)
        except Exception as error:  # no traceback reaches a client
            unexpected = problem_of(error)
            if status == 0:
                await unexpected.response()(scope, receive, secured)
        finally:
            self.count(scope, status, time.perf_counter() - started)

    def check(self, scope: Scope) -> None:
        """Raises the `HttpError` of a request that may not come in."""
        headers = Headers(scope=scope)
        host = _name(headers.get("host", ""))
        if not (host in self.hosts or _is_address(host)):
            raise HttpError(
                "unknown_host", "expected a Host that the server goes by, got another (see --allow-host)"
            )
        origin = headers.get("origin")
        foreign = origin is not None and _place(origin) != headers.get("host", "")
        if foreign or (headers.get("sec-fetch-site") == "cross-site" and scope["path"].startswith(GUARDED)):
            raise HttpError("forbidden", "requests of other sites' pages are not taken")
        if self.token is not None and scope["path"].startswith(GUARDED):
            kind, _, given = headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode(), self.token.encode())
            if not (kind.lower() == "bearer" and right):
                raise HttpError(
                    "unauthorized",
                    "expected the server's token: Authorization: Bearer TOKEN",
                    {"WWW-Authenticate": 'Bearer realm="Retouch"'},
                )


def _plain(scope: Scope) -> Scope:
    """A request for a whole address as one for its path at its host (RFC 9112, 3.2.2), HEAD as GET."""
    changed: dict[str, Any] = {"method": "GET"} if scope["method"] == "HEAD" else {}
    if whole := WHOLE.fullmatch(scope.get("raw_path") or b""):
        host, path = whole[1], whole[2] or b"/"
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        changed |= {"raw_path": path, "path": unquote(path), "headers": [(b"host", host), *others]}
    return {**scope, **changed}


def _place(origin: str) -> str | None:
    """An Origin header without its scheme; None for what is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(host: str) -> str:
    """A Host header without its port, in lower case; an IPv6 address without its brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_host(name: str) -> bool:
    """Whether a Host header could name this: no port, no scheme, no letter beyond ASCII."""
    return bool(NAME.fullmatch(name)) or _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that binds to this address."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
