"""The archive beside a real server: everything is taken, once, and what is lost is told at once."""

from __future__ import annotations

import errno
import os
import time

import pytest

from quantum_ops import client, codec, entry_id, events, streams
from quantum_ops.errors import ConfigurationError, Hold
from quantum_ops.history import resume, scan
from quantum_ops.history.reader import Archive
from quantum_ops.history.search import Search
from quantum_ops.history.terms import PLAN as PLAN_ID
from quantum_ops.history.terms import Term
from quantum_ops.ledger import checkpoint, durable
from quantum_ops.measures import Registry
from quantum_ops.metrics import MetricsObserver
from tests.archive_rig import PLAN, RESULT, ArchiveRig, flat
from tests.waiting import wait_until

KEYS = [stream.key for stream in streams.CATALOGUE]


@pytest.fixture
def rig(server, tmp_path):
    made = ArchiveRig(server, tmp_path / "archive")
    yield made
    made.die()


def everything(db) -> set[tuple[str, str, tuple[bytes, ...]]]:
    """What stands in the streams."""
    return {
        (key, id_.decode(), tuple(fields))
        for key in KEYS
        for id_, fields in client.raw(db, "XRANGE", key, "-", "+") or ()
    }


def kept(rig) -> list[tuple[str, str, tuple[bytes, ...]]]:
    """What stands in the archive."""
    return [(one.stream, one.id, tuple(one.flat)) for one in Archive(rig.folder).read()]


def test_what_readers_seek_by_is_made_beside_the_work(server, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "STEP_BYTES", 200_000)
    # Given an archive that seals a segment, and goes on in the next
    rig = ArchiveRig(server, tmp_path / "archive", segment_mb=1).settle()
    for _ in range(3):
        wanted = rig.add(500, note="x" * 900)
        rig.settle()
    rig.add(300, start=1500, note="x" * 900)
    rig.settle()
    # When it has looked a few times
    wait_until(lambda: list(rig.scan().folder.base.glob("*.lookup")), 30, "a lookup file")
    wait_until(lambda: list(rig.scan().folder.base.glob("*.resume")), 30, "a resume point")
    # Then entries are found by them, and nothing was said or held up
    found = Archive(rig.folder)
    assert [one.sealed for one in found.segments] == [True, False]
    search = Search(found)
    assert [one.entry.id for one in search.find(Term(PLAN_ID, f"{0:016x}"))][-1] == wanted[0]
    assert not search.scanned
    assert rig.told() == []
    rig.die()


def test_every_stream_is_copied_byte_for_byte_also_what_no_type_can_read(server, tmp_path):
    db = server.connect()
    # Given entries that were there before the archive, in every stream, of every kind
    hostile = [
        [b"\xff\xfe", b"\x00"],
        [b"qty", b"1", b"qty", b"1000"],
        [b"", b""],
        ["größe".encode(), "🚀\u2028".encode()],
        [b'"},{"', b"\\\n\r\t"],
        [b"big", os.urandom(300_000)],
    ]
    for number, key in enumerate(KEYS * 3):
        db.execute_command("XADD", key, "*", *hostile[number % len(hostile)])
        db.execute_command("XADD", key, "*", *flat(number))
    # When the archive runs
    rig = ArchiveRig(server, tmp_path / "archive").settle()
    # Then all of it is there once, nothing is pending, and nothing was said
    assert sorted(kept(rig)) == sorted(everything(db))
    assert sum(rig.backend.pending(key, "archive") for key in KEYS) == 0
    assert rig.observer.troubles == []
    rig.die()


def test_what_comes_later_follows(rig):
    first = rig.add(700)
    rig.settle()
    second = rig.add(700)
    rig.settle()
    assert rig.archived() == first + second


def test_nothing_is_acknowledged_before_it_is_durable(rig, monkeypatch):
    rig.add(5)
    real = os.fdatasync
    held = []

    def fdatasync(number):
        held.append(rig.backend.pending(PLAN, "archive"))
        real(number)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    rig.runner.step(wait=False)
    assert (rig.archived(), held) == ([], [])
    rig.runner.flush()
    assert held == [5]
    assert rig.backend.pending(PLAN, "archive") == 0


class TestOnceOnly:
    def test_killed_before_the_commit_everything_comes_again(self, rig, server, tmp_path):
        wanted = rig.add(30)
        rig.runner.step(wait=False)
        rig.die()
        again = ArchiveRig(server, tmp_path / "archive").settle()
        assert again.archived() == wanted
        again.die()

    def test_killed_between_commit_and_acknowledgement_nothing_doubles(self, rig, server, tmp_path):
        wanted = rig.add(30)
        rig.runner.step(wait=False)
        rig.keeper.commit()
        rig.die()
        assert rig.backend.pending(PLAN, "archive") == 30
        again = ArchiveRig(server, tmp_path / "archive").settle()
        assert again.archived() == wanted
        assert again.backend.pending(PLAN, "archive") == 0
        assert again.told() == []
        again.die()

    def test_a_group_that_was_destroyed_doubles_nothing(self, rig):
        wanted = rig.add(30)
        rig.settle()
        rig.db.xgroup_destroy(PLAN, "archive")
        rig.db.delete(streams.checkpoint(PLAN, "archive"))
        rig.runner._forget()
        rig.runner.open()
        wanted += rig.add(5)
        rig.settle()
        assert rig.archived() == wanted
        assert rig.told() == []

    def test_a_lost_connection_keeps_what_was_read_even_if_the_stream_is_wiped(self, rig):
        # Given entries that were read, when the session breaks before they are acknowledged
        wanted = rig.add(30)
        rig.runner.step(wait=False)
        rig.runner._forget()
        # And somebody wipes the stream
        rig.db.execute_command("XADD", PLAN, "MAXLEN", 0, "*", "x", "y")
        # Then they are archived all the same
        rig.runner.open()
        rig.settle()
        assert rig.archived()[:30] == wanted


class TestTwoProcesses:
    def test_the_second_waits_reads_nothing_and_takes_over(self, rig, server, tmp_path):
        wanted = rig.add(3)
        with pytest.raises(Hold, match=f"process {os.getpid()} writes this archive"):
            ArchiveRig(server, tmp_path / "archive", "two")
        rig.settle()
        rig.die()
        second = ArchiveRig(server, tmp_path / "archive", "two")
        wanted += rig.add(3)
        assert second.settle().archived() == wanted
        second.die()


class TestAFullDisk:
    def test_stops_acknowledging_loses_nothing_and_resumes(self, rig, monkeypatch):
        wanted = rig.add(20)
        real, seen = durable.write_all, []

        def write(number, content):
            raise OSError(errno.ENOSPC, "No space left on device")

        def wait(_seconds):
            # While it lasts: nothing is acknowledged, no entry is charged, nothing more is read
            page = client.raw(rig.db, "XPENDING", PLAN, "archive", "-", "+", 100)
            seen.append([row[3] for row in page])
            rig.add(1)
            if len(seen) == 3:
                monkeypatch.setattr(durable, "write_all", real)

        monkeypatch.setattr(durable, "write_all", write)
        monkeypatch.setattr(rig.clock, "wait", wait)
        rig.runner.step(wait=False)
        rig.runner.flush()
        assert seen == [[1] * 20] * 3
        assert rig.observer.kinds() == ["held_up"]
        assert "Make room" in rig.observer.troubles[0].error
        assert rig.archived() == wanted
        assert len(rig.settle().archived()) == 23
        assert rig.backend.pending(PLAN, "archive") == 0

    def test_asked_to_stop_meanwhile_the_next_one_finds_everything(
        self, rig, monkeypatch, server, tmp_path
    ):
        wanted = rig.add(20)

        def write(number, content):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(durable, "write_all", write)
            patch.setattr(rig.clock, "wait", lambda _seconds: rig.clock.stop())
            rig.runner.step(wait=False)
            with pytest.raises(Hold, match="Make room"):
                rig.runner.flush()
        rig.die()
        again = ArchiveRig(server, tmp_path / "archive").settle()
        assert again.archived() == wanted
        again.die()


def test_how_it_stands_is_told_as_gauges(rig, monkeypatch):
    observer = MetricsObserver(Registry())
    observer.vitals.watch("archive", rig.runner._context.vitals)

    def gauges() -> dict[str, float]:
        found = {one.name: one.samples for one in observer.vitals.collect()}
        return {name.removeprefix("quantum_archive_"): samples[0].value
                for name, samples in found.items() if samples}  # fmt: skip

    assert gauges() == {}
    rig.add(20)
    rig.settle()
    told = gauges()
    [path] = rig.folder.base.glob("*.jsonl")
    assert told["open_segment_bytes"] == path.stat().st_size
    assert (told["durable_entries"], told["waiting_entries"], told["gap_entries"]) == (20, 0, 0)
    assert abs(told["synced_timestamp_seconds"] - time.time()) < 60
    # When seven entries go before they are read, and more come than can be counted one by one
    rig.add(7)
    rig.db.xtrim(PLAN, maxlen=0, approximate=False)
    rig.scan()
    assert gauges()["gap_entries"] == 7
    monkeypatch.setattr(scan.look, "__defaults__", (3,))
    rig.add(9)
    rig.keeper.scan("archive")
    rig.keeper.report(rig.runner._context.vitals)
    assert "waiting_entries" not in gauges()


class TestGaps:
    def test_a_wiped_stream_is_told_within_one_scan_and_loses_nothing_that_was_read(self, rig):
        # Given entries that were archived, entries that were read, and entries nobody read
        wanted = rig.add(10)
        rig.settle()
        wanted += rig.add(10)
        rig.runner.step(wait=False)
        rig.add(7)
        # When a producer wipes the stream
        rig.db.execute_command("XADD", PLAN, "MAXLEN", 0, "*", "x", "y")
        rig.scan()
        # Then what was read is there, and the rest is told: seven, and the wiping entry itself
        assert rig.archived()[:20] == wanted
        assert rig.told() == ["archive_stream_shrank apply.plan", "archive_gap apply.plan"]
        shrank, gap = rig.details()
        assert shrank.endswith("the trimmer removed 28 entries")
        assert gap.startswith("8 entries added up to")
        # And told once
        rig.settle()
        rig.scan()
        assert len(rig.told()) == 2

    def test_what_happens_while_the_archive_is_down_is_told_at_its_start(
        self, rig, server, tmp_path
    ):
        wanted = rig.add(10)
        rig.settle()
        rig.die()
        rig.add(50)
        rig.db.xtrim(PLAN, maxlen=5, approximate=False)
        again = ArchiveRig(server, tmp_path / "archive").settle()
        assert len(again.archived()) == 15
        assert again.archived()[:10] == wanted
        assert again.told() == ["archive_stream_shrank apply.plan", "archive_gap apply.plan"]
        assert "45 entries added up to" in again.details()[1]
        again.die()

    @pytest.mark.parametrize("how", ["DEL", "FLUSHALL"])
    def test_a_deleted_stream_is_told_and_what_follows_is_archived(self, rig, how):
        wanted = rig.add(10)
        rig.settle()
        rig.db.execute_command(how, *([PLAN] if how == "DEL" else []))
        rig.runner._forget()
        rig.runner.open()
        wanted += rig.add(4)
        rig.settle()
        assert rig.archived() == wanted
        assert rig.told() == ["archive_stream_reset apply.plan"]
        assert "the archive has 14 entries" in rig.details()[-1]
        rig.scan()
        assert len(rig.told()) == 1
        # And the counts hold again: a later loss is told
        rig.add(3)
        rig.db.xtrim(PLAN, maxlen=0, approximate=False)
        rig.scan()
        assert rig.told()[1:] == ["archive_stream_shrank apply.plan", "archive_gap apply.plan"]

    def test_a_stream_that_comes_back_longer_than_it_was_is_told(self, rig):
        rig.add(3)
        rig.settle()
        rig.db.delete(PLAN)
        rig.runner._forget()
        rig.runner.open()
        rig.add(30)
        rig.settle()
        assert rig.told() == ["archive_stream_reset apply.plan"]

    def test_ids_that_go_backwards_are_archived_and_told(self, rig):
        ids = rig.add(2)
        rig.settle()
        rig.db.delete(PLAN)
        rig.runner._forget()
        rig.runner.open()
        rig.db.execute_command("XADD", PLAN, "5-0", "x", "y")
        rig.settle()
        assert rig.archived() == [*ids, "5-0"]
        assert sorted(rig.told()) == [
            "archive_ids_backwards apply.plan",
            "archive_stream_reset apply.plan",
        ]

    def test_an_id_that_comes_again_with_another_content_is_kept_and_told(self, rig):
        [id_] = rig.add(1)
        rig.settle()
        rig.db.delete(PLAN)
        rig.runner._forget()
        rig.runner.open()
        rig.db.execute_command("XADD", PLAN, id_, "other", "content")
        rig.settle()
        found = Archive(rig.folder).find(PLAN, entry_id.parse(id_))
        assert [one.entry.flat for one in found] == [flat(0), [b"other", b"content"]]
        assert "archive_id_reused apply.plan" in rig.told()

    def test_entries_skipped_by_moving_the_group_are_told(self, rig):
        rig.settle()
        rig.add(9)
        rig.db.execute_command("XGROUP", "SETID", PLAN, "archive", "$")
        rig.add(1)
        rig.settle()
        assert rig.told() == ["archive_gap apply.plan"]
        assert rig.details()[0].startswith("9 entries")

    def test_pending_entries_dropped_with_their_consumer_are_told(self, rig, server, tmp_path):
        rig.add(4)
        rig.runner.step(wait=False)
        rig.die()
        rig.db.xgroup_delconsumer(PLAN, "archive", "one")
        again = ArchiveRig(server, tmp_path / "archive").settle()
        assert again.told() == ["archive_gap apply.plan"]
        again.die()

    def test_entries_that_had_gone_before_the_archive_began_are_no_gap(self, server, tmp_path):
        db = server.connect()
        for number in range(10):
            db.execute_command("XADD", PLAN, "*", *flat(number))
        db.xtrim(PLAN, maxlen=4, approximate=False)
        rig = ArchiveRig(server, tmp_path / "archive").settle()
        assert len(rig.archived()) == 4
        assert rig.told() == ["archive_began_late apply.plan"]
        assert rig.settle().told() == ["archive_began_late apply.plan"]
        rig.die()

    def test_a_backlog_too_long_to_count_hides_no_wipe(self, rig, monkeypatch):
        monkeypatch.setattr("quantum_ops.history.scan.look.__defaults__", (5,))
        rig.add(3)
        rig.settle()
        rig.add(60)
        rig.db.xtrim(PLAN, maxlen=20, approximate=False)
        rig.keeper.scan("archive")
        rig.keeper.settle(0.0)
        assert rig.told() == ["archive_stream_shrank apply.plan", "archive_gap apply.plan"]
        assert rig.details()[1].startswith("at least 40 entries")

    def test_a_finding_survives_a_kill_before_it_was_published_and_is_told_once(
        self, rig, server, tmp_path
    ):
        rig.settle()
        rig.add(3)
        rig.db.xtrim(PLAN, maxlen=0, approximate=False)
        # Killed when the Finding was published, before that was written down
        books = rig.keeper._books
        rig.keeper.scan("archive")
        books.save()
        real, books.save = books.save, lambda: None
        rig.keeper.settle(0.0)
        assert len(rig.told()) == 2
        books.save = real
        rig.die()
        again = ArchiveRig(server, tmp_path / "archive").settle()
        assert len(again.told()) == 2
        assert again.keeper._books.untold == 0
        again.die()

    def test_lost_books_begin_anew_without_a_false_alarm(self, rig, server, tmp_path):
        rig.add(10)
        rig.settle()
        rig.die()
        rig.folder.state.write_bytes(b"not json")
        rig.add(5)
        again = ArchiveRig(server, tmp_path / "archive").settle()
        assert again.told() == []
        rig.add(2)
        rig.db.xtrim(PLAN, maxlen=0, approximate=False)
        assert again.scan().told() == [
            "archive_stream_shrank apply.plan",
            "archive_gap apply.plan",
        ]
        again.die()

    def test_an_id_far_in_the_future_and_a_stream_above_its_cap_are_told_once(
        self, server, tmp_path
    ):
        rig = ArchiveRig(server, tmp_path / "archive", cap=1000)
        rig.add(1100, stream=RESULT)
        rig.db.execute_command("XADD", PLAN, "18446744073709551615-1", "x", "y")
        rig.settle().settle()
        assert sorted(rig.told()) == [
            "archive_id_in_future apply.plan",
            "archive_stream_above_cap apply.result",
        ]
        rig.die()


class TestCheckpoints:
    def test_the_head_is_published_and_at_the_end_covers_everything(self, rig):
        rig.add(10)
        rig.settle()
        rig.keeper.settle(0.0, now=True)
        known = checkpoint.newest(rig.folder)
        assert known.head == Archive(rig.folder).head
        assert known.head.size == 10
        assert known.origin == "quantum-ops/archive"

    def test_a_damaged_archive_is_published_and_stops_the_process_for_good(
        self, rig, server, tmp_path
    ):
        rig.add(10)
        rig.settle()
        rig.keeper.settle(0.0, now=True)
        rig.die()
        raw = rig.folder.raw(rig.folder.names()[0])
        raw.write_bytes(raw.read_bytes().replace(b"BTCUSDT", b"ETHUSDT", 1))
        with pytest.raises(ConfigurationError, match="another line than"):
            ArchiveRig(server, tmp_path / "archive")
        assert rig.told() == [f"archive_damaged {tmp_path / 'archive'}"]
        # It said so for each start; what it had not read yet is all in Redis
        assert rig.db.xlen(PLAN) == 10


def test_codec_reads_back_what_was_archived(rig):
    made = events.ApplyPlan(plan_id="9a3f", decision="EXECUTE", symbol="BTCUSDT")
    rig.db.execute_command("XADD", PLAN, "*", *codec.encode(made))
    rig.settle()
    [found] = Archive(rig.folder).read({PLAN})
    assert found.event() == made
