"""The only place where P3.3 decides. Pure: what it is given, and nothing else, decides.

The order of the checks is the order of :data:`quantum_ops.p33.reasons.REASONS`.
"""

from __future__ import annotations

import hashlib
import hmac
from decimal import Decimal

import msgspec

from quantum_ops.events import ApplyPlan
from quantum_ops.p33.allowlist import Allowlist
from quantum_ops.p33.amounts import ZERO, amount, distance, floor_to, side_of, times
from quantum_ops.p33.snapshot import Snapshot
from quantum_ops.settings import P33Settings

RECONCILE = "RECONCILE_CLOSE"
EVALUATED = frozenset({"EXECUTE", RECONCILE})
"""Decisions that ask for a permit; plans of any other are none of this gate's business."""
FRACTIONS = {
    "FULL_CLOSE": Decimal(1),
    "FULL_CLOSE_PROPOSED": Decimal(1),
    "PARTIAL_75": Decimal("0.75"),
    "PARTIAL_50": Decimal("0.5"),
    "PARTIAL_25": Decimal("0.25"),
}
"""Actions that reduce, and the part of the position that they close."""
ENTRIES = frozenset({"", "ENTRY_PROPOSED"})
"""Actions that open."""
SIDES = frozenset({"BUY", "SELL"})
MAX_AHEAD_S = 2.0
"""Seconds by which another host's clock may run ahead of ours."""
MAX_AGE_S = 86_400
"""Seconds for which decided plan ids are remembered; an older plan may have been decided before."""
_HUNDREDTH = Decimal("0.01")
_REDUCING = {"LONG": "SELL", "SHORT": "BUY"}
_ENLARGING = {"LONG": "BUY", "SHORT": "SELL"}


class Decision(msgspec.Struct, frozen=True):
    """What becomes of a plan. ``reason`` is a code of :data:`quantum_ops.p33.reasons.REASONS`.

    ``safe_qty`` (contracts, unsigned) is what may be closed at most; 0 for a plan that opens, which
    existing executors read as "the plan's own quantity". ``detail`` says what a denial rests on.
    """

    allow: bool
    reason: str
    safe_qty: Decimal = ZERO
    detail: dict[str, str] = {}


_NOT_EXECUTE = Decision(allow=False, reason="not_execute_decision")
_ALLOW_OPEN = Decision(allow=True, reason="sanity_checks_passed")


def decide(
    plan: ApplyPlan,
    snapshot: Snapshot,
    allowlist: Allowlist,
    rules: P33Settings,
    *,
    now_s: float,
    age_s: float = 0.0,
) -> Decision:
    """The decision on ``plan``. ``now_s`` is our clock, ``age_s`` the plan's time in the stream."""
    if plan.decision not in EVALUATED:
        return _NOT_EXECUTE
    problem = malformed(plan)
    if problem:
        return _deny("malformed_plan", problem=problem)
    if age_s > MAX_AGE_S:
        return _deny("plan_too_old", age_s=f"{age_s:.0f}")
    return (
        _symbol(plan, allowlist)
        or _authority(plan, snapshot, rules)
        or _exchange_state(snapshot, rules, now_s)
        or (
            _reduce(plan, snapshot, allowlist, rules, now_s)
            if plan.reduce_only
            else _open(plan, snapshot, allowlist, rules, now_s)
        )
    )


def malformed(plan: ApplyPlan) -> str:
    """What is wrong with the plan in itself, naming field, value and cure; empty if nothing is."""
    if not plan.symbol:
        return "symbol is missing; write the symbol to trade"
    for name, text in (("qty", plan.qty), ("close_qty", plan.close_qty)):
        problem = _quantity(text)
        if problem:
            return f"{name} {problem}"
    if plan.reduce_only or plan.action not in ENTRIES:
        return ""
    if plan.side not in SIDES:
        return f"side {plan.side[:40]!r} of a plan that opens; write BUY or SELL"
    if not plan.qty or not amount(plan.qty):
        return f"qty {plan.qty!r} of a plan that opens; write how many contracts"
    return ""


def _quantity(text: str) -> str:
    try:
        if text and amount(text) < 0:
            return f"{text!r} is negative; write it unsigned, side says the direction"
    except ValueError as error:
        return f"{error}; write a decimal number of contracts"
    return ""


def reconcile_hmac(plan: ApplyPlan, key: str) -> str:
    """The HMAC-SHA256 (hex) that a RECONCILE_CLOSE must carry in ``hmac``.

    Over ``plan_id|symbol|side|qty|reduceOnly``; a value that holds the bar cannot be signed.
    """
    parts = (plan.plan_id, plan.symbol, plan.side, plan.qty)
    if any("|" in part for part in parts):
        return ""
    text = "|".join((*parts, "true" if plan.reduce_only else "false"))
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def _symbol(plan: ApplyPlan, allowlist: Allowlist) -> Decision | None:
    if plan.symbol in allowlist.close_only:
        if plan.reduce_only:
            return None
        return _deny("symbol_close_only", symbol=plan.symbol[:64], epoch=str(allowlist.epoch))
    if plan.symbol in allowlist.symbols:
        return None
    return _deny(
        "symbol_not_allowed", symbol=plan.symbol[:64], source=allowlist.source,
        epoch=str(allowlist.epoch), code=allowlist.code,
    )  # fmt: skip


def _authority(plan: ApplyPlan, snapshot: Snapshot, rules: P33Settings) -> Decision | None:
    if plan.decision == RECONCILE:
        if not plan.reduce_only:
            return _deny("reconcile_unsigned", problem="reduceOnly is not true")
        if not rules.reconcile_key:
            return _deny("reconcile_unsigned", problem="P33_RECONCILE_KEY is not set")
        wanted = reconcile_hmac(plan, rules.reconcile_key)
        given = plan.hmac.encode()
        if not wanted or not hmac.compare_digest(wanted.encode(), given):
            return _deny("reconcile_unsigned", problem="the hmac is not the plan's")
        return None
    return _deny("reconcile_hold_active") if snapshot.hold else None


def _exchange_state(snapshot: Snapshot, rules: P33Settings, now_s: float) -> Decision | None:
    if snapshot.position is None:
        return _deny("no_exchange_snapshot", problem=snapshot.position_problem)
    if snapshot.seen_s is None:
        return _deny("stale_exchange_state", problem=snapshot.position_problem)
    age_s = now_s - snapshot.seen_s
    if -MAX_AHEAD_S <= age_s <= rules.stale_s:
        return None
    return _deny("stale_exchange_state", age_s=f"{age_s:.1f}", limit_s=f"{rules.stale_s:g}")


def _open(
    plan: ApplyPlan, snapshot: Snapshot, allowlist: Allowlist, rules: P33Settings, now_s: float
) -> Decision:
    position = snapshot.position or ZERO
    if position:
        side = side_of(position)
        if not rules.allow_add or plan.side != _ENLARGING[side]:
            return _deny("position_already_open", position_amt=str(position), side=plan.side[:16])
    if plan.action not in ENTRIES:
        # A close that forgot reduceOnly would open a position here.
        known = plan.action in FRACTIONS
        return _deny("no_position" if known else "unknown_action", action=plan.action[:64])
    if position:
        problem = _books(plan, snapshot, allowlist, rules)
        if problem:
            return problem
    return _cooldown(snapshot, rules, now_s) or _ALLOW_OPEN


def _reduce(
    plan: ApplyPlan, snapshot: Snapshot, allowlist: Allowlist, rules: P33Settings, now_s: float
) -> Decision:
    position = snapshot.position or ZERO
    if not position:
        return _deny("no_position")
    if plan.side in SIDES and plan.side != _REDUCING[side_of(position)]:
        return _deny("side_not_reducing", side=plan.side, position_amt=str(position))
    # Drift is why a RECONCILE_CLOSE comes: the ledger's word is no obstacle to it.
    books = None if plan.decision == RECONCILE else _books(plan, snapshot, allowlist, rules)
    problem = books or _cooldown(snapshot, rules, now_s)
    if problem:
        return problem
    return _closing(plan, position.copy_abs(), allowlist.steps.of(plan.symbol))


def _closing(plan: ApplyPlan, size: Decimal, step: Decimal | None) -> Decision:
    """What may be closed of a position of ``size``: never more than it, always whole steps."""
    reconcile = plan.decision == RECONCILE
    if reconcile:
        # It says itself how much has drifted; never more than what is there.
        wanted = min(amount(plan.qty), size) if plan.qty else size
    else:
        fraction = FRACTIONS.get(plan.action)
        if fraction is None:
            return _deny("unknown_action", action=plan.action[:64])
        wanted = times(size, fraction)
    if step is not None:
        wanted = floor_to(step, wanted)
    elif wanted != size:
        return _deny("step_size_unknown", symbol=plan.symbol)
    if not wanted:
        return _deny("qty_below_step", size=str(size), step=str(step))
    reason = "reconcile_close_verified" if reconcile else "sanity_checks_passed"
    return Decision(allow=True, reason=reason, safe_qty=wanted)


def _books(
    plan: ApplyPlan, snapshot: Snapshot, allowlist: Allowlist, rules: P33Settings
) -> Decision | None:
    """Whether the ledger says what the exchange says."""
    ledger, position = snapshot.ledger, snapshot.position or ZERO
    if snapshot.ledger_problem:
        return _deny("ledger_missing", problem=snapshot.ledger_problem)
    if ledger is None:
        return _deny("ledger_missing", problem="missing") if rules.require_ledger else None
    amounts = {"position_amt": str(position), "ledger_amt": str(ledger)}
    if side_of(ledger) != side_of(position):
        return _deny("reconcile_required_side_mismatch", **amounts)
    tolerance = times(times(position.copy_abs(), rules.tolerance_pct), _HUNDREDTH)
    step = allowlist.steps.of(plan.symbol)
    if distance(position, ledger) > max(tolerance, step or ZERO):
        return _deny("reconcile_required_qty_mismatch", **amounts)
    return None


def _cooldown(snapshot: Snapshot, rules: P33Settings, now_s: float) -> Decision | None:
    if snapshot.executed_problem:
        return _deny("cooldown_in_flight", problem=snapshot.executed_problem)
    if snapshot.executed_s is None:
        return None
    elapsed_s = now_s - snapshot.executed_s
    if elapsed_s >= rules.cooldown_s:
        return None
    return _deny("cooldown_in_flight", elapsed_s=f"{elapsed_s:.1f}")


def _deny(reason: str, **detail: str) -> Decision:
    return Decision(allow=False, reason=reason, detail=detail)
