"""The only place that says which modules are mutated and which suites have to notice.

Only suites that need no server of their own: a mutant costs what its tests cost.
"""

from __future__ import annotations

RUNNER = (
    "tests/unit/test_pace.py",
    "tests/unit/test_lease.py",
    "tests/unit/test_line.py",
    "tests/unit/test_holding.py",
    "tests/unit/test_testing_kit.py",
    "tests/unit/test_waiting.py",
    "tests/integration/test_promises.py",
    "tests/integration/test_promises_of_gates.py",
    "tests/integration/test_promises_of_holding.py",
    "tests/integration/test_promises_of_raw.py",
    "tests/integration/test_promises_of_reading_ahead.py",
    "tests/unit/test_outcome.py",
    "tests/unit/test_effects.py",
    "tests/unit/test_handling.py",
    "tests/unit/test_runner.py",
    "tests/unit/test_redis_inbox.py",
    "tests/unit/test_simulation.py::test_whatever_happens_each_event_has_exactly_one_ending",
)
IDS = (
    "tests/unit/test_ledger_ids.py",
    "tests/unit/test_ledger_canonical.py",
    "tests/unit/test_ledger_book.py",
)
LEDGER = (
    "tests/unit/test_ledger_canonical.py",
    "tests/unit/test_ledger_merkle.py",
    "tests/unit/test_ledger_consistency.py",
    "tests/unit/test_ledger_verify.py",
    "tests/unit/test_ledger_book.py",
    "tests/unit/test_ledger_journal.py",
    "tests/unit/test_ledger_entry.py",
)
DECISION = (
    "tests/unit/test_p33_decision_edges.py",
    "tests/unit/test_p33_decision.py",
    "tests/unit/test_p33_parts.py",
)
TARGETS: dict[str, tuple[str, ...]] = {
    "quantum_ops.runner": RUNNER,
    "quantum_ops.handling": RUNNER,
    "quantum_ops.outcome": RUNNER,
    "quantum_ops.waiting": RUNNER,
    "quantum_ops.pace": RUNNER,
    "quantum_ops.effects": RUNNER,
    "quantum_ops.redis_inbox": RUNNER,
    "quantum_ops.scripts": RUNNER,
    "quantum_ops.lease": RUNNER,
    "quantum_ops.line": RUNNER,
    "quantum_ops.holding": RUNNER,
    "quantum_ops.unreplicated": RUNNER,
    "quantum_ops.p33.decision": DECISION,
    "quantum_ops.ledger.journal": LEDGER,
    "quantum_ops.ledger.canonical": LEDGER,
    "quantum_ops.ledger.ids": IDS,
    "quantum_ops.ledger.merkle": LEDGER,
    "quantum_ops.ledger.entry": LEDGER,
}
WITH_SERVER = ("valkey", "redis7")
"""Tests with one of these in their name need a server, and are not part of it."""
DEPENDS = {"quantum_ops.scripts": "quantum_ops.redis_inbox"}
"""Modules of constants: whoever executes the other module may notice."""
PARTS = {
    "quantum_ops.scripts": ("_CHECKPOINT", "_BURY", "FINISH", "CHECKPOINT", "CLAIM", "CREATE_GROUP")
}
"""Names of the module that are the runner's; the others are the business of whoever uses them."""
