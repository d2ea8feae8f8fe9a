"""The only place where tests of P3.3 make what it decides on: plans, snapshots, allowlists."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from quantum_ops.events import ApplyPlan
from quantum_ops.p33.allowlist import Allowlist, Steps
from quantum_ops.p33.decision import Decision, decide, reconcile_hmac
from quantum_ops.p33.snapshot import Snapshot
from quantum_ops.settings import P33Settings

NOW = 1_790_000_000.0
KEY = "a secret shared with P3.4"
ROW = {"step_size": "0.001", "market_step_size": "0.001", "state": "trading"}
LEAVING = {**ROW, "state": "close_only"}


def plan(**fields: Any) -> ApplyPlan:
    """A plan that closes a long position of BTCUSDT whole, unless ``fields`` say otherwise."""
    given = {
        "plan_id": "0123456789abcdef", "decision": "EXECUTE", "symbol": "BTCUSDT", "side": "SELL",
        "qty": "1", "action": "FULL_CLOSE_PROPOSED", "reduce_only": True, **fields,
    }  # fmt: skip
    return ApplyPlan(**given)


def opening(**fields: Any) -> ApplyPlan:
    """A plan that opens a long position."""
    given = {"side": "BUY", "action": "ENTRY_PROPOSED", "reduce_only": False, **fields}
    return plan(**given)


def reconcile(key: str = KEY, **fields: Any) -> ApplyPlan:
    """A RECONCILE_CLOSE, signed with ``key``."""
    unsigned = {"decision": "RECONCILE_CLOSE", "action": "", "qty": "0.5", **fields}
    return plan(**{"hmac": reconcile_hmac(plan(**unsigned), key), **unsigned})


def snapshot(position: str | None = "1", **fields: Any) -> Snapshot:
    """A fresh position of the exchange; a ledger only if asked for."""
    given = {
        "position": None if position is None else Decimal(position),
        "position_problem": "missing" if position is None else "",
        "seen_s": NOW - 1,
        **fields,
    }
    return Snapshot(**given)


def allowlist(*symbols: str, **fields: Any) -> Allowlist:
    """A fresh universe of these symbols (BTCUSDT), each with a step of 0.001."""
    named = symbols or ("BTCUSDT",)
    rows = fields.pop("rows", dict.fromkeys(named, ROW))
    given = {
        "source": "universe", "code": "fresh", "reason": "", "symbols": frozenset(named),
        "close_only": frozenset(), "steps": Steps(rows), "epoch": 7, "age_s": 1.0,
        "mode": "testnet", **fields,
    }  # fmt: skip
    return Allowlist(**given)


def decided(
    of: ApplyPlan,
    known: Snapshot | None = None,
    listed: Allowlist | None = None,
    *,
    age_s: float = 0.0,
    now_s: float = NOW,
    **rules: Any,
) -> Decision:
    """The decision on ``of`` with these rules."""
    return decide(
        of,
        known or snapshot(),
        listed or allowlist(),
        P33Settings(**{"reconcile_key": KEY, **rules}),
        now_s=now_s,
        age_s=age_s,
    )
