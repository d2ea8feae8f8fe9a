"""The only place that finds the ledger's records that are told of twice after a loss.

A ledger that goes on beside an emptied server tells of all its records again, under new ids. Both
are history, and what the server holds is never dropped; but whoever restores is told.
"""

from __future__ import annotations

from quantum_ops import streams
from quantum_ops.events import LedgerRecorded
from quantum_ops.history import entry
from quantum_ops.recovery import facts
from quantum_ops.recovery.timeline import Placed


class Twice:
    """Looks at entries as they are put into order; ``seqs`` are the numbers that came again."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self._seen: set[int] = set()

    def add(self, one: Placed) -> None:
        """Look at one entry of any stream."""
        if one.stream != streams.LEDGER_RECORDED.key:
            return
        event = facts.decoded(entry.decode(one.line))
        if isinstance(event, LedgerRecorded):
            if event.seq in self._seen:
                self.seqs.append(event.seq)
            self._seen.add(event.seq)

    def told(self) -> str:
        """The same in words; empty without any."""
        if not self.seqs:
            return ""
        return (
            f"{len(self.seqs)} records of the ledger are told of twice on ledger.recorded (seq "
            f"{min(self.seqs)} to {max(self.seqs)}), since it went on after the loss: go by seq"
        )
