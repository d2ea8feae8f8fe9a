"""The only place that makes again what position_ledger notes of each symbol's last order."""

from __future__ import annotations

import re

from quantum_ops import position_note, streams
from quantum_ops.events import ApplyResult
from quantum_ops.history.reader import Archive
from quantum_ops.recovery import facts
from quantum_ops.recovery.keyspace import Keyspace

NOTER = "position_ledger"


def rebuild(archive: Archive, symbols: re.Pattern[str], since_ms: int) -> Keyspace:
    """The notes by the newest executed result of each symbol; the amounts are the executors'."""
    keys = Keyspace()
    newest: dict[str, tuple[int, int]] = {}
    for entry, event in facts.told(archive, [streams.APPLY_RESULT], since_ms):
        if not isinstance(event, ApplyResult) or not event.executed:
            continue
        fields = position_note.of(event, entry.id)
        if not fields or not symbols.fullmatch(event.symbol):
            continue
        if entry.key > newest.get(event.symbol, (-1, 0)):
            newest[event.symbol] = entry.key
            noted = {"last_result_id": entry.id, **fields}
            keys.hset(streams.position_ledger(event.symbol), noted, shared=True)
    return keys
