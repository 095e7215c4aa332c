"""The page's server: on this machine only, behind a token in the address."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from landmeta.errors import ConfigError, LandmetaError
from landmeta.studio import drawing, tiles
from landmeta.studio.jobs import Busy, Jobs
from landmeta.studio.workshop import CONFIDENCE, EXPORTS, MAP, Workshop

LARGEST_BODY = 20 * 2**20
"""Bytes of a request: thousands of polygons."""
POLICY = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'"
"""Nothing is loaded from anywhere else (the map library sets styles of its own)."""


Body = TypeVar("Body", bound=BaseModel)


class NewClass(BaseModel):
    """What the page sends to add a class."""

    model_config = ConfigDict(extra="forbid")

    name: str


class Looked(BaseModel):
    """What the page sends to be told of what it shows."""

    model_config = ConfigDict(extra="forbid")

    seen: tuple[float, float, float, float] | None = None
    """Column, row, width and height."""


class HowToAdapt(Looked):
    """What the page sends to adapt."""

    hold_out: bool = False


class Studio:
    """What the addresses of the page do.

    Args:
        workshop: does the work.
        token: first part of every address.
    """

    def __init__(self, workshop: Workshop, token: str) -> None:
        self.workshop, self.token, self.jobs = workshop, token, Jobs()
        tiles.ignore_warnings()
        self._stretch = tiles.stretch(workshop.raster, workshop.rgb)

    def app(self) -> Starlette:
        """The web application."""
        static = StaticFiles(directory=Path(str(files("landmeta.studio") / "static")))
        routes = [
            Route("/", self.page),
            Route("/state", self.state),
            Route("/job", self.job),
            Route("/drawing", self.draw, methods=["PUT"]),
            Route("/classes", self.add_class, methods=["POST"]),
            Route("/adapt", self.adapt, methods=["POST"]),
            Route("/map-all", self.map_all, methods=["POST"]),
            Route("/suggest", self.suggest, methods=["POST"]),
            Route("/cancel", self.cancel, methods=["POST"]),
            Route("/tiles/{layer}/{level:int}/{x:int}/{y:int}.png", self.tile),
            Route("/export/{name}", self.export),
            Mount("/static", static),
        ]
        return Starlette(
            routes=[Mount(f"/{self.token}", routes=routes)],
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"]),
            ],
            exception_handlers={LandmetaError: _refused},
        )

    async def page(self, request: Request) -> Response:
        """The page itself."""
        text = (files("landmeta.studio") / "static" / "index.html").read_text(encoding="utf-8")
        headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        return Response(text, media_type="text/html", headers=headers)

    async def state(self, request: Request) -> Response:
        """All that the page needs to begin."""
        return JSONResponse(await run_in_threadpool(self._state))

    def _state(self) -> dict[str, Any]:
        shop = self.workshop
        classes = shop.legend.classes if shop.legend else ()
        return {
            "image": shop.raster.name,
            "width": shop.grid.width,
            "height": shop.grid.height,
            "large": shop.large,
            "levels": tiles.levels(shop.grid.width, shop.grid.height),
            "openLegend": shop.open_legend,
            "classes": [{"name": c.name, "color": c.color} for c in classes],
            "drawing": [s.model_dump() for s in shop.shapes],
            "pixels": shop.pixels(),
            "places": shop.places,
            "mapped": (shop.folder / MAP).is_file(),
            "exports": [n for n in EXPORTS if (shop.folder / n).is_file()],
            "folder": str(shop.folder),
            "notes": list(shop.notes),
            "job": asdict(self.jobs.progress),
        }

    async def job(self, request: Request) -> Response:
        """How far the running job is."""
        return JSONResponse(asdict(self.jobs.progress))

    async def draw(self, request: Request) -> Response:
        """Keep what is drawn."""
        shapes = drawing.parse(await _json(request))
        await run_in_threadpool(self.workshop.draw, shapes)
        return JSONResponse({"pixels": await run_in_threadpool(self.workshop.pixels)})

    async def add_class(self, request: Request) -> Response:
        """Add a class."""
        asked = await _asked(request, NewClass, "a class has a name")
        made = self.workshop.add_class(asked.name)
        return JSONResponse({"name": made.name, "color": made.color})

    async def adapt(self, request: Request) -> Response:
        """Adapt and map."""
        how = await _asked(request, HowToAdapt, "adapting is with hold_out or without")
        work = partial(self.workshop.map, hold_out=how.hold_out, seen=how.seen)
        return JSONResponse(asdict(self.jobs.start(work)))

    async def map_all(self, request: Request) -> Response:
        """Map what is not in view, too."""
        return JSONResponse(asdict(self.jobs.start(self.workshop.map_all)))

    async def suggest(self, request: Request) -> Response:
        """Find where to label next."""
        looked = await _asked(request, Looked, "places are suggested within what is seen")
        work = partial(self.workshop.suggest, seen=looked.seen)
        return JSONResponse(asdict(self.jobs.start(work)))

    async def cancel(self, request: Request) -> Response:
        """Stop what is running."""
        self.jobs.cancel()
        return JSONResponse(asdict(self.jobs.progress))

    async def tile(self, request: Request) -> Response:
        """A piece of the image, the map or the confidence."""
        where = request.path_params
        try:
            body = await run_in_threadpool(
                self._draw_tile, where["layer"], where["level"], where["x"], where["y"]
            )
        except tiles.OutsideRaster as error:
            raise HTTPException(404, "no such tile") from error
        return Response(body, media_type="image/png", headers={"Cache-Control": "max-age=600"})

    def _draw_tile(self, layer: str, level: int, x: int, y: int) -> bytes:
        shop = self.workshop
        drawers: dict[str, Callable[[], bytes]] = {
            "image": lambda: tiles.image_tile(shop.raster, shop.rgb, self._stretch, level, x, y),
            "map": lambda: tiles.class_tile(shop.folder / MAP, shop.grid, level, x, y),
            "confidence": lambda: tiles.percent_tile(
                shop.folder / CONFIDENCE, shop.grid, level, x, y
            ),
        }
        if layer not in drawers or (layer != "image" and not (shop.folder / MAP).is_file()):
            raise tiles.OutsideRaster
        return drawers[layer]()

    async def export(self, request: Request) -> Response:
        """A file to take away."""
        path = await run_in_threadpool(self.workshop.export, request.path_params["name"])
        return FileResponse(path, filename=f"{self.workshop.raster.stem}_{path.name}")


async def _asked(request: Request, kind: type[Body], otherwise: str) -> Body:
    """What the page sent, or an answer that says what it should be."""
    try:
        return kind.model_validate(await _json(request))
    except ValidationError as error:
        raise HTTPException(400, otherwise) from error


async def _json(request: Request) -> Any:  # noqa: ANN401 - checked by who asked for it
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, "too much at once")
    try:
        return json.loads(body)
    except ValueError as error:
        raise HTTPException(400, "this is no JSON") from error


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, LandmetaError)
    status = 409 if isinstance(error, Busy) else 422
    return JSONResponse({"what": error.what, "remedy": error.remedy}, status_code=status)


def listen(port: int) -> socket.socket:
    """A socket that only this machine reaches; `port` 0 for any that is free.

    Raises:
        ConfigError: the port is taken or not allowed.
    """
    made = socket.socket()
    try:
        made.bind(("127.0.0.1", port))
    except OSError as error:
        made.close()
        raise ConfigError(
            f"port {port} cannot be used: {error.strerror}",
            remedy="choose another --port, or leave it out for any that is free",
        ) from error
    return made


def new_token() -> str:
    """Nobody guesses it."""
    return secrets.token_urlsafe(24)
