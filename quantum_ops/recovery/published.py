"""The only place that makes again what the publisher remembers: events that were published lately.

A publisher whose reply was lost with the server publishes the same event once more; this is what
keeps it from standing in the stream twice.
"""

from __future__ import annotations

from quantum_ops import streams
from quantum_ops.history.reader import Archive, from_ms
from quantum_ops.publisher import REMEMBER_S
from quantum_ops.recovery.keyspace import Keyspace

NEVER = (streams.PERMIT_DECIDED, streams.DEAD_LETTER)
"""Written by effects of an acknowledgement only, which need no memory."""


def rebuild(archive: Archive, now_ms: int) -> Keyspace:
    """The idempotency keys that would not have expired by ``now_ms``."""
    keys = Keyspace()
    ours = {one.key for one in streams.CATALOGUE if one.ours and one not in NEVER}
    for entry in archive.read(ours, from_ms(max(0, now_ms - REMEMBER_S * 1000))):
        flat = entry.flat
        found = [flat[at + 1] for at in range(0, len(flat) - 1, 2) if flat[at] == b"event_id"]
        if len(found) != 1 or not found[0]:
            continue
        try:
            key = streams.idempotency(entry.stream, found[0].decode())
        except UnicodeDecodeError:
            continue
        keys.first(key, entry.id, entry.ms + REMEMBER_S * 1000)
    keys.expire(now_ms)
    return keys
