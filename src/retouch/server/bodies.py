"""Bodies of requests, in memory and within limits: no photograph touches the disk."""

import asyncio
import codecs
from typing import TYPE_CHECKING, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from retouch.server.problems import HttpError, problem_of_fields
from retouch.server.settings import Settings

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

M = TypeVar("M", bound=BaseModel)

MOST_PARTS = 100  # of a form
SMALL = 1 << 20  # bytes of a body without pictures
SLOWEST = 32_000  # bytes a second: who sends that many is not cut off
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
            HttpError: 408, 413, 415, or 429 where too many bytes of others are in memory.
            ClientDisconnect: the client is gone.
        """
        coding = request.headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            raise HttpError(
                "wrong_body",
                f"expected a body without Content-Encoding, got one of {coding[:80]}",
                {"Accept-Encoding": "identity"},
            )
        largest = self.largest if largest is None else min(largest, self.largest)
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > largest:
            raise _too_large(largest)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.seconds) as limit:
                until = limit.when() or 0.0
                async for chunk in request.stream():
                    size += len(chunk)
                    limit.reschedule(until + size / SLOWEST)
                    self.held += len(chunk)
                    if size > largest:
                        raise _too_large(largest)
                    if self.held > self.room:
                        raise HttpError(
                            "busy", "too much is being uploaded: come back later", {"Retry-After": "5"}
                        )
                    chunks.append(chunk)
        except BaseException as error:
            self.release(size)
            if isinstance(error, TimeoutError):
                raise HttpError(
                    "too_slow",
                    f"expected the request's bytes within {self.seconds:g} s, or {SLOWEST:,} a second, "
                    f"got {size:,} of them",
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
        "too_many_bytes",
        f"expected a request of at most {largest:,} bytes, got more",
        {"Connection": "close"},
    )


def type_of(request: Request) -> str:
    """The body's media type in lower case, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def from_json(model: type[M], body: bytes) -> M:
    """A body in JSON, checked; a byte order mark, which .NET and PowerShell write, is passed over.

    Raises:
        HttpError: 422.
    """
    try:
        return model.model_validate_json(body.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        raise problem_of_fields(error) from None


async def small_json(request: Request, bodies: Bodies, model: type[M]) -> M:
    """The body of a request that has no picture in it.

    Raises:
        HttpError: 408, 413, 415, 422.
    """
    if type_of(request) != "application/json":
        raise HttpError(
            "wrong_body", f"expected a body of application/json, got {type_of(request)[:80] or 'none'}"
        )
    body = await bodies.read(request, SMALL)
    bodies.release(len(body))
    return from_json(model, body)


def parts(content_type: str, body: bytes) -> dict[str, bytes | str]:
    """A form's files (bytes) and fields (text) by name.

    Starlette's own parser would write files of more than a mebibyte to the disk.

    Raises:
        HttpError: 422 for a damaged form, or one that names a part twice.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise HttpError("damaged", "expected a boundary in the content type of a form, got none")
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, ValueError):
        form.whole = False
    if not form.whole:
        raise HttpError("damaged", "expected a whole form (multipart/form-data), got a damaged one")
    return form.parts


class _Form:
    """What the parser of forms calls, part by part."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes | str] = {}
        self.whole = False
        self._key, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._content: list[bytes] = []

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._key.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_part_data": lambda data, start, end: self._content.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        if len(self.parts) >= MOST_PARTS:
            raise HttpError("wrong_field", f"expected at most {MOST_PARTS} parts in a form, got more")
        self._disposition, self._content = b"", []

    def _header(self) -> None:
        if self._key.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._key.clear()
        self._value.clear()

    def _end(self) -> None:
        options = parse_options_header(self._disposition)[1]
        name = options.get(b"name", b"").decode(errors="replace")
        if name in self.parts:
            raise HttpError("wrong_field", f"expected the field {name[:80]!r} once, got it twice")
        content = b"".join(self._content)
        if options.get(b"filename") == content == b"":  # as a page's form has it where no file was chosen
            return
        # The parser leaves out filename*, which some clients send alone where a name is not in ASCII.
        file = b"filename" in options or b"filename*=" in self._disposition
        self.parts[name] = content if file else content.decode(errors="replace")

    def _all(self) -> None:
        self.whole = True
