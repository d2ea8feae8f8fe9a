"""The only place that reads Findings back: violations, open until somebody has settled them."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import walrus

from quantum_ops import client, codec, entry_id, streams
from quantum_ops.errors import DecodeError
from quantum_ops.events import AuditFinding
from quantum_ops.publisher import run_script
from quantum_ops.scripts import SETTLE

PAGE = 1000
Outcome = Literal["done", "already", "unknown"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One critical Finding. ``finding_id`` is its entry id, ``settled`` what was done about it."""

    finding_id: str
    finding: AuditFinding
    settled: str = ""

    @property
    def at_ms(self) -> int:
        """When it was told, epoch milliseconds."""
        return entry_id.parse(self.finding_id.encode())[0]


def violations(db: walrus.Database, since_ms: int = 0) -> Iterator[Violation]:
    """Critical Findings told since then, oldest first; read a page at a time."""
    after: str | bytes = str(max(0, since_ms))
    while True:
        rows = client.raw(db, "XRANGE", streams.AUDIT_FINDING.key, after, "+", "COUNT", PAGE)
        found = []
        for id_, flat in rows:
            try:
                finding = codec.decoder(AuditFinding)(flat)
            except DecodeError:
                continue  # written by a stranger: no auditor's word
            if finding.severity == "critical":
                found.append((id_.decode(), finding))
        notes = db.hmget(streams.FINDINGS_SETTLED, [id_ for id_, _ in found]) if found else []
        for (id_, finding), note in zip(found, notes, strict=True):
            yield Violation(id_, finding, (note or b"").decode("utf-8", "replace"))
        if len(rows) < PAGE:
            return
        after = b"(" + rows[-1][0]


def settle(db: walrus.Database, finding_id: str, why: str) -> Outcome:
    """Mark a violation as settled. Nothing is deleted; the act is a Finding in the same step."""
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    finding = AuditFinding(
        auditor="operator",
        finding="violation_settled",
        severity="info",
        subject=finding_id,
        detail=f"by {who}; {why}",
        evidence=(finding_id,),
    )
    moment = codec.rfc3339(finding.occurred_at)
    note = json.dumps({"by": who, "at": moment, "why": why})
    keys = [streams.AUDIT_FINDING.key, streams.FINDINGS_SETTLED]
    outcome: Outcome = run_script(
        db, SETTLE, keys, [finding_id, note, *codec.encode(finding)]
    ).decode()
    return outcome
