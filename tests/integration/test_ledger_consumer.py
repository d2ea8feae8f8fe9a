"""From a deploy event to a proven entry: what is recorded, refused, told and told apart."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from quantum_ops import checkout, streams
from quantum_ops.dead_letter import DeadLetters
from quantum_ops.inbox import GroupGoneError
from quantum_ops.ledger import book, moment, outbox, spool
from quantum_ops.ledger.journal import Journal
from tests import ledger_story as story
from tests.signoff_rig import DEPLOY, SOURCE, SignoffRig
from tests.yaml_readers import READERS

APPEND = Path(__file__).resolve().parents[2] / "ops" / "ops_ledger_append.py"


@pytest.fixture
def rig(server, tmp_path):
    return SignoffRig(server, tmp_path / "ledger")


def test_a_deploy_becomes_an_entry_and_is_told(rig):
    id_ = rig.send()
    rig.settle()
    [record] = rig.records()
    assert record["source"]["stream"] == SOURCE
    assert record["source"]["stream_id"] == id_
    [data] = rig.operations()
    assert data["operation_name"] == DEPLOY["operation"]
    assert data["changes_summary"] == DEPLOY["changes_summary"]
    [told] = rig.told()
    assert (told.seq, told.operation_id, told.source, told.source_id) == (
        1, data["operation_id"], SOURCE, id_,
    )  # fmt: skip
    assert rig.pending() == 0
    assert rig.found() == []
    rig.holds()


def test_every_field_of_the_event_arrives(rig):
    rig.send(
        requested_by="ops", approved_by="jane", notes="n: 1", allowed_paths='["a/", "b: c"]',
        allowed_services="one\ntwo", git_commit="1e5", git_branch="main", hostname="prod-1",
        occurred_at="2026-01-27T06:15:30.123Z", outcome="PARTIAL",
    )  # fmt: skip
    rig.settle()
    [data] = rig.operations()
    assert data["operation_id"] == "OPS-2026-01-27-001"
    assert data["execution_timestamp"] == "2026-01-27T06:15:30Z"
    expected = {
        "requested_by": "ops", "approved_by": "jane", "notes": "n: 1", "outcome": "PARTIAL",
        "allowed_paths": ["a/", "b: c"], "allowed_services": ["one", "two"], "git_commit": "1e5",
        "git_branch": "main", "hostname": "prod-1",
    }  # fmt: skip
    assert {name: data.get(name) for name in expected} == expected
    # And what this host cannot have seen of another one's deploy is said
    assert data["evidence"] == "incomplete"
    assert "the deploy was on prod-1" in data["evidence_problems"][0]
    rig.holds()


def test_a_batch_costs_one_lock_one_sync_and_one_rendering(rig, monkeypatch):
    batches = []
    whole = book.record_many

    def counted(folder, requests, *args, **more):
        batches.append(len(requests))
        return whole(folder, requests, *args, **more)

    monkeypatch.setattr(book, "record_many", counted)
    for number in range(250):
        rig.send(operation=f"Deploy {number}")
    rig.settle()
    assert batches == [200, 50]
    assert [int(one[-3:]) for one in rig.ids()] == list(range(1, 251))
    rig.holds()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"risk_class": "RISKY"}, "field 'risk_class': 'RISKY': is none of READ_ONLY, LOW_RISK_"),
        ({"objective": None}, "field 'objective': is missing"),
        ({"objective": None, "objectiv": "x"}, "'objectiv' stands there: is it meant?"),
        ({"blast_radius": ""}, "field 'blast_radius': '': is empty; fill it in"),
        ({"blast_radius": " \t"}, "blast_radius: is empty; fill in the field blast_radius"),
        ({"outcome": "OK"}, "field 'outcome': 'OK': is none of SUCCESS, PARTIAL, ROLLBACK"),
        ({"occurred_at": "now"}, "write a moment in UTC such as 2026-01-27T06:15:30Z"),
        (
            {"occurred_at": "2999-01-01T00:00:00Z"},
            "occurred_at: 2999-01-01T00:00:00.000Z lies ahea",
        ),
        ({"allowed_paths": "[1]"}, "field 'allowed_paths': '[1]': Expected `str`"),
        ({"notes": "x" * 70_000}, "bytes are more than a line holds (65536); shorten notes"),
        ({"schema": "deploy.completed/9"}, "is not 'deploy.completed/1'"),
    ],
)
def test_what_is_no_deploy_goes_to_the_dead_letter_with_a_reason_and_holds_nothing_up(
    rig, changed, told
):
    rig.send(operation="before")
    sent = rig.send(**changed)
    rig.send(operation="behind")
    rig.settle()
    [letter] = rig.letters()
    assert told in letter.error
    assert (letter.entry_id, letter.group) == (sent, "ledger")
    assert [one["operation_name"] for one in rig.operations()] == ["before", "behind"]
    rig.holds()


def test_bytes_that_are_no_text_are_kept_as_they_are(rig):
    hostile = [b"operation", b"\xff\xfe", b"objective", b"o", b"risk_class", b"READ_ONLY",
               b"blast_radius", b"b", b"changes_summary", b"c"]  # fmt: skip
    rig.backend.add(SOURCE, hostile)
    rig.backend.add(SOURCE, [b"a", b"b"])
    rig.settle()
    first, second = rig.letters()
    assert "field 'operation': is no UTF-8" in first.error
    assert "field 'operation': is missing, and so are objective, risk_class" in second.error
    assert rig.db.xrevrange(streams.DEAD_LETTER.key)[1][1][b"original.operation"] == b"\xff\xfe"
    assert rig.records() == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, "outcome=ROLLBACK requires"),
        ({"rollback_of": "INVALID"}, "rollback_of 'INVALID' does not match expected format OPS-YY"),
        (
            {"rollback_of": "OPS-2026-01-27-010"},
            "rollback_of 'OPS-2026-01-27-010' is not in the le",
        ),
        ({"outcome": "SUCCESS", "operation_id": "OPS-1999-01-01-001"}, "is not of the day"),
    ],
)
def test_a_broken_rule_is_recorded_with_what_is_wrong_and_a_finding_tells(rig, changed, problem):
    sent = rig.send(**{"outcome": "ROLLBACK", **changed})
    rig.settle()
    [data] = rig.operations()
    assert problem in data["validation_problems"][0]
    [finding] = rig.findings()
    assert (finding.finding, finding.severity) == ("ledger_rule_broken", "warning")
    assert finding.evidence == (sent,)
    assert problem in finding.detail
    assert rig.letters() == []
    rig.holds()


@pytest.mark.parametrize("by", ["setting", "event"])
def test_strict_a_rollback_waits_in_the_dead_letter_until_its_original_is_there(
    server, tmp_path, by
):
    rig = SignoffRig(server, tmp_path, strict=by == "setting")
    strict = {} if by == "setting" else {"strict": "true"}
    rig.send(outcome="ROLLBACK", rollback_of="OPS-2026-01-27-001", **strict)
    rig.settle()
    [letter] = rig.letters()
    assert letter.reason == "rejected"
    assert "rollback_of 'OPS-2026-01-27-001' is not in the ledger; name an op" in letter.error
    # When the original comes after all
    rig.send(occurred_at="2026-01-27T06:15:30Z")
    rig.settle()
    assert rig.ids() == ["OPS-2026-01-27-001"]
    # And an operator sends the rollback's entry again
    letters = DeadLetters(rig.db)
    [stored] = letters.newest(group="ledger")
    assert letters.requeue(stored, "the original was late") == "done"
    rig.settle()
    # Then it is recorded, and marks what it rolled back
    assert [one["outcome"] for one in rig.operations()] == ["SUCCESS", "ROLLBACK"]
    assert "rolled_back_by" in rig.folder.changelog.read_text()
    rig.holds()


def test_the_same_operation_again_is_already_recorded(rig):
    today = rig_day()
    for _ in range(3):
        rig.send(operation_id=f"OPS-{today}-007")
    rig.settle()
    assert rig.ids() == [f"OPS-{today}-007"]
    assert (rig.found(), rig.pending(), rig.letters()) == ([], 0, [])
    rig.holds()


def test_other_content_under_an_id_is_kept_as_a_conflict_and_told_once(rig):
    today = rig_day()
    rig.send(operation_id=f"OPS-{today}-007")
    for _ in range(2):
        other = rig.send(operation_id=f"OPS-{today}-007", outcome="PARTIAL")
    rig.settle()
    assert [one["type"] for one in rig.records()] == ["operation.recorded", "conflict.rejected"]
    assert rig.found() == ["ledger_conflict", "ledger_conflict"]
    assert rig.findings()[1].evidence == (other,)
    assert "kept as record 2, send it again with an id of its own" in rig.findings()[0].detail
    rig.holds()


def test_an_event_with_an_id_of_its_own_is_recorded_once_however_often_it_is_added(rig):
    for _ in range(3):
        rig.send(event_id="deploy-17")
    rig.settle().settle()
    assert len(rig.ids()) == 1
    assert rig.told()[0].source_id == "deploy-17"
    assert rig.found() == []
    rig.holds()


def test_a_script_that_gives_all_events_one_id_loses_none(rig):
    for name in ("a", "b", "a", "b", "c"):
        rig.send(event_id="my#deploy", operation=name)
    rig.settle()
    # And again, as if all of them were delivered again
    rig.db.delete(streams.checkpoint(SOURCE, "ledger"))
    rig.db.xgroup_destroy(SOURCE, "ledger")
    rig.settle()
    assert [one["operation_name"] for one in rig.operations()] == ["a", "b", "c"]
    assert set(rig.found()) == {"ledger_source_reused"}
    assert "event or entry id my#deploy came before with other" in rig.findings()[0].detail
    assert {one.subject for one in rig.findings()} == set(rig.ids()[1:])
    rig.holds()


def test_ids_of_a_deleted_stream_that_come_again_are_other_deploys(rig):
    rig.send("5-1", operation="first")
    rig.settle()
    rig.db.delete(SOURCE)
    rig.send("5-1", operation="second")
    rig.send("5-2", operation="third")
    rig.settle()
    names = [one["operation_name"] for one in rig.operations()]
    assert sorted(names) == ["first", "second", "third"]
    # An id that is no moment gives the entry no date of 1970
    assert all(one.startswith(f"OPS-{rig_day()}") for one in rig.ids())
    assert "ledger_source_reused" in rig.found()
    rig.holds()


def test_after_flushall_everything_is_told_again_and_nothing_recorded_twice(rig):
    ids = [rig.send(operation=name) for name in "abc"]
    runner = rig.opened()
    rig.backend.settle(runner)
    rig.holds()
    # When the server loses everything under a running process, and the events are put back
    rig.db.flushall()
    for id_, name in zip(ids, "abc", strict=True):
        rig.send(id_, operation=name)
    with pytest.raises(GroupGoneError):
        rig.backend.settle(runner)
    runner.open()
    rig.backend.settle(runner)
    tick(runner)
    rig.leave(runner)
    assert [one["operation_name"] for one in rig.operations()] == ["a", "b", "c"]
    rig.holds()


def test_entries_of_the_command_line_share_the_journal_and_are_told(rig):
    runner = rig.opened()
    rig.send(operation="by event")
    rig.backend.settle(runner)
    assert cli(rig, "by hand").returncode == 0
    rig.send(operation="by event again")
    rig.backend.settle(runner)
    runner.step(wait=False)
    rig.leave(runner)
    assert [one["operation_name"] for one in rig.operations()] == [
        "by event", "by hand", "by event again",
    ]  # fmt: skip
    assert [one[-3:] for one in rig.ids()] == ["001", "002", "003"]
    assert [one.source for one in rig.told()] == [SOURCE, "cli", SOURCE]
    rig.holds()


def test_what_the_command_line_had_to_leave_in_the_spool_is_taken_in(rig):
    runner = rig.opened()
    request = story.request("late", stream="cli", stream_id="x1", strict=True)
    spool.put(rig.folder, request)
    (rig.folder.spool / "00-odd.json").write_text("{")
    rig.backend.settle(runner)
    tick(runner)
    assert [one["operation_name"] for one in rig.operations()] == ["Operation late"]
    assert spool.waiting(rig.folder) == []
    [finding] = rig.findings()
    assert finding.finding == "ledger_spool_rejected"
    assert "00-odd.json: " in finding.detail
    assert "not JSON" in finding.detail
    assert runner._context.vitals == {"entries": 1, "spooled": 0, "rejected": 1}
    # And it is told once, by a restarted process too
    tick(runner)
    rig.leave(runner)
    runner = rig.opened()
    tick(runner)
    rig.leave(runner)
    assert rig.found() == ["ledger_spool_rejected"]
    rig.holds()


def test_a_journal_that_was_put_back_from_an_older_copy_is_told_of(rig, tmp_path):
    rig.send(operation="a")
    rig.settle()
    copy = tmp_path / "copy"
    shutil.copytree(rig.folder.base, copy)
    rig.send(operation="b")
    rig.settle()
    shutil.rmtree(rig.folder.base)
    copy.rename(rig.folder.base)
    rig.send(operation="c")
    rig.settle().settle()
    [finding] = rig.findings()
    assert (finding.finding, finding.severity) == ("ledger_history_differs", "critical")
    assert "record 2 with digest" in finding.detail
    assert [one["operation_name"] for one in rig.operations()] == ["a", "c"]
    # What was told of before stands beside the record that took its number
    assert [one.seq for one in rig.told()] == [1, 2, 2]
    assert rig.told()[2].entry_sha256 == outbox.sha256(list(Journal(rig.folder).lines())[1])


def test_another_ledger_on_the_same_server_is_told_from_its_beginning(server, tmp_path):
    one = SignoffRig(server, tmp_path / "one")
    one.send(operation="a")
    one.settle()
    two = SignoffRig(server, tmp_path / "two")
    two.send(operation="b")
    two.settle()
    assert two.found() == ["ledger_history_differs"]
    assert [told.seq for told in two.told()] == [1, 1]


def test_a_lost_mark_of_what_was_told_is_found_on_the_stream(rig):
    for name in "ab":
        rig.send(operation=name)
    rig.settle()
    rig.db.delete(streams.LEDGER_TOLD)
    rig.backend.add(streams.LEDGER_RECORDED.key, [b"stranger", b"\xff"])
    rig.send(operation="c")
    rig.settle()
    assert rig.found() == []
    told = [flat for _, flat in rig.backend.entries(streams.LEDGER_RECORDED.key) if len(flat) > 2]
    assert [one[one.index(b"seq") + 1] for one in told] == [b"1", b"2", b"3"]


def rig_day():
    return moment.now().date().isoformat()


def tick(runner):
    """One round in which the tick is due."""
    runner._tick_due = 0.0
    runner.step(wait=False)


def cli(rig, name, *arguments):
    return subprocess.run(
        [sys.executable, "-I", "-S", APPEND, "--operation", name, "--objective", "o",
         "--risk_class", "READ_ONLY", "--blast_radius", "b", "--changes_summary", "c", *arguments],
        env={"PATH": os.environ["PATH"], "LEDGER_DIR": str(rig.folder.base)}, check=False,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_secret_in_an_event_is_recorded_nowhere_and_makes_no_repeat_another_deploy(
    rig, server, tmp_path, monkeypatch
):
    # given an event with secrets in its texts, and in what it asks to look at
    canary = "Zk3canary9Qw"
    monkeypatch.setenv("REDIS_URL", server.url)
    rig.db.hset("quantum:h", mapping={"api_key": canary, "n": "1"})
    secret = {
        "event_id": "deploy-17",
        "changes_summary": f"BINANCE_API_SECRET={canary}",
        "notes": f"redis://:{canary}@host",
        "allowed_paths": f'["/x?token={canary}"]',
        "redis_cmds": '["HGETALL quantum:h", "FLUSHALL"]',
        "proof_path": f"/nonexistent/password={canary}",
    }
    # when it is added twice, and once more with another secret
    for one in (canary, canary, "another"):
        rig.send(**{name: text.replace(canary, one) for name, text in secret.items()})
    rig.settle().settle()
    # then it is one deploy, and no file and no event of ours holds the secret
    assert len(rig.ids()) == 1
    assert rig.found() == []
    files = [path for path in (tmp_path / "ledger").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if canary.encode() in path.read_bytes()]
    assert not [told for told in rig.told() if canary in str(told)]
    [data] = rig.operations()
    assert data["changes_summary"] == "BINANCE_API_SECRET=[redacted]"
    assert data["redis_snapshot"].endswith("api_key\n[redacted]\nn\n1\n")
    assert data["evidence"] == "incomplete"
    rig.holds()


def test_what_is_handed_over_again_records_and_warns_of_nothing_again(rig):
    # Given a deploy that breaks a rule, and one without blemish
    rig.send(outcome="ROLLBACK")
    rig.send()
    rig.settle()
    told, records = rig.findings(), rig.records()
    assert [one.finding for one in told] == ["ledger_rule_broken"]
    # When an operator sets the group back to the beginning
    rig.db.xgroup_setid(SOURCE, "ledger", "0")
    rig.settle()
    # Then nothing was recorded or told a second time
    assert rig.findings() == told
    assert rig.records() == records


NASTY = (
    "a: b", "note:", '"x" y', "*x", "!x", "@x", "`x`", "% x", "{s} m", "- x", "\x85", "\u2028",
    "\t", "\x1b[2J", "fix #42 now", "yes", "0123", "12:30:45", "null", "~", " lead", "trail ",
    "1e5", "0x1", "see\n```\n# HEAD", "x\noutcome: ROLLBACK\nrisk_class: READ_ONLY", "a\r\nb",
    "? x", "\u202ereversed", "ünïcode 🚀", "--flag", "$(reboot)", "'", '"', "\\", "&a",
    "<!-- x -->", "|", ">", "...",
)  # fmt: skip


def test_hostile_values_are_recorded_as_they_are_and_every_reader_finds_them(rig):
    for text in NASTY:
        rig.send(changes_summary=f"x{text}", notes=text, operation=f"{text}x")
    rig.settle()
    found = [(one["changes_summary"], one.get("notes")) for one in rig.operations()]
    assert found == [(f"x{text}", text) for text in NASTY]
    assert rig.letters() == []
    month = next(iter(rig.folder.base.glob("2*.yaml"))).read_text(encoding="utf-8")
    blocks = re.findall(r"^---\n.*?(?=^---\n|\Z)", month, re.DOTALL | re.MULTILINE)
    assert len(blocks) == len(NASTY)
    for read in READERS.values():
        for block, text in zip(blocks, NASTY, strict=True):
            assert read(block)["changes_summary"] == f"x{text}"
    rig.holds()


def test_tags_are_made_and_a_tag_that_fails_costs_no_record(server, tmp_path, monkeypatch):
    rig = SignoffRig(server, tmp_path / "ledger", tags=True)
    # Given a checkout that is none
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    rig.send(operation="a")
    rig.settle()
    [finding] = rig.findings()
    assert (finding.finding, finding.severity) == ("ledger_tag_failed", "warning")
    assert "the record stands" in finding.detail
    # And one that is
    for command in (
        ("init", "-q"), ("config", "user.name", "n"), ("config", "user.email", "e@example.org"),
        ("commit", "-q", "--allow-empty", "-m", "m"),
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    rig.send(operation="b")
    rig.settle()
    # And of what the command line had to leave in the spool
    runner = rig.opened()
    spool.put(rig.folder, story.request("late", stream="cli", stream_id="x1"))
    tick(runner)
    rig.leave(runner)
    tags = subprocess.run(
        ["git", "tag"], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    late = next(one["operation_id"] for one in rig.operations() if "late" in one["operation_name"])
    wanted = {rig.ids()[1], late}
    assert set(tags.split()) == {one.replace("OPS-", "ops-") for one in wanted}
    assert len(rig.findings()) == 1
    rig.holds()


def test_a_finding_is_told_once_even_if_its_event_is_delivered_again(rig):
    """Killed between record and acknowledgement, the warning is not forgotten."""
    rig.send(outcome="ROLLBACK")
    runner = rig.opened()
    with monkeypatched(runner):
        runner.step(wait=False)  # recorded and told of, but never acknowledged
    rig.leave(runner)
    assert len(rig.operations()) == 1
    assert rig.found() == []
    rig.settle()
    assert rig.found() == ["ledger_rule_broken"]
    assert len(rig.operations()) == 1
    assert rig.pending() == 0
    rig.holds()


@contextlib.contextmanager
def monkeypatched(runner):
    """What is handled is not settled: as if the process had died before it was."""
    yield
    runner._work.forget()
