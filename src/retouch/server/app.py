"""The ASGI application: what is shared, the routes, and the doors before them."""

import threading
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial

from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import retouch
from retouch.errors import RetouchError
from retouch.server.bodies import Bodies
from retouch.server.doors import Doors
from retouch.server.house import House
from retouch.server.inpaint import inpaint_routes
from retouch.server.metrics import Metrics
from retouch.server.page import page_routes
from retouch.server.problems import HttpError, problem_of
from retouch.server.routes import gallery_routes, model_routes, state_routes
from retouch.server.settings import Settings
from retouch.server.shelf import Shelf
from retouch.server.work import Pool
from retouch.sharing import MORE
from retouch.workers import cores

GONE = 499  # no client is left to read it; counted under this number, as nginx does


def create_app(settings: Settings, *, token: str | None = None, hosts: Collection[str] = ()) -> FastAPI:
    """A server.

    Args:
        settings: its limits.
        token: what clients have to know; None lets all in.
        hosts: names that it goes by.
    """
    pool = Pool(settings.workers or cores() + MORE, settings.waiting, settings.seconds)
    house = House(settings, pool, Shelf(settings.model, settings.threads), Bodies(settings), Metrics(pool))
    app = FastAPI(
        title="Retouch",
        version=retouch.__version__,
        summary="Fills holes in photographs.",
        docs_url=None,  # FastAPI's own pages come from a CDN
        redoc_url=None,
        redirect_slashes=False,  # an address with one more is another, and what is not there is said
        lifespan=partial(_lifespan, house),
        telemetry=None,
    )
    app.state.house = house
    guarded = [Depends(HTTPBearer(auto_error=False))] if token else []
    app.include_router(inpaint_routes(house), dependencies=guarded)
    app.include_router(model_routes(house), dependencies=guarded)
    app.include_router(gallery_routes(house), dependencies=guarded)
    app.include_router(state_routes(house, guarded))
    app.include_router(page_routes())
    app.add_exception_handler(HttpError, _problem)
    app.add_exception_handler(ClientDisconnect, _problem)
    app.add_exception_handler(HTTPException, _problem)
    app.add_exception_handler(RetouchError, _problem)
    app.add_middleware(Doors, token=token, hosts=hosts, count=house.metrics.count)
    return app


@asynccontextmanager
async def _lifespan(house: House, app: FastAPI) -> AsyncIterator[None]:
    """The first model is loaded while the server already answers that it is alive."""

    def first() -> None:
        try:
            house.shelf.get(house.shelf.current)
        except Exception as error:
            problem_of(error)  # into the log; /readyz says that it is not there

    threading.Thread(target=first, name="retouch-load", daemon=True).start()
    yield


async def _problem(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        return Response(status_code=GONE)
    if isinstance(error, HTTPException):
        code, detail = {
            404: ("no_address", "there is nothing at this address"),
            405: ("wrong_method", "this address does not take this method"),
        }.get(error.status_code, ("malformed", "the request is not as expected"))
        return HttpError(code, detail, error.headers).response()
    return problem_of(error).response()
