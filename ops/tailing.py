"""The only place that carries out ./run tail: what stands in streams, by id, and what comes.

Rows go to ``emit``; what happens meanwhile is told through ``note``.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import walrus

from ops.following import COUNT, START, Follower, Told
from quantum_ops import client, entry_id, lag_reading, streams
from quantum_ops.history import entry as lines
from quantum_ops.history.blocks import LAST
from quantum_ops.lag import Id
from quantum_ops.replay import filters, offsets
from quantum_ops.replay.filters import Filter
from quantum_ops.replay.offsets import Offset


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is shown: of which streams (keys), from where on, up to which id, and what passes."""

    keys: Sequence[str]
    since: Offset
    until: Id = LAST
    filters: Sequence[Filter] = ()
    follow: bool = False
    most: int = -1
    """Entries after which it ends; -1: no limit."""


Emit = Callable[[Told], None]


def unknown(db: walrus.Database, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that are neither a stream of the catalogue nor one of the server."""
    wanted = list(names)
    found = lag_reading.sights(db, [key_of(name) for name in wanted])
    both = zip(wanted, found, strict=True)
    return [name for name, sight in both if sight is None and not _is_ours(name)]


def key_of(name: str) -> str:
    """The key of a stream of the catalogue; any other name is a key itself."""
    return streams.find(name).key if _is_ours(name) else name


def run(
    db: walrus.Database, wanted: Wanted, emit: Emit, note: Callable[[str], None],
    is_over: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Emit what there is and, if so wanted, what comes; returns at the end of it.

    ``is_over`` is asked between batches: whether anybody still looks.
    """
    seen = dict(zip(wanted.keys, lag_reading.sights(db, list(wanted.keys)), strict=True))
    # The place to go on from is fixed before anything is read: nothing falls in between.
    tops = {key: sight.newest if sight else START for key, sight in seen.items()}
    left = wanted.most
    if wanted.follow and wanted.since.kind in ("start", "id", "moment"):
        # All of it by the follower, which goes on where a server that went away was left.
        tops = dict.fromkeys(tops, _before(offsets.first(wanted.since)))
    else:
        for one in _history(db, wanted, tops):
            if not left:
                return
            emit(one)
            left -= 1
    if not wanted.follow or not left:
        return
    follower = Follower(db, tops, note)
    while not is_over():
        for one in _passing(follower.batch(), wanted.filters):
            if one.id <= wanted.until:
                emit(one)
                left -= 1
            if not left:
                return
        # By the server's own ids nothing more can come up to there, give or take its clock.
        is_past = wanted.until != LAST and time.time() * 1000 > wanted.until[0] + 1000
        if is_past and follower.is_at_end:
            return


def _history(db: walrus.Database, wanted: Wanted, tops: dict[str, Id]) -> Iterable[Told]:
    last = {key: min(top, wanted.until) for key, top in tops.items()}
    if wanted.since.kind == "last":
        count = wanted.since.entries
        each = [_backwards(db, key, top) for key, top in last.items()] if count else []
        newest_first = heapq.merge(*each, key=lambda one: one.id, reverse=True)
        return reversed(list(itertools.islice(_passing(newest_first, wanted.filters), count)))
    first = offsets.first(wanted.since)
    pages = [_forwards(db, key, first, top) for key, top in last.items()]
    return _passing(heapq.merge(*pages, key=lambda one: one.id), wanted.filters)


def _passing(found: Iterable[Told], chosen: Sequence[Filter]) -> Iterable[Told]:
    if not chosen:
        return found
    return (one for one in found if filters.passes(_entry(one), chosen))


def _entry(one: Told) -> lines.Entry:
    return lines.decode(lines.encode(one.stream, entry_id.text(one.id).encode(), one.flat))


def _forwards(db: walrus.Database, key: str, first: Id, upto: Id) -> Iterator[Told]:
    low, top = entry_id.text(first), entry_id.text(upto)
    while first <= upto:
        rows: list[Any] = client.raw(db, "XRANGE", key, low, top, "COUNT", COUNT)
        yield from (Told(key, entry_id.parse(id_), flat) for id_, flat in rows)
        if len(rows) < COUNT:
            return
        low = f"({rows[-1][0].decode()}"


def _backwards(db: walrus.Database, key: str, upto: Id) -> Iterator[Told]:
    top = entry_id.text(upto)
    while True:
        rows: list[Any] = client.raw(db, "XREVRANGE", key, top, "-", "COUNT", COUNT)
        yield from (Told(key, entry_id.parse(id_), flat) for id_, flat in rows)
        if len(rows) < COUNT:
            return
        top = f"({rows[-1][0].decode()}"


def _before(first: Id) -> Id:
    return entry_id.parse(entry_id.before(entry_id.text(first).encode()))


def _is_ours(name: str) -> bool:
    try:
        streams.find(name)
    except KeyError:
        return False
    return True
