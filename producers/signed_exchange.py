"""The only place that sends signed requests to the exchange, by the exchange's own clock."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Annotated

import msgspec

from producers.binance import BASES, Body, Failure, Getter, host, shown
from producers.credentials import Credentials
from quantum_ops.clock import Clock
from quantum_ops.errors import ConfigurationError
from quantum_ops.settings import PositionsSettings

CLOCK_EVERY_S = 1800.0
"""Seconds after which the exchange's clock is looked at again: ours may drift."""
WRONG_TIME = -1021
REFUSED_CODES = (-2014, -2015, -1022)
"""Key of a bad format; key, address or right refused; wrong signature. Asking again cures none."""
_LOCAL = ("127.0.0.1", "localhost", "::1")


class _Time(msgspec.Struct):
    server_time: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = msgspec.field(name="serverTime")


_time = msgspec.json.Decoder(_Time)


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, and the second (since 1970, by our clock) *before* its request was sent.

    What the body says was true then or later, so an age counted from it is never understated.
    """

    content: bytes
    asked_s: float


class SignedExchange:
    """Asks for the account's positions: all symbols in one request."""

    def __init__(self, settings: PositionsSettings, credentials: Credentials, clock: Clock) -> None:
        self.base = base(settings)
        self._settings = settings
        self._credentials = credentials
        self._clock = clock
        self._getter = Getter(
            settings.http_timeout_s,
            settings.max_bytes,
            "POSITIONS_MAX_BYTES",
            (credentials.key, credentials.secret),
        )
        self._offset_ms: float | None = None
        self._clock_due_s = 0.0  # on the monotonic clock

    def synchronise(self) -> Failure | None:
        """Look at the exchange's clock if that is due; the failure if that did not work."""
        if self._offset_ms is not None and self._clock.monotonic_s() < self._clock_due_s:
            return None
        before_s = self._clock.now_s()
        got = self._getter.get(f"{self.base}/fapi/v1/time")
        if isinstance(got, Failure):
            return got
        # The answer was made somewhere between the two readings: half the way is the best guess.
        middle_ms = (before_s + self._clock.now_s()) * 500
        try:
            server_ms = _time.decode(got.content).server_time
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return Failure("not_time", str(error)[:200])
        self._offset_ms = server_ms - middle_ms
        self._clock_due_s = self._clock.monotonic_s() + CLOCK_EVERY_S
        return None

    def fetch(self) -> Answer | Failure:
        """One signed GET of positionRisk; the clock MUST have been looked at before."""
        asked_s = self._clock.now_s()
        stamp = int(asked_s * 1000 + (self._offset_ms or 0.0))
        query = f"recvWindow={self._settings.recv_window_ms}&timestamp={stamp}"
        url = f"{self.base}/fapi/v2/positionRisk?{self._credentials.sign(query)}"
        headers = {"X-MBX-APIKEY": self._credentials.key}
        got = self._getter.get(url, headers, opening=b"[")
        if isinstance(got, Body):
            return Answer(got.content, asked_s)
        if got.code == WRONG_TIME:
            self._offset_ms = None
        return got

    def interrupt(self) -> None:
        """End a request that is under way, and any later one, at once; safe in a signal handler."""
        self._getter.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._getter.close()


def base(settings: PositionsSettings) -> str:
    """The base address that the settings mean, without a slash at its end.

    Raises :class:`ConfigurationError` for one that is no base address, or that would send the API
    key through a network in the clear.
    """
    url = settings.url.rstrip("/")
    if not url:
        return BASES[settings.mode or settings.universe_mode]
    cure = "write for example https://demo-fapi.binance.com"
    if not host(url):
        raise ConfigurationError(f"POSITIONS_URL={shown(url)!r}: is no http(s) address; {cure}")
    parts = urllib.parse.urlsplit(url)
    if parts.query or parts.fragment or "/fapi" in parts.path or "@" in parts.netloc:
        raise ConfigurationError(f"POSITIONS_URL={shown(url)!r}: is no base address; {cure}")
    if parts.scheme != "https" and parts.hostname not in _LOCAL:
        raise ConfigurationError(
            f"POSITIONS_URL={shown(url)!r}: would send the API key in the clear; {cure}"
        )
    return url
