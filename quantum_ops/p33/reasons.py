"""The only place of P3.3's reason codes, in the order in which they are decided.

docs/p33.md shows this table; a test holds both together.
"""

from __future__ import annotations

REASONS: dict[str, tuple[str, str]] = {
    "not_execute_decision": ("no permit", "decision is neither EXECUTE nor RECONCILE_CLOSE"),
    "malformed_plan": (
        "deny, dead letter",
        "a required field is missing or no value of its kind; the original is kept",
    ),
    "gate_failed": (
        "deny, dead letter",
        "delivered too often without an outcome: this gate failed on it again and again",
    ),
    "plan_id_conflict": (
        "deny, Finding",
        "another plan was decided under this plan_id; the earlier permit is replaced by the denial",
    ),
    "not_replicated": (
        "deny",
        "it was allowed, but QUANTUM_WAIT_REPLICAS did not have that in time: withdrawn unused",
    ),
    "plan_too_old": (
        "deny",
        "the plan stands longer in the stream than decided plan ids are remembered (24 h)",
    ),
    "symbol_not_allowed": ("deny", "the symbol is not on the allowlist in force"),
    "symbol_close_only": ("deny", "the symbol is leaving trade: it may only be reduced"),
    "reconcile_unsigned": (
        "deny",
        "RECONCILE_CLOSE without reduceOnly, or without a valid HMAC of P33_RECONCILE_KEY",
    ),
    "reconcile_hold_active": ("deny", "P3.4 holds the symbol; RECONCILE_CLOSE alone passes"),
    "no_exchange_snapshot": ("deny", "there is no readable position of the exchange"),
    "stale_exchange_state": (
        "deny",
        "the position is older than P33_STALE_THRESHOLD_SEC, or dated in the future",
    ),
    "position_already_open": (
        "deny",
        "not reduceOnly with an open position, and P33_ALLOW_ADD is off or the side is the other",
    ),
    "no_position": ("deny", "nothing is open that could be reduced"),
    "side_not_reducing": ("deny", "reduceOnly with the side that would enlarge the position"),
    "reconcile_required_side_mismatch": ("deny", "ledger and exchange are on different sides"),
    "reconcile_required_qty_mismatch": (
        "deny",
        "ledger and exchange differ by more than one step and P33_QTY_TOLERANCE_PCT",
    ),
    "ledger_missing": (
        "deny",
        "the ledger holds no readable amount: unreadable always, missing with P33_REQUIRE_LEDGER",
    ),
    "cooldown_in_flight": (
        "deny",
        "an execution less than P33_COOLDOWN_SEC ago, one dated in the future, or unreadable",
    ),
    "unknown_action": ("deny", "action is none that this gate knows for such a plan"),
    "step_size_unknown": ("deny", "a part is to be closed and the symbol's step is not known"),
    "qty_below_step": ("deny", "what would be closed is less than one step"),
    "sanity_checks_passed": ("allow", "every check passed"),
    "reconcile_close_verified": ("allow", "a signed RECONCILE_CLOSE that passed"),
}
"""Code -> (what becomes of the plan, when)."""
