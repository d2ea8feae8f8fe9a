"""The only place that judges whether a stream lost entries before they were archived. Pure.

Redis counts what was ever added to a stream. All of it must be archived, pending, or still unread
in the stream; what is in none of the three is gone. The books say where that count stood, so that
what was told once is not told again, and what happened while the archive was down is noticed at its
start.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from quantum_ops.entry_id import parse
from quantum_ops.history.ahead import limit

GAP, RESET, SHRANK = "archive_gap", "archive_stream_reset", "archive_stream_shrank"
BACKWARDS, REUSED, FUTURE = "archive_ids_backwards", "archive_id_reused", "archive_id_in_future"
FULL, BEGAN, DAMAGED = "archive_stream_above_cap", "archive_began_late", "archive_damaged"
FINDINGS = {
    GAP: ("critical", "entries were removed from a stream before they were archived"),
    RESET: ("critical", "a stream was deleted, or the server lost entries that are archived"),
    SHRANK: ("critical", "entries were removed, and not by the trimmer"),
    BACKWARDS: ("critical", "an entry came with a lower id than one that was archived before"),
    REUSED: ("critical", "another entry came under an id that is archived; both are kept"),
    FUTURE: ("critical", "a stream's newest id lies more than five minutes in the future"),
    FULL: ("critical", "a stream has more than ARCHIVE_STREAM_CAP entries"),
    BEGAN: ("info", "entries of a stream had been removed before the archive began"),
    DAMAGED: ("critical", "the archive is not what was written; nothing is appended to it"),
}
"""Finding -> (severity, when)."""


class Seen(NamedTuple):
    """A stream as the server describes it at one instant.

    ``added`` counts all entries ever, ``trimmed`` those that the trimmer removed. ``waiting`` are
    those that are pending or unread and not archived; None if there are too many to count.
    """

    added: int
    length: int
    last_id: str
    waiting: int | None
    trimmed: int


class Book(msgspec.Struct):
    """What was known of a stream when it was looked at last.

    ``base`` is how many of the entries ever added are accounted for otherwise than by the archive:
    gone before it began, told as missing. None until they could be counted.
    """

    base: int | None = None
    added: int = 0
    last_id: str = "0-0"
    removed: int = 0
    trimmed: int = 0
    future: str = ""
    full: bool = False


class Told(msgspec.Struct):
    """A Finding to be published: an outbox entry, written down together with the books."""

    event_id: str
    finding: str
    stream: str
    detail: str
    evidence: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """What a look at a stream came to: the book after it, and (finding, detail) of each."""

    book: Book
    findings: list[tuple[str, str]]


def judge(book: Book | None, seen: Seen, archived: int) -> Verdict:
    """Compare a stream with its book; ``archived`` is how many of its entries are durable."""
    found: list[tuple[str, str]] = []
    removed = seen.added - seen.length
    counted = None if seen.waiting is None else seen.added - archived - seen.waiting
    if book is None:
        # Never seen: whatever had gone, nobody had asked to keep. With lines of it in the archive
        # the books were lost, and only what can be counted now can be trusted.
        base = removed if not archived else counted
        if removed and not archived:
            found.append((BEGAN, f"{_entries(removed)} had been removed before the archive began"))
        return Verdict(Book(base, seen.added, seen.last_id, removed, seen.trimmed), found)
    after = Book(book.base, seen.added, seen.last_id, removed, seen.trimmed, book.future, book.full)
    if _began_anew(book, seen, counted):
        after.base = counted
        found.append((RESET, _reset(book, seen, archived)))
        return Verdict(after, found)
    gone = removed - book.removed - (seen.trimmed - book.trimmed)
    if gone > 0:
        found.append((SHRANK, f"somebody else than the trimmer removed {_entries(gone)}"))
    if book.base is None:
        after.base = counted
        return Verdict(after, found)
    # Too many to count: at least what the stream cannot hold is missing.
    missing = (
        counted - book.base
        if counted is not None
        else seen.added - archived - seen.length - book.base
    )
    if missing > 0:
        after.base = book.base + missing
        least = "" if counted is not None else "at least "
        detail = (
            f"{least}{_entries(missing)} added up to {seen.last_id}, neither archived nor in the"
        )
        found.append((GAP, f"{detail} stream: removed before they were read"))
    return Verdict(after, found)


def missing(before: Book | None, verdict: Verdict) -> int:
    """How many entries a verdict tells of as gone before they were archived; at least so many."""
    told = any(finding == GAP for finding, _ in verdict.findings)
    if not told or before is None:
        return 0
    return (verdict.book.base or 0) - (before.base or 0)


def future(book: Book, last_id: str, now_ms: int) -> str:
    """What is wrong with the newest id; empty if nothing is. Told once for each such id."""
    if parse(last_id) <= limit(now_ms):
        book.future = ""
        return ""
    if book.future:
        return ""
    book.future = last_id
    return f"its newest id is {last_id}; honest ids are refused or lie in the future, too"


def is_full(book: Book, length: int, cap: int) -> bool:
    """Whether to tell that a stream is above its cap: once, until it is below again."""
    tell = length > cap and not book.full
    book.full = length > cap
    return tell


def _began_anew(book: Book, seen: Seen, counted: int | None) -> bool:
    if seen.added < book.added or parse(seen.last_id) < parse(book.last_id):
        return True
    # More archived than was ever added: an old life of the stream was archived, too.
    return book.base is not None and counted is not None and counted < book.base


def _reset(book: Book, seen: Seen, archived: int) -> str:
    return (
        f"{book.added} entries had been added up to {book.last_id}, now {seen.added} up to "
        f"{seen.last_id}; the archive has {_entries(archived)}. What was added after the last "
        "look and not read is lost"
    )


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"
