"""The only place that reads records in order to tell of them elsewhere: the journal is the outbox.

Whoever tells remembers the number and the digest of the record it told of last. With both, a
journal that was cut, rewritten or exchanged meanwhile is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from itertools import islice

from quantum_ops.ledger import merkle
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.index import Index
from quantum_ops.ledger.journal import LOCK_PATIENCE_S, Journal, Tail

Mark = tuple[str, int, int, int]
"""Name, size, inode and time of change of the newest segment: as long as it is the same, nothing
was appended, and no other journal was put in its place."""


class Outbox:
    """The journal as it stands under its lock: what is read here is durable, and stays."""

    def __init__(self, folder: Folder, tail: Tail, index: Index) -> None:
        self._journal = Journal(folder)
        self._index = index
        self.head: merkle.Head = index.head()
        self.mark: Mark = mark(folder)
        self.torn = tail.torn

    def digest(self, seq: int) -> str:
        """The digest of record ``seq``; empty if there is none."""
        place = self._index.place(seq)
        line = self._journal.line(place) if place else b""
        return sha256(line) if line else ""

    def after(self, seq: int, most: int) -> list[tuple[int, bytes]]:
        """At most so many records behind ``seq``: number and line (without LF) of each."""
        place = self._index.place(seq + 1)
        found = islice(self._journal.since(place), most) if place else ()
        return [(number, line) for number, (_, line) in enumerate(found, seq + 1)]


@contextlib.contextmanager
def opened(folder: Folder, patience_s: float = LOCK_PATIENCE_S) -> Iterator[Outbox]:
    """The outbox of ``folder``, under the journal's lock: never wait for a network in there.

    Raises:
        LockTimeoutError, JournalDamagedError, OSError: as ``Journal.locked``.
    """
    with Journal(folder).locked(patience_s) as tail, Index(folder) as index:
        index.sync(tail)
        yield Outbox(folder, tail, index)


def mark(folder: Folder) -> Mark:
    """The mark of the journal as it is now; takes no lock."""
    segments = folder.segments()
    if segments:
        with contextlib.suppress(FileNotFoundError):
            found = segments[-1].stat()
            return segments[-1].name, found.st_size, found.st_ino, found.st_mtime_ns
    return "", 0, 0, 0


def sha256(line: bytes) -> str:
    """The digest of a record's line, in hex."""
    return hashlib.sha256(line).hexdigest()
