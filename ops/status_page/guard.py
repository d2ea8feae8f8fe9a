"""The only place that decides which requests are answered at all, and adds the safe headers.

The page has no password: it is for whoever is on this machine. A web page elsewhere must not get at
it through a browser here, so a name that merely points to 127.0.0.1 (DNS rebinding) is refused.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAMES = frozenset({b"127.0.0.1", b"localhost", b"[::1]"})
METHODS = frozenset({"GET", "HEAD"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Answers 421 for a foreign Host and 405 for what is not reading, before any route."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See :class:`Guard`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if not is_ours(scope):
            await _refuse(guarded, 421, "write http://127.0.0.1 or http://localhost")
        elif scope["method"] not in METHODS:
            await _refuse(guarded, 405, "this page can only be read", (b"allow", b"GET, HEAD"))
        else:
            await self._app(scope, receive, guarded)


def is_ours(scope: Scope) -> bool:
    """Whether the one Host that is named is this machine; its port may be that of a tunnel."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return False
    name, colon, port = hosts[0].lower().rpartition(b":")
    if not colon or hosts[0].endswith(b"]"):
        return hosts[0].lower() in NAMES
    return name in NAMES and port.isdigit()


async def _refuse(send: Send, status: int, words: str, *headers: tuple[bytes, bytes]) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *headers]})
    await send({"type": "http.response.body", "body": f"{words}\n".encode()})
