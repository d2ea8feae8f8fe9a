"""The only place that makes the list of recorded operations again from the archive, and compares.

The journal is the truth and ``ledger.recorded`` its echo: the same numbers and digests, in the same
order, whoever keeps them. A journal that was cut or rewritten contradicts the echo.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from quantum_ops import streams
from quantum_ops.events import LedgerRecorded
from quantum_ops.history.reader import Archive
from quantum_ops.ledger import outbox
from quantum_ops.ledger.folder import Folder
from quantum_ops.recovery import facts
from quantum_ops.recovery.keyspace import Difference


class Record(NamedTuple):
    """One record as it was told of."""

    seq: int
    record_type: str
    operation_id: str
    sha256: str


def rebuild(archive: Archive) -> list[Record]:
    """The records by number; of one number, what was told first."""
    found: dict[int, Record] = {}
    for _, event in facts.told(archive, [streams.LEDGER_RECORDED]):
        if isinstance(event, LedgerRecorded):
            one = Record(event.seq, event.record_type, event.operation_id, event.entry_sha256)
            found.setdefault(event.seq, one)
    return [found[seq] for seq in sorted(found)]


def lines(records: list[Record]) -> Iterator[bytes]:
    """Canonical JSON, a record a line."""
    for one in records:
        yield json.dumps(one._asdict(), sort_keys=True, separators=(",", ":")).encode()


def compare(records: list[Record], folder: Folder) -> list[Difference]:
    """How the journal in ``folder`` differs from the records that were told of."""
    found: list[Difference] = []
    with outbox.opened(folder) as box:
        size = box.head.size
        for one in records:
            digest = box.digest(one.seq)
            if digest == one.sha256:
                continue
            detail = f"{digest[:16] or 'nothing'} in the journal, {one.sha256[:16]} by the archive"
            where = f"record {one.seq}"
            found.append(
                Difference(where, "different", detail)
                if digest
                else Difference(where, "missing", detail)
            )
    told = {one.seq for one in records}
    found += [
        Difference(f"record {seq}", "unexpected", "the archive was told of none")
        for seq in range(1, size + 1)
        if seq not in told
    ]
    return found
