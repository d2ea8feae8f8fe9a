"""The only place that says what a handler is given beside its event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import walrus

from quantum_ops import client, entry_id
from quantum_ops.clock import Clock
from quantum_ops.effects import Effects


class Context(Effects):
    """One delivery as the handler sees it, and the effects it declares.

    ``stream`` (key), ``entry_id`` (text), ``attempt`` (1 on first delivery), ``age_s`` (seconds
    since the entry was added), ``db`` (client for reads), ``log``, ``clock``, ``settings``,
    ``state`` (what ``prepare`` gave), ``held`` (what ``setup`` gave), ``vitals`` (fields that go
    into the process's heartbeat). Valid during the handler's call only.

    Within ``prepare``, ``entry_ids`` are those of its events, in their order. Whoever works for
    longer than some seconds calls ``alive()`` meanwhile: the process's heartbeat goes on.
    """

    __slots__ = (
        "alive",
        "attempt",
        "clock",
        "db",
        "group",
        "held",
        "log",
        "raw_id",
        "raw_ids",
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
        self.raw_ids: Sequence[bytes] = ()
        self.alive: Callable[[], None] = _nothing
        self.attempt = 1

    def set_replicated(
        self, key: str, value: str | bytes, *, ttl_s: int, otherwise: Effects
    ) -> None:
        """See :class:`~quantum_ops.effects.Effects`."""
        if client.replicas(self.db).count:
            super().set_replicated(key, value, ttl_s=ttl_s, otherwise=otherwise)
        else:
            self.set(key, value, ttl_s=ttl_s)

    @property
    def entry_id(self) -> str:
        """Id of the entry being handled."""
        return self.raw_id.decode()

    @property
    def entry_ids(self) -> list[str]:
        """Ids of the entries that ``prepare`` is given, in their order."""
        return [one.decode() for one in self.raw_ids]

    @property
    def age_s(self) -> float:
        """Seconds since the entry was added."""
        return entry_id.age_s(self.raw_id, self.clock.now_s())


def _nothing() -> None:
    """Beats no heart: nobody looks."""
