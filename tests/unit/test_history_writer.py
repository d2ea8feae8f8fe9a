"""Appending to the archive: durable, once, in segments that anybody can read."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
from datetime import UTC, datetime

import pytest
from freezegun import freeze_time

from quantum_ops.history import entry, sealing, writer
from quantum_ops.history.errors import DamagedError, DiskRefusedError, StandbyError
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive
from quantum_ops.ledger import merkle
from tests.archive_rig import PLAN, RESULT, fill, flat, id_of, ids, writing
from tests.script_box import without

SMALL = 4000


def test_what_was_committed_is_there_in_order(tmp_path):
    folder = fill(tmp_path, 300, segment_bytes=SMALL)
    assert ids(folder) == [id_of(number).decode() for number in range(300)]
    assert len(folder.names()) > 5


def test_what_was_not_committed_is_not_there(tmp_path):
    with writing(tmp_path) as made:
        made.add(PLAN, id_of(1), flat(1))
        assert made.pending == 1
        assert ids(made.folder) == []


def test_the_lines_are_the_leaves_of_the_tree(tmp_path):
    folder = fill(tmp_path, 300, segment_bytes=SMALL)
    found = list(Archive(folder).numbered())
    assert [one.at for one in found] == list(range(300))
    tree = merkle.Tree(merkle.leaf(one.line) for one in found)
    assert Archive(folder).head == merkle.Head(300, tree.root())


class TestAnEntryThatComesAgain:
    def test_is_recognised_before_and_after_the_commit(self, tmp_path):
        with writing(tmp_path) as made:
            assert made.add(PLAN, id_of(1), flat(1)) == writer.NEW
            assert made.add(PLAN, id_of(1), flat(1)) == writer.KNOWN
            assert made.commit() == 1
            assert made.add(PLAN, id_of(1), flat(1)) == writer.KNOWN
            assert made.commit() == 0

    def test_is_recognised_in_sealed_segments_and_by_the_next_process(self, tmp_path):
        folder = fill(tmp_path, 300, segment_bytes=SMALL)
        with writing(tmp_path, segment_bytes=SMALL) as made:
            for number in range(300):
                stream = PLAN if number % 3 else RESULT
                assert made.add(stream, id_of(number), flat(number)) == writer.KNOWN
            made.commit()
        assert len(ids(folder)) == 300

    def test_out_of_order_is_taken_in_if_it_was_never_there(self, tmp_path):
        with writing(tmp_path) as made:
            made.add(PLAN, id_of(5), flat(5))
            assert made.add(PLAN, id_of(3), flat(3)) == writer.LATE
            made.commit()
            assert made.add(PLAN, id_of(3), flat(3)) == writer.KNOWN
            assert not made.holds(PLAN, (entry_ms(4), 0))
            assert made.holds(PLAN, (entry_ms(3), 0))

    def test_in_another_stream_is_another_entry(self, tmp_path):
        with writing(tmp_path) as made:
            made.add(PLAN, id_of(1), flat(1))
            assert made.add(RESULT, id_of(1), flat(1)) == writer.NEW

    def test_with_another_content_is_kept_beside_the_first(self, tmp_path):
        with writing(tmp_path) as made:
            made.add(PLAN, id_of(1), flat(1))
            made.commit()
            assert made.add(PLAN, id_of(1), flat(2)) == writer.REUSED
            made.commit()
            found = Archive(made.folder).find(PLAN, (entry_ms(1), 0))
        assert [one.entry.flat for one in found] == [flat(1), flat(2)]


def entry_ms(number: int) -> int:
    return int(id_of(number).partition(b"-")[0])


class TestSegments:
    def test_a_new_day_seals_the_old_one(self, tmp_path):
        with freeze_time("2026-01-27T23:59:58Z") as frozen, writing(tmp_path) as made:
            made.add(PLAN, id_of(1), flat(1))
            made.commit()
            frozen.tick(4)
            made.add(PLAN, id_of(2), flat(2))
            made.commit()
        assert [str(name) for name in made.folder.names()] == [
            "00000001-2026-01-27.jsonl",
            "00000002-2026-01-28.jsonl",
        ]
        assert made.folder.packed(made.folder.names()[0]).exists()
        assert not made.folder.raw(made.folder.names()[0]).exists()

    def test_a_clock_that_jumps_back_and_forth_loses_no_order(self, tmp_path):
        days = ["2026-01-27", "2026-01-29", "2026-01-26", "2026-01-29", "2026-01-30", "2025-12-31"]
        with freeze_time(days[0]) as frozen, writing(tmp_path, segment_bytes=200) as made:
            for number, day in enumerate(days):
                frozen.move_to(day)
                made.add(PLAN, id_of(number), flat(number))
                made.commit()
        assert ids(made.folder) == [id_of(number).decode() for number in range(len(days))]
        assert [name.number for name in made.folder.names()] == list(
            range(1, len(made.folder.names()) + 1)
        )
        with freeze_time("2026-01-01"), writing(tmp_path, segment_bytes=200) as made:
            made.add(PLAN, id_of(99), flat(99))
            made.commit()
        assert ids(made.folder)[-1] == id_of(99).decode()

    def test_a_clock_set_back_opens_no_segment(self, tmp_path):
        with freeze_time("2026-01-27") as frozen, writing(tmp_path) as made:
            made.add(PLAN, id_of(1), flat(1))
            made.commit()
            frozen.move_to(datetime(2026, 1, 20, tzinfo=UTC))
            made.add(PLAN, id_of(2), flat(2))
            made.commit()
        assert len(made.folder.names()) == 1

    @without("zstd", "zstd")
    def test_zstd_and_sha256sum_agree_with_what_was_written(self, tmp_path):
        folder = fill(tmp_path, 300, segment_bytes=SMALL)
        sealed = [name for name in folder.names() if folder.packed(name).exists()]
        assert len(sealed) > 4
        subprocess.run(["zstd", "-dkq", *map(folder.packed, sealed)], check=True)
        subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
        lines = b"".join(folder.raw(name).read_bytes() for name in sealed).splitlines()
        assert [entry.decode(line).id for line in lines] == ids(folder)[: len(lines)]

    @pytest.mark.parametrize("kept", ["nothing", "packed", "packed and index", "all but the end"])
    def test_a_seal_that_was_interrupted_is_done_again(self, tmp_path, monkeypatch, kept):
        with writing(tmp_path) as made:
            for number in range(50):
                made.add(PLAN, id_of(number), flat(number))
            made.commit()
            name = made.folder.names()[0]
            content = made.folder.raw(name).read_bytes()
            steps = {
                "nothing": (sealing, "_pack"),
                "packed": (sealing, "_read_back"),
                "packed and index": (sealing, "_add_sum"),
            }
            if kept in steps:
                monkeypatch.setattr(*steps[kept], _killed)
                with pytest.raises(KeyboardInterrupt):
                    made.seal()
                monkeypatch.undo()
            else:
                made.seal()
                made.folder.raw(name).write_bytes(content)
        with writing(tmp_path) as made:
            assert made.head.size == 50
            made.add(PLAN, id_of(50), flat(50))
            made.commit()
            made.seal()
        assert len(ids(made.folder)) == 51
        assert sealing.sums(made.folder)[str(name)] in {
            hashlib.sha256(content).hexdigest(),
            hashlib.sha256(content + entry.encode(PLAN, id_of(50), flat(50)) + b"\n").hexdigest(),
        }
        assert all(not made.folder.raw(name).exists() for name in made.folder.names())

    def test_an_index_that_was_lost_is_made_again(self, tmp_path):
        folder = fill(tmp_path, 300, segment_bytes=SMALL)
        name = folder.names()[2]
        before = folder.index(name).read_bytes()
        folder.index(name).unlink()
        with pytest.raises(DamagedError, match="reindex"):
            Archive(folder)
        sealing.reindex(folder, name)
        assert folder.index(name).read_bytes() == before


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


class TestWhatGoesWrong:
    def test_a_full_disk_keeps_the_lines_for_the_next_commit(self, tmp_path, monkeypatch):
        with writing(tmp_path) as made:
            made.add(PLAN, id_of(1), flat(1))
            made.commit()
            made.add(PLAN, id_of(2), flat(2))
            real, torn = os.write, []

            def write(number, content):
                if not torn:
                    torn.append(real(number, bytes(content)[:20]))
                    return torn[0]
                raise OSError(errno.ENOSPC, "No space left on device")

            monkeypatch.setattr(os, "write", write)
            with pytest.raises(DiskRefusedError, match=r"No space left.*Make room"):
                made.commit()
            with pytest.raises(DiskRefusedError):
                made.commit()
            monkeypatch.undo()
            assert ids(made.folder) == [id_of(1).decode()]
            assert made.add(PLAN, id_of(2), flat(2)) == writer.KNOWN
            assert made.commit() == 1
        assert ids(made.folder) == [id_of(1).decode(), id_of(2).decode()]

    def test_a_sync_that_fails_counts_as_nothing_written(self, tmp_path, monkeypatch):
        with writing(tmp_path) as made:
            made.add(PLAN, id_of(1), flat(1))
            made.commit()
            made.add(PLAN, id_of(2), flat(2))

            def fail(_number):
                raise OSError(errno.EIO, "Input/output error")

            monkeypatch.setattr(os, "fdatasync", fail)
            monkeypatch.setattr(os, "ftruncate", lambda *_: fail(0))
            with pytest.raises(DiskRefusedError, match="Input/output"):
                made.commit()
            monkeypatch.undo()
            assert made.commit() == 1
        assert ids(made.folder) == [id_of(1).decode(), id_of(2).decode()]

    def test_a_torn_end_is_cut_and_kept_aside(self, tmp_path):
        folder = fill(tmp_path, 10)
        raw = folder.raw(folder.names()[0])
        with raw.open("ab") as file:
            file.write(b'{"fields":["plan_')
        with writing(tmp_path) as made:
            assert "17 bytes of an interrupted write were cut off" in made.torn
            made.add(PLAN, id_of(10), flat(10))
            made.commit()
        assert len(ids(folder)) == 11
        assert [one.read_bytes() for one in folder.quarantine.iterdir()] == [b'{"fields":["plan_']

    def test_a_second_writer_waits_for_the_first(self, tmp_path):
        with (
            writing(tmp_path),
            pytest.raises(StandbyError, match=f"process {os.getpid()} writes"),
            writer.lock(Folder(tmp_path)),
        ):
            pass
        with writer.lock(Folder(tmp_path)):
            pass

    @pytest.mark.parametrize("what", ["cut", "rewritten", "bad line"])
    def test_a_changed_archive_is_refused_not_continued(self, tmp_path, what):
        folder = fill(tmp_path, 20)
        raw = folder.raw(folder.names()[0])
        lines = raw.read_bytes().splitlines(keepends=True)
        if what == "cut":
            lines.pop()
        elif what == "rewritten":
            lines[3] = entry.encode(PLAN, id_of(3), flat(999)) + b"\n"
        else:
            lines[3] = b"x" + lines[3][1:]
        raw.write_bytes(b"".join(lines))
        with pytest.raises(DamagedError, match="verify"), writing(tmp_path):
            pass
        assert raw.read_bytes() == b"".join(lines)

    def test_an_open_segment_before_a_sealed_one_is_refused(self, tmp_path):
        folder = fill(tmp_path, 300, segment_bytes=SMALL)
        first = folder.names()[0]
        subprocess.run(["zstd", "-dkq", folder.packed(first)], check=True)
        with pytest.raises(DamagedError, match="not sealed"), writing(tmp_path):
            pass
