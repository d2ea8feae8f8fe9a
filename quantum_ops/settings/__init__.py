"""The only place where settings are declared: name, type, unit, default and reason of each.

A section's module is imported when somebody asks for it: a worker needs three of twenty, and the
others would cost each of a dozen processes half a megabyte.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantum_ops.settings.archive import ArchiveSettings
    from quantum_ops.settings.audit import OrderProofSettings, PermitAuditSettings
    from quantum_ops.settings.evidence import EvidenceSettings
    from quantum_ops.settings.exporter import ExporterSettings
    from quantum_ops.settings.host import HostSettings
    from quantum_ops.settings.ledger import LedgerSettings
    from quantum_ops.settings.p33 import P33Settings
    from quantum_ops.settings.positions import PositionLedgerSettings, PositionsSettings
    from quantum_ops.settings.proofs import ProofSettings
    from quantum_ops.settings.runtime import RuntimeSettings
    from quantum_ops.settings.server import RedisSettings, ServerSettings
    from quantum_ops.settings.status_page import StatusPageSettings
    from quantum_ops.settings.universe import (
        UniverseAuditSettings,
        UniverseCheckSettings,
        UniverseSettings,
    )
    from quantum_ops.settings.warden import WardenSettings
    from quantum_ops.settings.watch import WatchSettings

    SECTIONS: tuple[type[Any], ...]
    """Every section, for the docs and the tests that compare them."""

_HOMES = {
    "RedisSettings": "server",
    "ServerSettings": "server",
    "HostSettings": "host",
    "RuntimeSettings": "runtime",
    "UniverseSettings": "universe",
    "UniverseAuditSettings": "universe",
    "UniverseCheckSettings": "universe",
    "P33Settings": "p33",
    "PositionsSettings": "positions",
    "PositionLedgerSettings": "positions",
    "PermitAuditSettings": "audit",
    "OrderProofSettings": "audit",
    "ArchiveSettings": "archive",
    "LedgerSettings": "ledger",
    "EvidenceSettings": "evidence",
    "ProofSettings": "proofs",
    "WatchSettings": "watch",
    "WardenSettings": "warden",
    "StatusPageSettings": "status_page",
    "ExporterSettings": "exporter",
}
"""Section -> its module, in the order of the docs."""

__all__ = [
    "SECTIONS",
    "ArchiveSettings",
    "EvidenceSettings",
    "ExporterSettings",
    "HostSettings",
    "LedgerSettings",
    "OrderProofSettings",
    "P33Settings",
    "PermitAuditSettings",
    "PositionLedgerSettings",
    "PositionsSettings",
    "ProofSettings",
    "RedisSettings",
    "RuntimeSettings",
    "ServerSettings",
    "StatusPageSettings",
    "UniverseAuditSettings",
    "UniverseCheckSettings",
    "UniverseSettings",
    "WardenSettings",
    "WatchSettings",
]


def __getattr__(name: str) -> Any:
    if name == "SECTIONS":
        return tuple(__getattr__(section) for section in _HOMES)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
