"""The routes that take pictures: complete, change a mask, preview."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from retouch.server import completing, schema
from retouch.server.bodies import from_json, type_of
from retouch.server.context import Context, disconnected
from retouch.server.job_queue import Progress
from retouch.server.problems import HttpError, problem_of, responses
from retouch.server.requests import MaskRequest, parsed_request

QUALITY = re.compile(r"[01](\.[0-9]{0,3})?")
PING = 15  # seconds between signs of life while nothing is to be told


def inpaint_routes(context: Context) -> APIRouter:
    """Complete, adjust_mask, preview."""
    router = APIRouter(prefix="/api/v1", tags=["completing"])
    wrong = responses(404, 408, 413, 415, 422, 429, 503)

    @router.post(
        "/inpaint",
        response_class=Response,
        responses={**wrong, **schema.inpaint_answers()},
        openapi_extra=schema.inpaint_body(),
    )
    async def inpaint(request: Request) -> Response:
        """Fills the white parts of a mask in a photograph; all other pixels stay as they are."""
        body = await context.bodies.read(request)
        held = len(body)
        try:
            parsed = await asyncio.to_thread(parsed_request, request, body)
            del body
            name = context.models.known(parsed.options.model)
            job = partial(completing.complete, parsed, context.models, name, context.settings.max_pixels)
            wanted = _wanted(request)
            if wanted == "events":
                context.queue.check()
                stream = _Events(_events(context, request, job), headers=_ignored(parsed.ignored))
                stream.over = partial(context.bodies.release, held)
                held = 0
                return stream
            answer = await context.run(request, job)
        finally:
            context.bodies.release(held)
        context.metrics.pixels.inc(answer.pixels)
        headers = {
            "X-Seed": str(answer.seed),
            "X-Model": quote(answer.model, safe=" /:"),
            "X-Elapsed-Ms": str(round(answer.seconds * 1000)),
            **_ignored(answer.ignored),
            **({"X-Notes": quote("; ".join(answer.notes), safe=" /:;,()'")} if answer.notes else {}),
        }
        if parsed.options.variants > 1 or wanted == "json":
            return JSONResponse(answer.as_json(), headers=headers)
        return Response(answer.files[0], media_type=answer.media, headers=headers)

    @router.post(
        "/adjust_mask",
        response_class=Response,
        responses={**wrong, **schema.png_answer("The mask as PNG.")},
        openapi_extra=schema.json_body(MaskRequest),
    )
    async def adjust_mask(request: Request) -> Response:
        """Grows, shrinks or inverts the white part of a mask."""
        if type_of(request) != "application/json":
            raise HttpError("wrong_body", "expected a body of application/json, got something else")
        body = await context.bodies.read(request)
        try:
            asked = await asyncio.to_thread(from_json, MaskRequest, body)
            mask = await context.run(
                request, lambda _: completing.adjusted(asked, context.settings.max_pixels)
            )
        finally:
            context.bodies.release(len(body))
        return Response(mask, media_type="image/png")

    @router.post(
        "/preview",
        response_class=Response,
        responses={**wrong, **schema.png_answer("The picture as PNG of 8 bits, upright.")},
        openapi_extra=schema.picture_body(),
    )
    async def preview(request: Request) -> Response:
        """Any picture that is read, as one that every browser shows."""
        body = await context.bodies.read(request)
        try:
            shown = await context.run(
                request, lambda _: completing.preview(body, context.settings.max_pixels)
            )
        finally:
            context.bodies.release(len(body))
        return Response(shown, media_type="image/png")

    return router


def _wanted(request: Request) -> Literal["picture", "json", "events"]:
    """What the Accept headers ask for (RFC 9110, 12.5.1).

    Events have to be named. Who takes a picture of any kind gets one, however much JSON is preferred: many clients
    ask for JSON first where nobody said what to ask for.
    """
    ranges: dict[str, float] = {}
    accept = ",".join(request.headers.getlist("accept")) or "*/*"
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        ranges[name] = float(quality) if QUALITY.fullmatch(quality) else 0.0

    def quality_of(media: str) -> float:
        nearest = (media, f"{media.partition('/')[0]}/*", "*/*")
        return next((ranges[name] for name in nearest if name in ranges), 0.0)

    picture = max(map(quality_of, completing.MEDIA.values()))
    text = quality_of("application/json")
    if 0 < ranges.get("text/event-stream", 0.0) >= max(picture, text):
        return "events"
    return "json" if text and not picture else "picture"


def _ignored(names: tuple[str, ...]) -> dict[str, str]:
    return {"X-Ignored": ", ".join(names)} if names else {}


class _Events(EventSourceResponse):
    """Calls ``over`` in the end, also where the client is gone before the first event."""

    over: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.over()


async def _events(
    context: Context, request: Request, job: Callable[[Progress], completing.Answer]
) -> AsyncIterator[bytes]:
    """The events of one completion; ends the job when its client leaves."""
    queue: asyncio.Queue[tuple[float, int] | None] = asyncio.Queue()
    task = asyncio.create_task(context.queue.run(job, lambda done, total: queue.put_nowait((done, total))))
    gone = asyncio.create_task(disconnected(request))
    for either in (task, gone):
        either.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        yield _event("progress", {"done": 0, "total": 0})
        while not (task.done() or gone.done()):
            try:
                async with asyncio.timeout(PING):
                    step = await queue.get()
            except TimeoutError:
                yield format_sse_event(comment="still there")
                continue
            if step is not None and step[1]:
                yield _event("progress", {"done": round(step[0], 3), "total": step[1]})
        if not task.done():
            return
        try:
            answer = task.result()
        except Exception as error:
            problem = problem_of(error)
            yield _event("error", {"status": problem.status, **problem.content})
        else:
            context.metrics.pixels.inc(answer.pixels)
            yield _event("result", answer.as_json())
    finally:
        task.cancel()
        gone.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # nobody is left to be told


def _event(name: str, data: dict[str, Any]) -> bytes:
    return format_sse_event(event=name, data_str=json.dumps(data))
