"""The only place that speaks HTTP with the exchange. A failed fetch is a value."""

from __future__ import annotations

import contextlib
import email.utils
import re
import signal
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

import requests

from quantum_ops.settings import UniverseSettings

HOSTS = {
    "mainnet": "https://fapi.binance.com/fapi/v1/exchangeInfo",
    "testnet": "https://testnet.binancefuture.com/fapi/v1/exchangeInfo",
}
RATE_LIMITED = (418, 429)
REFUSED = (403, 451)
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

    def fetch(self) -> Body | Failure:
        """One GET, at most ``HTTP_TIMEOUT_SEC`` seconds in all; in the main thread only."""
        try:
            with _deadline(self._settings.http_timeout_s):
                return self._get()
        except _DeadlineError:
            # The connection is in an unknown state: half a body may still be on its way.
            self._renew()
            return Failure("timeout", f"no whole answer within {self._settings.http_timeout_s:g} s")
        except requests.RequestException as error:
            self._renew()
            return Failure(_kind(error), f"{type(error).__name__} from {shown(self.url)}")

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

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
                return _refused(response)
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
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _refused(response: requests.Response) -> Failure:
    status = response.status_code
    if 300 <= status < 400:  # noqa: PLR2004 - the HTTP classes
        return Failure(
            "redirect", f"HTTP {status} to {shown(response.headers.get('Location', ''))}"
        )
    head = next(response.iter_content(500), b"")
    detail = f"HTTP {status} {head[:120].decode('utf-8', 'replace')!r}"
    if status in RATE_LIMITED:
        return Failure(f"http_{status}", detail, _retry_after_s(response, head))
    return Failure("http_5xx" if status >= 500 else f"http_{status}", detail)  # noqa: PLR2004 - see above


def _retry_after_s(response: requests.Response, head: bytes) -> float | None:
    text = response.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    if text:
        with contextlib.suppress(ValueError, TypeError):
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    banned = _BANNED_UNTIL.search(head)
    return max(0.0, int(banned[1]) / 1000 - time.time()) if banned else None


def _kind(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "timeout"
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "not_json"
    return "connection"


class _DeadlineError(BaseException):
    """Not an Exception: no ``except Exception`` on the way up may swallow it."""


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise :class:`_DeadlineError` inside the block after ``seconds``.

    A read timeout bounds one read; a server that drips a byte a second never trips it. An alarm in
    the main thread interrupts whatever is being waited for, headers and name look-up included.
    """
    armed = True

    def ring(*_: object) -> None:
        if armed:
            raise _DeadlineError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        # Repeating: should one alarm be swallowed inside a destructor, the next one is not.
        signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
        try:
            yield
        finally:
            armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
