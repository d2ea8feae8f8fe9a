"""Proves that every executed order has an order id of its own, and finds proofs by what one knows.

What an operator does about each Finding stands in docs/audit.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hiredis

from quantum_ops import client, entry_id, order_id, streams
from quantum_ops.audit.plans_ahead import PlansAhead
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.errors import Retry
from quantum_ops.events import ApplyPlan, ApplyResult, AuditFinding, Severity
from quantum_ops.settings import OrderProofSettings

AUDITOR = "order_proof"
FINDINGS: dict[str, tuple[Severity, str]] = {
    "execution_proven": ("info", "an executed order has an order id that no other plan has"),
    "executed_without_order_id": ("critical", "executed, and no order id in any of three places"),
    "order_id_reused": ("critical", "the order of another plan was given as this one's"),
    "plan_executed_again": ("critical", "a second order for a plan that had one"),
    "result_without_plan": ("critical", "executed under a plan_id that no plan had"),
}
DAY_S = 86_400
TIDY_EVERY_S = 60.0
READS = 3
PATIENT_ATTEMPTS = 3
"""Deliveries for which a result waits for its plan; well below QUANTUM_MAX_DELIVERIES."""


@dataclass(slots=True)
class Known:
    """What Redis knows of one result's plan. ``order`` and ``holder`` are None if unknown."""

    planned: bool
    order: bytes | None
    holder: bytes | None


@dataclass(slots=True)
class Batch:
    """What is known of the executed plans of a batch, by plan id, and the order of each entry."""

    known: dict[str, Known]
    orders: dict[bytes, str]


class Desk:
    """What one process holds: ``symbols`` that were traded, plans that it has read ``ahead``."""

    def __init__(self, context: Context) -> None:
        settings: OrderProofSettings = context.settings
        self.symbols: set[str] = set()
        self.ahead = PlansAhead(AUDITOR, settings.plan_keep_s)


def fetch(events: Sequence[ApplyPlan | ApplyResult], context: Context) -> Batch:
    """What is known of the executed plans of the batch, in one round trip.

    Plans that are not known take more: the group may not have come to them yet.
    """
    results: list[ApplyResult] = []
    packed: list[bytes] = []
    orders: dict[bytes, str] = {}
    for raw_id, result in zip(context.raw_ids, events, strict=True):
        if isinstance(result, ApplyPlan) or not result.executed:
            continue
        results.append(result)
        orders[raw_id] = found = order_id.find(result)
        order = streams.proof_of_order(result.symbol, found)
        commands = (
            ("EXISTS", streams.planned(result.plan_id)),
            ("HGET", streams.proof_of_plan(result.plan_id), "order_id"),
            ("GET", order),
        )
        packed += map(hiredis.pack_command, commands)
    replies = client.ask(context.db, b"".join(packed), len(packed)) if packed else []
    known: dict[str, Known] = {}
    for number, result in enumerate(results):
        planned, order, holder = replies[number * READS : (number + 1) * READS]
        known[result.plan_id] = Known(planned == 1, _value(order), _value(holder))
    unknown = [plan_id for plan_id, one in known.items() if not one.planned]
    desk: Desk = context.held
    for plan_id in desk.ahead.find(context.db, unknown) if unknown else ():
        known[plan_id].planned = True
    return Batch(known, orders)


def tidy(context: Context) -> None:
    """Let old proofs leave the indexes of the symbols that were traded since the last time.

    An index that nobody tidied, because this process died, is tidied with the symbol's next proof.
    """
    settings: OrderProofSettings = context.settings
    keep_s = settings.keep_days * DAY_S
    symbols = context.held.symbols
    with context.db.pipeline(transaction=False) as pipe:
        for symbol in symbols:
            key = streams.proofs_of_symbol(symbol)
            pipe.zremrangebyscore(key, "-inf", (context.clock.now_s() - keep_s) * 1000)
            pipe.expire(key, keep_s)
        pipe.execute(raise_on_error=False)
    symbols.clear()


@consumer(
    streams.APPLY_PLAN,
    streams.APPLY_RESULT,
    prepare=fetch,
    settings=OrderProofSettings,
    setup=Desk,
    tick=tidy,
    tick_s=TIDY_EVERY_S,
    # What was proven or told stands in the index, for longer than results stay in their stream.
    replay_safe=True,
)
def order_proof(event: ApplyPlan | ApplyResult, context: Context) -> None:
    """Proves each execution by its order id, and finds those without one or with another's."""
    settings: OrderProofSettings = context.settings
    if isinstance(event, ApplyPlan):
        context.set(streams.planned(event.plan_id), context.entry_id, ttl_s=settings.plan_keep_s)
        return
    if not event.executed:
        return
    batch: Batch = context.state
    known = batch.known[event.plan_id]
    left_s = settings.patience_s - context.age_s
    if not known.planned and left_s > 0 and context.attempt <= PATIENT_ATTEMPTS:
        raise Retry(left_s, "its plan was not seen yet")
    found = batch.orders[context.raw_id]
    if not found:
        _unproven(event, context, known)
    elif context.attempt > 1 and known.holder not in (None, event.plan_id.encode()):
        _reused(event, context, found, known)
    else:
        _proven(event, context, found, known)


def _proven(event: ApplyResult, context: Context, found: str, known: Known) -> None:
    """Index the proof and tell of it, unless this very order was told of; then nothing happens."""
    settings: OrderProofSettings = context.settings
    keep_s = settings.keep_days * DAY_S
    at_ms = entry_id.parse(context.raw_id)[0]
    context.first(streams.proof_of_order(event.symbol, found), event.plan_id, ttl_s=keep_s)
    plan = streams.proof_of_plan(event.plan_id)
    if known.order is not None and known.order != found.encode():
        told = f"order {found} after order {known.order.decode('utf-8', 'replace')[:80]}"
        _tell(context, event, "plan_executed_again", told)
    else:
        known.order = found.encode()  # for another result of this plan in the same batch
        fields = {
            "entry_id": context.entry_id,
            "symbol": event.symbol,
            "order_id": found,
            "executed_at": event.timestamp,
        }
        context.hset(plan, fields)
        context.expire(plan, keep_s)
        context.zadd(streams.proofs_of_symbol(event.symbol), event.plan_id, at_ms)
        context.held.symbols.add(event.symbol)
        _tell(context, event, "execution_proven", f"{event.symbol} order {found}")
    _unplanned(event, context, known)


def _unproven(event: ApplyResult, context: Context, known: Known) -> None:
    key = streams.proof_told("executed_without_order_id", event.plan_id)
    context.once(key, context.entry_id, ttl_s=context.settings.keep_days * DAY_S)
    _tell(context, event, "executed_without_order_id", f"{event.symbol} by {event.source or '-'}")
    _unplanned(event, context, known)


def _reused(event: ApplyResult, context: Context, found: str, known: Known) -> None:
    holder = (known.holder or b"").decode("utf-8", "replace")
    key = streams.proof_told(f"order_id_reused:{found}", event.plan_id)
    context.once(key, context.entry_id, ttl_s=context.settings.keep_days * DAY_S)
    _tell(context, event, "order_id_reused", f"{event.symbol} order {found} is of plan {holder}")
    _unplanned(event, context, known)


def _unplanned(event: ApplyResult, context: Context, known: Known) -> None:
    if not known.planned:
        _tell(context, event, "result_without_plan", f"{event.symbol} by {event.source or '-'}")


def _tell(context: Context, event: ApplyResult, finding: str, detail: str) -> None:
    context.publish(
        AuditFinding(
            event_id=f"{AUDITOR}/{context.entry_id}/{finding}",
            auditor=AUDITOR,
            finding=finding,
            severity=FINDINGS[finding][0],
            subject=event.plan_id,
            detail=detail[:500],
            evidence=(context.entry_id,),
        )
    )


def _value(reply: Any) -> bytes | None:
    """The reply as a value; a key of another type holds another value than any."""
    return str(reply).encode() if isinstance(reply, Exception) else reply
