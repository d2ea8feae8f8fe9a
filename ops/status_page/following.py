"""The only place where the page follows a stream: it reads what is new, a bounded piece a look."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import walrus

from ops.status_page.picture import Decided
from quantum_ops import client, codec
from quantum_ops.entry_id import ZERO, parse
from quantum_ops.errors import DecodeError, QuantumError
from quantum_ops.events import PermitDecided
from quantum_ops.lag_reading import newest
from quantum_ops.publisher import run_script
from quantum_ops.scripts import Script
from quantum_ops.streams import PERMIT_DECIDED, Stream

PAGE, PAGES = 200, 100
"""Entries of one read (each may have 256 KiB), and reads of one look; the rest waits."""
MOST = 500
"""Open ones that are followed. More than these are told as that many and more."""
WINDOW_MIN = 60
MAX_KINDS = 60
"""Kinds of decisions that are told apart; later ones are ``other``, so that nobody can flood it."""
OTHER = "other"
T = TypeVar("T")

HELD = Script("""
-- KEYS: stream. ARGV: entry ids. Those of them that the stream still holds.
local held = {}
for _, id in ipairs(ARGV) do
  if #redis.call('XRANGE', KEYS[1], id, id) > 0 then held[#held + 1] = id end
end
return held
""")


class NotYetError(QuantumError):
    """What was said before the page started is still being read. Next: wait a few looks."""


class Cursor:
    """A place in a stream, from which on each entry is given once."""

    def __init__(self, db: walrus.Database, stream: Stream) -> None:
        self._db = db
        self._stream = stream
        self._after: bytes = ZERO
        self._reached = (0, 0)
        self._read = 0

    def is_of_another(self) -> bool:
        """Whether another stream is in its place: the newest id it ever had lies before ours."""
        return newest(self._db, self._stream) < self._reached

    def skip_to(self, millisecond: int) -> None:
        """Go on from that moment (epoch ms) at the earliest."""
        if parse(self._after) < (millisecond, 0):
            self._after = b"%d-0" % millisecond

    def pages(self) -> Iterator[list[Any]]:
        """What came, (id, flat fields) by the page; NotYetError if more is left after that."""
        for _ in range(PAGES):
            rows: list[Any] = client.raw(
                self._db, "XRANGE", self._stream.key, b"(" + self._after, "+", "COUNT", PAGE
            )
            if rows:
                yield rows
                self._after = rows[-1][0]
                self._reached = parse(self._after)
                self._read += len(rows)
            if len(rows) < PAGE:
                return
        raise NotYetError(f"still reading what was said before: {self._read} entries so far")


class Standing(Generic[T]):
    """The entries of a stream that nobody has settled. ``read`` gives None for all others."""

    def __init__(
        self,
        db: walrus.Database,
        stream: Stream,
        settled_key: str,
        read: Callable[[bytes, list[bytes]], T | None],
    ) -> None:
        self._db = db
        self._stream = stream
        self._settled_key = settled_key
        self._read = read
        self._begin()

    def _begin(self) -> None:
        self._cursor = Cursor(self._db, self._stream)
        self._open: dict[bytes, T] = {}
        self._more = False

    def look(self) -> tuple[dict[bytes, T], bool]:
        """All that are open, oldest first, and whether there are more than these.

        Raises :class:`NotYetError` before all of the stream was read, and what the client raises.
        """
        if self._cursor.is_of_another():
            self._begin()
        for rows in self._cursor.pages():
            self._take(rows)
        self._drop_settled()
        if self._more and len(self._open) < MOST:
            # Some were settled: there is room again for those that were left out.
            self._begin()
            raise NotYetError("reading it all once more: there were too many open ones")
        return dict(self._open), self._more

    def _take(self, rows: list[Any]) -> None:
        found = {id_: value for id_, flat in rows if (value := self._read(id_, flat)) is not None}
        if not found:
            return
        notes = self._db.hmget(self._settled_key, list(found))
        for (id_, value), note in zip(found.items(), notes, strict=True):
            if note is None and len(self._open) < MOST:
                self._open[id_] = value
            elif note is None:
                self._more = True

    def _drop_settled(self) -> None:
        """Forget what somebody settled, and what is no longer in the stream."""
        ids = list(self._open)
        if not ids:
            return
        notes = self._db.hmget(self._settled_key, ids)
        held = set(run_script(self._db, HELD, [self._stream.key], ids))
        for id_, note in zip(ids, notes, strict=True):
            if note is not None or id_ not in held:
                del self._open[id_]


class Decisions:
    """What gates decided in the last hour, counted by the minute."""

    def __init__(self, db: walrus.Database) -> None:
        self._db = db
        self._cursor = Cursor(db, PERMIT_DECIDED)
        self._decode = codec.decoder(PermitDecided)
        self._minutes: deque[tuple[int, Counter[tuple[str, bool, str]]]] = deque()

    def look(self) -> tuple[Decided, ...]:
        """The counts, greatest first. Raises :class:`NotYetError` and what the client raises."""
        seconds, _ = self._db.time()
        oldest = seconds // 60 - WINDOW_MIN + 1
        if self._cursor.is_of_another():
            self._cursor = Cursor(self._db, PERMIT_DECIDED)
            self._minutes.clear()
        self._cursor.skip_to(oldest * 60_000)
        while self._minutes and self._minutes[0][0] < oldest:
            self._minutes.popleft()
        for rows in self._cursor.pages():
            for id_, flat in rows:
                self._count(parse(id_)[0] // 60_000, flat)
        total: Counter[tuple[str, bool, str]] = Counter()
        for _, counts in self._minutes:
            total.update(counts)
        kinds = sorted(total.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Decided(*kind, count) for kind, count in kinds)

    def _count(self, minute: int, flat: list[bytes]) -> None:
        try:
            event = self._decode(flat)
        except DecodeError:
            return  # written by a stranger: no gate's word
        if not self._minutes or self._minutes[-1][0] < minute:
            self._minutes.append((minute, Counter()))
        counts = self._minutes[-1][1]
        kind = (event.gate, event.allow, event.reason)
        if kind not in counts and len(counts) >= MAX_KINDS:
            kind = (OTHER, event.allow, OTHER)
        counts[kind] += 1
