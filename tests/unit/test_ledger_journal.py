"""The journal by itself: where its lines stand, its torn ends, its lock."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from unittest import mock

import pytest

from quantum_ops.ledger import canonical, journal
from quantum_ops.ledger.errors import LockTimeoutError
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal, Place


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder.at(tmp_path / "ledger")


def record(number: int, month: str = "2026-01", size: int = 1) -> dict:
    return {"recorded_at": f"{month}-27T12:00:00Z", "data": {"n": number, "notes": "x" * size}}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_lines_stand_where_they_were_said_to_and_are_read_from_there_on(folder):
    # Given a journal of two months, written in batches
    made = Journal(folder)
    before, places = descriptors(), []
    for month, count in (("2026-01", 3), ("2026-01", 2), ("2026-02", 3)):
        with made.locked() as tail:
            places += tail.append([record(number, month, 10**number) for number in range(count)])
    # Then each line is found at its place, and from each place on all that follow
    assert [made.line(place) for place, _ in places] == [line for _, line in places]
    assert list(made.lines()) == [line for _, line in places]
    for at, (place, _) in enumerate(places):
        assert list(made.since(place)) == places[at:]
    with made.locked() as tail:
        assert (tail.segment, tail.seq, tail.line) == ("2026-02.jsonl", 8, places[-1][1])
        assert (tail.torn, tail.size) == ("", (folder.journal / "2026-02.jsonl").stat().st_size)
    # And nothing stays open
    assert descriptors() == before


def test_an_empty_journal_is_made_and_has_no_last_line(folder):
    with Journal(folder).locked() as tail:
        assert (tail.segment, tail.size, tail.line, tail.seq, tail.torn) == ("", 0, b"", 0, "")
        assert tail.append([]) == []
    assert folder.journal.is_dir()
    assert folder.lock.stat().st_mode & 0o777 == 0o644 & ~umask()
    assert list(Journal(folder).lines()) == []


def umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_a_line_that_is_not_there_is_empty(folder):
    folder.journal.mkdir(parents=True)
    path = folder.journal / "2026-01.jsonl"
    # Given a line as long as may be, one that is longer, and the torn end of a write
    full = b"x" * canonical.MAX_LINE_BYTES
    path.write_bytes(full + b"\n" + full + b"y\n" + b"torn")
    made = Journal(folder)
    assert made.line(Place(path.name, 0)) == full
    assert made.line(Place(path.name, len(full) + 1)) == b""
    assert made.line(Place(path.name, 2 * len(full) + 3)) == b""
    assert made.line(Place("2026-02.jsonl", 0)) == b""
    # And whoever reads on sees whole lines only
    assert list(made.lines()) == [full, full + b"y"]
    assert [line for _, line in made.since(Place(path.name, 0))] == [full, full + b"y"]


@pytest.mark.parametrize("whole", [b"", b'{"seq":7}\n'])
def test_all_torn_ends_are_cut_durably_put_aside_and_told(folder, whole):
    # Given two segments that end in the midst of a write
    folder.journal.mkdir(parents=True)
    first, second = folder.journal / "2026-01.jsonl", folder.journal / "2026-02.jsonl"
    first.write_bytes(whole + b"one")
    second.write_bytes(b"second")
    with mock.patch("os.fsync", wraps=os.fsync) as synced, Journal(folder).locked() as tail:
        told = tail.torn.split("; ")
        assert tail.seq == (7 if whole else 0)
    for one, (name, count) in zip(told, [(second.name, 6), (first.name, 3)], strict=True):
        end = len(whole) if name == first.name else 0
        kept = folder.quarantine / f"torn-{name}-{end}-"
        said = f"{name}: {count} bytes of an interrupted write were cut off, kept as {kept}"
        assert re.fullmatch(re.escape(said) + "[0-9a-f]{16}", one)
    assert (first.read_bytes(), second.read_bytes()) == (whole, b"")
    assert sorted(one.read_bytes() for one in folder.quarantine.iterdir()) == [b"one", b"second"]
    # Two of the files put aside and their folder, and two that were cut
    assert synced.call_count >= 4
    names = [first.name, second.name]
    assert all(any(name in kept.name for kept in folder.quarantine.iterdir()) for name in names)


def test_what_was_taken_back_of_a_write_is_taken_back_durably(folder):
    made = Journal(folder)
    with made.locked() as tail:
        tail.append([record(1)])
    before, path = descriptors(), folder.journal / "2026-01.jsonl"
    whole, order = path.read_bytes(), []
    truncate, sync = os.ftruncate, os.fsync
    with (
        mock.patch("os.fdatasync", side_effect=OSError(5, "I/O error")),
        mock.patch("os.ftruncate", lambda *of: (order.append("cut"), truncate(*of))),
        mock.patch("os.fsync", lambda number: (order.append("sync"), sync(number))),
        made.locked() as tail,
        pytest.raises(OSError, match="I/O error"),
    ):
        tail.append([record(2)])
    assert order == ["cut", "sync"]
    assert path.read_bytes() == whole
    assert descriptors() == before


def test_a_cut_is_synced_after_it_was_made(folder):
    folder.journal.mkdir(parents=True)
    path = folder.journal / "2026-01.jsonl"
    path.write_bytes(b'{"seq":7}\ntorn')
    sizes, sync = [], os.fsync

    def noted(number: int) -> None:
        if Path(f"/proc/self/fd/{number}").resolve() == path.resolve():
            sizes.append(os.fstat(number).st_size)
        sync(number)

    with mock.patch("os.fsync", noted), Journal(folder).locked():
        assert sizes == [10]


class Turns:
    """A lock that others hold for so many tries, on a clock that moves when somebody sleeps."""

    def __init__(self, monkeypatch, held: int) -> None:
        self.now_s, self.slept, self.tries = 100.0, [], 0
        monkeypatch.setattr(journal.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(journal.time, "sleep", self._sleep)
        monkeypatch.setattr(journal.random, "random", lambda: 0.5)
        monkeypatch.setattr(journal.fcntl, "flock", self._flock)
        self._held = held

    def _flock(self, _number: int, how: int) -> None:
        assert how == fcntl.LOCK_EX | fcntl.LOCK_NB
        self.tries += 1
        if self.tries <= self._held:
            raise BlockingIOError

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += 1.0


def test_a_lock_is_waited_for_a_little_at_a_time(folder, monkeypatch):
    turns = Turns(monkeypatch, held=3)
    with Journal(folder).locked(10.0):
        assert turns.tries == 4
    assert turns.slept == [0.005] * 3


def test_a_lock_that_stays_held_is_told_when_patience_ends(folder, monkeypatch):
    turns = Turns(monkeypatch, held=1 << 30)
    told = r"has held it for 5 s; see which with: fuser "
    with pytest.raises(LockTimeoutError, match=told), Journal(folder).locked(5.0):
        raise AssertionError("nobody gave it away")
    # At the moment, not one try later
    assert len(turns.slept) == 5


def test_the_last_line_before_an_end_is_found_whatever_stands_around_it(tmp_path):
    # Given lines that are longer together than what is read at a time, and a torn end
    path = tmp_path / "segment"
    lines = [bytes([65 + number]) * 60_000 for number in range(5)]
    path.write_bytes(b"\n".join(lines) + b"\ntorn")
    for at in range(5):
        assert journal.last_line(path, (at + 1) * 60_001) == lines[at]
    assert journal.whole_end(path) == (5 * 60_001, 5 * 60_001 + 4)
    path.write_bytes(b"\n")
    assert journal.whole_end(path) == (1, 1)
    path.write_bytes(b"x" * 300_000)
    assert journal.whole_end(path) == (0, 300_000)
