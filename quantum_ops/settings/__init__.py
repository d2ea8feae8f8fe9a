"""The only place where settings are declared: name, type, unit, default and reason of each."""

from __future__ import annotations

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
    SYMBOL_REGEX,
    UniverseAuditSettings,
    UniverseCheckSettings,
    UniverseSettings,
)
from quantum_ops.settings.warden import WardenSettings
from quantum_ops.settings.watch import WatchSettings

SECTIONS = (
    RedisSettings,
    ServerSettings,
    HostSettings,
    RuntimeSettings,
    UniverseSettings,
    UniverseAuditSettings,
    UniverseCheckSettings,
    P33Settings,
    PositionsSettings,
    PositionLedgerSettings,
    PermitAuditSettings,
    OrderProofSettings,
    ArchiveSettings,
    LedgerSettings,
    EvidenceSettings,
    ProofSettings,
    WatchSettings,
    WardenSettings,
    StatusPageSettings,
    ExporterSettings,
)
"""Every section, for the docs and the tests that compare them."""

__all__ = [
    "SECTIONS",
    "SYMBOL_REGEX",
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
