"""The only place that speaks HTTP with the exchange. A failed fetch is a value."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import re
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

import requests
import urllib3

from producers.deadline import Deadline, TimeUp
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import UniverseSettings

BASES = {
    "mainnet": "https://fapi.binance.com",
    "testnet": "https://testnet.binancefuture.com",
}
HOSTS = {mode: f"{base}/fapi/v1/exchangeInfo" for mode, base in BASES.items()}
RATE_LIMITED = (418, 429)
REFUSED = (403, 451)
MAX_RETRY_AFTER_S = 3 * 86_400.0
"""The longest ban that Binance tells of; a header that asks for more would park us for ever."""
ENCODINGS = ("", "identity", "gzip")
"""What we ask for. Others could be chained (gzip in gzip in gzip), which multiplies a bomb."""
# requests lets some of these through as they are: a bad CA bundle, an address it cannot encode.
_BROKEN = (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError)
_BANNED_UNTIL = re.compile(rb"until (\d{13})")
_CODE = re.compile(rb'^\s*\{\s*"code"\s*:\s*(-?\d{1,6})\b')


@dataclass(frozen=True, slots=True)
class Body:
    """A 200 answer, unpacked."""

    content: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """No snapshot. ``kind`` is from a closed set, ``retry_after_s`` what the exchange asked for.

    ``code`` is the exchange's own number of the error (-1021, say), None if it told none.
    """

    kind: str
    detail: str
    retry_after_s: float | None = None
    code: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


class Getter:
    """Sends GET requests over one kept connection, each bounded in time and in size.

    ``max_bytes`` (unpacked) is the setting called ``limit``. ``hidden`` are texts that no failure
    may repeat: what answers may be anybody, and may send back what it was sent.
    """

    def __init__(
        self, timeout_s: float, max_bytes: int, limit: str, hidden: tuple[str, ...] = ()
    ) -> None:
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._limit = limit
        self._hidden = tuple(text.encode() for text in hidden if text)
        self._session = requests.Session()
        self._deadline = Deadline()
        self._refusal: Failure | None = None

    def get(
        self, url: str, headers: Mapping[str, str] | None = None, *, opening: bytes = b"{"
    ) -> Body | Failure:
        """The body of a 200 answer that begins with ``opening``; in the main thread only."""
        self._refusal = None
        try:
            with self._deadline.within(self._timeout_s):
                return self._get(url, headers or {}, opening)
        except TimeUp:
            return self._broken(Failure("timeout", f"no whole answer within {self._timeout_s:g} s"))
        except _BROKEN as error:
            detail = f"{type(error).__name__} from {shown(url)}"
            return self._broken(Failure(_kind(error), detail))

    def interrupt(self) -> None:
        """End a request that is under way, and any later one, at once; safe in a signal handler."""
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

    def _get(self, url: str, headers: Mapping[str, str], opening: bytes) -> Body | Failure:
        headers = {"Accept": "application/json", "Accept-Encoding": "gzip", **headers}
        with self._session.get(
            url, headers=headers, timeout=self._timeout_s, stream=True, allow_redirects=False
        ) as response:
            status = response.status_code
            if status != requests.codes.ok:
                # Kept before the body is touched: a body that drips or breaks off must not make a
                # rate limit look like a timeout, which is asked again within seconds.
                self._refusal = self._refused(response, b"")
                return self._refused(response, next(response.iter_content(500), b""))
            encoding = self._masked(response.headers.get("Content-Encoding", "")).strip().lower()
            if encoding not in ENCODINGS:
                self._renew()
                return Failure("not_json", f"content encoding {encoding[:40]!r}, not gzip")
            content = bytearray()
            for chunk in response.iter_content(16_384):
                content += chunk
                if len(content) > self._max_bytes:
                    self._renew()
                    told = f"more than {self._limit}={self._max_bytes} unpacked"
                    return Failure("too_large", told)
        # Hidden in a good body, too: what is odd in a row is repeated in the log.
        body = self._hide(bytes(content))
        if body.lstrip()[:1] != opening:
            kind = self._masked(response.headers.get("Content-Type", "no content type"))[:100]
            begun = f"{kind} beginning with {body[:40]!r}"
            return Failure("not_json", begun, code=_code(body[:500]))
        return Body(body)

    def _refused(self, response: requests.Response, head: bytes) -> Failure:
        status = response.status_code
        if 300 <= status < 400:  # noqa: PLR2004 - the HTTP classes
            target = shown(self._masked(response.headers.get("Location", "")))
            return Failure("redirect", f"HTTP {status} to {target}")
        detail = f"HTTP {status} {self._hide(head)[:120].decode('utf-8', 'replace')!r}"
        code = _code(head)
        if status in RATE_LIMITED:
            return Failure(f"http_{status}", detail, _retry_after_s(response, head), code)
        kind = "http_5xx" if status >= 500 else f"http_{status}"  # noqa: PLR2004 - see above
        return Failure(kind, detail, code=code)

    def _hide(self, content: bytes) -> bytes:
        # Length for length and before any cut, so that no part of a secret is left at its edge.
        for secret in self._hidden:
            content = content.replace(secret, b"*" * len(secret))
        return content

    def _masked(self, text: str) -> str:
        return self._hide(text.encode("utf-8", "replace")).decode("utf-8", "replace")


class ExchangeInfo:
    """Fetches exchangeInfo."""

    def __init__(self, settings: UniverseSettings) -> None:
        self.url = settings.url or HOSTS[settings.mode]
        self._getter = Getter(settings.http_timeout_s, settings.max_bytes, "UNIVERSE_MAX_BYTES")

    def fetch(self) -> Body | Failure:
        """One GET, at most ``HTTP_TIMEOUT_SEC`` seconds in all; in the main thread only."""
        return self._getter.get(self.url)

    def interrupt(self) -> None:
        """End a fetch that is under way, and any later one, at once; safe in a signal handler."""
        self._getter.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._getter.close()


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


def check_url(url: str) -> None:
    """Raise :class:`ConfigurationError` unless ``url`` (UNIVERSE_URL) is empty or can be used."""
    if url and not host(url):
        raise ConfigurationError(
            f"UNIVERSE_URL={shown(url)!r}: is no http(s) address; "
            "write for example https://demo-fapi.binance.com/fapi/v1/exchangeInfo"
        )


def _code(head: bytes) -> int | None:
    found = _CODE.search(head)
    return int(found[1]) if found else None


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
