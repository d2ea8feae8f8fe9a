"""The only place of the settings of the auditors of permits and of orders."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.knobs import decimal, knob, text, whole


@dataclass(frozen=True, slots=True)
class PermitAuditSettings:
    """The auditor of permits."""

    window_s: float = knob(
        "PERMIT_AUDIT_WINDOW_SEC",
        decimal(1, 3600, "s"),
        60.0,
        "Seconds within which all three permits of a plan must appear.",
    )
    keep_s: int = knob(
        "PERMIT_AUDIT_KEEP_SEC",
        whole(60, 30 * 86_400, "s"),
        86_400,
        "Seconds for which a closed case is remembered: an execution later than that is judged "
        "as one without a plan.",
    )
    trusted: str = knob(
        "PERMIT_AUDIT_TRUSTED_KEYS",
        text,
        "",
        "Files with the public keys (PEM) that may sign P3.3's permits, by comma; "
        "empty leaves signatures unchecked.",
    )


@dataclass(frozen=True, slots=True)
class OrderProofSettings:
    """The auditor of orders."""

    keep_days: int = knob(
        "ORDER_PROOF_KEEP_DAYS",
        whole(1, 3650, "days"),
        30,
        "Days for which a proof is found by its plan, its order and its symbol.",
    )
    plan_keep_s: int = knob(
        "ORDER_PROOF_PLAN_KEEP_SEC",
        whole(60, 30 * 86_400, "s"),
        86_400,
        "Seconds for which a plan is remembered; a result later than that counts as one without.",
    )
    patience_s: float = knob(
        "ORDER_PROOF_PATIENCE_SEC",
        decimal(0.05, 20, "s"),
        2.0,
        "Seconds that a result waits for its plan, which stands in another stream.",
    )
