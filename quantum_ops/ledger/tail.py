"""The only place that reads the journal for a projection: all of it, or what is new to the last.

A place is remembered with the digest of the line before it: a journal that was put back from a
copy, or rewritten, is noticed instead of being continued in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from quantum_ops.ledger import canonical, drift, journal
from quantum_ops.ledger.folder import Folder

BLOCK_BYTES = 256 * 1024
"""Some hundred lines at a time: what stays in the processor's cache is read fastest."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the journal: a segment, an offset behind a line of it, and that line's digest."""

    segment: str = ""
    offset: int = 0
    last: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole lines that the journal holds at one moment, whatever is appended meanwhile."""

    segments: Sequence[tuple[Path, int]]
    """Each with the place behind its last whole line."""

    @classmethod
    def take(cls, folder: Folder) -> Snapshot:
        """The journal as it is."""
        return cls([(path, journal.whole_end(path)[0]) for path in folder.segments()])

    def blocks(self) -> Iterator[bytes]:
        """All lines, oldest first, about a megabyte of whole ones at a time."""
        for path, end in self.segments:
            with path.open("rb") as file:
                left = end
                while left:
                    found = file.read(min(left, BLOCK_BYTES))
                    found += file.readline(left - len(found)) if found[-1:] != b"\n" else b""
                    if not found:
                        break  # was cut off meanwhile, by whoever took the journal from us
                    left -= len(found)
                    yield found

    def lines(self) -> Iterator[bytes]:
        """All lines without their LF, oldest first."""
        for block in self.blocks():
            yield from block.split(b"\n")[:-1]

    def place(self) -> Place:
        """The place behind all lines."""
        for path, end in reversed(self.segments):
            if end:
                return Place(path.name, end, drift.sha256(journal.last_line(path, end)))
        return Place()


def after(folder: Folder, place: Place) -> tuple[list[bytes], Place] | None:
    """The lines behind ``place`` and the place behind them; None if ``place`` is not there."""
    found: list[bytes] = []
    at = place
    for segment in folder.segments():
        if segment.name < place.segment:
            continue
        start = place.offset if segment.name == place.segment else 0
        with segment.open("rb") as file:
            if start and not _is_there(file, place):
                return None
            file.seek(start)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        if whole:
            fresh = whole[:-1].split(b"\n")
            found += fresh
            at = Place(segment.name, start + len(whole), drift.sha256(fresh[-1]))
    if place.segment and not (folder.journal / place.segment).exists():
        return None
    return found, at


def _is_there(file: BinaryIO, place: Place) -> bool:
    start = max(0, place.offset - canonical.MAX_LINE_BYTES - 2)
    file.seek(start)
    before = file.read(place.offset - start)
    if not before.endswith(b"\n"):
        return False
    return drift.sha256(before[:-1].rsplit(b"\n", 1)[-1]) == place.last
