"""The ASGI application: what is shared, the routes, and the security before them."""

from collections.abc import Collection

from fastapi import Depends, FastAPI, Request, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import retouch
from retouch.dynamic_batching import MORE
from retouch.errors import RetouchError
from retouch.server.bodies import Bodies
from retouch.server.context import Context
from retouch.server.inpaint import inpaint_routes
from retouch.server.job_queue import JobQueue
from retouch.server.metrics import Metrics
from retouch.server.model_store import ModelStore
from retouch.server.page import page_routes
from retouch.server.problems import HttpError, problem_of
from retouch.server.routes import folder_routes, model_routes, state_routes
from retouch.server.security import SecurityMiddleware
from retouch.server.settings import Settings
from retouch.workers import cores

GONE = 499  # no client is left to read it; counted under this number, as nginx does


def create_app(settings: Settings, *, token: str | None = None, hosts: Collection[str] = ()) -> FastAPI:
    """A server.

    Args:
        settings: its limits.
        token: what clients have to know; None lets all in.
        hosts: names that it goes by.

    Raises:
        ModelError, MissingExtraError: the model to start with cannot be loaded.
    """
    models = ModelStore(settings.model, settings.threads)
    models.get(models.current)
    queue = JobQueue(settings.workers or cores() + MORE, settings.waiting, settings.seconds)
    context = Context(settings, queue, models, Bodies(settings), Metrics(queue))
    app = FastAPI(
        title="Retouch",
        version=retouch.__version__,
        summary="Fills holes in photographs.",
        docs_url=None,  # FastAPI's own pages come from a CDN
        redoc_url=None,
        redirect_slashes=False,  # an address with one more is another, and what is not there is said
        telemetry=None,
    )
    app.state.context = context
    guarded = [Depends(HTTPBearer(auto_error=False))] if token else []
    app.include_router(inpaint_routes(context), dependencies=guarded)
    app.include_router(model_routes(context), dependencies=guarded)
    app.include_router(folder_routes(context), dependencies=guarded)
    app.include_router(state_routes(context, guarded))
    app.include_router(page_routes())
    app.add_exception_handler(HttpError, _problem)
    app.add_exception_handler(ClientDisconnect, _problem)
    app.add_exception_handler(HTTPException, _problem)
    app.add_exception_handler(RetouchError, _problem)
    app.add_middleware(SecurityMiddleware, token=token, hosts=hosts, count=context.metrics.count)
    return app


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
