"""The only place that makes the index of order_proof again, from the plans and results archived.

It follows consumers/order_proof.py step by step; tests hold the two together by running both. A
result whose Finding is not in the archive counts as not judged: it is left out here, and its group
goes on before it, so that the auditor itself judges it.
"""

from __future__ import annotations

from typing import NamedTuple

from quantum_ops import order_id, streams
from quantum_ops.events import ApplyPlan, ApplyResult
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive
from quantum_ops.recovery import facts
from quantum_ops.recovery.keyspace import Keyspace
from quantum_ops.settings import OrderProofSettings

AUDITOR = "order_proof"
FAMILIES = (streams.proof_of_plan("").removesuffix("plan:"),)
"""Beginnings of all keys of the index."""


class Rebuilt(NamedTuple):
    """``unjudged`` is the id of the first result that has to be judged yet; empty for none."""

    keys: Keyspace
    unjudged: str


def rebuild(
    archive: Archive, settings: OrderProofSettings, now_ms: int, *, judged_only: bool = True
) -> Rebuilt:
    """The index as it would stand at ``now_ms`` had the server never been lost.

    With ``judged_only`` False every archived result is taken in, for a comparison with a live one.
    """
    keep_ms = settings.keep_days * streams.DAY_S * 1000
    since_ms = now_ms - keep_ms
    judged = _judged(archive, since_ms) if judged_only else None
    keys, unjudged = Keyspace(), ""
    both = [streams.APPLY_PLAN, streams.APPLY_RESULT]
    for entry, event in facts.told(archive, both, since_ms):
        if isinstance(event, ApplyPlan):
            planned = streams.planned(event.plan_id)
            keys.set(planned, entry.id, entry.ms + settings.plan_keep_s * 1000)
        elif isinstance(event, ApplyResult) and event.executed:
            if judged is not None and entry.id not in judged and _would_tell(keys, event):
                unjudged = unjudged or entry.id
                continue
            _take_in(keys, entry, event, entry.ms + keep_ms)
    keys.expire(now_ms)
    return Rebuilt(keys, unjudged)


def _judged(archive: Archive, since_ms: int) -> set[str]:
    """Ids of the results that a Finding rests on."""
    return {
        finding.evidence[0]
        for finding in facts.findings(archive, AUDITOR, since_ms)
        if finding.evidence
    }


def _would_tell(keys: Keyspace, result: ApplyResult) -> bool:
    """Whether judging it now would make a Finding: a repeat of what is known makes none."""
    found = order_id.find(result)
    if not found:
        return streams.proof_told("executed_without_order_id", result.plan_id) not in keys
    holder = keys.text(streams.proof_of_order(result.symbol, found))
    if holder and holder != result.plan_id:
        return streams.proof_told(f"order_id_reused:{found}", result.plan_id) not in keys
    return not holder


def _take_in(keys: Keyspace, entry: Entry, result: ApplyResult, expires_ms: int) -> None:
    found = order_id.find(result)
    plan_id = result.plan_id
    if not found:
        key = streams.proof_told("executed_without_order_id", plan_id)
        keys.first(key, entry.id, expires_ms)
        return
    order = streams.proof_of_order(result.symbol, found)
    holder = keys.text(order)
    if holder:
        if holder != plan_id:
            key = streams.proof_told(f"order_id_reused:{found}", plan_id)
            keys.first(key, entry.id, expires_ms)
        return
    keys.set(order, plan_id, expires_ms)
    plan = streams.proof_of_plan(plan_id)
    if plan in keys:
        return  # a second order for this plan: the first one is its proof
    keys.hset(
        plan,
        {
            "entry_id": entry.id,
            "symbol": result.symbol,
            "order_id": found,
            "executed_at": result.timestamp,
        },
        expires_ms,
    )
    keys.zadd(streams.proofs_of_symbol(result.symbol), plan_id, entry.ms, expires_ms)
