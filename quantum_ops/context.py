"""The only place that says what a handler is given beside its event."""

from __future__ import annotations

from typing import Any

import walrus

from quantum_ops import entry_id
from quantum_ops.clock import Clock
from quantum_ops.effects import Effects


class Context(Effects):
    """One delivery as the handler sees it, and the effects it declares.

    ``stream`` (key), ``entry_id`` (text), ``attempt`` (1 on first delivery), ``age_s`` (seconds
    since the entry was added), ``db`` (client for reads), ``log``, ``clock``, ``settings``,
    ``state`` (what ``prepare`` gave), ``held`` (what ``setup`` gave), ``vitals`` (fields that go
    into the process's heartbeat). Valid during the handler's call only.
    """

    __slots__ = (
        "attempt",
        "clock",
        "db",
        "group",
        "held",
        "log",
        "raw_id",
        "settings",
        "state",
        "stream",
        "vitals",
    )

    def __init__(
        self, group: str, db: walrus.Database, log: Any, clock: Clock, settings: Any = None
    ) -> None:
        super().__init__()
        self.group = group
        self.db = db
        self.log = log
        self.clock = clock
        self.settings = settings
        self.state: Any = None
        self.held: Any = None
        self.vitals: dict[str, str | int] = {}
        self.stream = ""
        self.raw_id = entry_id.ZERO
        self.attempt = 1

    @property
    def entry_id(self) -> str:
        """Id of the entry being handled."""
        return self.raw_id.decode()

    @property
    def age_s(self) -> float:
        """Seconds since the entry was added."""
        return entry_id.age_s(self.raw_id, self.clock.now_s())
