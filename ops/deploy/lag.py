"""The only place that judges whether a consumer keeps up after its deploy. Decides without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis
import walrus

from quantum_ops import client, streams

CAP = 2_000
"""Entries counted at most; above it the exact number decides nothing."""
Id = tuple[int, int]
NONE_LEFT: Id = (2**64, 0)
"""Above every id."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a group had still to do in one stream.

    ``newest`` is the id of the newest entry that the stream ever had, ``first`` that of the first
    entry that is not done, delivered or not; ``NONE_LEFT`` if all are.
    """

    stream: str
    newest: Id
    first: Id
    waiting: int
    """Entries not delivered, ``CAP`` if that many or more."""
    pending: int
    """Entries delivered and not acknowledged."""

    @property
    def left(self) -> int:
        """Entries that are not done."""
        return self.waiting + self.pending

    def __str__(self) -> str:
        more = " or more" if self.waiting >= CAP else ""
        return f"{self.stream}: {self.waiting}{more} undelivered, {self.pending} unacknowledged"


def keeps_up(at_ready: Backlog, now: Backlog) -> bool:
    """Whether what stood there when the release became ready is done, or becomes less.

    Not the lag alone: on a busy stream it is never 0, and one look at it proves nothing.
    """
    if now.left == 0 or now.first > at_ready.newest:
        return True
    return now.first > at_ready.first and now.left <= at_ready.left


def look(db: walrus.Database, group: str) -> list[Backlog]:
    """The backlog of ``group`` in each stream that it reads. Raises what the client raises.

    Counted, not taken from XINFO: its lag is wrong after a trim on some servers.
    """
    return [
        _backlog(db, stream, group, told)
        for stream in streams.CATALOGUE
        for told in _groups(db, stream.key)
        if told["name"] == group.encode()
    ]


def newest(db: walrus.Database, stream: streams.Stream) -> Id:
    """The id of the newest entry that ``stream`` ever had; (0, 0) if there is no stream."""
    try:
        told: Any = db.xinfo_stream(stream.key)
    except redis.ResponseError as error:
        client.refuse_or_raise(error)
        if "no such key" in str(error):
            return (0, 0)
        raise
    return parsed(told["last-generated-id"])


def shown(which: Id) -> str:
    """An id as Redis writes it."""
    return f"{which[0]}-{which[1]}"


def _groups(db: walrus.Database, key: str) -> list[Any]:
    try:
        return list(db.xinfo_groups(key))
    except redis.ResponseError as error:
        client.refuse_or_raise(error)
        if "no such key" in str(error):
            return []
        raise


def _backlog(db: walrus.Database, stream: streams.Stream, group: str, told: Any) -> Backlog:
    delivered = parsed(told["last-delivered-id"])
    waiting = db.xrange(stream.key, f"({shown(delivered)}", "+", count=CAP)
    pending = int(told["pending"])
    first = parsed(waiting[0][0]) if waiting else NONE_LEFT
    if pending:
        summary: Any = db.xpending(stream.key, group)
        if summary["pending"]:
            first = min(first, parsed(summary["min"]))
    return Backlog(stream.name, newest(db, stream), first, len(waiting), pending)


def parsed(text: bytes | str) -> Id:
    """An id as Redis writes it, in its two parts."""
    raw = text.decode() if isinstance(text, bytes) else text
    ms, _, seq = raw.partition("-")
    return int(ms), int(seq or 0)
