"""The only place of the exporter's HTTP face: GET /metrics on 127.0.0.1, and nothing else."""

from __future__ import annotations

import errno
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from quantum_ops.errors import ConfigurationError

HOST = "127.0.0.1"
LOCAL = frozenset({HOST, "localhost", "::1"})
"""Names under which it is asked from this machine; also through an ssh tunnel."""
SLOW_S = 10.0
"""Seconds for which a connection may stand still."""


def serve(registry: CollectorRegistry, port: int) -> ThreadingHTTPServer:
    """A server of ``registry`` on ``port`` (0: any); not started yet.

    Raises :class:`ConfigurationError` with the cure if the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = SLOW_S
        server_version = "quantum-exporter"
        sys_version = ""

        def do_GET(self) -> None:
            if not is_local(self.headers.get("Host", HOST)):
                # A web page elsewhere could have its own name lead here (DNS rebinding).
                self._send(421, "text/plain; charset=utf-8", b"ask for 127.0.0.1\n")
                return
            if self.path.partition("?")[0] != "/metrics":
                self._send(404, "text/plain; charset=utf-8", b"the metrics are at /metrics\n")
                return
            self._send(200, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry))

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            """A scrape is no news."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            # A scraper that hung up is its own affair; anything else deserves its traceback.
            if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
                super().handle_error(request, client_address)

    try:
        return Server((HOST, port), Handler)
    except OSError as error:
        raise ConfigurationError(unusable(port, error)) from None


def is_local(host: str) -> bool:
    """Whether the header ``Host`` names this machine."""
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname in LOCAL
    except ValueError:
        return False


def unusable(port: int, error: OSError) -> str:
    """Why that port cannot be had, and the ways out."""
    if error.errno == errno.EADDRINUSE:
        why = "is taken by another program, or by another instance of this one"
    elif error.errno == errno.EACCES:
        why = "belongs to root, as all below 1024 do"
    else:
        why = f"cannot be had ({error.strerror})"
    return (
        f"QUANTUM_EXPORTER_PORT={port}: port {port} on {HOST} {why}; name a free one, and in "
        "ops/prometheus/prometheus.yml, too, or 0 to serve no metrics"
    )
