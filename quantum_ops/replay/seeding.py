"""The only place that keeps the universe's keys on a scratch server as they were at that time."""

from __future__ import annotations

import walrus

from quantum_ops import streams
from quantum_ops.events import UniverseChanged
from quantum_ops.history.reader import Archive, until_ms
from quantum_ops.recovery import facts
from quantum_ops.universe import active_json


class PastUniverse:
    """``seed(db, now_s)`` writes the universe that was in force at ``now_s``, fresh as it was.

    The attributes of symbols stand in no event, so they are not there.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._changes = facts.told(archive, [streams.UNIVERSE_CHANGED])
        self._next: tuple[int, UniverseChanged] | None = None
        self._held: UniverseChanged | None = None
        self._step()

    def seed(self, db: walrus.Database, now_s: float) -> None:
        """See the class."""
        changed = False
        while self._next is not None and self._next[0] <= until_ms(int(now_s * 1000))[0]:
            self._held = self._next[1]
            changed = True
            self._step()
        if self._held is None:
            return
        if changed:
            self._publish(db, self._held)
        moment = f"{now_s:.0f}"
        db.hset(streams.UNIVERSE_META, mapping={"checked_epoch": moment, "asof_epoch": moment})

    def _publish(self, db: walrus.Database, event: UniverseChanged) -> None:
        document = active_json(list(event.symbols), event.mode, event.asof_epoch)
        meta = {
            "count": str(event.count),
            "epoch": str(event.epoch),
            "symbols_sha256": event.symbols_sha256,
            "stale": "0",
            "error": "",
            "mode": event.mode,
        }
        with db.pipeline(transaction=True) as pipe:
            pipe.set(streams.UNIVERSE_ACTIVE, document)
            pipe.hset(streams.UNIVERSE_META, mapping=meta)
            pipe.execute()

    def _step(self) -> None:
        self._next = None
        for entry, event in self._changes:
            if isinstance(event, UniverseChanged):
                self._next = (entry.ms, event)
                return
