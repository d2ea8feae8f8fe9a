"""The only place that asks what auditors say of themselves: at work, hindered, or not heard of."""

from __future__ import annotations

import walrus

from ops.terminal import safe
from quantum_ops.audit.verdict import Word
from quantum_ops.heartbeat import TTL_S, everywhere


def words_of(db: walrus.Database, auditors: list[str], now_ms: int) -> dict[str, Word]:
    """Auditor -> its word by its heartbeat; one that is not at work says nothing of worth."""
    told = {}
    for auditor in auditors:
        # Whichever host has one that works: they share what is to be audited.
        beats = [beat for _, beat in everywhere(db, auditor, 1).values()]
        told[auditor] = min((_word(beat, now_ms) for beat in beats), key=_worth, default=_ABSENT)
    return told


def _word(beat: dict[str, str], now_ms: int) -> Word:
    written = beat.get("updated_ms", "")
    age_s = (now_ms - int(written)) / 1000 if written.isascii() and written.isdecimal() else None
    if age_s is None:
        return _ABSENT
    if age_s > TTL_S:
        return Word(f"was heard of last {age_s:.0f} s ago")
    if beat.get("state") != "ready":
        return Word(f"is {safe(beat.get('state', 'silent'))}")
    # What it saw in its own last look: settling a violation does not cure its cause.
    return Word(*(safe(beat.get(name, ""), 300) for name in ("hindrance", "caveat")))


def _worth(word: Word) -> tuple[bool, bool]:
    return bool(word.hindrance), word == _ABSENT


_ABSENT = Word("is not running")
