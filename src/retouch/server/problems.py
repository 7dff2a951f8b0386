"""What goes wrong, in the one shape in which a client gets to know it.

Every answer that is no success is ``{"error": code, "detail": sentence, "errors": sentence}``; ``errors`` repeats the
sentence for clients of IOPaint, which look there. No text of Python or of a library reaches a client.
"""

import json
import logging
from collections.abc import Mapping

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

from retouch.errors import (
    ImageError,
    ImageSizeError,
    ImageTypeError,
    MaskError,
    MissingExtraError,
    RetouchError,
)

log = logging.getLogger("retouch.server")

CODES = {  # status -> what it is called, and when it comes
    400: ("malformed", "Not a request of HTTP/1.1."),
    401: ("unauthorized", "The server wants its token: Authorization: Bearer TOKEN."),
    403: ("forbidden", "The request comes from a page of another site."),
    404: ("not_found", "There is no such model, photograph or address."),
    405: ("method_not_allowed", "The address does not take this method."),
    408: ("too_slow", "The request's bytes took too long to arrive."),
    409: ("exists", "There is a file of this name already."),
    413: ("too_large", "Too many bytes, or too many pixels."),
    415: ("unsupported_type", "Not a picture of a kind that is read, or another type of body than expected."),
    421: ("unknown_host", "The Host header is neither an address nor a name that the server knows."),
    422: ("invalid", "A field, a picture or a mask is not as expected."),
    429: ("busy", "The queue is full; Retry-After says when to come back."),
    500: ("failed", "The server or its model failed; the server's log says why."),
    503: ("unavailable", "Out of time, still loading, or shutting down."),
    507: ("disk_full", "There is no space left in the output folder."),
}


class ErrorAnswer(BaseModel):
    """What a client gets where something is wrong."""

    error: str = Field(description="A short code, such as `invalid`.")
    detail: str = Field(description="A sentence for people: what was expected and what came.")
    errors: str = Field(description="The same sentence, where clients of IOPaint look for it.")


class HttpError(Exception):
    """Something to tell a client.

    Args:
        status: of HTTP, a key of ``CODES``.
        detail: one sentence.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    @property
    def content(self) -> dict[str, str]:
        """The body of the answer."""
        code = CODES.get(self.status, ("error", ""))[0]
        return {"error": code, "detail": self.detail, "errors": self.detail}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.content, self.status, headers=self.headers)


def responses(*statuses: int) -> dict[int | str, dict[str, object]]:
    """What OpenAPI says of an operation that may answer with some statuses, and with those that all may."""
    return {
        status: {"model": ErrorAnswer, "description": CODES[status][1]}
        for status in sorted({401, 403, 405, 421, 500, *statuses})
    }


def problem_of(error: BaseException, field: str = "") -> HttpError:
    """What to tell a client of an exception; what is none of its business goes to the log.

    Args:
        error: what was raised.
        field: of the request, that it was raised for.
    """
    if isinstance(error, HttpError):
        return error
    prefix = f"{field}: " if field else ""
    if isinstance(error, ImageTypeError):
        words = _unnamed(error)
        unknown = "expected a PNG, JPEG, WebP, TIFF or BMP picture, got something else"
        return HttpError(415, prefix + (unknown if "begins with" in words else words))
    if isinstance(error, ImageSizeError):
        return HttpError(413, prefix + _unnamed(error))
    if isinstance(error, ImageError) and error.__cause__ is not None:  # a decoder's words
        return HttpError(422, f"{prefix}expected a whole picture, got a damaged one")
    if isinstance(error, ImageError | MaskError):
        return HttpError(422, prefix + _unnamed(error))
    if isinstance(error, MissingExtraError):
        return HttpError(503, str(error))
    if isinstance(error, RetouchError):
        log.error("%s", error)
        return HttpError(500, "the model failed; the server's log says why")
    log.error("an unexpected error", exc_info=error)
    return HttpError(500, "something failed that should not; the server's log says what")


def _unnamed(error: RetouchError) -> str:
    """The message without the name of the source: a request has no files, and the field is named already."""
    return str(error).replace(" in the given bytes", "").replace(": the given bytes", "")


def problem_of_fields(error: ValidationError) -> HttpError:
    """422 for fields that are not as they should be: the first of them, and how many more there are."""
    found = error.errors(include_url=False, include_context=False)
    first = found[0]
    name = ".".join(map(str, first["loc"])) if first["loc"] else "body"
    match first["type"]:
        case "missing":
            text = f"expected a field {name!r}, got none"
        case "extra_forbidden":
            text = f"unknown field {name[:80]!r}"
        case "json_invalid":
            text = "expected a body in JSON, got something else"
        case kind:
            wanted = first["msg"].replace("Input should be", "expected")
            if kind.startswith("int_"):
                wanted = "expected a whole number"
            text = f"{name}: {wanted}, got {_shown(first['input'])}"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return HttpError(422, text + more)


def _shown(value: object) -> str:
    """What came, in few characters."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and value.bit_length() > 64:
        return "one of too many digits"
    if isinstance(value, str) and len(value) > 40:
        value = f"{value[:40]}..."
    return json.dumps(value, default=lambda other: "something else")
