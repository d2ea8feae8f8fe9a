"""A ledger to tell stories about: its requests, its lines, and a clock that stands still."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantum_ops.ledger import book, entry
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal

NOON = datetime(2026, 1, 27, 12, 0, 0, tzinfo=UTC)


def request(number: object = 1, **changed: Any) -> entry.Request:
    """A request; ``number`` makes it another one."""
    fields = {
        "operation": f"Operation {number}",
        "objective": "to tell a story",
        "risk_class": "SERVICE_RESTART",
        "blast_radius": "none",
        "changes_summary": f'fix #{number}: it\'s "done"',
    }
    return entry.Request(**{**fields, **changed})


class Ledger:
    """A ledger in ``base`` at a moment that only the story moves."""

    def __init__(self, base: Path) -> None:
        self.folder = Folder.at(base)
        self.now = NOON
        self.told: list[str] = []
        self.seal = book.Seal()

    def record(self, *requests: entry.Request) -> list[book.Receipt]:
        return book.record_many(
            self.folder, requests, lambda: self.now, seal=self.seal, tell=self.told.append
        )

    def one(self, number: object = 1, **changed: Any) -> book.Receipt:
        return self.record(request(number, **changed))[0]

    def fill(self, count: int) -> None:
        """So many records, each by a run of its own."""
        for number in range(count):
            self.one(number)

    def lines(self) -> list[bytes]:
        return list(Journal(self.folder).lines())

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]

    def ids(self) -> list[str]:
        return [one["id"] for one in self.records() if one["type"] == "operation.recorded"]

    @property
    def segment(self) -> Path:
        return self.folder.segments()[-1]


def rewritten(ledger: Ledger, at: int) -> Ledger:
    """The same ledger as if record ``at`` had said something else, with all that follows."""
    other = Ledger(ledger.folder.base.with_name("rewritten"))
    for number, record in enumerate(ledger.records(), 1):
        other.now = ledger.now.fromisoformat(record["recorded_at"].replace("Z", "+00:00"))
        text = "nothing happened" if number == at else record["data"]["changes_summary"]
        name = record["data"]["operation_name"]
        host = {"hostname": record["data"]["hostname"]} if "hostname" in record["data"] else {}
        other.one(operation=name, changes_summary=text, occurred_at=other.now, evidence=host)
    return other
