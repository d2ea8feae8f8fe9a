"""The only place that makes again what operators settled: violations, and dead letters.

Each act was told by a Finding in the step that did it; the note beside the act is read from there.
"""

from __future__ import annotations

import json
import re

from quantum_ops import codec, streams
from quantum_ops.events import AuditFinding
from quantum_ops.history.reader import Archive
from quantum_ops.recovery import facts
from quantum_ops.recovery.keyspace import Keyspace

OPERATOR = "operator"
_BY = re.compile(r"by ([^;]*)(?:; (.*))?", re.DOTALL)
_LETTER = re.compile(r"[^;]*; by ([^;]*)(?:; (.*))?", re.DOTALL)


def rebuild(archive: Archive) -> Keyspace:
    """The two hashes of notes, letter for letter as they were written."""
    keys = Keyspace()
    for finding in facts.findings(archive, OPERATOR):
        if not finding.evidence:
            continue
        at = codec.rfc3339(finding.occurred_at)
        if finding.finding == "violation_settled":
            found = _BY.fullmatch(finding.detail)
            note = {"by": _part(found, 1), "at": at, "why": _part(found, 2)}
            _note(keys, streams.FINDINGS_SETTLED, finding, note)
        elif finding.finding in ("dead_letter_requeued", "dead_letter_dropped"):
            found = _LETTER.fullmatch(finding.detail)
            action = finding.finding.removeprefix("dead_letter_")
            note = {"action": action, "by": _part(found, 1), "at": at, "why": _part(found, 2)}
            _note(keys, streams.DEAD_LETTER_RESOLVED, finding, note)
    return keys


def _note(keys: Keyspace, key: str, finding: AuditFinding, note: dict[str, str]) -> None:
    of = finding.evidence[0]
    known = keys.keys.get(key)
    if known is None or of.encode() not in known.value:
        keys.hset(key, {of: json.dumps(note)}, shared=True)


def _part(found: re.Match[str] | None, number: int) -> str:
    return (found[number] or "") if found else ""
