"""The only place that says what the signoff ledger had recorded at a moment.

``ledger.recorded`` tells of each record of the journal by its number, in order and without a gap.
After a restore it may tell of one again: of one number, the first time counts. What a record says
stands in the journal (``contents``) and, where a deploy.completed made it, in the archive.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from quantum_ops import entry_id, streams
from quantum_ops.asof.entries import Answer, events, rests
from quantum_ops.events import DeployCompleted, LedgerRecorded
from quantum_ops.history.blocks import LAST, Key
from quantum_ops.history.projections import Recorded
from quantum_ops.history.reader import until_ms
from quantum_ops.history.search import Search
from quantum_ops.history.segment import Found
from quantum_ops.history.terms import DEPLOY, RECORD, ROLLBACK, SOURCE, Term

ALL = 0
_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class Rollback(NamedTuple):
    """Record ``seq``, of operation ``operation_id``, takes back operation ``of``."""

    seq: int
    operation_id: str
    of: str


class Contents(Protocol):
    """What records say, beyond what was told of them."""

    def of(self, event: LedgerRecorded, told: Key) -> Mapping[str, Any]:
        """operation, outcome, risk_class, rollback_of of a record; empty if it is not there.

        ``told`` is the id under which it was told of.
        """
        ...

    def rollbacks(self, wanted: Collection[str], lowest: int) -> Iterator[Rollback]:
        """The rollbacks of these operations, of all times. None is below record ``lowest``."""
        ...


class Undone(msgspec.Struct, frozen=True, kw_only=True):
    """By which operation a record was taken back; ``id`` is the entry that told of it, or empty."""

    operation_id: str
    seq: int
    id: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record, as it was told of in entry ``id``. What its text says is empty if unknown."""

    seq: int
    id: str
    type: str
    operation_id: str
    sha256: str
    source: str
    source_id: str
    operation: str = ""
    outcome: str = ""
    risk_class: str = ""
    rollback_of: str = ""
    rolled_back_by: list[Undone] = []


class Ledger(Answer, frozen=True, kw_only=True):
    """The ledger at a moment: ``records`` of them had been told of, the newest in ``head``.

    ``tree_size`` and ``root_sha256`` are those of a tree that holds it. ``entries`` are the newest,
    newest first; ``effective`` says that rollbacks of later count, too. ``untold`` are numbers
    among them that the archive was not told of.
    """

    records: int
    head: str
    tree_size: int
    root_sha256: str
    effective: bool
    entries: list[Record]
    untold: list[int]


def at(
    search: Search, until: Key, contents: Contents, *, count: int = 20, effective: bool = False
) -> Ledger | None:
    """The newest ``count`` records (``ALL``: all) at ``until``; None if none was told of by then.

    ``effective`` applies the rollbacks that were recorded later.
    """
    known = search.projection(streams.LEDGER_RECORDED.key, until)
    highest = known.highest if isinstance(known, Recorded) else 0
    if not highest:
        return None
    lowest = max(1, highest - count + 1) if count != ALL else 1
    told = {seq: _told(search, seq, until) for seq in range(highest, lowest - 1, -1)}
    operations = {one[1].operation_id for one in told.values() if one} - {""}
    undone: dict[str, list[Rollback]] = {}
    for one in contents.rollbacks(operations, lowest):
        if effective or one.seq <= highest:
            undone.setdefault(one.of, []).append(one)
    basis: list[Found] = []
    entries = []
    for found, event in filter(None, told.values()):
        basis.append(found)
        by = []
        for one in sorted(set(undone.get(event.operation_id, ()))):
            later = told.get(one.seq) or _told(search, one.seq, LAST if effective else until)
            basis += [later[0]] if later else []
            id_ = later[0].entry.id if later else ""
            by.append(Undone(operation_id=one.operation_id, seq=one.seq, id=id_))
        entries.append(_record(found, event, contents.of(event, found.entry.key), by))
    top = told[highest]
    if top is None:
        return None
    return Ledger(
        rests_on=rests(basis),
        records=highest,
        head=top[0].entry.id,
        tree_size=top[1].tree_size,
        root_sha256=top[1].root_sha256,
        effective=effective,
        entries=entries,
        untold=[seq for seq, one in told.items() if one is None],
    )


class FromArchive:
    """What the archive itself knows of records: those that a deploy.completed made."""

    def __init__(self, search: Search) -> None:
        self._search = search

    def of(self, event: LedgerRecorded, told: Key) -> Mapping[str, Any]:
        """See :class:`Contents`."""
        if event.source != streams.DEPLOY_COMPLETED.key:
            return {}
        # A deployment was told of before its record was: seeking from there, it is beside it.
        found = self._search.newest(Term(DEPLOY, event.source_id), until_ms(told[0]))
        known = [found] if found else []
        if not known and _ID.fullmatch(event.source_id):
            key = entry_id.parse(event.source_id)
            known = self._search.archive.find(streams.DEPLOY_COMPLETED.key, key)
        return next((msgspec.structs.asdict(one) for _, one in events(known, DeployCompleted)), {})

    def rollbacks(self, wanted: Collection[str], lowest: int) -> Iterator[Rollback]:
        """See :class:`Contents`."""
        for of in sorted(wanted):
            undoing = events(self._search.find(Term(ROLLBACK, of)), DeployCompleted)
            for found, event in undoing:
                for source in {found.entry.id, event.event_id} - {""}:
                    first = self._search.first(Term(SOURCE, source))
                    recorded = events([first] if first else [], LedgerRecorded)
                    if event.outcome == "ROLLBACK" and recorded and recorded[0][1].seq >= lowest:
                        yield Rollback(recorded[0][1].seq, recorded[0][1].operation_id, of)


def _told(search: Search, seq: int, until: Key) -> tuple[Found, LedgerRecorded] | None:
    """The first entry that tells of record ``seq``."""
    term = Term(RECORD, str(seq))
    first = search.first(term, until)
    told = events([first] if first else [], LedgerRecorded)
    # What nobody could read told nobody.
    return next(
        iter(told or (events(search.find(term, until), LedgerRecorded) if first else ())), None
    )


def _record(
    found: Found, event: LedgerRecorded, said: Mapping[str, Any], by: list[Undone]
) -> Record:
    return Record(
        seq=event.seq,
        id=found.entry.id,
        type=event.record_type,
        operation_id=event.operation_id,
        sha256=event.entry_sha256,
        source=event.source,
        source_id=event.source_id,
        operation=str(said.get("operation", "")),
        outcome=str(said.get("outcome", "")),
        risk_class=str(said.get("risk_class", "")),
        rollback_of=str(said.get("rollback_of", "")),
        rolled_back_by=by,
    )
