"""The only place that words lag and pending entries: as rows of a table, as JSON."""

from __future__ import annotations

from typing import Any

from ops.output import duration
from quantum_ops import entry_id, streams
from quantum_ops.lag import Id, Lag
from quantum_ops.pending import Held

LAG_HEAD = ("STREAM", "GROUP", "LAG>", "BEHIND>", "PENDING>", "OLDEST>", "CONSUMERS>", "LOST>")
PENDING_HEAD = ("STREAM", "GROUP", "ENTRY", "CONSUMER", "HELD>", "DELIVERIES>", "AGE>")


def lag_row(one: Lag, *, over: bool) -> tuple[str, ...]:
    """Cells of ``LAG_HEAD``, and what they mean. A number that is not known is ``?``, never 0."""
    meaning = "bad" if over else ("warn" if one.entries is None or one.lost else "")
    return (
        streams.short(one.stream),
        one.group,
        entries(one),
        duration(one.behind_s),
        str(one.pending),
        duration(one.pending_s) if one.pending else "-",
        str(one.consumers),
        "?" if one.lost is None else str(one.lost),
        meaning,
    )


def entries(one: Lag) -> str:
    """The number of entries, as surely as it is known: 12, >=10000, ?."""
    if one.entries is None:
        return "?"
    return f">={one.entries}" if one.exactness == "atleast" else str(one.entries)


def lag_object(one: Lag) -> dict[str, Any]:
    """What ``-F json`` shows. ``lag`` and ``how`` are null where nothing true can be said."""
    return {
        "stream": streams.short(one.stream),
        "group": one.group,
        "lag": one.entries,
        "how": one.exactness,
        "lag_s": one.seconds,
        "behind_s": one.behind_s,
        "pending": one.pending,
        "oldest_pending_s": one.pending_s,
        "consumers": one.consumers,
        "lost": one.lost,
        "last_delivered": _text(one.delivered),
        "first_undelivered": _text(one.waiting),
        "first_pending": _text(one.held),
    }


def pending_row(one: Held) -> tuple[str, ...]:
    """Cells of ``PENDING_HEAD``, and what they mean."""
    return (
        streams.short(one.stream),
        one.group,
        entry_id.text(one.id),
        one.consumer,
        duration(one.idle_s),
        str(one.deliveries),
        duration(one.age_s),
        "warn" if one.deliveries > 1 else "",
    )


def pending_object(one: Held) -> dict[str, Any]:
    """What ``-F json`` shows."""
    return {
        "stream": streams.short(one.stream),
        "group": one.group,
        "id": entry_id.text(one.id),
        "consumer": one.consumer,
        "held_s": one.idle_s,
        "deliveries": one.deliveries,
        "age_s": one.age_s,
    }


def _text(which: Id | None) -> str | None:
    return None if which is None else entry_id.text(which)
