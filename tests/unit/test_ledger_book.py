"""Recording: what is a repeat, what a conflict, which id is given, what the journal then holds."""

from __future__ import annotations

import os
from datetime import timedelta
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import book, canonical, entry, spool, suggest
from quantum_ops.ledger.errors import (
    CheckpointError,
    InvalidEntryError,
    JournalDamagedError,
    LockTimeoutError,
)  # fmt: skip
from quantum_ops.ledger.journal import Journal
from tests.ledger_story import NOON, Ledger, request

HAND_WRITTEN = b"""# Ops\r
\r
## 2026-01\r
\r
```yaml\r
operation_id: OPS-2026-01-27-010\r
operation_name: By hand: it was\r
risk_class: SERVICE_RESTART\r
changes_summary: fix #1\r
outcome: SUCCESS\r
notes: not operation_id: OPS-2026-01-27-999\r
```\r
"""


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def test_an_entry_is_one_line_with_its_envelope(ledger):
    receipt = ledger.one(notes="hello", evidence={"git_commit": "1234e567abcd"})
    (record,) = ledger.records()
    assert (receipt.outcome, receipt.operation_id, receipt.seq) == (
        "recorded", "OPS-2026-01-27-001", 1,
    )  # fmt: skip
    assert receipt.line == ledger.lines()[0] == canonical.dump(record)
    assert record["occurred_at"] == record["recorded_at"] == "2026-01-27T12:00:00Z"
    assert record["data"]["git_commit"] == "1234e567abcd"
    assert record["data"]["execution_timestamp"] == "2026-01-27T12:00:00Z"
    assert "rollback_of" not in record["data"]
    assert ledger.folder.changelog.read_text().count("operation_id: OPS-2026-01-27-001") == 1


def test_the_same_id_with_the_same_content_is_already_recorded(ledger):
    given_id = "OPS-2026-01-27-007"
    ledger.one(operation_id=given_id, evidence={"hostname": "a"})
    ledger.now += timedelta(days=40)
    again = ledger.one(operation_id=given_id, evidence={"hostname": "b", "git_commit": "ff"})
    assert (again.outcome, again.seq, again.line) == ("already", 1, ledger.lines()[0])
    assert len(ledger.lines()) == 1


def test_the_same_id_with_other_content_is_kept_as_a_conflict_once(ledger):
    given_id = "OPS-2026-01-27-007"
    ledger.one(operation_id=given_id)
    conflicts = [
        ledger.one(operation_id=given_id, outcome="ROLLBACK", rollback_of="OPS-2026-01-27-001")
        for _ in range(2)
    ]
    assert [one.outcome for one in conflicts] == ["conflict", "conflict"]
    assert [one.seq for one in conflicts] == [2, 2]
    kept = ledger.records()[1]
    assert kept["type"] == "conflict.rejected"
    assert kept["data"]["conflicts_with"] == 1
    assert kept["data"]["rejected"]["outcome"] == "ROLLBACK"
    assert ledger.one(operation_id=given_id, notes="a third").seq == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("OPS-2026-01-27-011", "OPS-2026-01-27-01"),
        ("OPS-2026-01-27-1000", "OPS-2026-01-27-100"),
        ("OPS-2026-01-27-100", "OPS-2026-01-27-1000"),
    ],
)
def test_an_id_that_starts_like_another_is_another(ledger, first, second):
    ledger.one(1, operation_id=first)
    assert ledger.one(2, operation_id=second).outcome == "recorded"
    assert len(ledger.lines()) == 2


def test_an_id_in_a_text_is_none(ledger):
    ledger.one(1, notes="operation_id: OPS-2026-01-27-007 and OPS-2026-01-27-999")
    assert ledger.one(2).operation_id == "OPS-2026-01-27-002"
    assert ledger.one(3, operation_id="OPS-2026-01-27-007").outcome == "recorded"


def test_ids_go_on_from_the_highest_of_the_day_of_execution(ledger):
    ledger.one(1, operation_id="OPS-2026-01-27-998")
    assert [ledger.one(number).operation_id for number in (2, 3, 4)] == [
        "OPS-2026-01-27-999", "OPS-2026-01-27-1000", "OPS-2026-01-27-1001",
    ]  # fmt: skip
    late = ledger.one(5, occurred_at=NOON - timedelta(days=3))
    assert late.operation_id == "OPS-2026-01-24-001"
    ledger.now += timedelta(days=1)
    assert ledger.one(6).operation_id == "OPS-2026-01-28-001"


def test_requests_of_one_batch_are_decided_like_those_of_many(ledger):
    given_id = "OPS-2026-01-27-004"
    receipts = ledger.record(
        request(1),
        request(2, operation_id=given_id),
        request(2, operation_id=given_id),
        request(3, operation_id=given_id),
        request(3, operation_id=given_id),
        request(4),
        request(5, outcome="ROLLBACK", rollback_of="OPS-2026-01-27-005", strict=True),
        request(6, stream="s", stream_id="1-0"),
        request(6, stream="s", stream_id="1-0"),
        request("", changes_summary=" "),
    )
    assert [one.outcome for one in receipts] == [
        "recorded", "recorded", "already", "conflict", "conflict", "recorded", "recorded",
        "recorded", "already", "refused",
    ]  # fmt: skip
    assert [one.seq for one in receipts] == [1, 2, 2, 3, 3, 4, 5, 6, 6, 0]
    assert receipts[5].operation_id == "OPS-2026-01-27-005"
    assert all(one.line == ledger.lines()[one.seq - 1] for one in receipts if one.seq)
    assert {one.head.size for one in receipts} == {6}
    assert "changes_summary: is empty" in receipts[-1].problems[0]


def test_what_came_from_the_same_source_is_a_repeat_whatever_it_says(ledger):
    first = ledger.one(1, stream="deploy", stream_id="5-0")
    again = ledger.one(2, stream="deploy", stream_id="5-0")
    other = ledger.one(2, stream="deploy", stream_id="5-1")
    assert (again.outcome, again.operation_id) == ("already", first.operation_id)
    assert other.outcome == "recorded"


def test_a_redelivered_conflict_is_told_as_one_again(ledger):
    ledger.one(1, operation_id="OPS-2026-01-27-001")
    for _ in range(2):
        told = ledger.one(2, operation_id="OPS-2026-01-27-001", stream="s", stream_id="1-1")
        assert (told.outcome, told.seq) == ("conflict", 2)


@pytest.mark.parametrize("given_id", ["foo bar: baz", "OPS-2025-01-01-001", "OPS-2026-01-27-01\n"])
def test_an_unusable_id_is_told_kept_and_still_recognised(ledger, given_id):
    first = ledger.one(1, operation_id=given_id)
    again = ledger.one(1, operation_id=given_id)
    other = ledger.one(2, operation_id=given_id)
    assert (first.outcome, first.operation_id) == ("recorded", "OPS-2026-01-27-001")
    assert given_id in first.problems[0]
    assert (again.outcome, again.seq, other.outcome) == ("already", 1, "recorded")
    data = ledger.records()[0]["data"]
    assert data["operation_id_given"] == given_id
    assert data["validation_problems"] == list(first.problems)
    strict = ledger.one(3, operation_id=given_id, strict=True)
    assert strict.outcome == "refused"


def test_a_day_around_midnight_is_near_enough(ledger):
    for day in (26, 28):
        assert ledger.one(day, operation_id=f"OPS-2026-01-{day}-001").problems == ()


@pytest.mark.parametrize("day", [25, 29])
def test_a_day_beyond_midnight_is_not(ledger, day):
    told = ledger.one(day, operation_id=f"OPS-2026-01-{day}-001")
    assert told.operation_id == "OPS-2026-01-27-001"
    assert f"OPS-2026-01-{day}-001" in told.problems[0]


ROLLBACKS = {
    "missing": ({"outcome": "ROLLBACK"}, "outcome=ROLLBACK requires --rollback_of parameter"),
    "malformed": (
        {"outcome": "ROLLBACK", "rollback_of": "INVALID-FORMAT"},
        "rollback_of 'INVALID-FORMAT' does not match expected format OPS-YYYY-MM-DD-NNN",
    ),
    "no day": ({"outcome": "ROLLBACK", "rollback_of": "OPS-1999-13-45-777"}, "expected format"),
    "newline": ({"outcome": "ROLLBACK", "rollback_of": "OPS-2026-01-27-001\n"}, "expected format"),
    "unknown": (
        {"outcome": "ROLLBACK", "rollback_of": "OPS-2026-01-27-555"},
        "rollback_of 'OPS-2026-01-27-555' is not in the ledger",
    ),
    "no rollback": ({"rollback_of": "junk: junk"}, "expected format"),
    "success": ({"rollback_of": "OPS-2026-01-27-001"}, "is for outcome=ROLLBACK, not for SUCCESS"),
    "itself": (
        {"outcome": "ROLLBACK", "operation_id": "OPS-2026-01-27-002",
         "rollback_of": "OPS-2026-01-27-002"},
        "is the operation itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ROLLBACKS)
def test_a_wrong_rollback_is_refused_in_strict_mode_and_recorded_with_its_fault_else(ledger, case):
    changed, why = ROLLBACKS[case]
    ledger.one()
    strict = ledger.one(2, strict=True, **changed)
    assert strict.outcome == "refused"
    assert any(why in one for one in strict.problems)
    lenient = ledger.one(2, **changed)
    assert lenient.outcome == "recorded"
    assert any(why in one for one in lenient.problems)
    assert ledger.records()[1]["data"]["validation_problems"] == list(lenient.problems)


def test_a_right_rollback_has_no_problems_and_marks_what_it_undid(ledger):
    ledger.one()
    undone = ledger.one(2, strict=True, outcome="ROLLBACK", rollback_of="OPS-2026-01-27-001")
    assert (undone.outcome, undone.problems) == ("recorded", ())
    assert "rolled_back_by: OPS-2026-01-27-002" in ledger.folder.changelog.read_text()


def test_an_unknown_risk_class_is_refused_with_what_is_known(ledger):
    refused = ledger.one(risk_class="SERVICE_RESTART + FILESYSTEM_WRITE")
    assert refused.outcome == "refused"
    assert "none of READ_ONLY, LOW_RISK_CONFIG" in refused.problems[0]
    assert ledger.lines() == []


def test_a_hand_written_changelog_is_adopted_first_and_its_ids_count(ledger):
    ledger.folder.base.mkdir(parents=True)
    ledger.folder.changelog.write_bytes(HAND_WRITTEN)
    assert suggest.next_id(ledger.folder, NOON) == "OPS-2026-01-27-011"
    undone = ledger.one(2, strict=True, outcome="ROLLBACK", rollback_of="OPS-2026-01-27-010")
    assert undone.operation_id == "OPS-2026-01-27-011"
    assert suggest.next_id(ledger.folder, NOON) == "OPS-2026-01-27-012"
    assert [one["type"] for one in ledger.records()] == ["legacy.imported", "operation.recorded"]
    assert HAND_WRITTEN in ledger.folder.changelog.read_bytes()


def test_an_entry_from_before_the_ledger_is_a_repeat_or_a_conflict_too(ledger):
    ledger.folder.base.mkdir(parents=True)
    ledger.folder.changelog.write_bytes(HAND_WRITTEN)
    same = request(1, operation="By hand: it was", changes_summary="fix #1",
                   operation_id="OPS-2026-01-27-010")  # fmt: skip
    already, conflict = ledger.record(same, request(2, operation_id="OPS-2026-01-27-010"))
    assert (already.outcome, already.seq) == ("already", 0)
    assert (conflict.outcome, conflict.seq) == ("conflict", 2)


def test_an_edited_changelog_is_told_recorded_once_and_left_as_it_is(ledger):
    ledger.one()
    edited = ledger.folder.changelog.read_bytes() + b"edited\n"
    ledger.folder.changelog.write_bytes(edited)
    ledger.one(2)
    ledger.one(3)
    assert ledger.folder.changelog.read_bytes() == edited
    assert [one["type"] for one in ledger.records()].count("drift.detected") == 1
    assert any("changed by somebody else" in one for one in ledger.told)


def test_a_record_stands_even_if_nothing_can_be_rendered(ledger):
    with mock.patch("quantum_ops.ledger.project.project", side_effect=OSError("no space")):
        receipt = ledger.one()
    assert receipt.outcome == "recorded"
    assert "no space" in ledger.told[0]
    assert not ledger.folder.changelog.exists()
    ledger.one(2)
    assert ledger.folder.changelog.read_text().count("operation_id: OPS") == 2


def test_the_torn_end_of_a_killed_write_is_put_aside_and_nothing_else(ledger):
    ledger.fill(2)
    whole = ledger.segment.read_bytes()
    ledger.segment.write_bytes(whole + b'{"data":{"torn')
    assert ledger.one(3).seq == 3
    assert ledger.lines()[:2] == whole[:-1].split(b"\n")
    assert [one["seq"] for one in ledger.records()] == [1, 2, 3]
    assert "14 bytes of an interrupted write" in ledger.told[0]
    (kept,) = ledger.folder.quarantine.iterdir()
    assert kept.read_bytes() == b'{"data":{"torn'


def test_a_first_segment_that_is_torn_from_its_start_is_begun_anew(ledger):
    ledger.folder.journal.mkdir(parents=True)
    (ledger.folder.journal / "2026-01.jsonl").write_bytes(b"{")
    assert ledger.one().seq == 1
    assert len(ledger.lines()) == 1


def test_a_write_that_fails_half_way_leaves_nothing_and_is_repeated_safely(ledger):
    ledger.one()
    before = ledger.segment.read_bytes()
    write = os.write

    def half(number, content):
        write(number, bytes(content)[: len(content) * 2 // 3])
        raise OSError(28, "No space left on device")

    with mock.patch("os.write", half), pytest.raises(OSError, match="No space left"):
        ledger.record(request(2), request(3), request(4))
    assert ledger.segment.read_bytes() == before
    assert [ledger.one(number).seq for number in (2, 3)] == [2, 3]


def test_a_failed_sync_counts_as_a_failed_write(ledger):
    ledger.one()
    before = ledger.segment.read_bytes()
    with (
        mock.patch("os.fdatasync", side_effect=OSError(5, "I/O error")),
        pytest.raises(OSError, match="I/O"),
    ):
        ledger.one(2)
    assert ledger.segment.read_bytes() == before


def test_each_month_has_its_segment_and_a_clock_set_back_goes_on_in_the_newest(ledger):
    ledger.one(1)
    ledger.now += timedelta(days=10)
    ledger.one(2)
    ledger.now -= timedelta(days=10)
    ledger.one(3)
    assert [path.name for path in ledger.folder.segments()] == ["2026-01.jsonl", "2026-02.jsonl"]
    assert [one["seq"] for one in ledger.records()] == [1, 2, 3]
    assert ledger.ids() == ["OPS-2026-01-27-001", "OPS-2026-02-06-001", "OPS-2026-01-27-002"]


@pytest.mark.parametrize("loss", ["lost", "garbage", "empty", "no folder", "a folder in its place"])
def test_a_lost_or_damaged_index_costs_time_only(ledger, loss):
    ledger.one(1, operation_id="OPS-2026-01-27-007", stream="s", stream_id="1")
    index = ledger.folder.cache / "index"
    for suffix in ("-wal", "-shm"):
        index.with_name(f"index{suffix}").unlink(missing_ok=True)
    if loss == "garbage":
        index.write_bytes(b"garbage" * 1000)
    elif loss == "empty":
        index.write_bytes(b"")
    else:
        index.unlink()
    if loss == "no folder":
        for path in ledger.folder.cache.iterdir():
            path.unlink()
        ledger.folder.cache.rmdir()
        ledger.folder.cache.write_text("in the way")
    if loss == "a folder in its place":
        index.mkdir()
    assert ledger.one(1, operation_id="OPS-2026-01-27-007").outcome == "already"
    assert ledger.one(2, stream="s", stream_id="1").outcome == "already"
    assert ledger.one(3).operation_id == "OPS-2026-01-27-008"


def test_lines_that_another_host_appended_are_taken_in(ledger, tmp_path):
    ledger.fill(3)
    cache = ledger.folder.cache / "index"
    old = cache.read_bytes()
    ledger.one(3, operation_id="OPS-2026-01-27-100")
    for suffix in ("-wal", "-shm"):
        cache.with_name(f"index{suffix}").unlink(missing_ok=True)
    cache.write_bytes(old)
    assert ledger.one(3, operation_id="OPS-2026-01-27-100").outcome == "already"
    assert ledger.one(5).operation_id == "OPS-2026-01-27-101"


def test_a_journal_that_was_cut_or_rewritten_takes_nothing_more(ledger):
    ledger.fill(3)
    whole = ledger.segment.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (b"".join(lines[:2]), b"", whole.replace(b"Operation 1", b"Operation 3")):
        ledger.segment.write_bytes(damaged)
        with pytest.raises((CheckpointError, JournalDamagedError), match="appended"):
            ledger.one(9)
        assert ledger.segment.read_bytes() == damaged
        (ledger.folder.cache / "index").unlink()
        for suffix in ("-wal", "-shm"):
            (ledger.folder.cache / f"index{suffix}").unlink(missing_ok=True)
    ledger.segment.write_bytes(whole.replace(b"Operation 1", b"Operation 3"))
    with pytest.raises(CheckpointError):
        ledger.one(9)
    # The index was made of the damaged journal; what is put back must not be measured by it.
    ledger.segment.write_bytes(whole)
    assert ledger.one(9).seq == 4


def test_a_last_line_that_is_none_takes_nothing_more(ledger):
    ledger.fill(2)
    with ledger.segment.open("ab") as file:
        file.write(b"what?\n")
    with pytest.raises(JournalDamagedError, match="last line is none"):
        ledger.one(9)


def test_a_held_lock_is_waited_for_and_then_told(ledger):
    with Journal(ledger.folder).locked(), pytest.raises(LockTimeoutError, match="another process"):
        book.record_many(ledger.folder, [request()], patience_s=0.05)
    assert ledger.one().outcome == "recorded"


def test_a_spooled_request_is_recorded_later_and_only_once(ledger):
    late = request(
        1,
        stream=book.CLI,
        stream_id="abc",
        occurred_at=NOON,
        strict=True,
        allowed_paths=["a", "b"],
        allowed_services=[],
        evidence={"services_status": {"x": "active"}},
    )
    path = spool.put(ledger.folder, late)
    assert spool.read(path) == late
    ledger.now += timedelta(days=5)
    (receipt,) = book.take_in(ledger.folder, lambda: ledger.now)
    assert (receipt.outcome, receipt.operation_id) == ("recorded", "OPS-2026-01-27-001")
    assert spool.waiting(ledger.folder) == []
    spool.put(ledger.folder, late)
    assert [one.outcome for one in book.take_in(ledger.folder)] == ["already"]
    assert len(ledger.lines()) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff", b'{"operation": 1}', b'{"operation":"a","objective":"b"}'],
)
def test_a_spooled_file_that_is_none_goes_aside_with_the_reason(ledger, content):
    ledger.folder.spool.mkdir(parents=True)
    (ledger.folder.spool / "1.json").write_bytes(content)
    told = []
    assert book.take_in(ledger.folder, tell=told.append) == []
    rejected = ledger.folder.spool / "rejected"
    assert (rejected / "1.json").read_bytes() == content
    assert (rejected / "1.reason.txt").exists()
    assert told


def test_a_spooled_request_without_source_would_not_be_recognised(ledger):
    with pytest.raises(ValueError, match="stream_id"):
        spool.put(ledger.folder, request())


@given(st.dictionaries(st.sampled_from([one.name for one in entry.fields(entry.Request)]),
                       st.recursive(st.none() | st.booleans() | st.text() | st.integers(),
                                    lambda inner: st.lists(inner, max_size=3)
                                    | st.dictionaries(st.text(), inner, max_size=2))))  # fmt: skip
def test_any_json_is_a_request_or_refused(found):
    try:
        made = entry.from_json(found)
    except InvalidEntryError:
        return
    assert isinstance(made.operation, str)


@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=12))
def test_any_history_keeps_each_operation_once(tmp_path_factory, steps):
    """Whatever is repeated, spooled or batched: an id has one content, and numbers have no gap."""
    ledger = Ledger(tmp_path_factory.mktemp("history"))
    contents: dict[str, int] = {}
    batch = []
    for content, number, flush in steps:
        operation_id = f"OPS-2026-01-27-{number:03d}" if number else ""
        batch.append((content, operation_id, request(content, operation_id=operation_id)))
        if flush:
            check(ledger.record(*[one for _, _, one in batch]), batch, contents)
            batch = []
    check(ledger.record(*[one for _, _, one in batch]), batch, contents)
    records = ledger.records()
    assert [one["seq"] for one in records] == list(range(1, len(records) + 1))
    assert len(set(ledger.ids())) == len(ledger.ids()) == len(contents)


def check(receipts, batch, contents):
    for receipt, (content, operation_id, _) in zip(receipts, batch, strict=True):
        known = contents.get(operation_id) if operation_id else None
        expected = "recorded" if known is None else "already" if known == content else "conflict"
        assert receipt.outcome == expected
        contents.setdefault(receipt.operation_id, content)


def test_a_damaged_page_of_the_index_costs_time_only(ledger):
    ledger.record(*[request(number) for number in range(300)])
    index = ledger.folder.cache / "index"
    whole = index.read_bytes()
    # Every page but the first: what opening the file does not see, a look-up does.
    index.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    again = ledger.one(299, operation_id="OPS-2026-01-27-300")
    assert (again.outcome, ledger.one("new").operation_id) == ("already", "OPS-2026-01-27-301")


def test_what_cannot_be_read_in_the_spool_keeps_nothing_else_waiting(ledger):
    (ledger.folder.spool / "0.json").mkdir(parents=True)
    spool.put(ledger.folder, request(stream=book.CLI, stream_id="x", occurred_at=NOON))
    assert [one.outcome for one in book.take_in(ledger.folder)] == ["recorded"]


@pytest.mark.parametrize("same_length", [True, False])
def test_an_index_of_another_journal_is_not_believed(tmp_path, same_length):
    """Without checkpoints, too: a journal that was put back from elsewhere has its own ids."""
    first, second = Ledger(tmp_path / "a"), Ledger(tmp_path / "b")
    first.one(1, operation_id="OPS-2026-01-27-005")
    first.one(2, operation_id="OPS-2026-01-27-006")
    second.one(1, operation_id="OPS-2026-01-27-007")
    second.one(2, operation_id="OPS-2026-01-27-008")
    if not same_length:
        second.one(3, operation_id="OPS-2026-01-27-009", notes="longer than all that is over there")
    first.segment.write_bytes(second.segment.read_bytes())
    first.folder.checkpoint.unlink()
    first.folder.checkpoints.unlink()
    assert first.one(2, operation_id="OPS-2026-01-27-008").outcome == "already"
    assert first.one(1, operation_id="OPS-2026-01-27-005").outcome == "recorded"


@pytest.mark.parametrize("block", [1, 2, 7, 1000, 10**6])
def test_backwards_is_the_journal_from_its_end_whatever_is_read_at_a_time(
    ledger, monkeypatch, block
):
    # given lines of very different lengths over three months, and the torn end of a write
    for month in range(3):
        ledger.record(*(request(number, notes="é" * 37**number) for number in range(3)))
        ledger.now += timedelta(days=31 * (month + 1))
    lines = ledger.lines()
    with ledger.segment.open("ab") as file:
        file.write(b'{"data":')
    (ledger.folder.journal / "2027-01.jsonl").write_bytes(b'{"data":')
    # when it is read backwards / then every line comes, the newest first
    monkeypatch.setattr("quantum_ops.ledger.journal.READ_BACK_BYTES", block)
    assert list(Journal(ledger.folder).backwards()) == lines[::-1]


def test_an_id_with_the_last_number_of_its_day_holds_up_nobody(ledger):
    """Given somebody's typing error, when others record, then they get numbers that are free."""
    ledger.one(1)
    ledger.one(2, operation_id="OPS-2026-01-27-999999")
    found = ledger.record(request(3), request(4), request(5, operation_id="OPS-2026-01-27-005"))
    found += ledger.record(request(6), request(7))
    numbers = [one.operation_id[-3:] for one in found]
    assert numbers == ["002", "003", "005", "004", "006"]
    assert suggest.next_id(ledger.folder, NOON) == "OPS-2026-01-27-007"
