"""Journals for stories about rendering: records as the ledger appends them, in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from quantum_ops.ledger.folder import Folder


class Shelf(Folder):
    """A ledger's folder with a journal that a story writes itself."""

    @property
    def root(self) -> Path:
        return self.base

    def append(self, *records: dict[str, Any], segment: str = "2026-01") -> None:
        """Add records to the journal, numbered from the last one on."""
        self.journal.mkdir(exist_ok=True, parents=True)
        seq = len(self.lines())
        with (self.journal / f"{segment}.jsonl").open("ab") as file:
            for number, record in enumerate(records, seq + 1):
                file.write(line({**record, "seq": number}) + b"\n")

    def lines(self) -> list[bytes]:
        found: list[bytes] = []
        for path in sorted(self.journal.glob("*.jsonl")):
            found += path.read_bytes().split(b"\n")[:-1]
        return found

    def files(self) -> dict[str, bytes]:
        """Everything that lies there for people to read."""
        paths = [*self.root.glob("*.md"), *self.root.glob("*.yaml"), *self.root.glob("*/*.md")]
        paths = [path for path in paths if path.parent != self.quarantine]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in paths}


def line(record: dict[str, Any]) -> bytes:
    return json.dumps(
        record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def record(kind: str, data: dict[str, Any], day: str = "2026-01-27") -> dict[str, Any]:
    return {
        "v": 1,
        "type": kind,
        "id": str(data.get("operation_id", "")),
        "source": {"stream": "", "stream_id": "", "host": ""},
        "occurred_at": f"{day}T06:15:30Z",
        "recorded_at": f"{day}T06:15:31Z",
        "digest": "sha256:",
        "data": data,
    }


def operation(number: int = 1, day: str = "2026-01-27", **more: Any) -> dict[str, Any]:
    """A recorded operation with id ``OPS-<day>-<number>``."""
    data = {
        "operation_id": f"OPS-{day}-{number:03}",
        "operation_name": "P2.7 Deploy",
        "risk_class": "SERVICE_RESTART",
        "blast_radius": "none: it is a story",
        "changes_summary": f"change #{number}",
        "objective": "o",
        "outcome": "SUCCESS",
        "notes": "n",
    }
    return record("operation.recorded", {**data, **more}, day)


def rollback(number: int, of: str, day: str = "2026-01-27", **more: Any) -> dict[str, Any]:
    """A recorded operation that rolls back the operation ``of``."""
    return operation(number, day, outcome="ROLLBACK", rollback_of=of, **more)
