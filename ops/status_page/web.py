"""The only place of the routes. All of them are read with GET; none changes anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from ops.status_page import entry, page
from ops.status_page.entry import Answer
from ops.status_page.guard import Guard
from ops.status_page.markup import Markup
from ops.status_page.page import Look
from ops.status_page.stream import Stream
from ops.status_page.verdict import Verdict
from ops.terminal import safe
from quantum_ops.ledger.folder import Folder

STATIC = Path(__file__).resolve().parent / "static"
FILES = {"page.css": "text/css", "page.js": "text/javascript"}
READERS = 2
"""Ledger records that are looked up at the same time: a proof reads the whole journal."""
MAX_DIGITS = 15


class Site:
    """What is answered. ``look`` gives the newest look, and is never waited for."""

    def __init__(
        self, look: Callable[[], Look], folder: Callable[[], Folder], every_s: float
    ) -> None:
        self._look = look
        self._folder = folder
        self._every_s = every_s
        self._limiter: anyio.CapacityLimiter | None = None

    def now(self) -> tuple[Verdict, dict[str, Markup]]:
        """The verdict and the parts as they are to be shown now."""
        return page.fresh(self._look(), time.monotonic(), self._every_s)

    async def index(self, _request: Request) -> Response:
        """The page."""
        return HTMLResponse(page.whole(*self.now()))

    async def verdict(self, _request: Request) -> Response:
        """The word, then each reason, a line each: for curl."""
        made = self.now()[0]
        lines = [made.word, *(safe(reason.text) for reason in made.reasons)]
        return PlainTextResponse("".join(f"{line}\n" for line in lines))

    async def static(self, request: Request) -> Response:
        """The script or the style sheet."""
        name = request.path_params["name"]
        if name not in FILES:
            return PlainTextResponse("there is no such file\n", 404)
        return FileResponse(STATIC / name, media_type=FILES[name])

    async def record(self, request: Request) -> Response:
        """One record of the ledger."""
        return await self._from_ledger(request, entry.record)

    async def proof(self, request: Request) -> Response:
        """The file that proves it."""
        response = await self._from_ledger(request, entry.proven)
        if response.status_code == HTTPStatus.OK:
            name = f"record-{request.path_params['seq']}.proof"
            response.headers["content-disposition"] = f'inline; filename="{name}"'
        return response

    async def _from_ledger(
        self, request: Request, read: Callable[[Folder, int], Answer]
    ) -> Response:
        named = request.path_params["seq"]
        if not (named.isascii() and named.isdigit() and len(named) <= MAX_DIGITS):
            return PlainTextResponse("a record is named by its number\n", 404)
        if self._limiter is None:  # made in the loop that it limits
            self._limiter = anyio.CapacityLimiter(READERS)
        found = await anyio.to_thread.run_sync(
            lambda: read(self._folder(), int(named)), limiter=self._limiter
        )
        return Response(found.body, found.status, media_type=found.kind)


def app(site: Site, stopping: Callable[[], bool] = lambda: False) -> Starlette:
    """The application; ``stopping`` ends its event streams."""
    return Starlette(
        routes=[
            Route("/", site.index),
            Route("/verdict", site.verdict),
            Route("/events", Stream(lambda: site.now()[1], stopping)),
            Route("/ledger/{seq}", site.record),
            Route("/ledger/{seq}/proof", site.proof),
            Route("/static/{name}", site.static),
        ],
        middleware=[Middleware(Guard)],
    )
