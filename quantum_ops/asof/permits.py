"""The only place that says what was known of a plan at a moment, and why it was permitted or not.

P3.3 tells of every decision. The permits of the other gates live for a minute in Redis and nowhere
else: of them the archive has what permit_audit found when it looked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from quantum_ops import order_id, streams
from quantum_ops.asof import universe
from quantum_ops.asof.entries import Answer, events, rests
from quantum_ops.events import ApplyPlan, ApplyResult, AuditFinding, PermitDecided
from quantum_ops.history.blocks import Key
from quantum_ops.history.reader import until_ms
from quantum_ops.history.search import Search
from quantum_ops.history.segment import Found
from quantum_ops.history.terms import PLAN, Term, values
from quantum_ops.p33.reasons import REASONS

AUDITOR = "permit_audit"
P33 = "p33"
GATES = ("governor", "p26", P33)
EVALUATED = frozenset({"EXECUTE", "RECONCILE_CLOSE"})
"""Said again, of audit/sight.py and p33/decision.py, which import redis-py and cryptography: that
would be half of an answer's time. A test holds them together."""
_UNCHECKED = frozenset({
    "not_execute_decision", "malformed_plan", "gate_failed", "plan_id_conflict", "plan_too_old",
})  # fmt: skip
"""Reasons that are given before the symbol is looked at."""
_NOT_WITHIN = re.compile(r"((?:[a-z0-9]+, )*[a-z0-9]+) not within ")
Verdict = Literal["permitted", "denied", "undecided", "not asked", "unknown"]
State = Literal["granted", "denied", "missing", "malformed", "unknown"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan's entry. ``readable`` is False for bytes that no gate could read."""

    id: str
    symbol: str
    decision: str
    action: str
    side: str
    qty: str
    reduce_only: bool
    source: str
    readable: bool = True


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """A gate's decision; ``why`` is its reason in words, ``safe_qty`` in contracts."""

    id: str
    gate: str
    allow: bool
    reason: str
    why: str
    safe_qty: str
    universe_epoch: int


class Symbol(msgspec.Struct, frozen=True, kw_only=True):
    """The plan's symbol when it was decided, or now if it is not.

    ``allowed`` is what the gate found, None if it did not come to that; ``listed`` and
    ``close_only`` are what the universe of ``epoch`` says, which entry ``changed`` brought (empty
    if that is not there). ``status`` is how that universe stood: unless it was fresh, P3.3 goes
    by P33_ALLOWLIST, which stands in no stream.
    """

    name: str
    allowed: bool | None
    listed: bool | None
    close_only: bool | None
    epoch: int
    changed: str
    status: str


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one gate's permit, from which entry."""

    state: State
    detail: str = ""
    id: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A Finding about the plan."""

    id: str
    auditor: str
    finding: str
    severity: str
    detail: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the trading side told of the plan."""

    id: str
    executed: bool
    symbol: str
    order_id: str
    source: str
    error: str


class Permits(Answer, frozen=True, kw_only=True):
    """All that was known of a plan. ``verdict`` is P3.3's newest word, ``why`` says it in full."""

    plan_id: str
    verdict: Verdict
    why: str
    plans: list[Plan]
    symbol: Symbol | None
    decisions: list[Decided]
    permits: dict[str, Permit]
    results: list[Result]
    findings: list[Told]
    dead_letters: list[str]


def at(search: Search, plan_id: str, until: Key) -> Permits | None:
    """What was known of ``plan_id`` at ``until``; None if nothing was."""
    found = sorted(search.find(Term(PLAN, plan_id), until), key=lambda one: (one.entry.key, one.at))
    if not found:
        return None
    by_stream: dict[str, list[Found]] = {}
    for one in found:
        by_stream.setdefault(one.entry.stream, []).append(one)
    plans = [plan_of(one) for one in by_stream.get(streams.APPLY_PLAN.key, ())]
    decisions = events(by_stream.get(streams.PERMIT_DECIDED.key, ()), PermitDecided)
    findings = events(by_stream.get(streams.AUDIT_FINDING.key, ()), AuditFinding)
    results = events(by_stream.get(streams.APPLY_RESULT.key, ()), ApplyResult)
    own = [(one, event) for one, event in decisions if event.gate == P33]
    symbol, proof = _symbol(search, plans, own, until)
    verdict, why = _verdict(plans, [event for _, event in own], symbol)
    return Permits(
        rests_on=rests([*found, *proof]),
        plan_id=plan_id,
        verdict=verdict,
        why=why,
        plans=plans,
        symbol=symbol,
        decisions=[decided_of(one, event) for one, event in decisions],
        permits=_permits(own, findings),
        results=[result_of(one, event) for one, event in results],
        findings=[told_of(one, event) for one, event in findings],
        dead_letters=[one.entry.id for one in by_stream.get(streams.DEAD_LETTER.key, ())],
    )


def plan_of(found: Found) -> Plan:
    """A plan's entry; of one that nobody could read, the fields as they stand."""
    known = events([found], ApplyPlan)
    if known:
        event = known[0][1]
        return Plan(
            id=found.entry.id, symbol=event.symbol, decision=event.decision, action=event.action,
            side=event.side, qty=event.qty, reduce_only=event.reduce_only, source=event.source,
        )  # fmt: skip
    told: dict[str, Any] = {
        name: "".join(values(found.entry, name)[:1])
        for name in ("symbol", "decision", "action", "side", "qty", "source")
    }
    return Plan(id=found.entry.id, **told, reduce_only=False, readable=False)


def decided_of(found: Found, event: PermitDecided) -> Decided:
    """A decision as an answer shows it."""
    return Decided(
        id=found.entry.id,
        gate=event.gate,
        allow=event.allow,
        reason=event.reason,
        why=REASONS[event.reason][1] if event.reason in REASONS else "",
        safe_qty=format(event.safe_qty, "f"),
        universe_epoch=event.universe_epoch,
    )


def result_of(found: Found, event: ApplyResult) -> Result:
    """A result as an answer shows it."""
    return Result(
        id=found.entry.id, executed=event.executed, symbol=event.symbol,
        order_id=order_id.find(event), source=event.source, error=event.error[:500],
    )  # fmt: skip


def told_of(found: Found, event: AuditFinding) -> Told:
    """A Finding as an answer shows it."""
    return Told(
        id=found.entry.id, auditor=event.auditor, finding=event.finding, severity=event.severity,
        detail=event.detail,
    )  # fmt: skip


def _symbol(
    search: Search, plans: Sequence[Plan], own: Sequence[tuple[Found, PermitDecided]], until: Key
) -> tuple[Symbol | None, list[Found]]:
    """The symbol and the entries that tell of it."""
    name = own[-1][1].symbol if own else plans[0].symbol if plans else ""
    if not name:
        return None, []
    moment, epoch, allowed = until, -1, None
    if own:
        found, event = own[-1]
        # Another stream's entry of the same millisecond may have come before: it counts.
        moment, epoch = min(until, until_ms(found.entry.ms)), event.universe_epoch
        allowed = _allowed(event)
    stood = universe.standing(search, moment)
    known = universe.of_epoch(search, epoch, moment) if epoch > 0 else None
    if epoch < 0 and stood:
        known = universe.current(search, moment)
    proof = [one.found for one in (stood,) if one] + [one[0] for one in (known,) if one]
    return (
        Symbol(
            name=name,
            allowed=allowed,
            listed=name in known[1].symbols if known else None,
            close_only=universe.close_only(search, name, known[0].entry.key) if known else None,
            epoch=known[1].epoch if known else max(epoch, 0),
            changed=known[0].entry.id if known else "",
            status="missing" if stood is None else "stale" if stood.stale else "fresh",
        ),
        proof,
    )


def _allowed(event: PermitDecided) -> bool | None:
    """Whether the symbol passed; every reason but a few is given only after it was looked at."""
    if event.reason in _UNCHECKED or event.reason not in REASONS:
        return True if event.allow else None
    return event.reason not in ("symbol_not_allowed", "symbol_close_only")


def _verdict(
    plans: Sequence[Plan], own: Sequence[PermitDecided], symbol: Symbol | None
) -> tuple[Verdict, str]:
    if own:
        last = own[-1]
        words = REASONS[last.reason][1] if last.reason in REASONS else "a reason of another gate"
        told = f"{last.reason}: {words}"
        if symbol and symbol.allowed is False and symbol.status != "fresh":
            told += "; the universe was not fresh, so P33_ALLOWLIST was in force"
        return ("permitted" if last.allow else "denied"), told
    if not plans:
        return "unknown", "no plan with this id is archived"
    asking = [one for one in plans if one.decision in EVALUATED]
    if not asking:
        return "not asked", f"decision {plans[-1].decision[:64]} asks for no permit"
    return "undecided", "P3.3 had not decided on it"


def _permits(
    own: Sequence[tuple[Found, PermitDecided]], findings: Sequence[tuple[Found, AuditFinding]]
) -> dict[str, Permit]:
    """The three permits: what was found of each, the newest word last."""
    known = {gate: Permit(state="unknown") for gate in GATES}
    for found, event in findings:
        if event.auditor != AUDITOR:
            continue
        if event.finding == "permits_complete":
            for gate in GATES:
                if gate == P33 or gate in event.detail:
                    known[gate] = Permit(state="granted", detail=event.detail, id=found.entry.id)
        named = event.event_id.rpartition(":")[2]
        state = _STATES.get(event.finding)
        if state and named in known:
            known[named] = Permit(state=state, detail=event.detail, id=found.entry.id)
        late = _NOT_WITHIN.match(event.detail) if event.finding == "permit_missing" else None
        for gate in late[1].split(", ") if late else ():
            if gate in known:
                known[gate] = Permit(state="missing", detail=event.detail, id=found.entry.id)
    if own:
        # Its own word tells exactly what an audit sees a second later.
        found, decided = own[-1]
        state_: State = "granted" if decided.allow else "denied"
        known[P33] = Permit(state=state_, detail=decided.reason, id=found.entry.id)
    return known


_STATES: dict[str, State] = {
    "permit_denied": "denied",
    "permit_malformed": "malformed",
    "permit_signature_invalid": "malformed",
}
