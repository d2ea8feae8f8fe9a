"""The only place where evidence speaks HTTP: one GET, no redirect, no proxy, bounded."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import urllib.parse
from typing import NamedTuple

from quantum_ops.ledger.evidence.finding import one_line
from quantum_ops.ledger.evidence.jobs import Deadline

MOST_BYTES = 1024 * 1024
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_OK = 200
_METADATA = frozenset({"fd00:ec2::254", "100.100.100.200"})
"""Where clouds give credentials, beside the local link."""


class GetError(Exception):
    """There is no body to look at; says why."""


class Body(NamedTuple):
    """What came. ``whole`` is False if there was more of it than a mebibyte."""

    raw: bytes
    whole: bool


def get(url: str, deadline: Deadline) -> Body:
    """The body that ``url`` answers with, if it is a 200.

    The environment's proxies are not used and no redirect is followed: what is recorded is what
    this very address says. Addresses of the local link are refused; clouds give their machines'
    credentials there.

    Raises:
        GetError: for anything else, in words.
    """
    parts, host, port = _split(url)
    line = _Line(deadline)
    connection = _connection(parts, host, port, line)
    timer = threading.Timer(deadline.left(), line.cut)
    timer.daemon = True
    timer.start()
    try:
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", path, headers=_headers(parts))
        with connection.getresponse() as response:
            return _body(response, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if deadline.passed:
            raise GetError("no whole answer in time") from error
        raise GetError(one_line(error) or repr(error)) from error
    finally:
        timer.cancel()
        connection.close()
        line.close()


def _body(response: http.client.HTTPResponse, deadline: Deadline) -> Body:
    if response.status != _OK:
        where = response.headers.get("Location", "")
        to = f", to {one_line(where, 100)}, which is not followed" if where else ""
        raise GetError(f"HTTP {response.status}{to}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise GetError("it is compressed, which was not asked for")
    raw = response.read(MOST_BYTES + 1)
    if deadline.passed:
        raise GetError("no whole answer in time")
    # Asked for so many bytes, http.client does not tell that there were to be more.
    if response.length and len(raw) <= MOST_BYTES:
        raise GetError(f"its answer ends {response.length} bytes too early")
    return Body(raw[:MOST_BYTES], len(raw) <= MOST_BYTES)


def _split(url: str) -> tuple[urllib.parse.SplitResult, str, int]:
    if _CONTROL.search(url):
        raise GetError("no address: it has blanks or control characters in it")
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"}:
            raise GetError("no address of http or https")
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise GetError(f"no address ({error})") from None
    if not host:
        raise GetError("no address: it names no host")
    return parts, host, port or (443 if parts.scheme == "https" else 80)


def _connection(
    parts: urllib.parse.SplitResult, host: str, port: int, line: _Line
) -> http.client.HTTPConnection:
    made: http.client.HTTPConnection
    if parts.scheme == "https":
        made = http.client.HTTPSConnection(host, port, context=ssl.create_default_context())
    else:
        made = http.client.HTTPConnection(host, port)

    # The only way in that is there in every version; http.client itself uses it so.
    made._create_connection = line.open  # type: ignore[attr-defined] # noqa: SLF001
    return made


class _Line:
    """The socket of one GET, kept by us: http.client gives it away once the answer begins."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._socket: socket.socket | None = None

    def open(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the first of the host's addresses that takes a connection."""
        error: OSError | None = None
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        for family, kind, protocol, _name, where in found:
            if _gives_credentials(str(where[0])):
                raise GetError(f"{where[0]} is an address of the local link, which is not asked")
            made = socket.socket(family, kind, protocol)
            try:
                made.settimeout(self._deadline.left())
                made.connect(where)
            except OSError as failure:
                made.close()
                error = failure
            else:
                # A second handle of the same connection: closing the first does not end this one.
                self._socket = made.dup()
                return made
        raise error or OSError("the host has no address")

    def cut(self) -> None:
        """End what drips: a timeout of the socket begins anew with each byte."""
        with contextlib.suppress(OSError):
            if self._socket:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection up."""
        if self._socket:
            self._socket.close()


def _gives_credentials(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_link_local or str(found) in _METADATA


def _headers(parts: urllib.parse.SplitResult) -> dict[str, str]:
    found = {"Accept": "text/plain, */*;q=0.1", "User-Agent": "quantum-ops-ledger"}
    if parts.username is not None:
        login = f"{parts.username}:{parts.password or ''}"
        encoded = base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode("ascii")
        found["Authorization"] = f"Basic {encoded}"
    return found
