"""The only place that works out what a restore would do: what comes back, where groups go on.

A plan changes nothing. Whoever carries it out is quantum_ops/recovery/restore.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import hiredis
import walrus

from quantum_ops import client, entry_id, streams
from quantum_ops.consumer import Consumer
from quantum_ops.history import ahead, groups
from quantum_ops.history.blocks import FIRST, LAST, Key, Spans
from quantum_ops.history.reader import Archive, from_ms
from quantum_ops.recovery import (
    cases,
    notes,
    orders,
    positions,
    published,
    recorded,
    refill,
    settled,
    universe,
)
from quantum_ops.recovery import verdicts as verdicts_
from quantum_ops.recovery.errors import RestoreError
from quantum_ops.recovery.keyspace import Keyspace
from quantum_ops.recovery.positions import Position
from quantum_ops.recovery.sweep import Sum, sweep
from quantum_ops.recovery.timeline import Survey, beyond, live, survey
from quantum_ops.settings import OrderProofSettings, PermitAuditSettings, PositionLedgerSettings


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked for.

    ``everything`` takes in what is older than its stream's retention. ``trading`` refills the
    streams of the trading side, too. ``only`` names the streams (keys); empty for all.
    """

    everything: bool = False
    trading: bool = False
    only: Collection[str] = ()


class Kept(NamedTuple):
    """The settings of the consumers whose memory is made again."""

    orders: OrderProofSettings
    cases: PermitAuditSettings
    notes: PositionLedgerSettings


@dataclass(slots=True)
class Plan:
    """What would be done. ``left_out`` are streams of the trading side that stay as they are."""

    identity: str
    windows: dict[str, Key]
    known: Survey
    sums: dict[str, Sum]
    positions: list[Position]
    keys: dict[str, Keyspace]
    newest_ms: int
    undecided: list[tuple[str, str]] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    twice: str = ""
    """Which of the ledger's records are told of twice, in words."""
    bounds: dict[str, Key] = field(default_factory=dict)
    """Of streams that an entry holds up: what is above stays in the archive alone."""
    ahead: dict[str, int] = field(default_factory=dict)
    """How many such entries the archive has, by stream."""
    held_up: list[str] = field(default_factory=list)
    """Streams that take no honest id any more, since the server's newest lies ahead."""

    @property
    def missing(self) -> int:
        """Archived entries that the server lacks."""
        return sum(one.missing for one in self.sums.values())

    @property
    def conflicting(self) -> int:
        """Entries that the server holds with other content than the archive."""
        return sum(one.conflicting for one in self.sums.values())

    def positions_written(self) -> list[Position]:
        """Those of the streams that are refilled, and of those left out that have no group yet."""
        refilled = self.windows.keys()
        return [
            one
            for one in self.positions
            # Somebody else's group on a stream that stays as it is, stays as it is.
            if one.stream in refilled or (one.ours and one.why != positions.THERE)
        ]


def make(
    archive: Archive,
    db: walrus.Database,
    consumers: Iterable[Consumer],
    wishes: Wishes,
    now_ms: int,
    *,
    settings: Kept,
) -> Plan:
    """The plan for this archive and this server.

    Raises :class:`~quantum_ops.recovery.errors.RestoreError` where it could not be carried out.
    """
    everything, spans = archive, archive.spans()
    every = sorted(spans.keys() | {stream.key for stream in streams.CATALOGUE})
    bounds = _bounds(spans, db, every, now_ms)
    archive = ahead.Believed(everything.folder, bounds)
    ends = {key: span.high for key, span in archive.spans().items()}
    wanted = [key for key in sorted(spans) if not wishes.only or key in wishes.only]
    windows = {
        key: _since(key, now_ms, wishes) for key in wanted if wishes.trading or _is_ours(key)
    }
    newest_ms = min(now_ms, max((end[0] for end in ends.values()), default=0))
    proof = orders.rebuild(archive, settings.orders, now_ms)
    verdicts = verdicts_.rebuild(archive, now_ms)
    followed = cases.rebuild(archive, settings.cases, newest_ms, now_ms)
    audited, last_audited = universe.audited(archive)
    places = positions.of_groups(
        consumers,
        ends,
        _proven(archive, ends, proof.unjudged, last_audited),
        positions.held_at(refill.groups(db, every), ends, bounds),
        positions.noted_at(_noted(archive), ends, bounds),
    )
    known, twice = survey(archive, windows.keys()), recorded.Twice()
    return Plan(
        identity=_identity(everything, windows),
        windows=windows,
        known=known,
        sums=sweep(archive, known, windows, live(db, bounds), positions=places, sink=twice.add),
        positions=places,
        keys={
            "universe": _both(universe.rebuild(archive), audited),
            "order proofs": proof.keys,
            "P3.3 decisions": verdicts.keys,
            "permit cases": followed.keys,
            "order notes": notes.rebuild(
                archive,
                settings.notes.symbol_regex,
                now_ms - streams.APPLY_RESULT.retention_s * 1000,
            ),
            "settled": settled.rebuild(archive),
            "published": published.rebuild(archive, now_ms),
        },
        newest_ms=newest_ms,
        # What the server still knows is not in doubt.
        undecided=[
            (id_, plan_id)
            for id_, plan_id in verdicts.undecided
            if not db.exists(streams.decided(verdicts_.GATE, plan_id))
        ],
        interrupted=cases.known_there(
            followed.keys, followed.interrupted, lambda key: _case(db, key)
        ),
        left_out=[key for key in wanted if key not in windows],
        twice=twice.told(),
        bounds=bounds,
        ahead=_ahead(everything, db, {key: bounds[key] for key in windows if key in bounds}),
        held_up=[key for key in windows if refill.last_generated(db, key) == LAST],
    )


def _noted(archive: Archive) -> groups.Note:
    try:
        return groups.read(archive.folder.groups)
    except ValueError as error:
        raise RestoreError(
            f"{error}; where the groups of others were is unknown then. Restore without it by "
            f"moving the file away"
        ) from None


def _bounds(spans: Spans, db: walrus.Database, keys: Iterable[str], now_ms: int) -> dict[str, Key]:
    """Stream -> the highest id that is believed, of those that had the highest one there is.

    A stream that has another id of the future goes on behind it, and so it does after a restore.
    """
    highest = ahead.limit(now_ms)
    return {
        key: highest
        for key in keys
        if (key in spans and spans[key].high == LAST) or refill.last_generated(db, key) == LAST
    }


def _ahead(archive: Archive, db: walrus.Database, bounds: Mapping[str, Key]) -> dict[str, int]:
    """How many entries of each stream are left out. What only the server has must not be lost."""
    found = {}
    for key, highest in bounds.items():
        for one in beyond(db, key, highest):
            if one.line not in [each.line for each in archive.find(key, one.key)]:
                raise RestoreError(
                    f"{key}: {entry_id.text(one.key)} lies ahead of the clock and is not archived; "
                    "let the archive read it first (./run lag archive), and look at the clock"
                )
        count = sum(1 for _ in archive.numbered({key}, ahead.above(highest)))
        if count:
            found[key] = count
    return found


def _proven(
    archive: Archive, ends: Mapping[str, Key], unjudged: str, last_audited: str
) -> Mapping[tuple[str, str], tuple[Key, str]]:
    """Where the archive itself proves how far a group was."""
    plans, results = streams.APPLY_PLAN.key, streams.APPLY_RESULT.key

    def end(key: str) -> Key:
        return ends.get(key, FIRST)

    audited = entry_id.parse(last_audited) if last_audited else FIRST
    judged = groups.before(entry_id.parse(unjudged)) if unjudged else end(results)
    return {
        (plans, orders.AUDITOR): (end(plans), "plans are known from the archive"),
        (results, orders.AUDITOR): (
            judged,
            f"first not judged: {unjudged}" if unjudged else "all are judged",
        ),
        (results, notes.NOTER): (end(results), "noted from the archive"),
        (streams.UNIVERSE_CHANGED.key, universe.AUDITOR): (audited, "judged last"),
        (streams.DEPLOY_COMPLETED.key, positions.LEDGER): positions.of_ledger(archive),
    }


def _since(key: str, now_ms: int, wishes: Wishes) -> Key:
    """The first id that is kept."""
    if wishes.everything:
        return FIRST
    try:
        kept_ms = streams.find(key).retention_s * 1000
    except KeyError:
        return FIRST  # nobody promised to let it go
    return from_ms(max(0, now_ms - kept_ms))


def _is_ours(key: str) -> bool:
    """Whether this project may write it: what is not in the catalogue is somebody else's."""
    try:
        return streams.find(key).ours
    except KeyError:
        return False


def _identity(archive: Archive, windows: Mapping[str, Key]) -> str:
    head = archive.head
    told = f"{head.size}:{head.root.hex()}:{sorted(windows)}"
    return hashlib.sha256(told.encode()).hexdigest()


def _both(one: Keyspace, other: Keyspace) -> Keyspace:
    one.merge(other)
    return one


def _case(db: walrus.Database, key: str) -> dict[str, str]:
    """The case that the server has; none for a key of another type, which somebody spoilt."""
    [reply] = client.ask(db, hiredis.pack_command(("HGETALL", key)), 1)
    if isinstance(reply, Exception):
        return {}
    texts = [part.decode("utf-8", "replace") for part in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))
