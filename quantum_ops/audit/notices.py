"""The only place that listens for permit keys being set, where the server tells of it.

A speed-up and a witness, never the authority: a permit that an executor consumes within a
millisecond is seen by no look at the keys. Servers tell only with ``notify-keyspace-events K$``
(ours does); notices that are lost, as all are while we are away, leave what the looks see.
"""

from __future__ import annotations

from typing import Any

import walrus

from quantum_ops import client
from quantum_ops.audit.sight import gate_of

PATTERN = "__keyspace@*__:quantum:permit:*"
KEPT_MS = 120_000
"""Milliseconds for which a notice waits for its plan, which may be read after it."""
MAX_KEPT = 200_000
MAX_DRAINED = 100_000


class Notices:
    """Permits whose appearance was told: ``appeared[(gate, plan_id)]`` is when, in epoch ms."""

    def __init__(self, db: walrus.Database) -> None:
        self._db = db
        self._listening: Any = None
        self.appeared: dict[tuple[str, str], int] = {}

    def drain(self, now_ms: int) -> set[str]:
        """Take in what was told since the last call; gives the plan ids concerned. Never blocks."""
        heard: set[str] = set()
        try:
            for _ in range(MAX_DRAINED):
                message = self._listen().get_message(timeout=0)
                if message is None:
                    break
                heard |= self._hear(message, now_ms)
        except client.TRANSPORT_ERRORS + client.SERVER_ERRORS:
            # Whoever reads the keys next will notice, too, and knows how to wait.
            self.close()
        old = [one for one, at_ms in self.appeared.items() if now_ms - at_ms > KEPT_MS]
        for one in old if len(self.appeared) < MAX_KEPT else list(self.appeared):
            del self.appeared[one]
        return heard

    def close(self) -> None:
        """Stop listening; the next drain begins anew."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _listen(self) -> Any:
        if self._listening is None:
            self._listening = self._db.pubsub(ignore_subscribe_messages=True)
            self._listening.psubscribe(PATTERN)
        return self._listening

    def _hear(self, message: Any, now_ms: int) -> set[str]:
        if message.get("data") != b"set":
            return set()
        key = message["channel"].partition(b":")[2].decode("utf-8", "replace")
        found = gate_of(key)
        if found is None:
            return set()
        self.appeared.setdefault(found, now_ms)
        return {found[1]}
