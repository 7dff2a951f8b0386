"""Bodies of requests, in memory and within limits: no photograph touches the disk."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from retouch.server.problems import HttpError, problem_of_fields
from retouch.server.settings import Settings

M = TypeVar("M", bound=BaseModel)

PART = 1 << 20  # bytes that the parser of forms gets at a time; what a form's text field may hold
SMALL = 1 << 20  # bytes of a body without pictures
BODIES = 4  # largest bodies that may be arriving or waiting together


class Bodies:
    """Reads bodies and counts the bytes of all that are in memory.

    Args:
        settings: the server's limits.
    """

    def __init__(self, settings: Settings) -> None:
        self.largest, self.seconds = settings.max_bytes, settings.body_seconds
        self.room = BODIES * settings.max_bytes
        self.held = 0

    async def read(self, request: Request, largest: int | None = None) -> bytes:
        """The whole body; ``release`` has to be called with its length in the end.

        Raises:
            HttpError: 408, 413, or 429 where too many bytes of others are in memory.
            ClientDisconnect: the client is gone.
        """
        largest = self.largest if largest is None else min(largest, self.largest)
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > largest:
            raise _too_large(largest)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    self.held += len(chunk)
                    if size > largest:
                        raise _too_large(largest)
                    if self.held > self.room:
                        raise HttpError(
                            429, "too much is being uploaded: come back later", {"Retry-After": "5"}
                        )
                    chunks.append(chunk)
        except BaseException as error:
            self.release(size)
            if isinstance(error, TimeoutError):
                raise HttpError(
                    408,
                    f"expected the request's bytes within {self.seconds:g} s, got {size:,} of them",
                    {"Connection": "close"},
                ) from None
            raise
        return b"".join(chunks)

    def release(self, size: int) -> None:
        """Says that so many bytes are out of memory."""
        self.held -= size


def _too_large(largest: int) -> HttpError:
    # The connection is closed: what still comes of the body is not read.
    return HttpError(
        413, f"expected a request of at most {largest:,} bytes, got more", {"Connection": "close"}
    )


def type_of(request: Request) -> str:
    """The body's media type in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def from_json(model: type[M], body: bytes) -> M:
    """A body in JSON, checked.

    Raises:
        HttpError: 422.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise problem_of_fields(error) from None


async def small_json(request: Request, bodies: Bodies, model: type[M]) -> M:
    """The body of a request that has no picture in it.

    Raises:
        HttpError: 408, 413, 415, 422.
    """
    if type_of(request) != "application/json":
        raise HttpError(415, f"expected a body of application/json, got {type_of(request)[:80] or 'none'}")
    body = await bodies.read(request, SMALL)
    bodies.release(len(body))
    return from_json(model, body)


async def parts(request: Request, body: bytes) -> dict[str, bytes | str]:
    """A form's files (bytes) and fields (text) by name.

    Raises:
        HttpError: 422 for a damaged form, or one that names a part twice.
    """

    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), PART):
            yield body[start : start + PART]

    if b"boundary" not in parse_options_header(request.headers["content-type"])[1]:
        raise HttpError(422, "expected a boundary in the content type of a form, got none")
    parser = MultiPartParser(request.headers, chunks(), max_files=4, max_fields=100, max_part_size=PART)
    parser.spool_max_size = len(body) + 1  # never to a temporary file
    try:
        form = await parser.parse()
    except (MultiPartException, AssertionError, ValueError, LookupError):
        raise HttpError(422, "expected a form (multipart/form-data), got a damaged one") from None
    found: dict[str, bytes | str] = {}
    for name, value in form.multi_items():
        if name in found:
            raise HttpError(422, f"expected the field {name[:80]!r} once, got it twice")
        found[name] = await value.read() if isinstance(value, UploadFile) else value
    return found


__all__ = ["Bodies", "ClientDisconnect", "from_json", "parts", "small_json", "type_of"]
