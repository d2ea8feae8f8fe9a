"""The only place of the pretend exchange's HTTP face; program ``demo_exchange``.

Serves recorded or generated exchangeInfo on 127.0.0.1, with a listing or delisting every few
seconds and a failed answer about twice a minute, so that the universe is seen to turn stale and
fresh again.
"""

from __future__ import annotations

import gzip
import signal
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ops.demo import recording
from ops.demo.listing import Listing
from ops.demo.options import DemoSettings
from quantum_ops import knobs, lifeline
from quantum_ops.clock import Clock
from quantum_ops.errors import ConfigurationError

PATH = "/fapi/v1/exchangeInfo"
STEP_S = 3.0
FAIL_EVERY = 12
"""Every so manieth request gets no snapshot."""


class Failures:
    """Deals out the failures in turn."""

    KINDS = (
        (429, "application/json", b'{"code":-1003,"msg":"Too many requests."}'),
        (503, "text/html", b"<html><body>503 Service Temporarily Unavailable</body></html>"),
        (200, "application/json", b'{"timezone":"UTC","symbols":[{"symbol":"BTC'),
    )

    def __init__(self, every: int) -> None:
        self._every = every
        self._count = 0
        self._lock = threading.Lock()  # every connection is served by a thread of its own

    def next(self) -> tuple[int, str, bytes] | None:
        """The failure that this request gets; None for an honest answer."""
        with self._lock:
            self._count += 1
            count = self._count
        if not self._every or count % self._every:
            return None
        return self.KINDS[count // self._every % len(self.KINDS)]


def serve(port: int, body: Callable[[], bytes], failures: Failures) -> ThreadingHTTPServer:
    """A server on 127.0.0.1:``port`` (0: any) that answers with ``body()``; not started yet."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._send(404, "application/json", b'{"code":-5000,"msg":"Path not found"}')
                return
            failure = failures.next()
            if failure is not None:
                self._send(*failure)
            else:
                self._send(200, "application/json;charset=UTF-8", body())

        def _send(self, status: int, kind: str, content: bytes) -> None:
            packed = "gzip" in self.headers.get("Accept-Encoding", "")
            sent = gzip.compress(content, 1) if packed else content
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("X-MBX-USED-WEIGHT-1M", "1")
            if packed:
                self.send_header("Content-Encoding", "gzip")
            if status == 429:  # noqa: PLR2004 - the one that comes with a wait
                self.send_header("Retry-After", "3")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_args: object) -> None:
            """Requests are the producer's to log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            # A client that hung up is its own affair; anything else deserves its traceback.
            if not isinstance(sys.exc_info()[1], ConnectionError):
                super().handle_error(request, client_address)

    return Server(("127.0.0.1", port), Handler)


def main() -> int:
    """Serve until SIGTERM, listing and delisting every ``STEP_S`` seconds; 78 for bad settings."""
    lifeline.die_with_parent()
    try:
        options = knobs.load(DemoSettings)
        fixed = recording.read(options.exchange_body) if options.exchange_body else b""
    except ConfigurationError as error:
        return lifeline.refuse(*(f"demo_exchange: {line}" for line in error.lines))
    clock = Clock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    listing = Listing(options.seed)
    lock = threading.Lock()

    def body() -> bytes:
        if fixed:
            return fixed
        with lock:
            return listing.body(int(time.time() * 1000))

    server = serve(options.exchange_port, body, Failures(0 if fixed else FAIL_EVERY))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"pretend exchange on http://127.0.0.1:{server.server_port}{PATH}", flush=True)
    while not clock.stopping():
        clock.wait(STEP_S)
        with lock:
            told = "" if fixed else listing.advance()
        if told:
            print(told, flush=True)
    server.shutdown()
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
