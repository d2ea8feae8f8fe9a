"""The only place of the event stream: it sends what changed, to few readers, and waits for none.

There is no queue: a reader that is slow misses looks and gets the newest one when it is ready. So
neither many looks nor a reader that has stopped reading can fill the memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

MOST = 16
"""Readers at the same time; one more is refused and comes again by itself."""
POLL_S = 0.2
QUIET_S = 5.0
"""Seconds without a change after which an empty message is sent, so that a dead line is noticed."""
STUCK_S = 15.0
"""Seconds that a reader may take for one message before it is dropped."""
LIFE_S = 1800.0
"""Seconds after which a stream ends; the browser comes again by itself."""
AGAIN_MS = 2000
Parts = Mapping[str, str]


class Stream:
    """An ASGI application. ``parts`` gives what is to be shown now; ``stopping`` ends all streams.

    A message is a JSON object of those parts, id -> HTML, that are not as they were sent last.
    """

    def __init__(self, parts: Callable[[], Parts], stopping: Callable[[], bool]) -> None:
        self._parts = parts
        self._stopping = stopping
        self.readers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one reader to its end; HEAD asks for the headers only."""
        if scope["method"] == "HEAD":
            await _begin(send)
            await send({"type": "http.response.body", "body": b""})
            return
        if self.readers >= MOST:
            await _refuse(send)
            return
        self.readers += 1
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await self._serve(send, gone)
        except TimeoutError:
            return  # it has stopped reading; uvicorn closes what is left half-way
        finally:
            self.readers -= 1
            gone.cancel()

    async def _serve(self, send: Send, gone: asyncio.Future[None]) -> None:
        await _begin(send)
        await _say(send, f"retry: {AGAIN_MS}\n\n")
        loop = asyncio.get_running_loop()
        began = spoke = loop.time()
        sent: dict[str, str] = {}
        while not gone.done() and not self._stopping() and loop.time() - began < LIFE_S:
            now = self._parts()
            news = {name: html for name, html in now.items() if sent.get(name) != html}
            if news:
                await _say(send, f"data: {json.dumps(news)}\n\n")
                sent.update(news)
                spoke = loop.time()
            elif loop.time() - spoke > QUIET_S:
                await _say(send, "event: here\ndata:\n\n")
                spoke = loop.time()
            await asyncio.wait([gone], timeout=POLL_S)
        if not gone.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _begin(send: Send) -> None:
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _say(send: Send, text: str) -> None:
    message: dict[str, Any] = {"type": "http.response.body", "more_body": True}
    await asyncio.wait_for(send({**message, "body": text.encode()}), STUCK_S)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"10")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    body = b"too many readers of the event stream; the page itself is there\n"
    await send({"type": "http.response.body", "body": body})
