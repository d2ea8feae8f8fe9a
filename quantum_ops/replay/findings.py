"""The only place that compares the Findings of a replay with those that were made at the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from quantum_ops import streams
from quantum_ops.events import AuditFinding
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive, from_ms, until_ms
from quantum_ops.recovery import facts

Told = Counter[tuple[str, str]]
"""(finding, subject) -> how often."""


def of_replay(published: Iterable[Entry], auditor: str) -> Told:
    """What the consumer found in the replay."""
    return _count(published, auditor)


def of_archive(archive: Archive, auditor: str, first_ms: int, last_ms: int) -> Told:
    """What it found at the time, within that window (epoch milliseconds, both included)."""
    findings = {streams.AUDIT_FINDING.key}
    return _count(archive.read(findings, from_ms(first_ms), until_ms(last_ms)), auditor)


def difference(then: Told, now: Told) -> tuple[Told, Told]:
    """What only the archive has, and what only the replay has."""
    return then - now, now - then


def _count(entries: Iterable[Entry], auditor: str) -> Told:
    found: Told = Counter()
    for entry in entries:
        event = facts.decoded(entry)
        if isinstance(event, AuditFinding) and event.auditor == auditor:
            found[event.finding, event.subject] += 1
    return found
