"""The only place where the page listens: its port, its server, its looker's thread."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from ops.status_page import page
from ops.status_page.collector import Collector
from ops.status_page.page import Look
from quantum_ops import logs
from quantum_ops.clock import Clock
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import StatusPageSettings

HOST = "127.0.0.1"
MOST_CONNECTIONS = 64
"""Connections above this are answered with 503."""
ASK_S = 10.0
"""Seconds after which a connection that has asked for nothing is closed."""
LEAVE_S = 2
"""Seconds that a stop waits for whoever is being answered."""


def url(port: int) -> str:
    """Where the page is."""
    return f"http://{HOST}:{port}/"


def listener(port: int) -> socket.socket:
    """A bound socket; :class:`ConfigurationError` with the cure if the port cannot be had."""
    bound = socket.socket()
    try:
        # Or the last page's connections in TIME_WAIT would make the port look taken.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError as error:
        bound.close()
        raise ConfigurationError(unusable(port, error)) from None
    return bound


def unusable(port: int, error: OSError) -> str:
    """Why the page cannot have its port, and what to do."""
    name = "QUANTUM_STATUS_PAGE_PORT"
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else 9791  # noqa: PLR2004 - the last port
        return (
            f"{name}={port}: port {port} on {HOST} is taken by another program; write another "
            f"one ({name}={other}), or {name}=0 for no status page"
        )
    if error.errno == errno.EACCES:
        return f"{name}={port}: ports below 1024 belong to root; write a higher one"
    return f"{name}={port}: cannot be listened on ({error.strerror}); write another one"


class Looker:
    """Looks again and again, in a thread of its own; ``newest`` is what was seen last."""

    def __init__(self, collector: Collector, settings: StatusPageSettings, clock: Clock) -> None:
        self._collector = collector
        self._settings = settings
        self._clock = clock
        self.newest = Look()
        self._thread = threading.Thread(target=self._run, name="looker", daemon=True)

    def start(self) -> None:
        """Begin. It ends with the process, or when the clock is stopped."""
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._clock.stopping():
            number += 1
            try:
                self.newest = page.take(
                    self._collector, number, self._clock.monotonic_s(),
                    self._settings.every_s, self._settings.behind_s,
                )  # fmt: skip
            except Exception:  # noqa: BLE001 - the next look may succeed; until then it says it is old
                logs.get().exception("look_failed")
            self._clock.wait(self._settings.every_s)


class Impatient(H11Protocol):
    """Closes a connection that does not say in time what it wants; uvicorn would keep it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.loop.call_later(ASK_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        # uvicorn has no type for "no request yet".
        if getattr(self, "cycle", None) is None:
            self.transport.close()


def server(app: ASGIApp) -> uvicorn.Server:
    """A server of ``app``; :meth:`serve` it with a socket of :func:`listener`."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Impatient,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=LEAVE_S,
            h11_max_incomplete_event_size=16_384,
        )
    )
