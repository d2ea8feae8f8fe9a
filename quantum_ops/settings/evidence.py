"""The only place of the settings of the ledger's evidence."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.knobs import knob, text


@dataclass(frozen=True, slots=True)
class EvidenceSettings:
    """The ledger's evidence."""

    username: str = knob(
        "REDIS_AUDIT_USERNAME",
        text,
        "",
        "ACL user that Redis snapshots are taken as, one that may only read; empty is audit once "
        "REDIS_AUDIT_PASSWORD is set, else the user of the other settings.",
    )
    password: str = knob(
        "REDIS_AUDIT_PASSWORD", text, "", "Password of that user. Never logged.", secret=True
    )
