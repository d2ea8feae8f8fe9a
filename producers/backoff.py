"""The only place that says how long to leave the exchange alone after a failure. Pure."""

from __future__ import annotations

from producers.binance import Failure

RATE_LIMIT_S = 120.0
RATE_LIMIT_CAP_S = 1800.0
"""418 bans last from two minutes to three days; half an hour keeps us a polite guest."""
REFUSED_S = 600.0
"""403 and 451 are not cured by asking again."""
FIRST_S = 2.0


def wait_s(failure: Failure, failures_in_a_row: int, refresh_s: float) -> float:
    """Seconds until the next fetch. What the exchange asks for is honoured to the second."""
    doubled = 2.0 ** min(max(failures_in_a_row - 1, 0), 20)
    if failure.kind in ("http_429", "http_418"):
        if failure.retry_after_s is not None:
            return max(failure.retry_after_s, min(refresh_s, FIRST_S))
        return min(RATE_LIMIT_CAP_S, RATE_LIMIT_S * doubled)
    if failure.kind in ("http_403", "http_451"):
        return REFUSED_S
    return min(refresh_s, FIRST_S * doubled)
