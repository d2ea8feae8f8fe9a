"""The only place that speaks HTTP with the exchange. A failed fetch is a value."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import re
import time
import urllib.parse
from dataclasses import dataclass

import requests
import urllib3

from producers.deadline import Deadline, TimeUp
from quantum_ops.settings import UniverseSettings

HOSTS = {
    "mainnet": "https://fapi.binance.com/fapi/v1/exchangeInfo",
    "testnet": "https://testnet.binancefuture.com/fapi/v1/exchangeInfo",
}
RATE_LIMITED = (418, 429)
REFUSED = (403, 451)
MAX_RETRY_AFTER_S = 3 * 86_400.0
"""The longest ban that Binance tells of; a header that asks for more would park us for ever."""
ENCODINGS = ("", "identity", "gzip")
"""What we ask for. Others could be chained (gzip in gzip in gzip), which multiplies a bomb."""
# requests lets some of these through as they are: a bad CA bundle, an address it cannot encode.
_BROKEN = (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError)
_BANNED_UNTIL = re.compile(rb"until (\d{13})")


@dataclass(frozen=True, slots=True)
class Body:
    """A 200 answer, unpacked."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """No snapshot. ``kind`` is from a closed set, ``retry_after_s`` what the exchange asked for."""

    kind: str
    detail: str
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


class ExchangeInfo:
    """Fetches exchangeInfo over one kept connection."""

    def __init__(self, settings: UniverseSettings) -> None:
        self._settings = settings
        self.url = settings.url or HOSTS[settings.mode]
        self._session = requests.Session()
        self._deadline = Deadline()
        self._refusal: Failure | None = None

    def fetch(self) -> Body | Failure:
        """One GET, at most ``HTTP_TIMEOUT_SEC`` seconds in all; in the main thread only."""
        self._refusal = None
        try:
            with self._deadline.within(self._settings.http_timeout_s):
                return self._get()
        except TimeUp:
            limit = f"{self._settings.http_timeout_s:g}"
            return self._broken(Failure("timeout", f"no whole answer within {limit} s"))
        except _BROKEN as error:
            detail = f"{type(error).__name__} from {shown(self.url)}"
            return self._broken(Failure(_kind(error), detail))

    def interrupt(self) -> None:
        """End a fetch that is under way, and any later one, at once; safe in a signal handler."""
        self._deadline.cut()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _broken(self, failure: Failure) -> Failure:
        # The connection is in an unknown state: half a body may still be on its way.
        self._renew()
        return self._refusal or failure

    def _renew(self) -> None:
        self._session.close()
        self._session = requests.Session()

    def _get(self) -> Body | Failure:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
        timeout = self._settings.http_timeout_s
        with self._session.get(
            self.url, headers=headers, timeout=timeout, stream=True, allow_redirects=False
        ) as response:
            status = response.status_code
            if status != requests.codes.ok:
                # Kept before the body is touched: a body that drips or breaks off must not make a
                # rate limit look like a timeout, which is asked again within seconds.
                self._refusal = _refused(response, b"")
                return _refused(response, next(response.iter_content(500), b""))
            encoding = response.headers.get("Content-Encoding", "").strip().lower()
            if encoding not in ENCODINGS:
                self._renew()
                return Failure("not_json", f"content encoding {encoding[:40]!r}, not gzip")
            content = bytearray()
            for chunk in response.iter_content(16_384):
                content += chunk
                if len(content) > self._settings.max_bytes:
                    self._renew()
                    limit = self._settings.max_bytes
                    return Failure("too_large", f"more than UNIVERSE_MAX_BYTES={limit} unpacked")
        if content.lstrip()[:1] != b"{":
            kind = response.headers.get("Content-Type", "no content type")
            return Failure("not_json", f"{kind} beginning with {bytes(content[:40])!r}")
        return Body(bytes(content))


def shown(url: str) -> str:
    """``url`` without login and query, fit for logs."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "(an address that cannot be read)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]


def host(url: str) -> str:
    """``host`` or ``host:port`` of ``url``; empty if it is no http(s) address that can be used."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    return parts.hostname if port is None else f"{parts.hostname}:{port}"


def _refused(response: requests.Response, head: bytes) -> Failure:
    status = response.status_code
    if 300 <= status < 400:  # noqa: PLR2004 - the HTTP classes
        return Failure(
            "redirect", f"HTTP {status} to {shown(response.headers.get('Location', ''))}"
        )
    detail = f"HTTP {status} {head[:120].decode('utf-8', 'replace')!r}"
    if status in RATE_LIMITED:
        return Failure(f"http_{status}", detail, _retry_after_s(response, head))
    return Failure("http_5xx" if status >= 500 else f"http_{status}", detail)  # noqa: PLR2004 - see above


def _retry_after_s(response: requests.Response, head: bytes) -> float | None:
    """Seconds that the exchange asks for, at most ``MAX_RETRY_AFTER_S``; None if it does not."""
    asked: float | None = None
    text = response.headers.get("Retry-After", "").strip()
    banned = _BANNED_UNTIL.search(head)
    if text.isdecimal():
        asked = float(text)
    elif text:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            asked = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    if asked is None and banned:
        asked = int(banned[1]) / 1000 - time.time()
    return None if asked is None else min(max(0.0, asked), MAX_RETRY_AFTER_S)


def _kind(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "timeout"
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "not_json"
    return "connection"
