"""The only place that compares the universes of two moments, and tells the history of a symbol.

Attributes stand in no event as a whole: of those that changed, the events tell old and new. What a
symbol had when it came is not recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from quantum_ops import entry_id, streams
from quantum_ops.asof import universe
from quantum_ops.asof.entries import Answer, events, rests
from quantum_ops.asof.universe import Universe
from quantum_ops.events import UniverseChanged
from quantum_ops.history.blocks import LAST, Key
from quantum_ops.history.search import Search
from quantum_ops.history.segment import Found
from quantum_ops.history.terms import SYMBOL, Term, decoded

Changes = dict[str, dict[str, tuple[str, str]]]
"""Symbol -> attribute -> (old, new)."""
Kind = Literal["entered", "left", "close_only", "changed", "quarantined", "released"]
_Event = tuple[Found, UniverseChanged]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two moments: None for each of its words if no universe was there yet."""

    changed: str | None
    epoch: int | None
    count: int | None
    status: str | None
    mode: str | None


class Difference(Answer, frozen=True, kw_only=True):
    """What differs from the first moment to the second. ``changes`` counts the events between."""

    before: Side
    after: Side
    changes: int
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Changes
    close_only: tuple[str, ...]
    quarantined: dict[str, str]
    released: tuple[str, ...]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a symbol, in the entry ``id``."""

    id: str
    epoch: int
    what: Kind
    detail: str = ""


class History(Answer, frozen=True, kw_only=True):
    """All that was told of a symbol, oldest first; ``listed`` says whether it is there at the end.

    ``steps`` is empty for a symbol that nobody told of.
    """

    symbol: str
    listed: bool
    steps: list[Step]


def between(search: Search, first: Key, second: Key) -> Difference:
    """What became of the universe from ``first`` to ``second``, which MUST NOT lie before it."""
    before, after = universe.at(search, first), universe.at(search, second)
    since = (first[0], first[1] + 1) if first[1] < LAST[1] else (first[0] + 1, 0)
    told = events(
        search.archive.numbered({streams.UNIVERSE_CHANGED.key}, since, second), UniverseChanged
    )
    old = set(before.symbols) if before else set()
    new = set(after.symbols) if after else set()
    was, now = (one.quarantined if one else {} for one in (before, after))
    closed = set(before.close_only) if before else set()
    both = [*(before.rests_on if before else ()), *(after.rests_on if after else ())]
    return Difference(
        rests_on=list(dict.fromkeys([*both, *rests(found for found, _ in told)])),
        before=_side(before),
        after=_side(after),
        changes=len(told),
        added=tuple(sorted(new - old)),
        removed=tuple(sorted(old - new)),
        changed=_changed((event for _, event in told), old & new),
        close_only=tuple(one for one in (after.close_only if after else ()) if one not in closed),
        quarantined={one: why for one, why in now.items() if one not in was},
        released=tuple(sorted(was.keys() - now.keys())),
    )


def of_symbol(search: Search, symbol: str, until: Key = LAST) -> History:
    """The history of ``symbol`` up to ``until``."""
    told = events(search.find(Term(SYMBOL, symbol), until), UniverseChanged)
    steps: list[Step] = []
    last: _Event | None = None
    ends: list[_Event] = []
    for found, event in told:
        if last and event.prev_epoch != last[1].epoch:
            ends += _released(search, symbol, last, found.entry.key)
        steps += _steps(symbol, found.entry.id, event, last[1] if last else None)
        last = (found, event)
    if last:
        ends += _released(search, symbol, last, until)
    steps += [Step(id=one.entry.id, epoch=event.epoch, what="released") for one, event in ends]
    steps.sort(key=lambda one: entry_id.parse(one.id))  # stable: of one entry, as they were told
    now = universe.at(search, until)
    return History(
        rests_on=rests([*(found for found, _ in [*told, *ends])]),
        symbol=symbol,
        listed=now is not None and symbol in now.symbols,
        steps=steps,
    )


def _steps(
    symbol: str, id_: str, event: UniverseChanged, last: UniverseChanged | None
) -> Iterable[Step]:
    """What one event tells of the symbol; ``last`` is the one before that told of it."""

    def step(what: Kind, detail: str = "") -> Step:
        return Step(id=id_, epoch=event.epoch, what=what, detail=detail)

    follows = last is not None and event.prev_epoch == last.epoch
    before = last.quarantined.get(symbol) if last and follows else None
    if symbol in event.added:
        yield step("entered", "" if event.prev_epoch else "the first universe")
    if symbol in event.removed:
        yield step("left")
    if symbol in event.close_only:
        yield step("close_only")
    rows = event.changed.get(symbol, {})
    if rows:
        told = (f"{name} {old or '-'} -> {new or '-'}" for name, (old, new) in sorted(rows.items()))
        yield step("changed", ", ".join(told))
    why = event.quarantined.get(symbol)
    if why is not None and why != before:
        yield step("quarantined", why)
    if why is None and before is not None:
        yield step("released")


def _released(search: Search, symbol: str, last: _Event, until: Key) -> list[_Event]:
    """The event behind ``last``, if that quarantined the symbol and the event names it no more."""
    if symbol not in last[1].quarantined:
        return []
    ms, seq = last[0].entry.key
    for found in search.archive.numbered({streams.UNIVERSE_CHANGED.key}, (ms, seq + 1), until):
        event = decoded(found.entry)
        if isinstance(event, UniverseChanged):
            return [] if symbol in event.quarantined else [(found, event)]
    return []


def _changed(told: Iterable[UniverseChanged], both: set[str]) -> Changes:
    """First old and last new value of each attribute of the symbols that are on both sides."""
    made: Changes = {}
    for event in told:
        for symbol in (*event.added, *event.removed):
            made.pop(symbol, None)  # it came anew: what it has now is not recorded
        for symbol, rows in event.changed.items():
            if symbol in both:
                known = made.setdefault(symbol, {})
                for name, (old, new) in rows.items():
                    known[name] = (known[name][0] if name in known else old, new)
    kept = {
        symbol: {name: pair for name, pair in sorted(rows.items()) if pair[0] != pair[1]}
        for symbol, rows in sorted(made.items())
    }
    return {symbol: rows for symbol, rows in kept.items() if rows}


def _side(one: Universe | None) -> Side:
    if one is None:
        return Side(changed=None, epoch=None, count=None, status=None, mode=None)
    return Side(
        changed=one.changed, epoch=one.epoch, count=one.count, status=one.status, mode=one.mode
    )
