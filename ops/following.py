"""The only place that follows streams as they grow: in the order of ids, each entry once.

MUST never give an entry twice, nor leave one out that is still there when its turn comes, whatever
happens to the server: it restarts, loses its last second, is emptied, restored or trimmed. What
became of a stream meanwhile is told through ``note``.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

import redis
import walrus

from quantum_ops import client, entry_id, lag_reading, streams
from quantum_ops.lag import Id, StreamSight

BLOCK_MS = 300
"""Longest wait for news, and between two looks at what became of the streams."""
COUNT = 500
PAUSE_S = 0.3
MEMORY = 10_000
"""Entries of each stream that are known again after the stream was put back in time."""
SEED = 100
START: Id = (0, 0)
_UNKNOWN = -1


class Told(NamedTuple):
    """One entry: the stream's key, its id, its names and values in turn."""

    stream: str
    id: Id
    flat: list[bytes]


@dataclass
class _Place:
    """Where reading stands in one stream."""

    after: Id
    looked: Id = START
    """Where it stood at the last look."""
    sight: StreamSight | None = None
    was_there: bool = False
    count: int = _UNKNOWN
    """Entries that the stream ever had up to ``after``."""
    known: OrderedDict[Id, bytes] = field(default_factory=OrderedDict)

    def take(self, id_: Id, flat: list[bytes]) -> bool:
        """Go on to that entry; False if it was given before."""
        self.after = max(self.after, id_)
        if self.count != _UNKNOWN:
            self.count += 1
        mark = _mark(flat)
        if self.known.get(id_) == mark:
            return False
        self.known[id_] = mark
        if len(self.known) > MEMORY:
            self.known.popitem(last=False)
        return True


class Follower:
    """Entries of ``after`` (stream key -> last id that is not wanted), as they come.

    ``note`` is told in a line what a reader should know. :meth:`batch` never blocks for longer
    than about half a second and gives what is there, in the order of ids over all streams.
    """

    def __init__(
        self, db: walrus.Database, after: Mapping[str, Id], note: Callable[[str], None],
        *, sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        self._db = db
        self._places = {key: _Place(id_, looked=id_) for key, id_ in after.items()}
        self._note = note
        self._sleep = sleep
        self._is_away = False
        self._is_seeded = False
        self._looked_s = float("-inf")
        self._waiting: list[Told] = []
        self._found = False

    def batch(self) -> list[Told]:
        """What came since; empty if nothing did or the server is away. Raises for a refusal."""
        try:
            if not self._is_seeded:
                self._seed()
            # First: an emptied stream is read from its start, not from where it once ended.
            if time.monotonic() >= self._looked_s + BLOCK_MS / 1000:
                self._look_around()
            rows = self._read()
        except Exception as error:
            if not client.is_passing(error):
                raise
            if not self._is_away:
                self._note(f"Redis is away ({error}); waiting for it")
            self._is_away = True
            self._looked_s = float("-inf")
            self._sleep(PAUSE_S)
            return []
        if self._is_away:
            self._note("Redis is back")
        self._is_away = False
        self._found = bool(rows)
        return self._in_order(rows)

    @property
    def is_at_end(self) -> bool:
        """Whether the last batch found nothing that is still to be given."""
        return not (self._found or self._waiting or self._is_away)

    def _seed(self) -> None:
        """Know the newest entries before each place: they tell the stream from another one."""
        for key, place in self._places.items():
            rows: list[Any] = client.raw(
                self._db, "XREVRANGE", key, entry_id.text(place.after), "-", "COUNT", SEED
            )
            for id_, flat in reversed(rows):
                place.known[entry_id.parse(id_)] = _mark(flat)
        self._is_seeded = True

    def _read(self) -> list[tuple[str, list[Any]]]:
        there = [(key, place) for key, place in self._places.items() if place.sight]
        if not there:
            self._sleep(PAUSE_S)
            return []
        ids = [entry_id.text(place.after) for _, place in there]
        try:
            reply: Any = client.raw(
                self._db, "XREAD", "COUNT", COUNT, "BLOCK", BLOCK_MS,
                "STREAMS", *(key for key, _ in there), *ids,
            )  # fmt: skip
        except redis.ResponseError as error:
            # Another type has taken the key's place: the next look finds no stream there.
            if not str(error).startswith("WRONGTYPE"):
                raise
            self._looked_s = float("-inf")
            return []
        return [(key.decode(), rows) for key, rows in reply or ()]

    def _in_order(self, found: list[tuple[str, list[Any]]]) -> list[Told]:
        """New entries that no older one can come before any more; the rest waits."""
        frontier: Id | None = None
        for key, rows in found:
            place = self._places[key]
            for id_, flat in rows:
                one = Told(key, entry_id.parse(id_), flat)
                if place.take(one.id, flat):
                    self._waiting.append(one)
            if len(rows) == COUNT:
                # There is more of it: entries of others that are newer come after that.
                frontier = place.after if frontier is None else min(frontier, place.after)
        self._waiting.sort(key=lambda one: one.id)
        ready = [one for one in self._waiting if frontier is None or one.id <= frontier]
        self._waiting = self._waiting[len(ready) :]
        return ready

    def _look_around(self) -> None:
        """Notice what happened to the streams: gone, put back in time, trimmed past our place."""
        found = lag_reading.sights(self._db, list(self._places))
        for (key, place), sight in zip(self._places.items(), found, strict=True):
            if sight is None:
                if place.sight is not None:
                    self._note(f"{streams.short(key)} is gone; waiting for it to come back")
            elif self._is_another(place, sight):
                self._begin_again(key, place, sight)
            else:
                self._miss(key, place, sight)
            place.was_there |= sight is not None
            place.sight, place.looked = sight, place.after
        self._looked_s = time.monotonic()

    @staticmethod
    def _is_another(place: _Place, now: StreamSight) -> bool:
        """Whether it may not be the stream that it was: it came back, or holds less than ever."""
        if place.sight is None:
            return place.was_there
        had = place.sight.length + place.sight.removed
        return now.newest < place.after or now.length + now.removed < had

    def _begin_again(self, key: str, place: _Place, now: StreamSight) -> None:
        """Go on after what is known of it; from its start if it is all new."""
        place.after = self._common(key, place, now)
        place.count = now.removed if place.after == START else _UNKNOWN
        same = place.after != START
        told = "was put back in time; nothing is shown twice" if same else "begins anew"
        self._note(f"{streams.short(key)} {told}")

    def _common(self, key: str, place: _Place, now: StreamSight) -> Id:
        """The newest entry that was given before the change and is there; ``START`` if none is."""
        first = now.first or now.newest
        for id_ in sorted(place.known, reverse=True):
            # What was given since the last look may be of the new one already.
            if not first <= id_ <= min(place.looked, now.newest):
                continue
            text = entry_id.text(id_)
            for _, flat in client.raw(self._db, "XRANGE", key, text, text):
                if _mark(flat) == place.known[id_]:
                    return id_
        return START

    def _miss(self, key: str, place: _Place, now: StreamSight) -> None:
        """Tell of entries that were removed before their turn came, as soon as that is sure."""
        if place.after >= now.newest:
            count = now.length + now.removed
        elif now.first is None or now.first > place.after:
            count = now.removed
        else:
            return
        lost = count - place.count
        if place.count != _UNKNOWN and lost > 0:
            self._note(f"{streams.short(key)}: {lost} entries were removed before they were shown")
        place.count = count


def _mark(flat: list[bytes]) -> bytes:
    sizes = b",".join(b"%d" % len(part) for part in flat)
    return blake2b(b"\0".join([sizes, *flat]), digest_size=8).digest()
