"""The only place that reads one day of the universe's history back from its stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import hiredis
import walrus

from quantum_ops import client, codec, streams
from quantum_ops.audit.churn import DAY_MS, Day, date
from quantum_ops.errors import DecodeError
from quantum_ops.events import UniverseChanged

PAGE = 100
"""Changes that are read at once: each holds the whole list."""


def day(db: walrus.Database, start_ms: int) -> Day:
    """The changes of the day that begins then (epoch ms); its ``size`` is 0 before any universe.

    Counted from the stream and not as events come: so there is nothing to lose or to count twice.
    Entries that are no change are counted as unreadable. Raises what the connection raises.
    """
    decode = codec.decoder(UniverseChanged)
    found = Day(date(start_ms))
    for flat in _before(db, start_ms):
        with contextlib.suppress(DecodeError):
            found.size = len(decode(flat).symbols)
            break
    for flat in _entries(db, start_ms, start_ms + DAY_MS - 1):
        try:
            found.add(decode(flat))
        except DecodeError:
            found.unreadable += 1
    return found


def _before(db: walrus.Database, start_ms: int) -> Iterator[list[bytes]]:
    """The last few, newest first: one that is no change must not hide those before it."""
    key = streams.UNIVERSE_CHANGED.key
    for _, flat in _rows(db, "XREVRANGE", key, start_ms - 1, "-", "COUNT", PAGE):
        yield flat


def _entries(db: walrus.Database, start_ms: int, end_ms: int) -> Iterator[list[bytes]]:
    after: Any = start_ms
    while True:
        rows = _rows(db, "XRANGE", streams.UNIVERSE_CHANGED.key, after, end_ms, "COUNT", PAGE)
        for _, flat in rows:
            yield flat
        if len(rows) < PAGE:
            return
        after = b"(" + rows[-1][0]


def _rows(db: walrus.Database, *command: Any) -> list[Any]:
    [reply] = client.ask(db, hiredis.pack_command(command), 1)
    # An error value: somebody put a key of another type in the stream's place.
    return reply if isinstance(reply, list) else []
