"""The only place that reads where a replay begins and ends, as an operator types it. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from quantum_ops import entry_id
from quantum_ops.history.blocks import FIRST, LAST, Key
from quantum_ops.history.reader import from_ms, until_ms

_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_LAST = re.compile(r"-([0-9]{1,9})")
_AGO = re.compile(r"-([0-9]{1,9})([smhdw])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_MAX = (1 << 64) - 1
WRITE = "write start, end, an id (1769494530123-0), -10, -1h or @2026-01-27T06:15Z"


class Offset(NamedTuple):
    """``start``, ``end``, ``id`` (``key``), ``last`` (so many ``entries``), ``moment`` (``ms``)."""

    kind: Literal["start", "end", "id", "last", "moment"]
    key: Key = FIRST
    entries: int = 0
    ms: int = 0


def parse(text: str, now_ms: int) -> Offset:
    """What ``text`` means; raises ``ValueError`` that says what to write."""
    if text in ("start", "end"):
        return Offset("start" if text == "start" else "end")
    found = _ID.fullmatch(text)
    if found:
        key = entry_id.parse(text)
        if max(key) > _MAX:
            raise ValueError(f"{text!r} is no id: a part is above 2^64-1; {WRITE}")
        return Offset("id", key)
    found = _LAST.fullmatch(text)
    if found:
        return Offset("last", entries=int(found[1]))
    found = _AGO.fullmatch(text)
    if found:
        return Offset("moment", ms=max(0, now_ms - int(found[1]) * _UNIT_MS[found[2]]))
    if text.startswith("@"):
        return Offset("moment", ms=_moment(text))
    raise ValueError(f"{text!r} is no offset; {WRITE}")


def is_one(text: str) -> bool:
    """Whether ``text`` could be an offset, right or wrong: it begins as one."""
    return text in ("start", "end") or text[:1] in ("-", "@") or bool(_ID.fullmatch(text))


def first(offset: Offset) -> Key:
    """The lowest id that is replayed. Not for ``last``, which only a source can tell."""
    if offset.kind == "id":
        return offset.key
    if offset.kind == "moment":
        return from_ms(offset.ms)
    return LAST if offset.kind == "end" else FIRST


def last(offset: Offset) -> Key:
    """The highest id that is replayed; a moment is taken in whole."""
    if offset.kind == "id":
        return offset.key
    if offset.kind == "moment":
        return until_ms(offset.ms)
    return FIRST if offset.kind == "start" else LAST


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text[1:])
        # Without a zone it is UTC, as everything that is shown.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no moment; {WRITE}") from None
