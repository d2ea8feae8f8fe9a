"""What the consumer `archive` holds: the lock, the writer, the books; the only place of its steps.

Order is all that matters here: lines are durable before they are acknowledged, books and outbox are
durable before a Finding is published, and whoever cannot write does not read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import walrus

from quantum_ops import client, streams
from quantum_ops.errors import ConfigurationError, Hold
from quantum_ops.history import gaps, groups, scan, trim, writer
from quantum_ops.history.books import Books
from quantum_ops.history.errors import DamagedError, DiskRefusedError
from quantum_ops.history.folder import Folder
from quantum_ops.history.indexer import Indexer
from quantum_ops.history.writer import Writer
from quantum_ops.ledger import checkpoint, durable
from quantum_ops.ledger.errors import CheckpointError
from quantum_ops.ledger.seal import Seal
from quantum_ops.publisher import Publisher
from quantum_ops.settings import ArchiveSettings
from quantum_ops.streams import Stream

SAVE_EVERY_S = 30.0
"""Seconds between two saves of books that tell nothing new."""
TRIM_EVERY_S = 60.0
NOTE_EVERY_S = 5.0
"""Seconds between two notes of how far each group is."""
KEYS = [stream.key for stream in streams.CATALOGUE]


class Keeper:
    """One process's archive. Made without touching the disk; ``open`` takes the lock.

    ``readers`` gives the names of the groups that read a stream, for trimming.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        db: walrus.Database,
        log: Any,
        readers: Callable[[Stream], list[str]],
    ) -> None:
        environ = {**os.environ, "ARCHIVE_DIR": settings.folder}
        self.folder = Folder.find(environ)
        self._settings = settings
        self._seal = _seal(settings)
        self._db = db
        self._log = log
        self._readers = readers
        self._publisher = Publisher(db, patience_s=1.0)
        self._exit = contextlib.ExitStack()
        self._indexer = Indexer(self.folder, log)
        self.writer: Writer | None = None
        self._books: Books | None = None
        self._odd: dict[tuple[str, str], list[str]] = {}
        self._save_due_s = 0.0
        self._checkpoint_due_s = 0.0
        self._trim_due_s = 0.0
        self._note_due_s = 0.0
        self._noted: groups.Note | None = None
        self._waiting: int | None = None
        self._lost = 0

    def open(self, group: str) -> None:
        """Take the lock and open the archive, unless that is done.

        Raises :class:`StandbyError` while another process has it, :class:`ConfigurationError` if it
        is damaged, which is published first.
        """
        if self.writer is not None:
            return
        with contextlib.ExitStack() as taken:
            try:
                taken.enter_context(writer.lock(self.folder))
            except OSError as error:
                raise ConfigurationError(
                    f"ARCHIVE_DIR: {self.folder.base} cannot be written ({error.strerror}); "
                    "check owner and mode"
                ) from None
            self._books = Books(self.folder)
            if self._books.damaged:
                self._log.warning("archive_books_lost", error=self._books.damaged)
            try:
                self.writer = Writer(
                    self.folder, self._seal, segment_bytes=self._settings.segment_mb * 1024 * 1024
                )
            except (DamagedError, CheckpointError) as error:
                self._books.tell(gaps.DAMAGED, str(self.folder.base), str(error))
                self._books.publish(self._publisher)
                raise ConfigurationError(str(error)) from None
            self._exit = taken.pop_all()
        with contextlib.suppress(OSError):
            # What a kill left half written is no file yet, and nobody would ever ask for it again.
            for draft in durable.sweep(self.folder.base):
                self._log.info("archive_draft_removed", file=draft)
        if self.writer.torn:
            self._log.warning("archive_torn_end", detail=self.writer.torn)
        # Before anything is read: what had gone by now is nobody's loss but must not count as ours.
        self.scan(group)

    def take(self, stream: str, id_: bytes, flat: list[bytes], attempt: int) -> None:
        """Take an entry in; durable with the next commit."""
        assert self.writer is not None  # noqa: S101 - open() comes before anything is read
        what = self.writer.add(stream, id_, flat)
        if what == writer.REUSED:
            self._odd.setdefault((gaps.REUSED, stream), []).append(id_.decode())
        elif what == writer.LATE and attempt == 1:
            # Delivered again, it would only have been overtaken by others.
            self._odd.setdefault((gaps.BACKWARDS, stream), []).append(id_.decode())

    def commit(self) -> None:
        """Make what was taken durable; see :meth:`Writer.commit`."""
        if self.writer is not None:
            self.writer.commit()

    def scan(self, group: str) -> None:
        """Compare every stream with its book, tell what is wrong, and publish what is untold."""
        assert self.writer is not None  # noqa: S101 - as in take
        assert self._books is not None  # noqa: S101 - as in take
        archived = self.writer.spans()
        waiting: list[int | None] = []
        for key, seen in scan.look(self._db, KEYS, group, self.writer.holds).items():
            held = archived.get(key)
            book = self._books.get(key)
            verdict = gaps.judge(book, seen, held.count if held else 0)
            waiting.append(seen.waiting)
            self._lost += gaps.missing(book, verdict)
            for finding, detail in verdict.findings:
                self._tell(finding, key, detail, (seen.last_id,))
            self._alarms(key, verdict.book, seen)
            self._books.put(key, verdict.book)
        self._waiting = None if None in waiting else sum(one or 0 for one in waiting)
        odd, self._odd = self._odd, {}
        for (finding, key), ids in odd.items():
            shown = f"{len(ids)} {'entry' if len(ids) == 1 else 'entries'}, from {ids[0]} on"
            self._tell(finding, key, shown, tuple(ids[:20]))

    def settle(self, at_s: float, *, now: bool = False) -> None:
        """Save, publish and checkpoint what is due; everything with ``now``.

        ``at_s`` is of a clock that no one sets: a jump must not put a checkpoint off for a day.
        """
        assert self.writer is not None  # noqa: S101 - as in take
        assert self._books is not None  # noqa: S101 - as in take
        if self._books.untold or now or at_s >= self._save_due_s:
            self._books.save()
            self._save_due_s = at_s + SAVE_EVERY_S
        self._books.publish(self._publisher)
        if now or at_s >= self._checkpoint_due_s:
            try:
                known = self.writer.checkpoint()
            except CheckpointError as error:
                raise ConfigurationError(f"ARCHIVE_KEY: {error}") from None
            # The first lines of all are covered at once.
            self._checkpoint_due_s = at_s + (self._settings.checkpoint_s if known else 0.0)

    def trim(self, at_s: float, now_s: float) -> None:
        """Remove from Redis what nobody misses, if that is wanted and due (``at_s``, as above)."""
        if not self._settings.trim or at_s < self._trim_due_s or self.writer is None:
            return
        more = False
        for stream in filter(self._trims, streams.CATALOGUE):
            needed = self._readers(stream)
            made = trim.plan(self._db, self.writer.sealed, stream, needed, int(now_s * 1000))
            removed = trim.cut(self._db, made, needed)
            if removed:
                more = more or made.kept_by == trim.NEXT
                self._log.info(
                    "trimmed", stream=stream.name, removed=removed, below=made.minid,
                    kept_by=made.kept_by,
                )  # fmt: skip
        self._trim_due_s = at_s + (0.0 if more else TRIM_EVERY_S)

    def note_groups(self, at_s: float, now_s: float) -> None:
        """Note how far each group is, if that is due and one of them moved; for a restore."""
        if at_s < self._note_due_s or self.writer is None:
            return
        self._note_due_s = at_s + NOTE_EVERY_S
        try:
            noted = groups.read(self.folder.groups) if self._noted is None else self._noted
        except ValueError as error:
            self._log.warning("archive_note_lost", error=str(error))
            noted = {}
        found = groups.brought_up(noted, groups.look(self._db, KEYS, int(now_s * 1000)))
        try:
            if found != noted:
                groups.write(self.folder.groups, found)
        except OSError as error:
            raise DiskRefusedError(f"{self.folder.groups}: {error.strerror or error}") from error
        self._noted = found

    def index(self) -> None:
        """Make what lets readers seek instead of reading all, a little at a time."""
        if self.writer is not None:
            self._indexer.turn(self.writer.sealed, *self.writer.growing())

    def close(self) -> None:
        """Save and checkpoint everything, and let the next process in."""
        if self.writer is None:
            return
        try:
            self.settle(0.0, now=True)
        except Hold as held:
            self._log.warning("archive_not_proven", error=held.reason)
        self.writer.close()
        self.writer = None
        self._exit.close()

    def report(self, vitals: dict[str, str | int]) -> None:
        """Say in the heartbeat, and so in the metrics, how it stands."""
        if self.writer is None:
            return
        vitals.update(
            archived=self.writer.head.size,
            segment=self.writer.open_segment,
            segment_bytes=self.writer.open_bytes,
            synced_ms=self.writer.synced_ms,
            untold=self._books.untold if self._books else 0,
            lost=self._lost,
        )
        if self._waiting is None:
            vitals.pop("waiting", None)  # too many to count: absent, never a wrong 0
        else:
            vitals["waiting"] = self._waiting

    def _alarms(self, key: str, book: gaps.Book, seen: gaps.Seen) -> None:
        detail = gaps.future(book, seen.last_id, self._now_ms())
        if detail:
            self._tell(gaps.FUTURE, key, detail, (seen.last_id,))
        if gaps.is_full(book, seen.length, self._settings.cap):
            stream = streams.find(key)
            held_by = trim.holder(self._db, stream, self._readers(stream))
            why = held_by if self._trims(stream) else f"it is not trimmed; {held_by}"
            self._tell(
                gaps.FULL, key, f"{seen.length} entries, more than {self._settings.cap}; {why}"
            )

    def _trims(self, stream: Stream) -> bool:
        return self._settings.trim and (stream.ours or self._settings.trim_trading)

    def _now_ms(self) -> int:
        seconds, micros = client.raw(self._db, "TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _tell(self, finding: str, stream: str, detail: str, evidence: tuple[str, ...] = ()) -> None:
        assert self._books is not None  # noqa: S101 - as in take
        self._books.tell(finding, stream, detail, evidence)
        self._log.warning(finding, stream=stream, detail=detail)


def _seal(settings: ArchiveSettings) -> Seal:
    try:
        origin = checkpoint.check_name(settings.origin)
        signer = None
        if settings.key:
            signer = checkpoint.Signer(origin, Path(settings.key).expanduser())
            signer.verifier()
    except CheckpointError as error:
        raise ConfigurationError(f"ARCHIVE_ORIGIN or ARCHIVE_KEY: {error}") from None
    return Seal(origin, signer)
