"""The only place that knows older records without reading them: a cache, in ``cache/index``.

Where each record stands, which ids and sources were recorded, the Merkle frontier. It is brought
up to date from the journal each time it is opened, and made again if it is lost, damaged or of
another journal. It decides nothing that the journal does not say.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

from quantum_ops.ledger import adopt, canonical, durable, entry, ids, merkle
from quantum_ops.ledger.errors import JournalDamagedError
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal, Place, Tail

VERSION = "1"
BATCH = 10_000
CACHE_KIB = 64 * 1024
"""What sqlite may hold at most: the index of 200,000 records. It holds what it has touched."""

RECORDED, CONFLICT, LEGACY = "operation.recorded", "conflict.rejected", "legacy.imported"
_START = Place("", 0)
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE record (seq INTEGER PRIMARY KEY, leaf BLOB, segment TEXT, start INTEGER);
CREATE TABLE operation (id TEXT PRIMARY KEY, seq INTEGER, digest TEXT) WITHOUT ROWID;
CREATE TABLE conflict (id TEXT, digest TEXT, seq INTEGER, PRIMARY KEY (id, digest)) WITHOUT ROWID;
CREATE TABLE origin (stream TEXT, stream_id TEXT, seq INTEGER, PRIMARY KEY (stream, stream_id))
  WITHOUT ROWID;
CREATE TABLE day (day TEXT PRIMARY KEY, last INTEGER) WITHOUT ROWID;
"""


class Known(NamedTuple):
    """A recorded operation. ``seq`` is 0 and ``digest`` empty for one that was adopted."""

    seq: int
    digest: str


class Index:
    """The index of ``folder``. Used under the journal's lock, or to read what is there."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.cache / "index"
        self._journal = Journal(folder)
        self._frontier = merkle.Frontier()
        self._end = _START
        self._tail: Tail | None = None
        self._db: sqlite3.Connection
        self._connect()

    def __enter__(self) -> Index:  # noqa: PYI034 - Self is of Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of its file."""
        self._db.close()

    def sync(self, tail: Tail) -> None:
        """Bring it up to date with the journal.

        Raises:
            JournalDamagedError: if the journal's lines are not numbered without gaps.
        """
        try:
            if self._is_current(tail):
                return
            start = self._resume(tail)
            self._read(start, tail)
        except sqlite3.Error:
            self._begin_in_memory()
            self._read(_START, tail)
        finally:
            self._tail = tail

    def rebuild(self, tail: Tail) -> None:
        """Make it again from the whole journal. Raises as ``sync``."""
        self._tail = None
        self._begin()
        self._read(_START, tail)
        self._tail = tail

    def add(self, written: Iterable[tuple[Place, bytes]], tail: Tail) -> None:
        """Take in lines that were just appended; ``tail`` is the journal's end after them."""
        try:
            with self._transaction():
                self._take(written)
        except sqlite3.Error:
            # They are in the journal: an index that cannot be written must not say otherwise.
            self._begin_in_memory()
            self._read(_START, tail)

    def head(self) -> merkle.Head:
        """The tree's size and root."""
        return self._frontier.head()

    def operation(self, operation_id: str) -> Known | None:
        """What is recorded under this id."""
        row = self._row("SELECT seq, digest FROM operation WHERE id = ?", operation_id)
        return Known(*row) if row else None

    def conflict(self, operation_id: str, digest: str) -> int:
        """The record of a conflict with this very content; 0 if there is none."""
        row = self._row(
            "SELECT seq FROM conflict WHERE id = ? AND digest = ?", operation_id, digest
        )
        return int(row[0]) if row else 0

    def origin(self, stream: str, stream_id: str) -> int:
        """The record that came from this source; 0 if there is none."""
        row = self._row(
            "SELECT seq FROM origin WHERE stream = ? AND stream_id = ?", stream, stream_id
        )
        return int(row[0]) if row else 0

    def last_number(self, day: str) -> int:
        """The highest number that an id of ``day`` has; 0 if there is none."""
        row = self._row("SELECT last FROM day WHERE day = ?", day)
        return int(row[0]) if row else 0

    def place(self, seq: int) -> Place | None:
        """Where record ``seq`` stands."""
        row = self._row("SELECT segment, start FROM record WHERE seq = ?", seq)
        return Place(*row) if row else None

    def _is_current(self, tail: Tail) -> bool:
        if tail.seq != self._frontier.size or self._end != Place(tail.segment, tail.size):
            return False
        row = self._row("SELECT leaf FROM record WHERE seq = ?", tail.seq)
        return not tail.seq or bool(row and row[0] == merkle.leaf(tail.line))

    def _resume(self, tail: Tail) -> Place:
        """From where on to read: the end of what is known, if it is of this journal."""
        size = self._frontier.size
        row = self._row("SELECT leaf, segment, start FROM record WHERE seq = ?", size)
        if row and size <= tail.seq:
            line = self._journal.line(Place(row[1], row[2]))
            if line and merkle.leaf(line) == row[0]:
                return self._end
        self._begin()
        return _START

    def _read(self, start: Place, tail: Tail) -> None:
        lines = self._journal.since(start)
        with self._transaction():
            while self._take(lines, BATCH):
                pass
        if self._frontier.size != tail.seq:
            raise JournalDamagedError(
                f"the journal holds {self._frontier.size} lines, the last is number {tail.seq}; "
                "nothing is appended to it. Run: ./run ledger verify"
            )

    def _take(self, lines: Iterable[tuple[Place, bytes]], most: int = 0) -> int:
        """Take in lines, ``most`` of them at a time; gives how many there were."""
        rows = _Rows()
        size = self._frontier.size
        leaves: list[bytes] = []
        for place, line in lines:
            size += 1
            try:
                of = canonical.envelope(line)
                if of.seq != size:
                    raise ValueError(f"record {of.seq} stands where {size} belongs")  # noqa: TRY301 - told below
                rows.take(of, line)
            except ValueError as error:
                raise JournalDamagedError(
                    f"{place.segment} from byte {place.offset} on: {error}; "
                    "nothing is appended. Run: ./run ledger verify"
                ) from None
            one = merkle.leaf(line)
            leaves.append(one)
            rows.records.append((size, one, *place))
            end = len(line) + 1
            if size - self._frontier.size == most:
                break
        if leaves:
            self._end = Place(place.segment, place.offset + end)
            self._frontier.extend(leaves)
        rows.into(self._db)
        self._save()
        return len(leaves)

    def _save(self) -> None:
        values = {
            "version": VERSION,
            "frontier": self._frontier.pack(),
            "segment": self._end.segment,
            "end": str(self._end.offset),
        }
        self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def _connect(self) -> None:
        try:
            durable.make_folder(self._path.parent)
            self._open()
            self._load()
        except (sqlite3.Error, OSError, ValueError, TypeError, KeyError):
            self._begin()

    def _open(self) -> None:
        # A new one only: to close a file that sqlite has open lets go of its locks. What it makes
        # beside it gets the same owner.
        if not self._path.exists():
            durable.create(self._path).close()
        self._db = sqlite3.connect(self._path, isolation_level=None)
        # Consistent after a power loss, and no sync of its own with each append: what it lacks then
        # is read from the journal again. Where there is no WAL (NFS), only a sync gives that.
        (mode,) = self._db.execute("PRAGMA journal_mode=WAL").fetchone()
        self._db.execute(f"PRAGMA synchronous={'NORMAL' if mode == 'wal' else 'FULL'}")
        # With the 2 MB of sqlite an index that is made again is written and read many times.
        self._db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")

    def _load(self) -> None:
        if not self._row("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
            self._make()
        meta = dict(self._db.execute("SELECT name, value FROM meta"))
        if meta["version"] != VERSION:
            raise ValueError(f"an index of version {meta['version']}")
        self._frontier = merkle.Frontier.unpack(meta["frontier"])
        self._end = Place(meta["segment"], int(meta["end"]))

    def _begin(self) -> None:
        """Start again with nothing, in a new file."""
        with contextlib.suppress(AttributeError, sqlite3.Error):
            self._db.close()
        try:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._open()
            self._make()
        except (sqlite3.Error, OSError):
            self._begin_in_memory()

    def _begin_in_memory(self) -> None:
        """Do without a file: a full disk must not keep what is in the journal from being found."""
        with contextlib.suppress(AttributeError, sqlite3.Error):
            self._db.close()
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        self._make()

    def _make(self) -> None:
        self._frontier, self._end = merkle.Frontier(), _START
        with self._transaction():
            for statement in _TABLES.strip().split(";\n"):
                self._db.execute(statement.rstrip(";"))
            self._save()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _row(self, query: str, *values: object) -> Any:
        try:
            return self._db.execute(query, values).fetchone()
        except sqlite3.Error:
            if self._tail is None:
                raise
            # A page of the file is damaged, which only the read of it shows.
            self.rebuild(self._tail)
            return self._db.execute(query, values).fetchone()


class _Rows:
    """What lines give for the tables."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes, str, int]] = []
        self._operations: list[tuple[str, int, str]] = []
        self._conflicts: list[tuple[str, str, int]] = []
        self._origins: list[tuple[str, str, int]] = []
        self._days: dict[str, int] = {}
        self._legacy: list[bytes] = []

    def take(self, of: canonical.Envelope, line: bytes) -> None:
        """One line and its envelope; ValueError if its id is none."""
        if of.stream:
            self._origins.append((of.stream, of.stream_id, of.seq))
        if of.type == RECORDED:
            self._operations.append((of.id, of.seq, of.digest))
            # Not ids.parse: it takes longer than all the rest, and this one was checked.
            day, number = of.id[4:14], int(of.id[15:])
            self._days[day] = max(self._days.get(day, 0), number)
        elif of.type == CONFLICT:
            rejected = canonical.load(line)["data"]["rejected"]
            self._conflicts.append((of.id, entry.content_digest(rejected), of.seq))
        elif of.type == LEGACY:
            self._legacy.append(line)

    def into(self, db: sqlite3.Connection) -> None:
        """Put all of it into the tables."""
        for operation_id in adopt.operation_ids(self._legacy) if self._legacy else ():
            self._operations.append((operation_id, 0, ""))
            if ids.is_valid(operation_id):
                found = ids.parse(operation_id)
                day = found.day.isoformat()
                self._days[day] = max(self._days.get(day, 0), found.number)
        db.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", self.records)
        # Sorted, they go into neighbouring pages of the tree; ids come sorted as it is.
        self._origins.sort()
        db.executemany("INSERT OR IGNORE INTO operation VALUES (?, ?, ?)", self._operations)
        db.executemany("INSERT OR IGNORE INTO conflict VALUES (?, ?, ?)", self._conflicts)
        db.executemany("INSERT OR IGNORE INTO origin VALUES (?, ?, ?)", self._origins)
        db.executemany(
            "INSERT INTO day VALUES (?, ?) "
            "ON CONFLICT (day) DO UPDATE SET last = max(last, excluded.last)",
            self._days.items(),
        )


def open_to_read(folder: Folder) -> sqlite3.Connection | None:
    """The index's tables for reading, whoever writes beside; None if there is none to be read.

    What they say is a hint until the journal confirms it: somebody may have changed them, too.
    """
    path = folder.cache / "index"
    if not path.exists():
        return None
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return None


def remembered(folder: Folder) -> list[bytes]:
    """The leaf hashes that were seen when the records were new, in their order; empty if unknown.

    A hint, and no proof; see ``open_to_read``.
    """
    opened = open_to_read(folder)
    if not opened:
        return []
    try:
        with contextlib.closing(opened) as db:
            return [one for (one,) in db.execute("SELECT leaf FROM record ORDER BY seq")]
    except sqlite3.Error:
        return []


def recorded(folder: Folder, stream: str, stream_ids: Iterable[str]) -> set[str]:
    """Which of these came from ``stream`` before. Takes no lock; a hint, as ``remembered`` is."""
    path = folder.cache / "index"
    if not path.exists():
        return set()
    query = "SELECT 1 FROM origin WHERE stream = ? AND stream_id = ?"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            return {one for one in stream_ids if db.execute(query, (stream, one)).fetchone()}
    except sqlite3.Error:
        return set()
