"""The only place that brings what the archive and a server hold of streams into one order.

By id, each once. Nothing that either of them holds is left out, so a server that was written to
again after a loss loses nothing by being refilled.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import walrus

from quantum_ops import client, entry_id
from quantum_ops.history import entry
from quantum_ops.history.blocks import FIRST, LAST, Key
from quantum_ops.history.reader import Archive
from quantum_ops.recovery.errors import DisorderedError

PAGE = 1000
MAX_LATE = 500_000
"""Entries archived behind later ones that are held in memory; more are refused."""
Live = Callable[[str], Iterator["Version"]]


class Version(NamedTuple):
    """One entry as somebody holds it; ``line`` is its canonical form."""

    key: Key
    line: bytes
    archived: bool


class Placed(NamedTuple):
    """An entry at its place. ``on_server`` and ``archived`` say who holds it.

    ``conflict``: the server holds other content under this id than the archive.
    """

    stream: str
    key: Key
    line: bytes
    archived: bool
    on_server: bool
    conflict: bool

    @property
    def flat(self) -> list[bytes]:
        """Names and values in turn."""
        return entry.decode(self.line).flat


@dataclass(slots=True)
class Survey:
    """What was archived behind a later entry of its stream; such an id may also be a second one."""

    late: dict[str, list[Version]] = field(default_factory=dict)
    high: dict[str, Key] = field(default_factory=dict)


def survey(archive: Archive, streams: Collection[str]) -> Survey:
    """Look through the archive once. Raises :class:`DisorderedError` above ``MAX_LATE``."""
    found, count = Survey(), 0
    high = found.high
    for one in archive.numbered(streams):
        key, stream = one.entry.key, one.entry.stream
        if key > high.get(stream, FIRST):
            high[stream] = key
            continue
        count += 1
        if count > MAX_LATE:
            raise DisorderedError(
                f"{archive.folder.base}: more than {MAX_LATE} entries stand behind later ones of "
                "their stream; refill one stream at a time with --stream"
            )
        found.late.setdefault(stream, []).append(Version(key, one.line, archived=True))
    for late in found.late.values():
        late.sort(
            key=lambda version: version.key
        )  # stable: of one id, the later version stays last
    return found


def live(db: walrus.Database, bounds: Mapping[str, Key] = MappingProxyType({})) -> Live:
    """The entries of a server, oldest first, a page at a time; of ``bounds`` up to these ids."""

    def read(stream: str) -> Iterator[Version]:
        return _versions(db, stream, b"-", bounds.get(stream, LAST))

    return read


def read_back(db: walrus.Database, key: str, stream: str) -> tuple[int, str]:
    """Entries and digest of what stands under ``key``, as if it were ``stream``."""
    count, digest = 0, hashlib.sha256()
    for id_, flat in _rows(db, key):
        count += 1
        digest.update(entry.encode(stream, id_, flat) + b"\n")
    return count, digest.hexdigest()


def nothing(_stream: str) -> Iterator[Version]:
    """A server that holds nothing."""
    return iter(())


def merged(
    archive: Archive, streams: Collection[str], known: Survey, on_server: Live
) -> Iterator[Placed]:
    """Every entry of these streams; within each in the order of ids. Memory stays flat."""
    sides = {stream: _Side(stream, known.late.get(stream, ()), on_server) for stream in streams}
    high: dict[str, Key] = {}
    for one in archive.numbered(streams):
        key, stream = one.entry.key, one.entry.stream
        if key <= high.get(stream, FIRST):
            continue  # late: it stands in its side
        high[stream] = key
        side = sides[stream]
        yield from side.before(key)
        yield side.place(key, [Version(key, one.line, archived=True), *side.at(key)])
    for side in sides.values():
        yield from side.before(None)


class _Side:
    """What comes into a stream beside the archive's main run: late entries, and the server's."""

    def __init__(self, stream: str, late: Sequence[Version], on_server: Live) -> None:
        self._stream = stream
        self._rest = heapq.merge(late, on_server(stream), key=lambda version: version.key)
        self._next: Version | None = next(self._rest, None)

    def before(self, key: Key | None) -> Iterator[Placed]:
        while self._next is not None and (key is None or self._next.key < key):
            at = self._next.key
            yield self.place(at, self.at(at))

    def at(self, key: Key) -> list[Version]:
        found = []
        while self._next is not None and self._next.key == key:
            found.append(self._next)
            self._next = next(self._rest, None)
        return found

    def place(self, key: Key, versions: Sequence[Version]) -> Placed:
        archived = [one.line for one in versions if one.archived]
        served = [one.line for one in versions if not one.archived]
        # Of an id that came again, the later content: it is what readers saw last.
        line = served[-1] if served else archived[-1]
        conflict = bool(served and archived) and served[-1] not in archived
        return Placed(self._stream, key, line, bool(archived), bool(served), conflict)


def beyond(db: walrus.Database, stream: str, highest: Key) -> Iterator[Version]:
    """The entries of a server behind the id ``highest``."""
    return _versions(db, stream, b"(%d-%d" % highest, LAST)


def _versions(db: walrus.Database, stream: str, after: bytes, highest: Key) -> Iterator[Version]:
    for id_, flat in _rows(db, stream, after, entry_id.text(highest)):
        yield Version(entry_id.parse(id_), entry.encode(stream, id_, flat), archived=False)


def _rows(db: walrus.Database, key: str, after: bytes = b"-", end: str = "+") -> Iterator[Any]:
    while True:
        rows: list[Any] = client.raw(db, "XRANGE", key, after, end, "COUNT", PAGE)
        yield from rows
        if len(rows) < PAGE:
            return
        after = b"(" + rows[-1][0]
