"""The only place that reads the journal from where the last projection stopped.

A place is remembered with the digest of the line before it: a journal that was put back from a
copy, or rewritten, is noticed instead of being continued in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from quantum_ops.ledger import canonical, drift
from quantum_ops.ledger.folder import Folder


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the journal: a segment, an offset behind a line of it, and that line's digest."""

    segment: str = ""
    offset: int = 0
    last: str = ""


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
