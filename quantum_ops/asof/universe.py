"""The only place that says which universe gates saw at a moment, and whether it was believed.

Whether it was stale is told by three: a change itself (held removals make it stale), the producer's
Findings (its flag was turned), and the second fetch, which sees that a producer has gone silent.
The newest of them counts; of equal ones the one that denies.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from quantum_ops import streams
from quantum_ops.asof.entries import Answer, newest, rests
from quantum_ops.events import AuditFinding, PermitDecided, UniverseChanged, UniverseChecked
from quantum_ops.history.blocks import Key
from quantum_ops.history.projections import Closing
from quantum_ops.history.search import Search
from quantum_ops.history.segment import Found
from quantum_ops.history.terms import CHECKED, DOUBT, EPOCH, FLAG, SYMBOL, Term, decoded


class Universe(Answer, frozen=True, kw_only=True):
    """The universe at a moment.

    ``changed`` is the entry that brought it, ``told`` the one that says how it stands.
    ``gate_epoch`` is the epoch that P3.3's last decision before was made on, in entry ``gate``;
    None if there was none. ``close_only`` are those of which an event told so last, in it or
    leaving it; that the exchange has let go of one for good is told by nobody. ``doubts`` are
    losses and restores since: keys may have been gone, or stale, with nobody to tell.
    """

    status: Literal["fresh", "stale"]
    reason: str
    told: str
    changed: str
    epoch: int
    mode: str
    count: int
    symbols: tuple[str, ...]
    close_only: tuple[str, ...]
    quarantined: dict[str, str]
    held: str
    sha256: str
    gate_epoch: int | None
    gate: str
    doubts: tuple[str, ...]


class Standing(NamedTuple):
    """How a universe stood: ``found`` says so."""

    stale: bool
    reason: str
    found: Found


def at(search: Search, until: Key) -> Universe | None:
    """The universe at ``until``; None if none was told of by then."""
    changed = current(search, until)
    if changed is None:
        return None
    found, event = changed
    standing = _standing(search, until, found, event)
    decided = newest(search.archive, streams.PERMIT_DECIDED, PermitDecided, until)
    closing = search.projection(streams.UNIVERSE_CHANGED.key, until)
    told = closing.symbols if isinstance(closing, Closing) else {}
    doubts = _doubts(search, until, standing.found)
    return Universe(
        rests_on=rests([found, standing.found, decided and decided[0], *doubts]),
        status="stale" if standing.stale else "fresh",
        reason=standing.reason,
        told=standing.found.entry.id,
        changed=found.entry.id,
        epoch=event.epoch,
        mode=event.mode,
        count=event.count,
        symbols=event.symbols,
        close_only=tuple(sorted(symbol for symbol, one in told.items() if one[3])),
        quarantined=event.quarantined,
        held=event.held,
        sha256=event.sha256,
        gate_epoch=decided[1].universe_epoch if decided else None,
        gate=decided[0].entry.id if decided else "",
        doubts=tuple(map(_doubt, doubts)),
    )


def of_epoch(search: Search, epoch: int, until: Key) -> tuple[Found, UniverseChanged] | None:
    """The change that brought ``epoch``, the newest one up to ``until``; None if none is there."""
    found = search.newest(Term(EPOCH, str(epoch)), until)
    event = decoded(found.entry) if found else None
    return (found, event) if found and isinstance(event, UniverseChanged) else None


def current(search: Search, until: Key) -> tuple[Found, UniverseChanged] | None:
    """The last change up to ``until``; None if there was none."""
    return newest(search.archive, streams.UNIVERSE_CHANGED, UniverseChanged, until)


def standing(search: Search, until: Key) -> Standing | None:
    """How the universe stood at ``until``; None if there was none."""
    changed = current(search, until)
    return _standing(search, until, *changed) if changed else None


def close_only(search: Search, symbol: str, until: Key) -> bool:
    """Whether it was told last of ``symbol`` that it may only be closed."""
    closing = Closing()
    for found in search.find(Term(SYMBOL, symbol), until):
        closing.add(found)
    told = closing.symbols.get(symbol)
    return told is not None and told[3]


def _standing(search: Search, until: Key, changed: Found, event: UniverseChanged) -> Standing:
    known = [Standing(bool(event.held), event.held, changed)]
    flag = search.newest(Term(FLAG), until)
    turned = decoded(flag.entry) if flag else None
    if flag and isinstance(turned, AuditFinding):
        stale = turned.finding == "universe_stale"
        known.append(Standing(stale, turned.detail if stale else "", flag))
    looked = search.newest(Term(CHECKED), until)
    checked = decoded(looked.entry) if looked else None
    if looked and isinstance(checked, UniverseChecked):
        known.append(Standing(not checked.fresh, "" if checked.fresh else checked.reason, looked))
    return max(known, key=lambda one: (one.found.entry.key, one.stale))


def _doubts(search: Search, until: Key, since: Found) -> list[Found]:
    last = search.newest(Term(DOUBT), until)
    if last is None or last.entry.key <= since.entry.key:
        return []
    found = [one for one in search.find(Term(DOUBT), until) if one.entry.key > since.entry.key]
    return sorted(found, key=lambda one: (one.entry.key, one.at))


def _doubt(found: Found) -> str:
    event = decoded(found.entry)
    told = f"{event.finding}: {event.detail[:200]}" if isinstance(event, AuditFinding) else ""
    return f"{found.entry.id} {told}"
