"""The only place that turns moments into the ledger's text and back: ``2026-01-27T06:15:30Z``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from functools import lru_cache

FORMAT = "%Y-%m-%dT%H:%M:%SZ"

Clock = Callable[[], datetime]
"""Gives the present moment, with its time zone."""


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(timezone.utc)


def text(moment: datetime) -> str:
    """``moment`` in UTC, to the second.

    Raises:
        ValueError: if it has no time zone: which moment it is would depend on the host.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; give one, such as UTC")
    # Not strftime("%Y"): below the year 1000 it leaves out zeros on some systems.
    return moment.astimezone(timezone.utc).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


@lru_cache(maxsize=1024)  # a record names one moment several times, and so do its neighbours
def parse(shown: str) -> datetime:
    """The moment of a text; the way back from ``text``.

    Raises:
        ValueError: if it is not exactly that format.
    """
    moment = datetime.strptime(shown, FORMAT).replace(tzinfo=timezone.utc)
    if text(moment) != shown:
        raise ValueError(f"{shown!r} is no moment such as 2026-01-27T06:15:30Z")
    return moment
