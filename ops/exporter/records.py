"""The only place that tells Prometheus of the ledger and the archive: how much, proven how far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import walrus
from prometheus_client.core import Metric

from ops.exporter import catalogue
from ops.exporter.catalogue import Measure
from ops.exporter.gates import heartbeats, number
from quantum_ops.ledger import checkpoint

MAX_PROCESSES = 4
"""Process numbers that are looked at; one keeps the record, the others stand by."""
LEDGER = {"entries": catalogue.LEDGER_ENTRIES, "spooled": catalogue.LEDGER_SPOOLED}
ARCHIVE = {"untold": catalogue.ARCHIVE_UNTOLD}
"""Field of the keeper's heartbeat -> metric."""


class Keeper:
    """Reads what the process says that keeps the ledger or the archive."""

    def __init__(self, db: walrus.Database, program: str, fields: Mapping[str, Measure]) -> None:
        self._db = db
        self._program = program
        self._fields = fields

    def read(self) -> list[Metric]:
        """Raises what the client raises. Nothing without a process that is at work."""
        for beat in heartbeats(self._db, self._program, MAX_PROCESSES).values():
            if beat.get("state") != "ready":
                continue
            told = [(measure, number(beat, name)) for name, measure in self._fields.items()]
            return [measure.of(value) for measure, value in told if value is not None]
        return []


class Head:
    """Reads the newest checkpoint, a file of three lines, of a ledger or an archive."""

    def __init__(self, path: Path, measure: Measure) -> None:
        self._path = path
        self._measure = measure

    def read(self) -> list[Metric]:
        """Raises ``OSError`` or ``CheckpointError`` for one that cannot be read."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return [self._measure.of(0)]  # nothing was proven yet
        return [self._measure.of(checkpoint.parse(text).head.size)]
