"""The only place of what a lookup file remembers of its segment's entries as a whole: projections.

Each is of one stream and is told entries in any order: of two segments' it does not matter which is
counted in first, so those of a moment are put together from files and from the entries between.
"""

from __future__ import annotations

from typing import Any

import msgspec

from quantum_ops import streams
from quantum_ops.events import LedgerRecorded, UniverseChanged
from quantum_ops.history.segment import Found
from quantum_ops.history.terms import decoded

CLOSE_ONLY = "close_only"
Told = tuple[int, int, int, bool]
"""Id (ms, seq) and number of the entry that told last, and what it told."""


class Recorded(msgspec.Struct):
    """Of ``ledger.recorded``: the highest number that was told of, 0 for none."""

    highest: int = 0

    def add(self, found: Found) -> None:
        """Count an entry in."""
        event = decoded(found.entry)
        if isinstance(event, LedgerRecorded):
            self.highest = max(self.highest, event.seq)

    def merge(self, other: Any) -> None:
        """Count another segment's in."""
        self.highest = max(self.highest, other.highest)


class Closing(msgspec.Struct):
    """Of ``universe.changed``: for each symbol, whether it was told last that it may only close.

    Events name what became so, so what is so at a moment takes all of them. A symbol that came or
    went is no longer so; one that was so when the very first event was told is not known.
    """

    symbols: dict[str, Told] = {}

    def add(self, found: Found) -> None:
        """Count an entry in."""
        event = decoded(found.entry)
        if not isinstance(event, UniverseChanged):
            return
        told = dict.fromkeys((*event.added, *event.removed), False)
        for symbol, rows in event.changed.items():
            if "state" in rows:
                told[symbol] = rows["state"][1] == CLOSE_ONLY
        told |= dict.fromkeys(event.close_only, True)
        for symbol, so in told.items():
            self._tell(symbol, (*found.entry.key, found.at, so))

    def merge(self, other: Any) -> None:
        """Count another segment's in."""
        for symbol, told in other.symbols.items():
            self._tell(symbol, told)

    def _tell(self, symbol: str, told: Told) -> None:
        known = self.symbols.get(symbol)
        if known is None or told[:3] > known[:3]:
            self.symbols[symbol] = told


Projection = Recorded | Closing
OF = {streams.LEDGER_RECORDED.key: Recorded, streams.UNIVERSE_CHANGED.key: Closing}


class Snapshot(msgspec.Struct):
    """The projections of one segment."""

    recorded: Recorded = msgspec.field(default_factory=Recorded)
    closing: Closing = msgspec.field(default_factory=Closing)

    def of(self, stream: str) -> Projection:
        """That of one stream."""
        return self.recorded if stream == streams.LEDGER_RECORDED.key else self.closing


encode = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.json.Decoder(Snapshot).decode
