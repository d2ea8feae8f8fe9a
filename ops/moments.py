"""The only place that reads a time as an operator types it: a day, a moment, ``7d`` ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"-?([0-9]{1,6})([smhdw])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UNIT = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_WRITE = "write 90m, 24h, 7d (ago), 2026-11-24 or 2026-11-24T08:00:00Z"


def since(text: str, now: datetime) -> datetime:
    """The first moment that counts: the start of a day (UTC), or the moment itself.

    Raises:
        ValueError: if ``text`` is no moment; it says what to write.
    """
    return _read(text, now)[0]


def before(text: str, now: datetime) -> datetime:
    """The first moment that counts no more, ``text`` being the last that does: a day as a whole.

    Raises:
        ValueError: as ``since``.
    """
    return _read(text, now)[1]


def _read(text: str, now: datetime) -> tuple[datetime, datetime]:
    """The moment in UTC, and the first one after it."""
    ago = _AGO.fullmatch(text)
    try:
        moment = now - int(ago[1]) * _UNIT[ago[2]] if ago else datetime.fromisoformat(text)
        lasts = timedelta(days=1) if _DAY.fullmatch(text) else timedelta(microseconds=1)
        # Without a zone it is UTC, as everything that is shown.
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment, moment + lasts
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; {_WRITE}") from None
