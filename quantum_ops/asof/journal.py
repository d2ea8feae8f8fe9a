"""The only place that reads the ledger's journal for an answer about then.

The journal outlives Redis by itself. A line counts only if it has the digest that was told of it:
of a journal that was rewritten since, nothing is believed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from quantum_ops.asof.ledger import Contents, Rollback
from quantum_ops.events import LedgerRecorded
from quantum_ops.history.blocks import Key
from quantum_ops.ledger import canonical, outbox, summary
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.index import RECORDED
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.lookup import Lookup

_ROLLBACK = b'"outcome":"ROLLBACK"'


class FromJournal:
    """What the journal in ``folder`` says, and ``otherwise`` where it has not the line.

    All of it raises ValueError on a line that is none of a journal, OSError if it cannot be read.
    """

    def __init__(self, folder: Folder, lookup: Lookup, otherwise: Contents) -> None:
        self._folder = folder
        self._lookup = lookup
        self._otherwise = otherwise

    def of(self, event: LedgerRecorded, told: Key) -> Mapping[str, Any]:
        """See :class:`~quantum_ops.asof.ledger.Contents`."""
        found = self._lookup.number(event.seq)
        if found is None or outbox.sha256(found.line) != event.entry_sha256:
            return self._otherwise.of(event, told)
        record = canonical.load(found.line)
        if record["type"] != RECORDED:
            return {}
        return {**record["data"], "operation": record["data"].get("operation_name", "")}

    def rollbacks(self, wanted: Collection[str], lowest: int) -> Iterator[Rollback]:
        """See :class:`~quantum_ops.asof.ledger.Contents`."""
        seen = set()
        for line in Journal(self._folder).backwards():
            if canonical.envelope(line).seq < lowest:
                break
            if _ROLLBACK in line:
                record = canonical.load(line)
                undone = summary.undone(record)
                if undone in wanted:
                    seen.add(record["seq"])
                    yield Rollback(record["seq"], record["id"], undone)
        # What a journal that was lost or cut does not say any more.
        others = self._otherwise.rollbacks(wanted, lowest)
        yield from (one for one in others if one.seq not in seen)
