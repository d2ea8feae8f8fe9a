"""The only place that appends to the archive.

Promises (held by tests/unit/test_history_writer.py and tests/fault/test_archive_faults.py):

- When :meth:`Writer.commit` returns, every line added before MUST be durable. When it raises, none
  of them may be acknowledged; they are kept and written by the next one.
- A line that is there MUST never be changed or doubled: an entry that comes again is recognised.
- The tree MUST never contradict a checkpoint: a folder that does is refused, not continued.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from quantum_ops import entry_id
from quantum_ops.history import ahead, blocks, entry, marks, sealing, segment
from quantum_ops.history.blocks import LAST, Growing, Key, Span, Spans
from quantum_ops.history.errors import DamagedError, DiskRefusedError, StandbyError
from quantum_ops.history.folder import Folder, Name
from quantum_ops.history.proofs import Grown
from quantum_ops.history.reader import Archive
from quantum_ops.ledger import checkpoint, durable, merkle
from quantum_ops.ledger.seal import Seal

SEGMENT_BYTES = 64 * 1024 * 1024
GROWN_AT_ONCE = 500
NEW, LATE, KNOWN, REUSED = "new", "late", "known", "reused"
"""What an added entry was: not here yet, so too but with a lower id than others that are, here
already, another one under an id that is here."""


@contextlib.contextmanager
def lock(folder: Folder) -> Iterator[None]:
    """Hold the archive for this process alone; the kernel lets go at any death.

    Raises :class:`StandbyError` at once if another process has it.
    """
    durable.make_folder(folder.base)
    number = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(number, 20, 0).decode("ascii", "replace").strip()
            raise StandbyError(
                f"{folder.base}: process {pid or 'unknown'} writes this archive; waiting for it"
            ) from None
        os.ftruncate(number, 0)
        os.pwrite(number, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(number)


class Writer:
    """The archive's end, opened for appending. Whoever makes one MUST hold :func:`lock`.

    ``now_s`` is asked for the day, and for what lies ahead of it. A clock that goes back opens no
    new segment.
    """

    def __init__(
        self,
        folder: Folder,
        seal: Seal,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        self.folder = folder
        self.torn = ""
        """Which bytes were cut off when it was opened, and where they are kept; empty if none."""
        self._seal = seal
        self._segment_bytes = segment_bytes
        self._now_s = now_s or time.time
        self._buffer: list[bytes] = []
        self._added: list[tuple[str, Key]] = []
        self._gaps: dict[str, ahead.Gap] = {}
        """Of streams whose newest id lies ahead of the clock."""
        self._dirty = False
        self._number = -1
        self.synced_ms = 0
        """When lines were made durable last (epoch ms); 0 before this writer's first ones."""
        durable.make_folder(folder.base)
        self._open()

    @property
    def head(self) -> merkle.Head:
        """Size and root of the tree, of what is durable."""
        return self._growing.frontier.head()

    @property
    def pending(self) -> int:
        """Lines that were added and are not durable yet."""
        return len(self._buffer)

    @property
    def open_segment(self) -> str:
        """Name of the open segment; empty if there is none."""
        return str(self._name or "")

    @property
    def open_bytes(self) -> int:
        """Bytes of the open segment."""
        return self._growing.size

    def growing(self) -> tuple[Name | None, Growing]:
        """Name of the open segment, None if there is none, and what is durable of it."""
        return self._name, self._growing

    def spans(self) -> Spans:
        """How many entries of each stream are durable, with the lowest and the highest id."""
        return {key: Span(one.count, one.low, one.high) for key, one in self._spans.items()}

    def add(self, stream: str, id_: bytes, flat: Sequence[bytes]) -> str:
        """Take an entry in, to be written by the next commit; gives what it was.

        One that is ``KNOWN`` is written already, or waits to be. Of a ``REUSED`` id both are kept.
        """
        line = entry.encode(stream, id_, flat)
        key = entry_id.parse(id_)
        last = self._last.get(stream)
        what = NEW
        if last is None or key > last:
            self._last[stream] = key
        else:
            gap = self._gap(stream)
            if not gap.low < key < gap.high:
                found = self._lines(stream, key)
                if line in found:
                    return KNOWN
                what = REUSED if found else LATE if key <= gap.low else NEW
        if stream in self._gaps:
            self._gaps[stream] = self._gaps[stream].with_(key, self._highest())
        self._buffer.append(line)
        self._added.append((stream, key))
        return what

    def last(self, stream: str) -> Key | None:
        """The highest id of ``stream`` that was added, durable or not; None before the first."""
        return self._last.get(stream)

    def holds(self, stream: str, key: Key) -> bool:
        """Whether an entry of this id was added, durable or not."""
        last = self._last.get(stream)
        return last is not None and key <= last and bool(self._lines(stream, key))

    def _gap(self, stream: str) -> ahead.Gap:
        """Between which ids ``stream`` has none: its end, and what lies ahead of the clock."""
        last, highest = self._last[stream], self._highest()
        if last <= highest:
            self._gaps.pop(stream, None)
            return ahead.Gap(last, LAST)
        if stream not in self._gaps:
            gap = ahead.gap(Archive(self.folder), stream, highest)
            for name, key in self._added:
                gap = gap.with_(key, highest) if name == stream else gap
            self._gaps[stream] = gap
        return self._gaps[stream]

    def _highest(self) -> Key:
        return ahead.limit(int(self._now_s() * 1000))

    def commit(self) -> int:
        """Make every added line durable; gives how many they were.

        Raises :class:`DiskRefusedError` if the disk does not take them. They are kept for the next.
        """
        if not self._buffer:
            return 0
        lines, added = self._buffer, self._added
        try:
            self._roll()
            self._append(b"\n".join(lines) + b"\n")
        except OSError as error:
            raise DiskRefusedError(
                f"{self.folder.base}: {error.strerror or error}; {len(lines)} entries are not "
                "acknowledged until it takes them. Make room"
            ) from error
        self._buffer, self._added = [], []
        self.synced_ms = int(self._now_s() * 1000)
        for start in range(0, len(lines), GROWN_AT_ONCE):
            # A batch of thousands must not become one block that readers unpack for one entry.
            part = slice(start, start + GROWN_AT_ONCE)
            spans = blocks.tally(added[part])
            self._growing.grow(lines[part], spans)
            blocks.merge(self._spans, spans)
        if self._name:
            marks.append(self.folder.marks(self._name), self._growing.marks, len(lines))
        return len(lines)

    def checkpoint(self) -> checkpoint.Checkpoint | None:
        """Publish the tree's head, unless that was done; gives the newest checkpoint.

        Raises :class:`DiskRefusedError`, or ``CheckpointError`` if the key cannot be used.
        """
        try:
            return self._seal.publish(self.folder, self.head)
        except OSError as error:
            raise DiskRefusedError(
                f"{self.folder.checkpoints}: {error.strerror or error}"
            ) from error

    def close(self) -> None:
        """Let go of the open segment. What was not committed is dropped."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1

    def _open(self) -> None:
        self.sealed = Archive(self.folder, sealed_only=True)
        frontier = merkle.Frontier()
        if self.sealed.segments:
            frontier = self.sealed.segments[-1].frontier()
        raw = [name for name in self.folder.names() if self.folder.raw(name).exists()]
        known = [one.name for one in self.sealed.segments]
        if len(raw) > 1 or (raw and known and raw[-1] < known[-1]):
            names = ", ".join(map(str, raw))
            raise DamagedError(
                f"{self.folder.base}: {names} not sealed, though there is a later segment; "
                "see: ./run archive verify"
            )
        self._name = raw[0] if raw else None
        self._growing = Growing(frontier.size, frontier)
        if self._name:
            path = self.folder.raw(self._name)
            with path.open("rb") as file:
                self._growing, torn = segment.read_open(file, path, frontier.size, frontier)
            if torn.size:
                self.torn = self._cut(self._name, torn)
            self._check(self._name)
            self._number = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._spans = self.sealed.spans()
        blocks.merge(self._spans, self._growing.spans())
        self._last = {stream: span.high for stream, span in self._spans.items()}
        self._guard()
        if self._name and self.folder.packed(self._name).exists():
            self.seal()  # a seal that was interrupted

    def _check(self, name: Name) -> None:
        """Check the open segment against its marks, and bring these up to its end."""
        path = self.folder.marks(name)
        known = marks.read(path)
        odd = marks.compare(known, bytes(self._growing.marks))
        if odd:
            raise DamagedError(f"{self.folder.raw(name)} {odd}; see: ./run archive verify")
        if known != self._growing.marks:
            durable.write(path, bytes(self._growing.marks))

    def _guard(self) -> None:
        """Check that the tree fits its newest checkpoint, or refuse: to append would hide it."""
        known = checkpoint.newest(self.folder)
        if known is None:
            return
        head, size = known.head, self._growing.frontier.size
        root = Grown(Archive(self.folder)).root(head.size) if head.size <= size else b""
        if root != head.root:
            why = (
                f"has {size} entries, its checkpoint says {head.size}"
                if head.size > size
                else f"is not the one of its checkpoint of {head.size} entries"
            )
            raise DamagedError(
                f"{self.folder.base}: the archive {why}: lines were cut off or rewritten. Nothing "
                "is appended. See: ./run archive verify"
            )

    def _cut(self, name: Name, torn: segment.Torn) -> str:
        """Cut what follows the last LF: the rest of a write that was never acknowledged."""
        with self.folder.raw(name).open("r+b") as file:
            file.seek(torn.at)
            rest = file.read()
            digest = hashlib.sha256(rest).hexdigest()[:16]
            kept = self.folder.quarantine / f"torn-{name}-{torn.at}-{digest}"
            durable.write(kept, rest)
            file.truncate(torn.at)
            os.fsync(file.fileno())
        return f"{name}: {len(rest)} bytes of an interrupted write were cut off, kept as {kept}"

    def _append(self, content: bytes) -> None:
        size = self._growing.size
        try:
            if self._dirty:
                os.ftruncate(self._number, size)
                self._dirty = False
            durable.write_all(self._number, content)
            os.fdatasync(self._number)
        except BaseException:
            # Whole lines may have got through; nobody was told, so they must not stay.
            self._dirty = True
            with contextlib.suppress(OSError):
                os.ftruncate(self._number, size)
                os.fsync(self._number)
                self._dirty = False
            raise

    def _roll(self) -> None:
        """Seal the open segment if it is full or of an earlier day, and have one to append to."""
        day = datetime.fromtimestamp(self._now_s(), UTC).strftime("%Y-%m-%d")
        name = self._name
        if name and self._growing.lines:
            if self._growing.size < self._segment_bytes and day <= name.day:
                return
            self.seal()
            name = None
        if name is None:
            last = self.sealed.segments[-1].name if self.sealed.segments else None
            # The number orders segments, so a clock that was set back spoils nothing.
            name = Name(last.number + 1 if last else 1, day)
            path = self.folder.raw(name)
            number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._number, self._name = number, name
            durable.sync_folder(self.folder.base)

    def seal(self) -> None:
        """Seal the open segment, if there is one with lines in it."""
        if self._name is None or not self._growing.lines:
            return
        name, growing = self._name, self._growing
        sealing.seal(self.folder, name, growing)
        self.close()
        self._name, self._dirty = None, False
        self._growing = Growing(growing.frontier.size, growing.frontier)
        self.sealed.refresh()

    def _lines(self, stream: str, key: Key) -> list[bytes]:
        """The lines of that id, written or waiting."""
        found = [
            line
            for line, added in zip(self._buffer, self._added, strict=True)
            if added == (stream, key)
        ]
        found += [one.line for one in self.sealed.find(stream, key)]
        if self._name is None:
            return found
        with self.folder.raw(self._name).open("rb") as file:
            one = segment.Segment(self.folder, self._name, self._growing, file.fileno())
            return found + [each.line for each in one.find(stream, key)]
