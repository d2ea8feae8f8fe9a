"""The only place that goes once through everything there is of the streams, and sums it up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from quantum_ops.history.blocks import FIRST, Key
from quantum_ops.history.reader import Archive
from quantum_ops.recovery.positions import Position
from quantum_ops.recovery.timeline import Live, Placed, Survey, merged

MAX_NAMED = 5


@dataclass(slots=True)
class Sum:
    """One stream, summed up.

    ``kept`` entries are in the window that is restored, or on the server; ``older`` are before it.
    Of the kept ones ``missing`` are archived and not on the server; ``unarchived`` are on it only.
    ``digest`` is the SHA-256 over the lines of the kept ones, ``read`` counts those that each group
    has read, older ones included. ``conflicts`` names ids with other content on the server.
    """

    since: Key = FIRST
    kept: int = 0
    older: int = 0
    missing: int = 0
    unarchived: int = 0
    low: Key = FIRST
    high: Key = FIRST
    older_high: Key = FIRST
    conflicts: list[str] = field(default_factory=list)
    conflicting: int = 0
    read: dict[str, int] = field(default_factory=dict)
    _sha: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """In hex."""
        return self._sha.hexdigest()

    @property
    def total(self) -> int:
        """All there ever was."""
        return self.older + self.kept

    def add(self, one: Placed, positions: Sequence[Position]) -> bool:
        """Count one entry in; tells whether it is in the window."""
        for position in positions:
            if one.key <= position.key:
                self.read[position.group] = self.read.get(position.group, 0) + 1
        self.unarchived += not one.archived
        if one.key < self.since and not one.on_server:
            self.older += 1
            self.older_high = one.key
            return False
        self._sha.update(one.line + b"\n")
        self.low = one.key if not self.kept else self.low
        self.high = one.key
        self.kept += 1
        self.missing += not one.on_server
        if one.conflict:
            self.conflicting += 1
            if len(self.conflicts) < MAX_NAMED:
                self.conflicts.append("{}-{}".format(*one.key))
        return True


def sweep(
    archive: Archive,
    known: Survey,
    windows: Mapping[str, Key],
    on_server: Live,
    *,
    positions: Iterable[Position] = (),
    sink: Callable[[Placed], None] = lambda _placed: None,
) -> dict[str, Sum]:
    """Sum up each stream of ``windows`` (key -> first id that is kept); ``sink`` takes the kept."""
    sums = {stream: Sum(since) for stream, since in windows.items()}
    groups: dict[str, list[Position]] = {stream: [] for stream in windows}
    for position in positions:
        if position.stream in groups:
            groups[position.stream].append(position)
    for one in merged(archive, windows.keys(), known, on_server):
        if sums[one.stream].add(one, groups[one.stream]):
            sink(one)
    return sums
