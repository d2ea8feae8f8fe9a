"""The only place that asks what auditors say of themselves: at work, hindered, or not heard of."""

from __future__ import annotations

import walrus

from ops.terminal import safe
from quantum_ops import streams
from quantum_ops.audit.verdict import Word
from quantum_ops.heartbeat import TTL_S


def words_of(db: walrus.Database, auditors: list[str], now_ms: int) -> dict[str, Word]:
    """Auditor -> its word by its heartbeat; one that is not at work says nothing of worth."""
    told = {}
    for auditor in auditors:
        beat = db.hgetall(streams.heartbeat(auditor, 0))
        written = beat.get(b"updated_ms", b"")
        age_s = (now_ms - int(written)) / 1000 if written.isdigit() else None
        if age_s is None:
            told[auditor] = Word("is not running")
        elif age_s > TTL_S:
            told[auditor] = Word(f"was heard of last {age_s:.0f} s ago")
        elif beat.get(b"state") != b"ready":
            told[auditor] = Word(f"is {safe(beat.get(b'state', b'silent'))}")
        else:
            # What it saw in its own last look: settling a violation does not cure its cause.
            said = (safe(beat.get(name, b""), 300) for name in (b"hindrance", b"caveat"))
            told[auditor] = Word(*said)
    return told
