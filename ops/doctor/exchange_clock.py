"""The only place that asks the exchange what time it is, for the doctor."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request

from quantum_ops.settings import UniverseSettings

_HOSTS = {"mainnet": "https://fapi.binance.com", "testnet": "https://testnet.binancefuture.com"}
_TIMEOUT_S = 5.0
_MAX_BYTES = 1000


def skew_ms(settings: UniverseSettings) -> tuple[float | None, str]:
    """Our clock less the exchange's, in ms, and "", or None and why it told none."""
    parts = urllib.parse.urlsplit(settings.url)
    base = f"{parts.scheme}://{parts.netloc}" if settings.url else _HOSTS[settings.mode]
    if urllib.parse.urlsplit(base).scheme not in {"http", "https"}:
        return None, f"UNIVERSE_URL={settings.url!r} is no web address"
    before_s = time.time()
    try:
        with urllib.request.urlopen(f"{base}/fapi/v1/time", timeout=_TIMEOUT_S) as reply:  # noqa: S310 - judged above
            told_ms = json.loads(reply.read(_MAX_BYTES))["serverTime"]
    except (OSError, ValueError, KeyError, TypeError, urllib.error.URLError) as error:
        return None, f"{base}: {error}"
    if not isinstance(told_ms, int):
        return None, f"{base}: serverTime is {told_ms!r}"
    return (before_s + time.time()) * 500 - told_ms, ""
