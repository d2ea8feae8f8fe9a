"""The only place that reads entries to replay, from the archive or from a server alike.

Memory stays flat: one block of the archive, or one page of each stream, at a time.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import walrus

from quantum_ops import client, entry_id
from quantum_ops.history import entry as lines
from quantum_ops.history.blocks import LAST, Key
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive
from quantum_ops.replay import offsets
from quantum_ops.replay.offsets import Offset

PAGE = 1000


class Source(Protocol):
    """Where entries are read from."""

    def read(self, since: Mapping[str, Key], until: Key) -> Iterator[Entry]:
        """Entries of the streams (keys) of ``since``, each from its id on, up to ``until``."""
        ...

    def tail(self, stream: str, count: int) -> Key:
        """The id from which on ``stream`` has its last ``count`` entries."""
        ...


def starts(source: Source, streams: list[str], offset: Offset) -> dict[str, Key]:
    """Stream key -> the first id that is replayed."""
    if offset.kind == "last":
        return {stream: source.tail(stream, offset.entries) for stream in streams}
    return dict.fromkeys(streams, offsets.first(offset))


class FromArchive:
    """The archive; the order is that of archiving."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def read(self, since: Mapping[str, Key], until: Key) -> Iterator[Entry]:
        """See :class:`Source`."""
        lowest = min(since.values(), default=LAST)
        found = self._archive.read(since.keys(), lowest, until)
        if len(set(since.values())) <= 1:
            return found
        return (one for one in found if one.key >= since[one.stream])

    def tail(self, stream: str, count: int) -> Key:
        """See :class:`Source`."""
        if count <= 0:
            return LAST
        held = 0
        # Whole segments from the end, until they hold enough: only these are read.
        start = len(self._archive)
        for segment in reversed(self._archive.segments):
            start = segment.first
            held += segment.spans[stream].count if stream in segment.spans else 0
            if held >= count:
                break
        keys = deque(
            (one.entry.key for one in self._archive.numbered({stream}, start=start)), count
        )
        return min(keys, default=LAST)


class FromServer:
    """A server; the order is that of ids over all streams."""

    def __init__(self, db: walrus.Database) -> None:
        self._db = db

    def read(self, since: Mapping[str, Key], until: Key) -> Iterator[Entry]:
        """See :class:`Source`."""
        each = [self._stream(stream, first, until) for stream, first in sorted(since.items())]
        return heapq.merge(*each, key=lambda one: one.key)

    def tail(self, stream: str, count: int) -> Key:
        """See :class:`Source`."""
        if count <= 0:
            return LAST
        top, left, lowest = b"+", count, LAST
        while left:
            rows: list[Any] = client.raw(
                self._db, "XREVRANGE", stream, top, "-", "COUNT", min(left, PAGE)
            )
            if not rows:
                return lowest
            lowest = entry_id.parse(rows[-1][0])
            left -= len(rows)
            top = b"(" + rows[-1][0]
        return lowest

    def _stream(self, stream: str, first: Key, until: Key) -> Iterator[Entry]:
        if first > until:
            return
        after, top = b"%d-%d" % first, b"%d-%d" % until
        while True:
            rows: list[Any] = client.raw(self._db, "XRANGE", stream, after, top, "COUNT", PAGE)
            for id_, flat in rows:
                yield lines.decode(lines.encode(stream, id_, flat))
            if len(rows) < PAGE:
                return
            after = b"(" + rows[-1][0]
