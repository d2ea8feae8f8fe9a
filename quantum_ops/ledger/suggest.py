"""The id that the next operation would get; a suggestion only, given without taking the lock."""

from __future__ import annotations

from datetime import datetime, timezone

from quantum_ops.ledger import adopt, canonical, ids
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.index import LEGACY, RECORDED
from quantum_ops.ledger.journal import Journal


def next_id(folder: Folder, when: datetime) -> str:
    """The next free id of the day of ``when`` (UTC), after the journal and what it adopts.

    Reads the whole journal. Another process may get the same suggestion; ids are given out when an
    operation is recorded.

    Raises:
        ValueError: if a line is none of a journal, or the day has no number left.
        OSError: if the journal or the changelog cannot be read.
    """
    day = when.astimezone(timezone.utc).date()
    legacy: list[bytes] = []
    taken: set[str] = set()
    empty = True
    for line in Journal(folder).lines():
        empty = False
        of = canonical.envelope(line)
        if of.type == RECORDED:
            taken.add(of.id)
        elif of.type == LEGACY:
            legacy.append(line)
    if legacy:
        taken |= adopt.operation_ids(legacy)
    elif empty and folder.changelog.exists():
        taken |= adopt.ids_in(folder.changelog.read_bytes())
    numbers = [found.number for one in taken if (found := _parsed(one)) and found.day == day]
    return str(ids.free(day, max(numbers, default=0), taken.__contains__))


def _parsed(operation_id: str) -> ids.OperationId | None:
    return ids.parse(operation_id) if ids.is_valid(operation_id) else None
