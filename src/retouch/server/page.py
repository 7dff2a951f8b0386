"""The web page: the package's own static files, read once, one address each; none is looked up on the disk."""

import hashlib
import importlib.resources
import mimetypes
from collections.abc import Callable
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response

MEDIA = {".js": "text/javascript", ".svg": "image/svg+xml"}
EXAMPLES = ("astronaut.jpg", "astronaut-mask.png", "rocket.jpg", "rocket-mask.png")


def page_routes() -> APIRouter:
    """One route for each file of the page, and for the examples that the package ships."""
    router = APIRouter(include_in_schema=False)
    package = importlib.resources.files("retouch")
    files = {file.name: file for file in (package / "page").iterdir() if file.is_file()}
    files[""] = files["index.html"]
    files |= {f"examples/{name}": package / "examples" / name for name in EXAMPLES}
    for name, file in files.items():
        router.add_api_route(f"/{name}", _route(file))
    return router


def _route(file: Traversable) -> Callable[[Request], Response]:
    data = file.read_bytes()
    suffix = "." + file.name.rpartition(".")[2]
    media = MEDIA.get(suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    headers = {"Cache-Control": "no-cache", "ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"'}

    def page(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=media, headers=headers)

    return page
