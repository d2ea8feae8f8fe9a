"""The only place that finds one record without reading all: by its id, its source or its number.

The index is asked first and believed only as far as the journal confirms it: the record that it
names must be the one that was asked for, and what was appended after it is read. That something is
not there it may say itself, if the newest record that it knows stands in this journal. Without such
an index all of the journal is read. Takes no lock, writes nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple

from quantum_ops.ledger import canonical, index, merkle, summary
from quantum_ops.ledger.canonical import Envelope
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.index import LEGACY, RECORDED
from quantum_ops.ledger.journal import Journal, Place
from quantum_ops.ledger.summary import Summary

_START = Place("", 0)


class Found(NamedTuple):
    """A record's line (without its LF), where it starts, and its number in the journal."""

    place: Place
    line: bytes
    seq: int


class Lookup:
    """Records of ``folder``; use it in a ``with``. What is not there is None.

    All of it raises ValueError on a line that is none of a journal, OSError if it cannot be read.
    """

    def __init__(self, folder: Folder) -> None:
        self._journal = Journal(folder)
        self._db = index.open_to_read(folder)
        self._end = _START
        with contextlib.suppress(sqlite3.Error, KeyError, TypeError, ValueError):
            self._end = self._confirmed()

    def __enter__(self) -> Lookup:  # noqa: PYI034 - Self is of Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._db:
            self._db.close()

    def operation(self, operation_id: str) -> Found | None:
        """The record of an operation; conflicts about its id are none."""

        def is_it(of: Envelope) -> bool:
            return of.type == RECORDED and of.id == operation_id

        return self._find("SELECT seq FROM operation WHERE id = ?", (operation_id,), is_it)

    def source(self, stream: str, stream_id: str) -> Found | None:
        """The record that was made of this entry of a stream, be it an operation or a conflict."""

        def is_it(of: Envelope) -> bool:
            return (of.stream, of.stream_id) == (stream, stream_id)

        query = "SELECT seq FROM origin WHERE stream = ? AND stream_id = ?"
        return self._find(query, (stream, stream_id), is_it)

    def number(self, seq: int) -> Found | None:
        """Record ``seq``."""
        return self._find("SELECT seq FROM record WHERE seq = ?", (seq,), lambda of: of.seq == seq)

    def adopted(self) -> list[tuple[Summary, Mapping[str, Any]]]:
        """The entries from before the ledger, newest first, with their fields."""
        records = []
        for _, line in self._journal.since(_START):
            if canonical.envelope(line).type != LEGACY:
                break  # they are adopted before anything else is recorded, or never
            records.append(canonical.load(line))
        return list(summary.adopted(records))

    def line_number(self, found: Found) -> int:
        """The number of its line in its segment, from 1 on."""
        _, first = next(self._journal.since(Place(found.place.segment, 0)))
        return found.seq - canonical.envelope(first).seq + 1

    def about(self, found: Found) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """What came later about an operation; reads the lines behind it.

        The ids that rolled it back, and the records of conflicts about its own id.
        """
        operation_id = canonical.envelope(found.line).id
        needle = f'"{operation_id}"'.encode()
        undid, conflicts = [], []
        for place, line in self._journal.since(found.place):
            if place == found.place or needle not in line:
                continue
            record = canonical.load(line)
            if summary.undone(record) == operation_id:
                undid.append(record["id"])
            elif record["type"] == index.CONFLICT and record["id"] == operation_id:
                conflicts.append(record["seq"])
        return tuple(undid), tuple(conflicts)

    def _find(
        self, query: str, values: tuple[object, ...], is_it: Callable[[Envelope], bool]
    ) -> Found | None:
        seq = self._one(query, values)
        start = self._end
        if seq:
            place = self._place(seq)
            line = self._journal.line(place) if place else b""
            if place and line and is_it(canonical.envelope(line)):
                return Found(place, line, seq)
            start = _START  # the index says what the journal does not
        return next(self._matching(start, is_it), None)

    def _matching(self, start: Place, is_it: Callable[[Envelope], bool]) -> Iterator[Found]:
        for place, line in self._journal.since(start):
            of = canonical.envelope(line)
            if is_it(of):
                yield Found(place, line, of.seq)

    def _confirmed(self) -> Place:
        """The end of what the index knows, if its newest record is in this journal."""
        if not self._db:
            return _START
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        row = self._db.execute(
            "SELECT leaf, segment, start FROM record ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        if meta["version"] != index.VERSION or not row:
            return _START
        line = self._journal.line(Place(row[1], row[2]))
        return Place(meta["segment"], int(meta["end"])) if merkle.leaf(line) == row[0] else _START

    def _one(self, query: str, values: tuple[object, ...]) -> int:
        if not self._db or self._end == _START:
            return 0
        with contextlib.suppress(sqlite3.Error, OverflowError):
            row = self._db.execute(query, values).fetchone()
            return int(row[0]) if row else 0
        self._end = _START
        return 0

    def _place(self, seq: int) -> Place | None:
        with contextlib.suppress(sqlite3.Error):
            row = (
                self._db
                and self._db.execute(
                    "SELECT segment, start FROM record WHERE seq = ?", (seq,)
                ).fetchone()
            )
            return Place(*row) if row else None
        return None
