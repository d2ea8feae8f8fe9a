"""./run ledger as an operator types it: what it shows, what programs rely on, what it refuses."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import termios
import threading
from datetime import timedelta

import pytest
import yaml
from freezegun import freeze_time

from ops.__main__ import entry as run
from quantum_ops.ledger import checkpoint
from quantum_ops.ledger.lookup import Lookup
from tests import ledger_typed
from tests.contract.reference import ROOT
from tests.ledger_story import Ledger, request

HAND_WRITTEN = """# Ops

## 2026-01

```yaml
operation_id: OPS-2026-01-20-002
operation_name: Newer: by hand
execution_timestamp: 2026-01-20T09:30:00Z
outcome: SUCCESS
```

```yaml
operation_id: OPS-2026-01-20-001
operation_name: Older by hand
risk_class: READ_ONLY
outcome: SUCCESS
```
"""
EVIL = "\x1b[2Jred \u202etxt\u2066 \x9b1m \u200b end"


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    return ledger_typed.found(tmp_path, monkeypatch)


@pytest.fixture
def told(capsys):
    return ledger_typed.verb(capsys)


@pytest.fixture
def objects(told):
    def typed(*arguments):
        code, out, err = told("list", "--json", *arguments)
        assert (code, err.replace("no such entries\n", "")) == (0, "")
        return [json.loads(line) for line in out.splitlines()]

    return typed


def story(ledger):
    """Every kind of entry: adopted ones, operations, a rollback, a conflict, an edited file."""
    ledger.folder.base.mkdir(parents=True)
    ledger.folder.changelog.write_text(HAND_WRITTEN)
    first = ledger.one(
        1, allowed_services=["quantum-gate"], stream="deploy.completed", stream_id="1-0"
    )
    ledger.now += timedelta(days=1)
    ledger.one(2, risk_class="READ_ONLY", outcome="PARTIAL", evidence={"evidence": "incomplete"})
    ledger.one(3, operation_id=first.operation_id)
    ledger.now += timedelta(days=1)
    ledger.one(4, outcome="ROLLBACK", rollback_of=first.operation_id, notes='It "broke"\nthe Gate')
    ledger.one(5, outcome="ROLLBACK", rollback_of="OPS-2026-01-20-001")
    with ledger.folder.changelog.open("a") as file:
        file.write("by hand\n")
    ledger.one(6, evidence={"services_status": {"quantum-gate": "active"}})
    return first.operation_id


def test_the_list_shows_every_kind_as_what_it_is_newest_first(ledger, told):
    story(ledger)
    code, out, err = told("list")
    assert (code, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.split() == ["WHEN", "(UTC)", "OPERATION", "ID", "OUTCOME", "RISK", "BY", "WHAT"]
    assert [row.split()[2:4] for row in rows] == [
        ["-", "drift"], ["OPS-2026-01-29-003", "SUCCESS"], ["OPS-2026-01-29-002", "ROLLBACK"],
        ["OPS-2026-01-29-001", "ROLLBACK"], ["OPS-2026-01-27-001", "conflict"],
        ["OPS-2026-01-28-001", "PARTIAL"], ["OPS-2026-01-27-001", "SUCCESS"],
        ["OPS-2026-01-20-002", "SUCCESS"], ["SUCCESS", "READ_ONLY"],
    ]  # fmt: skip
    assert "OPS_CHANGELOG.md was edited by somebody else" in rows[0]
    assert "[rolls back OPS-2026-01-27-001] Operation 4" in rows[3]
    assert "[NOT IN FORCE: its id belongs to record 2; record 4] Operation 3" in rows[4]
    assert "[evidence incomplete] Operation 2" in rows[5]
    assert "[rolled back by OPS-2026-01-29-001] Operation 1" in rows[6]
    assert "[before the ledger] Newer: by hand" in rows[7]
    assert rows[8].startswith("2026-01-20  ")  # its time is not known
    assert "[rolled back by OPS-2026-01-29-002; before the ledger] Older by hand" in rows[8]


def test_the_newest_are_shown_and_that_there_are_more(ledger, told):
    ledger.fill(23)
    code, out, err = told("list")
    assert (code, len(out.splitlines())) == (0, 21)
    assert err == "the newest 20; older ones with -n or --all\n"
    assert len(told("list", "-n", 3)[1].splitlines()) == 4
    code, out, err = told("list", "--all")
    assert (len(out.splitlines()), err) == (24, "")
    assert told("list", "-n", 23)[2] == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [8, 7, 6, 5, 4, 3, 2, 1, 1]),
        (["--since", "2026-01-28"], [8, 7, 6, 5, 4, 3]),
        (["--until", "2026-01-27"], [2, 1, 1]),
        (["--since", "2026-01-28", "--until", "2026-01-28"], [4, 3]),
        (["--since", "2026-01-28T12:00:01Z"], [8, 7, 6, 5]),
        (["--since", "2026-01-20T09:00:00Z", "--until", "2026-01-27T13:00:00+01:00"], [2, 1]),
        (["--until", "2026-01-20T08:59:59Z"], [1]),
        (["--since", "-26h"], [8, 7, 6, 5, 4, 3]),
        (["--since", "1d"], [8, 7, 6, 5]),
        (["--service", "quantum-gate"], [7, 2]),
        (["--service", "quantum-*"], [7, 2]),
        (["--service", "gate"], []),
        (["--risk", "READ_ONLY"], [3, 1]),
        (["--outcome", "ROLLBACK"], [6, 5]),
        (["--text", 'it "BROKE"'], [5]),
        (["--text", "the gate"], [5]),
        (["--text", "BY HAND"], [1, 1]),
        (["--kind", "drift"], [8]),
        (["--kind", "conflict", "--kind", "drift"], [8, 4]),
        (["--outcome", "SUCCESS", "--risk", "SERVICE_RESTART", "-n", "1"], [7]),
    ],
)
def test_each_filter_picks_its_entries(ledger, objects, arguments, expected):
    story(ledger)
    with freeze_time(ledger.now + timedelta(hours=1)):
        assert [one["seq"] for one in objects(*arguments)] == expected


def test_the_json_of_the_list_has_the_fields_that_are_promised(ledger, objects):
    first = story(ledger)
    found = objects("--all")
    assert {tuple(one) for one in found} == {(
        "kind", "seq", "id", "occurred_at", "recorded_at", "operation", "risk_class", "outcome",
        "services", "requested_by", "approved_by", "changes_summary", "rollback_of",
        "rolled_back_by", "conflicts_with", "evidence", "problems", "file", "host", "stream",
        "stream_id",
    )}  # fmt: skip
    drift, last, _, rollback, conflict, partial, one, newer, older = found
    assert [each["kind"] for each in found] == [
        "drift", *["operation"] * 3, "conflict", *["operation"] * 2, "legacy", "legacy",
    ]  # fmt: skip
    assert (drift["id"], drift["file"]) == (None, "OPS_CHANGELOG.md")
    assert (conflict["id"], conflict["conflicts_with"], conflict["operation"]) == (
        first, 2, "Operation 3",
    )  # fmt: skip
    assert (rollback["rollback_of"], one["rolled_back_by"]) == (first, [rollback["id"]])
    assert (partial["evidence"], last["evidence"]) == ("incomplete", None)
    assert (one["stream"], one["stream_id"], one["services"]) == (
        "deploy.completed", "1-0", ["quantum-gate"],
    )  # fmt: skip
    assert (newer["occurred_at"], newer["operation"]) == ("2026-01-20T09:30:00Z", "Newer: by hand")
    assert (older["occurred_at"], older["seq"]) == ("2026-01-20T00:00:00Z", 1)


def test_months_follow_each_other(ledger, objects, told):
    for _ in range(4):
        ledger.fill(2)
        ledger.now += timedelta(days=31)
    assert [one["seq"] for one in objects()] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert json.loads(told("show", "6", "--json")[1])["segment"] == "2026-03.jsonl"
    assert json.loads(told("show", "6", "--json")[1])["line"] == 2


def test_two_rollbacks_of_one_operation_are_both_named_the_older_first(ledger, objects, told):
    name = ledger.one().operation_id
    by = [ledger.one(n, outcome="ROLLBACK", rollback_of=name).operation_id for n in (2, 3)]
    assert objects()[-1]["rolled_back_by"] == by
    assert json.loads(told("show", name, "--json")[1])["rolled_back_by"] == by
    assert f"rolled_back_by: {by[0]}, {by[1]}\n" in told("show", name)[1]
    assert f"rolled_back_by: {by[0]}, {by[1]}\n" in ledger.folder.changelog.read_text()


def test_a_rollback_that_names_itself_undid_nothing(ledger, objects, told):
    """Given a rollback of the id that it is then given itself, nothing is shown as rolled back."""
    wrong = ledger.one(outcome="ROLLBACK", rollback_of="OPS-2026-01-27-001")
    assert wrong.operation_id == "OPS-2026-01-27-001"
    (one,) = objects()
    assert (one["rollback_of"], one["rolled_back_by"]) == (wrong.operation_id, [])
    assert "rolled back by" not in told("show", wrong.operation_id)[1]
    assert "rolled_back_by" not in ledger.folder.changelog.read_text()


def test_untrusted_text_cannot_paint_on_a_terminal(ledger, told):
    ledger.one(operation=EVIL, changes_summary=EVIL, notes=EVIL, allowed_services=[EVIL],
               requested_by=EVIL, stream=EVIL, stream_id=EVIL)  # fmt: skip
    for arguments in (
        ["list"],
        ["list", "--json"],
        ["list", "-F", "%i %n %{services}"],
        ["show", "1"],
        ["show", "1", "--json"],
    ):
        code, out, _ = told(*arguments)
        assert code == 0
        assert re.search("[^ -~\n\u2014]", out) is None, arguments
    assert "\\x1b[2Jred \\u202etxt" in told("list")[1]


def on_a_terminal(columns, *arguments):
    """What the verb prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    environ = {**os.environ, "TERM": "dumb"}
    environ.pop("COLUMNS", None)
    command = [sys.executable, "-m", "ops", "ledger", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=theirs, env=environ)
    os.close(theirs)
    shown = b""
    # Linux ends the reading with EIO once nobody writes any more.
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass
    os.close(ours)
    assert process.wait(30) == 0
    return shown.decode().splitlines()


def test_a_terminal_gets_lines_of_its_width_and_a_pipe_the_whole(ledger, told):
    ledger.one(operation="x" * 200)
    ledger.one(operation="日本語" * 60)
    rows = on_a_terminal(100, "list")
    assert len(rows) == 3
    assert [len(row) for row in rows[2:]] == [100]
    assert rows[2].endswith("xxx…")
    assert rows[1].endswith("…")
    assert len(rows[1]) < 95  # each of its characters takes two columns
    assert "x" * 200 in told("list")[1]


def test_nothing_recorded_yet_is_said_and_no_error(ledger, told):
    assert told("list") == (0, "", "nothing was recorded yet\n")
    assert told("list", "--json") == (0, "", "nothing was recorded yet\n")
    assert told("verify")[0] == 0
    assert told("rebuild")[0] == 0
    assert told("rebuild", "--check")[0] == 0
    assert told("show", "1")[0] == 4
    assert told("prove", "1")[0] == 4
    assert not ledger.folder.base.exists()


def test_a_changelog_of_before_the_first_entry_is_no_drift(ledger, told):
    ledger.folder.base.mkdir()
    ledger.folder.changelog.write_text(HAND_WRITTEN)
    assert told("rebuild", "--check")[0] == 0
    assert told("rebuild")[0] == 0
    assert ledger.folder.changelog.read_text() == HAND_WRITTEN


# --- show -------------------------------------------------------------------------------------


def test_an_entry_is_shown_as_its_block_and_where_it_stands(ledger, told):
    first = story(ledger)
    code, out, err = told("show", first)
    assert (code, err) == (0, "")
    block, _, where = out.partition("# record")
    assert f"```yaml\n{block}```" in rebuilt_changelog(ledger)
    assert where.startswith(" 2: line 2 of 2026-01.jsonl\n")
    assert "from deploy.completed/1-0" in where
    assert "# checkpoint of 8 records, root" in where
    assert "# other content came under its id: record 4, not in force" in where
    # the whole is still YAML
    assert yaml.safe_load(out)["operation_id"] == first
    record = json.loads(ledger.lines()[1])
    shown = json.loads(told("show", first, "--json")[1])
    assert shown["data"] == record["data"]
    assert (shown["segment"], shown["line"], shown["seq"]) == ("2026-01.jsonl", 2, 2)
    assert shown["conflicts"] == [4]
    newest = checkpoint.newest(ledger.folder)
    assert shown["checkpoint"] == {
        "origin": newest.origin, "size": 8, "root_sha256": newest.head.root.hex(), "signed_by": [],
    }  # fmt: skip
    assert json.loads(told("show", "2", "--json")[1]) == shown


def rebuilt_changelog(ledger):
    return ledger.folder.changelog.with_name("OPS_CHANGELOG.md.rendered").read_text()


def test_conflicts_drift_and_adopted_entries_are_shown_as_such(ledger, told):
    story(ledger)
    conflict = told("show", "4")[1]
    assert conflict.startswith("---\nrecord: conflict.rejected\n")
    assert "# NOT IN FORCE: its id belongs to record 2\n" in conflict
    assert told("show", "8")[1].startswith("---\nrecord: drift.detected\n")
    adopted = told("show", "OPS-2026-01-20-001")[1]
    assert yaml.safe_load(adopted)["operation_name"] == "Older by hand"
    assert "# from before the ledger: OPS_CHANGELOG.md" in adopted
    assert "# rolled back by OPS-2026-01-29-002\n" in adopted
    shown = json.loads(told("show", "OPS-2026-01-20-001", "--json")[1])
    assert (shown["kind"], shown["rolled_back_by"]) == ("legacy", ["OPS-2026-01-29-002"])


@pytest.mark.parametrize("named", ["deploy.completed/1-0", "quantum:stream:deploy.completed/1-0"])
@pytest.mark.parametrize("recorded", ["deploy.completed", "quantum:stream:deploy.completed"])
def test_an_entry_is_found_by_the_event_it_came_from(ledger, told, named, recorded):
    ledger.fill(2)
    made = ledger.one(5, stream=recorded, stream_id="1-0")
    code, out, _ = told("show", "--source", named, "--json")
    assert (code, json.loads(out)["id"]) == (0, made.operation_id)
    assert told("show", "--source", "deploy.completed/1-1")[0] == 4


def test_what_is_not_there_is_told(ledger, told):
    ledger.one()
    for named in ("OPS-2026-01-27-002", "2", "0", "9" * 40, "nonsense", "\x1b[2J"):
        code, out, err = told("show", named)
        assert (code, out) == (4, ""), named
        assert "\x1b" not in err
    assert told("show", "OPS-2026-01-27-002")[2] == (
        "OPS-2026-01-27-002: no such entry; see ./run ledger list\n"
    )


def test_a_deploy_waits_for_its_entry(ledger, told):
    ledger.one()
    said = []
    waiting = threading.Thread(target=lambda: said.append(
        subprocess.run(
            [sys.executable, "-m", "ops", "ledger", "show", "--source", "deploy.completed/7-0",
             "--wait", "60", "--json"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )))  # fmt: skip
    waiting.start()
    ledger.one(7, stream="deploy.completed", stream_id="7-0")
    waiting.join(60)
    assert json.loads(said[0].stdout)["operation"] == "Operation 7"
    assert told("show", "--source", "deploy.completed/8-0", "--wait", "0.1")[0] == 4


INDEX = ["as it is", "lost", "damaged", "behind", "of another journal", "lying"]


@pytest.mark.parametrize("state", INDEX)
def test_the_index_is_believed_only_as_far_as_the_journal_confirms_it(ledger, tmp_path, state):
    other = Ledger(tmp_path / "other")
    for number in range(6):
        ledger.one(number, stream="s", stream_id=str(number))
        other.one(number + 10, stream="s", stream_id=str(9 - number))
    index = ledger.folder.cache / "index"
    if state == "behind":
        old = index.read_bytes()
        ledger.one("new", stream="s", stream_id="new")
        forget(index)
        index.write_bytes(old)
    elif state not in ("as it is", "lying"):
        forget(index)
    if state == "damaged":
        index.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    elif state == "of another journal":
        index.write_bytes((other.folder.cache / "index").read_bytes())
    elif state == "lying":
        lie(index)
    with Lookup(ledger.folder) as lookup:
        for seq, record in enumerate(ledger.records(), 1):
            source = record["source"]
            for found in (
                lookup.number(seq), lookup.operation(record["id"]),
                lookup.source(source["stream"], source["stream_id"]),
            ):  # fmt: skip
                assert (found.seq, json.loads(found.line)) == (seq, record)
                assert lookup.line_number(found) == seq
        assert lookup.number(20) is lookup.operation("OPS-2026-01-27-100") is None
        assert lookup.source("s", "9") is None


def forget(index):
    for suffix in ("", "-wal", "-shm"):
        index.with_name(index.name + suffix).unlink(missing_ok=True)


def lie(index):
    """An index whose rows name other records than those that were asked for."""
    db = sqlite3.connect(index)
    db.execute("UPDATE origin SET seq = 7 - seq")
    db.execute("UPDATE operation SET seq = 7 - seq")
    db.execute("UPDATE record SET start = 7 WHERE seq = 3")
    db.commit()
    db.close()


def test_an_index_that_may_not_be_written_is_still_used(ledger, monkeypatch):
    ledger.fill(3)
    (ledger.folder.cache / "index").chmod(0o444)
    ledger.folder.cache.chmod(0o555)
    with Lookup(ledger.folder) as lookup:
        assert lookup.number(3).seq == 3
    ledger.folder.cache.chmod(0o755)


# --- add, rebuild, errors ---------------------------------------------------------------------

ADD = ["--operation", "o", "--objective", "o", "--risk_class", "READ_ONLY", "--blast_radius", "b",
       "--changes_summary", "-starts with a dash"]  # fmt: skip


def test_add_takes_the_arguments_of_the_tool(ledger, told, objects):
    code, out, _ = told("add", *ADD)
    assert code == 0
    assert "Auto-generated operation_id: OPS-" in out
    assert objects()[0]["changes_summary"] == "-starts with a dash"
    assert told("add", *ADD, "--strict", "--outcome", "ROLLBACK")[0] == 1
    with pytest.raises(SystemExit, match="0"):
        told("add", "--help")


def test_add_help_names_the_verb(ledger, capsys):
    with pytest.raises(SystemExit):
        run(["ledger", "add", "--help"])
    assert capsys.readouterr().out.startswith("usage: ./run ledger add ")


def test_rebuild_makes_the_same_bytes_and_never_replaces_an_edited_file(ledger, told):
    ledger.fill(130)
    before = files(ledger.folder)
    for path in before:
        path.unlink()
    forget(ledger.folder.cache / "index")
    code, out, _ = told("rebuild", "--check")
    assert (code, out.count("is missing")) == (3, len(before))
    assert "to render it again: ./run ledger rebuild" in out
    assert told("rebuild") == (0, "everything is as the journal renders it\n", "")
    assert files(ledger.folder) == before
    assert told("rebuild", "--check") == (0, "everything is as the journal renders it\n", "")
    page = next(path for path in before if path.parent.name == "OPS_CHANGELOG")
    page.write_bytes(before[page] + b"mine\n")
    code, out, err = told("rebuild")
    assert code == 3
    assert f"{page} is not what the journal renders" in out
    assert "is left as it is" in err
    assert page.read_bytes() == before[page] + b"mine\n"
    assert ledger.records()[-1]["type"] == "drift.detected"
    assert told("rebuild")[0] == told("rebuild", "--check")[0] == 3
    assert [one["type"] for one in ledger.records()].count("drift.detected") == 1
    assert told("verify")[0] == 0  # the drift is covered by a checkpoint, too


def files(folder):
    return {path: path.read_bytes() for pattern in ("*.md", "*/*.md", "*.yaml")
            for path in folder.base.glob(pattern)}  # fmt: skip


def test_rebuild_refuses_a_journal_that_was_cut(ledger, told):
    ledger.fill(4)
    ledger.segment.write_bytes(b"".join(line + b"\n" for line in ledger.lines()[:2]))
    before = files(ledger.folder)
    code, _, err = told("rebuild")
    assert code == 1
    assert "./run ledger verify" in err
    assert files(ledger.folder) == before


def test_a_held_lock_is_told_as_try_again(ledger, told, monkeypatch):
    from quantum_ops.ledger import book
    from quantum_ops.ledger.journal import Journal

    ledger.one()
    real = book.rebuild
    monkeypatch.setattr(book, "rebuild", lambda *a, **k: real(*a, **k, patience_s=0.0))
    with Journal(ledger.folder).locked():
        code, _, err = told("rebuild")
    assert code == 75
    assert "fuser" in err


def test_wrong_settings_and_unreadable_files_have_their_exit_codes(ledger, told, monkeypatch):
    ledger.one()
    assert told("verify", "--against", "/nonexistent/checkpoint")[0] == 74
    assert told("verify", "/nonexistent/proof")[0] == 74
    assert told("verify", "--key", "/nonexistent/key")[0] == 74
    assert told("prove", "1", "-o", "/dev/null/folder/proof")[0] == 74
    monkeypatch.setenv("LEDGER_ORIGIN", "two words")
    code, _, err = told("list")
    assert (code, "LEDGER_ORIGIN" in err) == (78, True)
    monkeypatch.delenv("LEDGER_ORIGIN")
    for name in ("LEDGER_DIR", "LEDGER_KEY"):
        monkeypatch.setenv(name, "~nobody-of-this-name/x")
        code, _, err = told("list")
        assert (code, name in err, "no such user" in err) == (78, True, True)
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["nonsense"], ["list", "--since", "soon"], ["list", "--risk", "HUGE"], ["show"],
        ["list", "-n", "x"], ["show", "1", "--source", "a/1"], ["prove"], ["tag"], ["key"],
        ["prove", "1", "--since", "x"], ["list", "--outcome", "FINE"], ["show", "1", "--wait", "x"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(ledger, capsys, arguments):
    with pytest.raises(SystemExit) as found:
        run(["ledger", *arguments])
    assert found.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ./run ledger")


def test_files_are_named_as_seen_from_where_run_was_typed(ledger, tmp_path):
    ledger.one()
    command = [ROOT / "run", "ledger", "prove", "1", "-o", "here.proof"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "here.proof").exists()


def test_a_reader_that_leaves_early_is_no_error(ledger):
    ledger.fill(3)
    command = f"{sys.executable} -m ops ledger list --all --json | head -n 1"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, check=False)
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


def test_the_list_of_a_long_ledger_takes_no_more_memory_than_that_of_a_short_one(ledger):
    """Read from its end, a block at a time: what is held does not grow with what is there."""
    import tracemalloc

    from quantum_ops.ledger import query

    def peak(count):
        ledger.record(*(request(n, notes="x" * 2000) for n in range(count)))
        tracemalloc.start()
        seen = sum(1 for _ in query.newest(ledger.folder, query.Wanted(text="x" * 2001)))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seen == 0
        return most

    short, long = peak(300), peak(1500)
    assert long < short * 1.3
