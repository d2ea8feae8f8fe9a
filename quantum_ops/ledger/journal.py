"""The append-only journal: the truth, of which all else is made. The only place that writes it.

Segments of one month each, lines in canonical form, numbered from 1 over all segments. Only whoever
holds the lock appends, and nothing but the torn end of an interrupted write is ever cut.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from quantum_ops.ledger import canonical, durable
from quantum_ops.ledger.errors import JournalDamagedError, LockTimeoutError
from quantum_ops.ledger.folder import Folder

LOCK_PATIENCE_S = 30.0
"""A batch of the consumer holds the lock for well under a second; no deploy may wait for ever."""

LOCK_POLL_S = 0.01
READ_BACK_BYTES = 2 * canonical.MAX_LINE_BYTES


class Place(NamedTuple):
    """Where a line stands: name of the segment, and the offset of its first byte there."""

    segment: str
    offset: int


@dataclass(slots=True)
class Tail:
    """The journal's end, held locked. ``line`` is the newest one, without its LF; empty if none."""

    folder: Folder
    segment: str
    size: int
    line: bytes
    seq: int
    torn: str = ""
    """Which bytes were cut off when it was opened, and where they are kept; empty if none were."""

    def append(self, records: Sequence[Mapping[str, Any]]) -> list[tuple[Place, bytes]]:
        """Add ``records``, each without its ``seq``; gives their lines (without LF) and places.

        When this returns, the lines MUST be durable. If it raises, none of them counts: what was
        written of them is taken back, and if that fails too, a later repeat must be recognised by
        its source.

        Raises:
            InvalidEntryError: if one of the records cannot be written. Nothing was.
            OSError: if the disk is full, or refuses for another reason.
        """
        if not records:
            return []
        numbered = enumerate(records, self.seq + 1)
        lines = [canonical.dump({**record, "seq": seq}) for seq, record in numbered]
        month = max(str(record["recorded_at"])[:7] for record in records)
        # A clock that was set back must not put a line before older ones: the newest segment stays.
        segment = max(f"{month}.jsonl", self.segment)
        size = self.size if segment == self.segment else 0
        content = b"".join(line + b"\n" for line in lines)
        if size:
            self._extend(self.folder.journal / segment, content)
        else:
            # A new segment appears as a whole: what is adopted is never in there by half.
            durable.write(self.folder.journal / segment, content)
        places = []
        for line in lines:
            places.append((Place(segment, size), line))
            size += len(line) + 1
        self.segment, self.size = segment, size
        self.line, self.seq = lines[-1], self.seq + len(lines)
        return places

    def _extend(self, path: Path, content: bytes) -> None:
        number = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            try:
                durable.write_all(number, content)
                os.fdatasync(number)
            except BaseException:
                # Whole lines of a batch may have got through; unacknowledged, they must not stay.
                os.ftruncate(number, self.size)
                os.fsync(number)
                raise
        finally:
            os.close(number)


class Journal:
    """The journal of ``folder``."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def locked(self, patience_s: float = LOCK_PATIENCE_S) -> Iterator[Tail]:
        """The journal's end, for one process at a time; the torn end of a killed write is cut off.

        Raises:
            LockTimeoutError: if another process held the lock all the time.
            JournalDamagedError: if the newest line is none of a journal.
            OSError: if the folder cannot be written.
        """
        durable.make_folder(self.folder.journal)
        number = durable.opened(self.folder.lock, os.O_RDWR)
        try:
            _lock(number, self.folder.lock, patience_s)
            yield self._tail()
        finally:
            os.close(number)  # which also unlocks, as does the death of the process

    def lines(self) -> Iterator[bytes]:
        """All lines without their LF, oldest first. Takes no lock, sees whole lines only."""
        for path in self.folder.segments():
            with path.open("rb") as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # or its other half, written meanwhile, would look like a line
                    yield line[:-1]

    def backwards(self) -> Iterator[bytes]:
        """The same, newest first; reads no more than it gives."""
        for path in reversed(self.folder.segments()):
            end, _ = whole_end(path)
            if end:
                yield from _backwards(path, end - 1)

    def since(self, place: Place) -> Iterator[tuple[Place, bytes]]:
        """The lines from ``place`` on, each with its own place."""
        for path in self.folder.segments():
            name = path.name
            if name < place.segment:
                continue
            offset = place.offset if name == place.segment else 0
            with path.open("rb") as file:
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    yield Place(name, offset), line[:-1]
                    offset += len(line)

    def line(self, place: Place) -> bytes:
        """The line at ``place``, without its LF; empty if there is none."""
        try:
            with (self.folder.journal / place.segment).open("rb") as file:
                file.seek(place.offset)
                found = file.readline(canonical.MAX_LINE_BYTES + 1)
        except FileNotFoundError:
            return b""
        return found[:-1] if found.endswith(b"\n") else b""

    def _tail(self) -> Tail:
        torn = []
        for path in reversed(self.folder.segments()):
            end, size = whole_end(path)
            if end < size:
                torn.append(self._cut(path, end))
            if end:
                line = last_line(path, end)
                try:
                    seq = canonical.load(line)["seq"]
                except (ValueError, KeyError) as error:
                    raise JournalDamagedError(
                        f"{path}: its last line is none of a journal ({error}); nothing is "
                        "appended to it. Run: ./run ledger verify"
                    ) from None
                return Tail(self.folder, path.name, end, line, seq, "; ".join(torn))
        return Tail(self.folder, "", 0, b"", 0, "; ".join(torn))

    def _cut(self, path: Path, end: int) -> str:
        """Cut what follows the last LF: the rest of a write that nobody was told had succeeded."""
        with path.open("r+b") as file:
            file.seek(end)
            rest = file.read()
            digest = hashlib.sha256(rest).hexdigest()[:16]
            kept = self.folder.quarantine / f"torn-{path.name}-{end}-{digest}"
            durable.write(kept, rest)
            file.truncate(end)
            os.fsync(file.fileno())
        return (
            f"{path.name}: {len(rest)} bytes of an interrupted write were cut off, kept as {kept}"
        )


def _lock(number: int, path: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockTimeoutError(
                    f"{path}: another process has held it for {patience_s:g} s; "
                    f"see which with: fuser {path}"
                ) from None
            # Not in step with the others that wait, or the same one would always be late.
            time.sleep(LOCK_POLL_S * random.random())  # noqa: S311 - no secret
        else:
            return


def whole_end(path: Path) -> tuple[int, int]:
    """Where the last whole line of a segment ends, and the segment's size."""
    with path.open("rb") as file:
        size = at = file.seek(0, os.SEEK_END)
        while at > 0:
            start = max(at - READ_BACK_BYTES, 0)
            file.seek(start)
            found = file.read(at - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1, size
            at = start
    return 0, size


def _backwards(path: Path, end: int) -> Iterator[bytes]:
    """The lines before the LF at ``end``, the last one first."""
    later = b""
    with path.open("rb") as file:
        while end > 0:
            start = max(end - READ_BACK_BYTES, 0)
            file.seek(start)
            later, *lines = (file.read(end - start) + later).split(b"\n")
            yield from reversed(lines)
            end = start
    yield later


def last_line(path: Path, end: int) -> bytes:
    """The line of a segment that ends at ``end``, without its LF."""
    with path.open("rb") as file:
        start = max(end - READ_BACK_BYTES, 0)
        file.seek(start)
        return file.read(end - start)[:-1].rpartition(b"\n")[2]
