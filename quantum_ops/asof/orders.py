"""The only place that says where an order id came from: which results told it, of which plans."""

from __future__ import annotations

import msgspec

from quantum_ops import order_id, streams
from quantum_ops.asof.entries import Answer, events, rests
from quantum_ops.asof.permits import Decided, Plan, Told, decided_of, plan_of, told_of
from quantum_ops.events import ApplyResult, AuditFinding, PermitDecided
from quantum_ops.history.blocks import Key
from quantum_ops.history.search import Search
from quantum_ops.history.segment import Found
from quantum_ops.history.terms import ORDER, PLAN, Term, values

AUDITOR = "order_proof"


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One result that names the order. ``where`` is the field in which it stands.

    ``plans``, ``decisions`` and ``findings`` are what was known of its plan; Findings are those of
    order_proof, the others of the plan are told by ``permits``.
    """

    id: str
    symbol: str
    plan_id: str
    executed: bool
    where: str
    source: str
    timestamp: str
    readable: bool
    plans: list[Plan]
    decisions: list[Decided]
    findings: list[Told]


class Order(Answer, frozen=True, kw_only=True):
    """Where an order came from. Order ids are unique in their symbol only: there may be several."""

    order_id: str
    executions: list[Execution]


def at(search: Search, order: str, until: Key) -> Order | None:
    """What was known of ``order`` at ``until``; None if nothing was."""
    results = sorted(
        search.find(Term(ORDER, order), until), key=lambda one: (one.entry.key, one.at)
    )
    if not results:
        return None
    executions, basis = [], list(results)
    for found in results:
        execution, known = _execution(search, found, until)
        executions.append(execution)
        basis += known
    return Order(rests_on=rests(basis), order_id=order, executions=executions)


def _execution(search: Search, found: Found, until: Key) -> tuple[Execution, list[Found]]:
    fields = {
        name: "".join(values(found.entry, name)[:1])
        for name in ("plan_id", "symbol", "source", "timestamp", *order_id.PLACES)
    }
    known = events([found], ApplyResult)
    plan_id = fields["plan_id"]
    about = list(search.find(Term(PLAN, plan_id), until)) if plan_id else []
    plans = [one for one in about if one.entry.stream == streams.APPLY_PLAN.key]
    decisions = events(
        [one for one in about if one.entry.stream == streams.PERMIT_DECIDED.key], PermitDecided
    )
    findings = [
        (one, event)
        for one, event in events(
            [one for one in about if one.entry.stream == streams.AUDIT_FINDING.key], AuditFinding
        )
        if event.auditor == AUDITOR
    ]
    told = order_id.read(
        ApplyResult(plan_id="-", executed=True, **{one: fields[one] for one in order_id.PLACES})
    )
    execution = Execution(
        id=found.entry.id,
        symbol=fields["symbol"],
        plan_id=plan_id,
        executed=known[0][1].executed if known else False,
        where=told.where,
        source=fields["source"],
        timestamp=fields["timestamp"],
        readable=bool(known),
        plans=[plan_of(one) for one in sorted(plans, key=lambda one: (one.entry.key, one.at))],
        decisions=[decided_of(one, event) for one, event in decisions],
        findings=[told_of(one, event) for one, event in findings],
    )
    return execution, [*plans, *(one for one, _ in decisions), *(one for one, _ in findings)]
