"""The decisions of a deploy, each apart from the system that it is about."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.daemon import Process
from ops.deploy import loading, order, progress, releases, telling, watch
from ops.deploy.checks import Check
from ops.deploy.errors import StopError
from ops.deploy.ledger import Records
from ops.deploy.order import Order
from ops.deploy.proof import Proof
from ops.deploy.restarting import Restarts
from ops.deploy.source import Repository
from ops.deploy.state import Accepted, Attempt, Message, State, Store, deployed, taken_back
from ops.paths import Paths
from ops.readiness import Verdict
from quantum_ops.lag import Lag
from quantum_ops.ledger import book
from quantum_ops.ledger.entry import Request
from quantum_ops.signoff import intake

OLD, NEW = "a" * 40, "b" * 40
PROCESS = Process(
    group="p33", name="p33-00", state="RUNNING", pid=20, started_at=1, now=9, exit_status=0,
    said="", command="python -m consumers p33", autostart=True, priority=999, stop_wait_s=30,
    log="",
)  # fmt: skip


def seen(ready: str = "READY", **process) -> Verdict:
    return Verdict(replace(PROCESS, **process), ready)


@pytest.mark.parametrize(
    ("old", "first", "verdict", "answer"),
    [
        (10, 0, seen(), "ready"),
        (10, 0, seen("STANDBY"), "ready"),
        (10, 20, seen(), "ready"),
        (20, 0, seen(), "wait"),  # the old one's heartbeat proves nothing
        (10, 0, seen("WAITING"), "wait"),
        (10, 0, seen("STALE"), "wait"),
        (10, 0, seen(state="STARTING"), "wait"),
        (10, 0, seen(state="STOPPED", pid=0), "wait"),
        (10, 19, seen(), "failed"),  # it died and was started again
        (10, 20, seen(state="BACKOFF", pid=0), "failed"),
        (10, 0, seen(state="FATAL", pid=0), "failed"),
        (10, 0, seen("DOWN", state="EXITED", pid=0), "failed"),
    ],
)
def test_a_process_is_proven_by_the_heartbeat_of_its_new_life_only(old, first, verdict, answer):
    assert watch.started(old, first, verdict).answer == answer


def test_what_was_ready_and_dies_has_failed_however_well_it_comes_back():
    assert watch.stays(20, seen()).answer == "ready"
    assert watch.stays(20, seen("WAITING")).answer == "wait"
    assert watch.stays(19, seen()).answer == "failed"
    assert watch.stays(20, seen(state="EXITED", pid=0)).answer == "failed"


def backlog(first: int, newest: int, waiting: int = 0, pending: int = 0) -> Lag:
    at = (first, 0)
    return Lag(
        "apply.plan", "g", waiting, "exact", 0.0, pending, newest=(newest, 0),
        waiting=at if waiting else None, held=at if pending else None,
    )  # fmt: skip


def test_a_consumer_keeps_up_if_what_was_there_gets_done():
    ready = backlog(first=11, newest=20, waiting=10)
    assert progress.keeps_up(ready, backlog(first=25, newest=99, waiting=50))  # a busy stream
    assert progress.keeps_up(
        ready, backlog(first=13, newest=20, waiting=8)
    )  # a long way, but on it
    assert progress.keeps_up(ready, backlog(first=0, newest=20))
    assert not progress.keeps_up(ready, ready)
    assert not progress.keeps_up(ready, backlog(first=11, newest=30, waiting=20))
    assert not progress.keeps_up(
        ready, backlog(first=11, newest=20, pending=10)
    )  # taken, never done
    assert not progress.keeps_up(ready, backlog(first=12, newest=90, waiting=40))  # loses ground


def test_a_consumer_of_which_nothing_can_be_said_does_not_keep_up():
    unknown = Lag("apply.plan", "g", pending=1, held=(15, 0), newest=(30, 0))
    assert not progress.keeps_up(backlog(first=11, newest=20, waiting=10), unknown)
    assert not progress.keeps_up(unknown, backlog(first=16, newest=30, waiting=1))
    assert progress.keeps_up(unknown, backlog(first=31, newest=31, waiting=1))


@given(
    first=st.integers(1, 50), newest=st.integers(1, 50), left=st.integers(1, 99),
    more=st.integers(0, 99), taken=st.integers(0, 99),
)  # fmt: skip
def test_a_consumer_that_stands_still_never_keeps_up(first, newest, left, more, taken):
    newest = max(newest, first)
    ready = backlog(first, newest, left)
    taken = min(taken, left)
    assert not progress.keeps_up(ready, backlog(first, newest + more, left + more - taken, taken))


@pytest.mark.parametrize(
    "bad",
    [
        {"program": ""},
        {"program": "-rf"},
        {"program": "a/b"},
        {"program": "a b"},
        {"program": "a\n"},
        {"program": "é"},
        {"program": "x" * 65},
        {"metrics_urls": ("gopher://h/",)},
        {"metrics_urls": ("http://",)},
        {"metrics_urls": ("http://[::1/",)},
        {"metrics_urls": ("http://h:99999/",)},
        {"metrics_urls": ("http://h/",), "metrics_grep": ("[",)},
        {"notes": "\ud800"},
        {"allowed_paths": ("ok", "\udcff")},
    ],
    ids=repr,
)
def test_what_makes_no_sense_is_refused(bad):
    with pytest.raises(StopError) as told:
        order.check(Order(**{"program": "p33", **bad}))
    assert told.value.code == 2


def test_all_problems_are_told_at_once():
    with pytest.raises(StopError) as told:
        order.check(Order(program="a b", metrics_urls=("x",), notes="\ud800"))
    assert len(str(told.value).splitlines()) == 3


def test_strict_is_false_unless_it_is_asked_for():
    assert [order.strict(text) for text in ("", "false", "0", "No", " OFF ")] == [False] * 5
    assert [order.strict(text) for text in ("true", "1", "YES", "on")] == [True] * 4
    with pytest.raises(StopError, match="neither true nor false"):
        order.strict("maybe")


def event(outcome="SUCCESS", **more):
    given_ = {"commit": NEW, "before": OLD, "subjects": ("Second", "First"), "paths": ("a", "b"),
              "proof_path": "/p"}  # fmt: skip
    return telling.deployed(Order(program="p33"), outcome, **{**given_, **more})


def test_the_event_says_what_the_specification_asks_for():
    told = telling.event_of(event())
    assert told.operation == f"Deploy p33 {NEW[:12]}"
    assert told.changes_summary == f"{OLD[:12]}..{NEW[:12]}: Second and 1 more"
    assert told.allowed_services == ("p33",)
    assert told.allowed_paths == ("a", "b")
    assert told.risk_class == "SERVICE_RESTART"
    assert told.event_id
    back = telling.event_of(event("ROLLBACK", after="x"), rollback_of="OPS-2026-01-27-010")
    assert (back.outcome, back.rollback_of) == ("ROLLBACK", "OPS-2026-01-27-010")


def test_who_asked_for_a_deploy_and_who_approved_it_stand_in_what_is_recorded():
    named = Order(program="p33", requested_by="ann", approved_by="bob")
    for asked, by in ((named, ("ann", "bob")), (Order(program="p33"), ("SELF", "SELF"))):
        message = telling.deployed(asked, "SUCCESS", commit=NEW, before=OLD, subjects=(),
                                   paths=(), proof_path="")  # fmt: skip
        told = telling.event_of(message)
        wanted = intake.request(told, "1-1", datetime(2026, 1, 27, tzinfo=UTC), strict=False)
        assert (wanted.requested_by, wanted.approved_by) == by


def test_the_same_message_is_the_same_event_whenever_it_is_sent():
    message = event()
    assert telling.event_of(message) == telling.event_of(message)


def test_a_thousand_changed_files_are_no_line_too_long():
    told = telling.event_of(event(paths=tuple(f"file{n}" for n in range(1000))))
    assert len(told.allowed_paths) == telling.MOST_PATHS + 1
    assert told.allowed_paths[-1] == "(900 more)"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(why=texts, notes=texts, subject=texts)
def test_a_rollback_finds_the_commits_whatever_else_the_notes_say(why, notes, subject):
    message = telling.deployed(
        Order(program="p33", notes=notes), "PARTIAL", commit=NEW, before=OLD,
        subjects=(subject,), paths=(), proof_path="", why=why,
    )  # fmt: skip
    from ops.deploy import ledger

    found = ledger._deploy("OPS-2026-01-27-001", {"notes": message.fields["notes"]}, "")
    assert (found.commit, found.before) == (NEW, OLD)


def test_records_are_found_by_the_id_of_the_event_or_of_its_entry(tmp_path):
    folder = book.Folder.at(tmp_path)
    records = Records(folder)
    assert records.recorded(("1-1",)) == ""
    assert records.deploy("OPS-2026-01-27-001") is None
    now = datetime(2026, 1, 27, tzinfo=UTC)
    start = records.end()
    texts_ = {"objective": "o", "risk_class": "READ_ONLY", "blast_radius": "b",
              "changes_summary": "c", "stream": "quantum:stream:deploy.completed"}  # fmt: skip
    notes = f"deployed={NEW} before={OLD}; by me"
    first = Request(operation="names 2-2", stream_id="1-1", notes=notes,
                    allowed_services=("p33",), **texts_)  # fmt: skip
    other = Request(operation="elsewhere", stream_id="2-2", **{**texts_, "stream": "cli"})
    undo = Request(operation="undo", stream_id="e", outcome="ROLLBACK",
                   rollback_of="OPS-2026-01-27-001", **texts_)  # fmt: skip
    book.record_many(folder, [first, other], lambda: now)
    assert records.recorded(("nothing", "1-1"), start) == "OPS-2026-01-27-001"
    assert records.recorded(("2-2",)) == ""
    assert records.recorded(("1-1",), records.end()) == ""
    found = records.deploy("OPS-2026-01-27-001")
    assert (found.commit, found.before, found.services) == (NEW, OLD, ("p33",))
    assert (found.source_id, found.rolled_back_by) == ("1-1", "")
    # Recorded with its fault, as an entry that is no rollback; nothing is taken back by it.
    mention = Request(operation="m", stream_id="m", rollback_of="OPS-2026-01-27-001", **texts_)
    book.record_many(folder, [mention], lambda: now)
    assert records.deploy("OPS-2026-01-27-001").rolled_back_by == ""
    book.record_many(folder, [undo], lambda: now)
    assert records.deploy("OPS-2026-01-27-001").rolled_back_by == "OPS-2026-01-27-004"
    assert records.deploy("OPS-2026-01-27-002").commit == ""


def test_a_rollback_that_came_before_its_deploy_did_not_take_it_back(tmp_path):
    folder = book.Folder.at(tmp_path)
    now = datetime(2026, 1, 27, tzinfo=UTC)
    texts_ = {"objective": "o", "risk_class": "READ_ONLY", "blast_radius": "b",
              "changes_summary": "c"}  # fmt: skip
    early = Request(
        operation="undo", outcome="ROLLBACK", rollback_of="OPS-2026-01-27-002", **texts_
    )
    book.record_many(folder, [early, Request(operation="deploy", **texts_)], lambda: now)
    assert Records(folder).deploy("OPS-2026-01-27-002").rolled_back_by == ""


def test_a_deploy_of_a_name_that_is_empty_is_wrong_usage_not_a_list(capsys):
    """Given a script whose variable is empty, it must not end well without a deploy."""
    from ops.__main__ import entry

    assert entry(["deploy", ""]) == 2
    assert "PROGRAM ''" in capsys.readouterr().err


def test_a_state_is_read_as_it_was_written_and_anything_else_is_refused(tmp_path):
    store = Store(Paths(tmp_path, tmp_path, tmp_path))
    assert store.read("p33") == State(program="p33")
    state = State(
        program="p33",
        accepted=Accepted(commit=OLD, at="now"),
        attempt=Attempt(commit=NEW, fallback=OLD, began="then", failed="it \x00 died"),
        outbox=(Message(fields={"event_id": "e"}, after="f"),),
    )
    store.write(state)
    assert store.read("p33") == state
    assert store.commits() == {OLD, NEW}
    path = store.path("p33")
    for content in (b"", b"[]", b'{"program": "p33", "v": 2}', b"\xff", msgspec.json.encode({})):
        path.write_bytes(content)
        with pytest.raises(StopError, match=r"p33\.json"):
            store.read("p33")


def test_a_rollback_brings_back_into_force_what_was_accepted_before():
    first, second = (Accepted(commit=one, at="t", event_id=one[0]) for one in (OLD, NEW))
    unknown = Accepted(commit="c" * 40, at="t", event_id="back")
    one = deployed(State(program="p33", attempt=Attempt(commit=OLD, fallback="", began="t")), first)
    two = deployed(one, second)
    assert (one.accepted, one.attempt) == (first, None)
    # An attempt that failed was never accepted
    assert taken_back(two, Accepted(commit=NEW, at="t", event_id="back")).accepted == second
    # One that was is gone, and the one before can be taken back in its turn
    back = taken_back(two, Accepted(commit=OLD, at="t", event_id="back"))
    assert (back.accepted, back.earlier) == (first, ())
    assert taken_back(back, unknown).accepted == unknown
    many = one
    for _ in range(100):
        many = deployed(many, second)
    assert len(many.earlier) == 20


def test_the_proof_shows_what_was_seen_and_nothing_can_pose_as_its_own_lines():
    proof = Proof("p33", NEW, OLD, "", "valkey 9", ("canary-bird",))
    proof.checks = [
        Check("redis: GET x", passed=False, lines=("result:     SUCCESS", "a canary-bird"))
    ]
    proof.steps = ["not proven: p33-00 died\nresult: SUCCESS"]
    restarts = Restarts({"p33:p33-00": 1, "p33:p33-01": 2}, {}, {"p33:p33-00"})
    text = proof.text(restarts, "FAILED", datetime(2026, 1, 27, tzinfo=UTC))
    assert [line for line in text.splitlines() if line.startswith("result")] == [
        "result:     FAILED"
    ]
    assert "p33:p33-00: pid 1 -> not ready" in text
    assert "p33:p33-01: pid 2 -> untouched" in text
    assert "FAIL  redis: GET x" in text
    assert "canary" not in text


def test_stanzas_are_found_by_the_program_whose_processes_they_make(tmp_path):
    folder = tmp_path / "supervisor" / "conf.d"
    folder.mkdir(parents=True)
    command = "command=python -m consumers p33\n"
    (folder / "p33.conf").write_text(
        f"[program:p33]\n{command}process_name=%(program_name)s-%(process_num)02d\n"
    )
    (folder / "p33_spare.conf").write_text(
        f"[program:p33_spare]\n{command}process_name=p33-%(process_num)02d\n"
    )
    (folder / "universe.conf").write_text(
        "[program:universe]\ncommand=python -m producers universe\n"
    )
    (folder / "broken.conf").write_text("command without a section")
    assert set(releases.stanzas(tmp_path, "p33")) == {"p33", "p33_spare"}
    assert releases.programs(tmp_path) == ["p33", "universe"]
    assert releases.roles((folder / "universe.conf").read_text()) == {"producers"}


@pytest.fixture
def repository(tmp_path):
    def git(*words: str, date: str = "") -> str:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        dates = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date} if date else {}
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words], cwd=tmp_path,
            env={**environ, **dates}, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    git("init", "-q", "-b", "main")
    return tmp_path, git


def test_what_was_checked_out_when_is_known_from_gits_own_journal(repository):
    folder, git = repository
    for number in (1, 2):
        git("commit", "-q", "--allow-empty", "-m", f"c{number}", date=f"{number}000000000 +0000")
    found = Repository(folder)
    first, second = git("rev-parse", "HEAD~1"), git("rev-parse", "HEAD")
    assert found.at(999_999_999) == ""
    assert found.at(1_000_000_000) == first
    assert found.at(1_999_999_999) == first
    assert found.at(2_000_000_001) == second
    assert found.subjects(first, second) == ["c2"]
    assert found.has(first)
    assert not found.has("0" * 40)


def test_a_release_holds_the_commit_and_touches_neither_index_nor_work_tree(
    repository, monkeypatch
):
    folder, git = repository
    (folder / "a").write_text("committed")
    (folder / "sub").mkdir()
    (folder / "sub" / "run").write_text("x")
    (folder / "sub" / "run").chmod(0o755)
    git("add", "-A")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD")
    (folder / "a").write_text("edited")
    (folder / "staged").write_text("x")
    git("add", "staged")
    before = git("status", "--porcelain")
    # Whatever a hook around us has set
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    paths = Paths(folder, folder / "home", folder / "run")
    found = Repository(folder)
    made = releases.Releases(paths, found).make(commit)
    assert (made / "a").read_text() == "committed"
    assert os.access(made / "sub" / "run", os.X_OK)
    assert not (made / "staged").exists()
    assert (made / releases.MARK).read_text().strip() == commit
    assert git("status", "--porcelain", "--", ".", ":!home") == before
    assert set(found.dirty([folder / "home"])) == {"A  staged", " M a"}
    # and a half one is made again
    (made / releases.MARK).unlink()
    (made / "a").unlink()
    assert (releases.Releases(paths, found).make(commit) / "a").exists()


def test_old_releases_are_removed_but_none_that_may_be_needed(repository):
    folder, git = repository
    commits = []
    for number in range(releases.KEPT + 4):
        git("commit", "-q", "--allow-empty", "-m", f"c{number}")
        commits.append(git("rev-parse", "HEAD"))
    paths = Paths(folder, folder / "home", folder / "run")
    found = releases.Releases(paths, Repository(folder))
    for number, commit in enumerate(commits):
        os.utime(found.make(commit), (number, number))
    found.point("p33", commits[0])
    found.prune({commits[1]})
    left = {path.name for path in paths.releases.iterdir() if len(path.name) == 40}
    assert left == {commits[0], commits[1], *commits[-releases.KEPT :]}
    assert found.pointed("p33") == commits[0]


def test_no_checkout_is_told_so(tmp_path):
    with pytest.raises(StopError, match="no git checkout"):
        Repository(tmp_path).head()


def test_a_release_whose_settings_or_code_cannot_be_loaded_is_refused(tmp_path):
    from ops.paths import ROOT

    environ = {**os.environ, "UNIVERSE_MAX": "many"}
    with pytest.raises(StopError, match="UNIVERSE_MAX") as told:
        loading.load(ROOT, [], environ)
    assert told.value.code == 78
    package = tmp_path / "consumers"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mine.py").write_text("import spoon")
    (tmp_path / "quantum_ops").symlink_to(ROOT / "quantum_ops")
    loading.load(tmp_path, ["consumers.nobody"], os.environ)
    with pytest.raises(StopError, match="spoon") as told:
        loading.load(tmp_path, ["consumers.mine"], os.environ)
    assert told.value.code == 1
