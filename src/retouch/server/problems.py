"""What goes wrong, in the one shape in which a client gets to know it.

Every answer that is no success is ``{"error": code, "detail": sentence, "errors": sentence}``. The code, one of
`CODES`, is for programs and stays what it is, the sentence for people; ``errors`` repeats it for clients of IOPaint,
which look there. No text of Python or of a library reaches a client.
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
    NothingKnownError,
    RetouchError,
)
from retouch.photo import NAMES

log = logging.getLogger("retouch.server")

CODES = {  # of what goes wrong -> status, and when it comes
    "malformed": (400, "Not a request of HTTP/1.1."),
    "unauthorized": (401, "The server wants its token: Authorization: Bearer TOKEN."),
    "forbidden": (403, "The request comes from a page of another site."),
    "no_address": (404, "There is nothing at this address."),
    "no_model": (404, "The server has no model of this name."),
    "no_folder": (404, "The server has no such folder, or it was moved or locked."),
    "no_photo": (404, "There is no photograph of this name in the folder."),
    "wrong_method": (405, "The address does not take this method."),
    "too_slow": (408, "The request's bytes took too long to arrive."),
    "exists": (409, "There is a file of this name already."),
    "too_many_bytes": (413, "The request or the photograph's file has too many bytes."),
    "too_many_pixels": (413, "A picture has more pixels than are taken, or none."),
    "wrong_body": (415, "Another type of body than expected."),
    "wrong_format": (415, "Not a picture of a kind that is read, or of another kind than the name says."),
    "unknown_host": (421, "The Host header is neither an address nor a name that the server knows."),
    "wrong_field": (422, "A field is missing, unknown, or not as expected."),
    "wrong_picture": (422, "A picture of a kind that is read, but not in all its variants."),
    "wrong_mask": (422, "The mask does not fit the photograph, or what it shows is no mask."),
    "wrong_name": (422, "Not a plain name of a picture's file."),
    "damaged": (422, "A picture, a form or JSON is damaged."),
    "nothing_known": (422, "The hole covers all of the photograph."),
    "busy": (429, "The queue is full; Retry-After says when to come back."),
    "failed": (500, "Something failed that should not; the server's log says why."),
    "model_failed": (500, "The model failed; the server's log says why."),
    "not_stored": (500, "The file could not be stored."),
    "not_installed": (503, "The model needs a package that the server lacks."),
    "overloaded": (503, "The server's machine has no room for another job now."),
    "stopping": (503, "The server is shutting down."),
    "too_long": (503, "Not done within the server's time limit."),
    "disk_full": (507, "There is no space left in the output folder."),
}


class ErrorAnswer(BaseModel):
    """What a client gets where something is wrong."""

    error: str = Field(description="A code for programs, which stays what it is.")
    detail: str = Field(description="A sentence for people: what was expected and what came.")
    errors: str = Field(description="The same sentence, where clients of IOPaint look for it.")


class HttpError(Exception):
    """Something to tell a client.

    Args:
        code: what went wrong, a key of ``CODES``.
        detail: one sentence.
        headers: further headers of the answer.
    """

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.headers = code, detail, dict(headers or {})
        self.status, _ = CODES[code]

    @property
    def content(self) -> dict[str, str]:
        """The body of the answer."""
        return {"error": self.code, "detail": self.detail, "errors": self.detail}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.content, self.status, headers=self.headers)


def responses(*statuses: int) -> dict[int | str, dict[str, object]]:
    """What OpenAPI says of an operation that may answer with some statuses, and with those that all may."""
    return {
        status: _response({code: words for code, (its, words) in CODES.items() if its == status})
        for status in sorted({401, 403, 405, 421, 500, *statuses})
    }


def _response(codes: dict[str, str]) -> dict[str, object]:
    """The answer of one status, which has one of some codes."""
    only = {"properties": {"error": {"enum": list(codes)}}}
    return {
        "model": ErrorAnswer,
        "description": "\n".join(f"- `{code}`: {words}" for code, words in codes.items()),
        "content": {"application/json": {"schema": only}},
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
        unknown = f"expected a {NAMES} picture, got something else"
        return HttpError("wrong_format", prefix + (unknown if "begins with" in words else words))
    if isinstance(error, ImageSizeError):
        return HttpError("too_many_pixels", prefix + _unnamed(error))
    if isinstance(error, ImageError) and error.__cause__ is not None:  # a decoder's words
        return HttpError("damaged", f"{prefix}expected a whole picture, got a damaged one")
    if isinstance(error, NothingKnownError):
        return HttpError("nothing_known", str(error))
    if isinstance(error, ImageError | MaskError):
        code = "wrong_mask" if isinstance(error, MaskError) else "wrong_picture"
        return HttpError(code, prefix + _unnamed(error))
    if isinstance(error, MissingExtraError):
        return HttpError("not_installed", str(error))
    if isinstance(error, RetouchError):
        log.error("%s", error)
        return HttpError("model_failed", "the model failed; the server's log says why")
    if isinstance(error, MemoryError):
        return HttpError("overloaded", "the server has no memory for this now", {"Retry-After": "10"})
    log.error("an unexpected error", exc_info=error)
    return HttpError("failed", "something failed that should not; the server's log says what")


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
            return HttpError("damaged", "expected a body in JSON, got something else")
        case kind:
            wanted = first["msg"].replace("Input should be", "expected")
            if kind.startswith("int_"):
                wanted = "expected a whole number"
            text = f"{name}: {wanted}, got {_shown(first['input'])}"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return HttpError("wrong_field", text + more)


def _shown(value: object) -> str:
    """What came, in few characters."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and value.bit_length() > 64:
        return "one of too many digits"
    if isinstance(value, str) and len(value) > 40:
        value = f"{value[:40]}..."
    return json.dumps(value, default=lambda other: "something else")
