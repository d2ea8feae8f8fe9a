"""The only place where tests play the exchange: a local HTTP server that answers as it is told."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SIX = ["AAAUSDT", "BBBUSDT", "BTCUSDT", "CCCUSDT", "DDDUSDT", "ETHUSDT"]
"""What the exchange of the `exchange` fixture lists until a story says otherwise."""

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "exchange_info"


def recorded(name: str) -> bytes:
    """A recorded body, or a skip where the recordings are not beside the checkout."""
    path = RECORDED / f"{name}.json.gz"
    if not path.exists():
        pytest.skip(f"no recorded exchange responses beside the checkout ({path.name})")
    return gzip.decompress(path.read_bytes())


def row(symbol: str, **fields: Any) -> dict[str, Any]:
    """One honest row of exchangeInfo; ``fields`` overrides."""
    filters = [
        {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "1000"},
        {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "0.1", "maxPrice": "9"},
        {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.01", "minQty": "0.01"},
        {"filterType": "MIN_NOTIONAL", "notional": "5"},
    ]
    return {
        "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "status": "TRADING",
        "deliveryDate": 4133404800000, "onboardDate": 1569398400000, "filters": filters,
        "pricePrecision": 2, "quantityPrecision": 3, **fields,
    }  # fmt: skip


def body(*rows: Any, weight: int = 6000, server_time: int = 1) -> bytes:
    """An exchangeInfo body of these rows (symbols as text make honest rows)."""
    made = [row(one) if isinstance(one, str) else one for one in rows]
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
    return json.dumps(
        {"serverTime": server_time, "rateLimits": [{**limit, "limit": weight}], "symbols": made}
    ).encode()


Respond = Callable[[BaseHTTPRequestHandler], None]


def answer(content: bytes, status: int = 200, **headers: str) -> Respond:
    """A response with these headers (``Retry_After`` stands for ``Retry-After``)."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        sent = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in sent.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return respond


def drip(content: bytes, every_s: float, *, headers: bool) -> Respond:
    """A byte at a time, from the first header on or from the body on."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        slow = head + content if headers else content
        if not headers:
            handler.wfile.write(head)
        for byte in slow:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(every_s)  # the drip itself

    return respond


class Exchange:
    """Serves ``respond`` on 127.0.0.1; change it at any time. ``seen`` counts the requests."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.seen = 0
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                exchange.seen += 1
                try:
                    exchange.respond(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_args: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_args: object) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/fapi/v1/exchangeInfo"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
