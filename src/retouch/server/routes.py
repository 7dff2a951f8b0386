"""The routes that take no pictures: models, folders, the server's state."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.params import Depends
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import retouch
from retouch import cards, heif
from retouch.classical import CLASSICAL, summary
from retouch.decode import kind_of
from retouch.engine import BLENDS, Predictor
from retouch.methods import METHODS
from retouch.models import Model
from retouch.photo import READ
from retouch.server import completing, folders, schema
from retouch.server.bodies import small_json
from retouch.server.completing import MEDIA, THUMBNAIL
from retouch.server.context import Context
from retouch.server.job_queue import Progress
from retouch.server.problems import HttpError, responses
from retouch.server.requests import MOST_VARIANTS, ModelRequest

OTHER = "application/octet-stream"  # of what no answer is made in, or no picture, whatever its name says


def model_routes(context: Context) -> APIRouter:
    """Which models there are and which one is current."""
    router = APIRouter(prefix="/api/v1", tags=["models"])
    store = context.models

    @router.get("/models", responses=responses())
    async def models() -> list[schema.ModelAnswer]:
        """All models, the first one first, with their measured quality."""
        return _described(context)

    @router.get("/model", responses=responses())
    async def model() -> schema.IOPaintModel:
        """The current model."""
        return _for_iopaint(store.current)

    @router.post(
        "/model",
        responses=responses(404, 408, 413, 415, 422, 429, 503),
        openapi_extra=schema.json_body(ModelRequest),
    )
    async def switch(request: Request) -> schema.IOPaintModel:
        """Makes another model the current one, for all clients; answers when it is loaded."""
        asked = await small_json(request, context.bodies, ModelRequest)
        name = store.known(asked.name)
        await context.run(request, lambda _: store.get(name))
        store.current = name
        return _for_iopaint(name)

    @router.get("/server-config", responses=responses())
    async def config() -> schema.ConfigAnswer:
        """What the server takes and has, as IOPaint's clients ask for it."""
        settings = context.settings
        return schema.ConfigAnswer(
            version=retouch.__version__,
            limits=schema.LimitsAnswer(
                max_bytes=settings.max_bytes,
                max_pixels=settings.max_pixels,
                max_variants=MOST_VARIANTS,
                seconds=settings.seconds,
            ),
            formats=[kind for kind in READ if kind != "HEIC" or heif.installed()],
            blends=list(BLENDS),
            inputFolder=settings.input is not None,
            outputFolder=settings.output is not None,
            modelInfos=[_for_iopaint(name) for name in store.names],
        )

    return router


def _for_iopaint(name: str) -> schema.IOPaintModel:
    return schema.IOPaintModel(name=name, path=name)  # no path of this disk


def _described(context: Context) -> list[schema.ModelAnswer]:
    store = context.models
    shipped = cards.cards()
    described = []
    for name in store.names:
        loaded, own = store.loaded(name), store.is_own(name)
        card = loaded.card if loaded else shipped.get(name)
        classical = None if own else CLASSICAL.get(name)
        quality = list(card.quality) if card else _baseline(name, shipped.values()) if classical else []
        purpose = summary(name) if classical else "a model of your own"
        described.append(
            schema.ModelAnswer(
                name=name,
                current=name == store.current,
                loaded=loaded is not None,
                classical=classical is not None,
                several=_several(loaded, card, classical),
                good_for=card.good_for if card else purpose,
                licence=card.licence if card else "",
                bytes=cards.weights_size(name) if name in shipped and not own else 0,
                quality=quality,
            )
        )
    return described


def _baseline(name: str, shipped: Iterable[cards.Card]) -> list[dict[str, str | float]]:
    """The rows of a model without a card from the first card that has some; the default model's comes first."""
    of_each = ([row for row in card.quality if row["model"] == name] for card in shipped)
    return next(filter(None, of_each), [])


def _several(
    loaded: Model | None, card: cards.Card | None, classical: Callable[[], Predictor] | None
) -> bool:
    if loaded is not None:
        return len(loaded.answers(2)) > 1
    if classical is not None:
        return hasattr(classical, "variants")
    return card is not None and card.method in METHODS and METHODS[card.method].searches


def folder_routes(context: Context) -> APIRouter:
    """The owner's folders, by listed names only."""
    router = APIRouter(prefix="/api/v1", tags=["folders"])
    settings = context.settings

    @router.get("/photos", responses=responses(404))
    async def photos() -> list[str]:
        """The names of the photographs in the input folder; none without one."""
        return [] if settings.input is None else await asyncio.to_thread(folders.names, settings.input)

    @router.get(
        "/photos/{name}",
        response_class=Response,
        responses={
            **responses(404, 413),
            200: {
                "description": "The file.",
                "content": {media: schema.FILE for media in (*MEDIA.values(), OTHER)},
            },
        },
    )
    async def photo(name: str) -> Response:
        """A photograph of the input folder."""
        data = await asyncio.to_thread(folders.opened, settings.input, name, settings.max_bytes)
        return Response(data, media_type=MEDIA.get(kind_of(data) or "", OTHER))

    @router.get(
        "/photos/{name}/thumbnail",
        response_class=Response,
        responses={
            **responses(404, 408, 413, 415, 422, 429, 503),
            200: {
                "description": f"The picture as JPEG of at most {THUMBNAIL} px a side, upright.",
                "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
            },
        },
    )
    async def thumbnail(name: str, request: Request) -> Response:
        """A photograph of the input folder, small."""

        def shrunk(_: Progress) -> bytes:
            data = folders.opened(settings.input, name, settings.max_bytes)
            return completing.thumbnail(data, settings.max_pixels)

        return Response(await context.run(request, shrunk), media_type="image/jpeg")

    @router.put(
        "/outputs/{name}",
        status_code=201,
        response_class=Response,
        responses={**responses(404, 408, 409, 413, 415, 422, 429, 503, 507), 201: {"description": "Stored."}},
        openapi_extra=schema.picture_body(),
    )
    async def store(name: str, request: Request) -> Response:
        """Stores a picture in the output folder, under a new name."""
        if settings.output is None:
            raise HttpError("no_folder", "the server has no output folder (see --output)")
        folder, body = settings.output, await context.bodies.read(request)
        try:
            await context.run(request, partial(folders.store, folder, name, body, settings.max_pixels))
        finally:
            context.bodies.release(len(body))
        return Response(status_code=201)

    return router


def state_routes(context: Context, guarded: list[Depends]) -> APIRouter:
    """Alive, ready, and counted."""
    router = APIRouter(tags=["state"])

    def state(status: str) -> schema.StateAnswer:
        return schema.StateAnswer(status=status, model=context.models.current)

    @router.get("/healthz", responses=responses())
    async def alive() -> schema.StateAnswer:
        """Whether the server is alive."""
        return state("alive")

    @router.get("/readyz", responses=responses(503))
    async def ready() -> schema.StateAnswer:
        """Whether requests are taken."""
        if context.queue.closing:
            raise HttpError("stopping", "the server is shutting down")
        return state("ready")

    @router.get(
        "/metrics",
        dependencies=guarded,
        response_class=Response,
        responses={
            **responses(),
            200: {
                "description": "For Prometheus.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            },
        },
    )
    async def metrics() -> Response:
        """Requests, seconds, queue and pixels, for Prometheus."""
        return Response(generate_latest(context.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router
