"""The only place that makes again what a gate remembers of its decisions: one for each plan id.

A permit itself is never made again: it lived for a minute, and none is a denial. What must come
back is the memory that keeps a plan from being decided twice. A plan that asks and has no archived
decision may have been decided and executed in the last moment, so its id is taken, by no plan at
all: whoever sends it again is denied as a contradiction, and must use a new id.
"""

from __future__ import annotations

from typing import NamedTuple

from quantum_ops import streams
from quantum_ops.events import PermitDecided
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive, from_ms
from quantum_ops.p33 import subject
from quantum_ops.p33.decision import MAX_AGE_S
from quantum_ops.p33.subject import Subject
from quantum_ops.recovery import facts
from quantum_ops.recovery.keyspace import Keyspace

GATE = "p33"
UNKNOWN = "unknown:no-decision-was-archived"
"""Stands for the hash of a plan that may have been decided; no plan has it."""
CONFLICT = "plan_id_conflict"
FAMILIES = (streams.decided(GATE, ""), streams.conflict(GATE, "", "").removesuffix(":"))


class Rebuilt(NamedTuple):
    """``undecided`` are the plans that ask and have no archived decision: entry id, plan id."""

    keys: Keyspace
    undecided: list[tuple[str, str]]


def rebuild(archive: Archive, now_ms: int) -> Rebuilt:
    """What P3.3 would remember at ``now_ms``: decisions of the last ``MAX_AGE_S`` seconds."""
    keep_ms = MAX_AGE_S * 1000
    since_ms = max(0, now_ms - keep_ms)
    keys = Keyspace()
    asking: dict[str, Subject] = {}
    early: dict[str, PermitDecided] = {}
    both = {streams.APPLY_PLAN.key, streams.PERMIT_DECIDED.key}
    for entry in archive.read(both, from_ms(since_ms)):
        if entry.stream == streams.APPLY_PLAN.key:
            of = subject.of_entry(entry.flat)
            if of is None:
                continue
            # Streams are archived side by side: a decision may stand before its plan.
            decision = early.pop(entry.id, None)
            if decision is None:
                asking[entry.id] = of
            else:
                _note(keys, of, decision, entry.id, keep_ms)
            continue
        event = facts.decoded(entry)
        id_ = _decides(event)
        if not id_ or not isinstance(event, PermitDecided):
            continue
        found = asking.pop(id_, None)
        if found is None:
            early[id_] = event
        else:
            _note(keys, found, event, id_, keep_ms)
    for id_, of in asking.items():
        keys.first(streams.decided(GATE, of.plan_id), UNKNOWN, _ms(id_) + keep_ms)
    keys.expire(now_ms)
    open_ones = [
        (id_, of.plan_id)
        for id_, of in asking.items()
        if keys.text(streams.decided(GATE, of.plan_id)) == UNKNOWN
    ]
    return Rebuilt(keys, open_ones)


def told(entry: Entry) -> str:
    """Id of the plan's entry that this entry decides; empty if it decides none."""
    return _decides(facts.decoded(entry))


def _decides(event: object) -> str:
    if not isinstance(event, PermitDecided) or event.gate != GATE:
        return ""
    gate, _, id_ = event.event_id.partition("/")
    return id_ if gate == GATE else ""


def _note(keys: Keyspace, of: Subject, decision: PermitDecided, id_: str, keep_ms: int) -> None:
    expires_ms = int(decision.occurred_at.timestamp() * 1000) + keep_ms
    if decision.reason == CONFLICT:
        keys.first(streams.conflict(GATE, of.plan_id, of.sha256), id_, expires_ms)
    else:
        keys.first(streams.decided(GATE, of.plan_id), of.sha256, expires_ms)


def _ms(id_: str) -> int:
    return int(id_.partition("-")[0])
