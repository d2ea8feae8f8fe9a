"""History read again: the same from archive and server, into a consumer, into a live group."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from consumers.order_proof import order_proof
from consumers.p33 import p33
from consumers.permit_audit import permit_audit
from quantum_ops import streams
from quantum_ops.consumer import consumer
from quantum_ops.events import AuditFinding, PermitDecided
from quantum_ops.publisher import Publisher
from quantum_ops.recovery import facts
from quantum_ops.replay import findings, offsets, redeliver, sandbox, sources
from quantum_ops.replay.seeding import PastUniverse
from quantum_ops.replay.virtual import VirtualClock
from tests.backends import RedisBackend
from tests.contract.reference import ROOT
from tests.p33_rig import send
from tests.p33_stories import opening, plan
from tests.recovery_rig import archive_all, contents, positions
from tests.servers import Server

PLANS, RESULTS = streams.APPLY_PLAN.key, streams.APPLY_RESULT.key
NOW_MS = int(time.time() * 1000)


@pytest.fixture
def scratch():
    """A scratch server; it is empty each time."""
    server = Server("valkey")
    yield server
    server.close()


def result(db, plan_id: str, order: str) -> str:
    fields = {"plan_id": plan_id, "symbol": "BTCUSDT", "executed": "true"}
    return db.xadd(RESULTS, {**fields, **({"order_id": order} if order else {})}).decode()


def traded(server) -> RedisBackend:
    """Plans and results of every kind, all judged by order_proof."""
    backend = RedisBackend(server.connect)
    for number in range(4):
        send(backend.db, plan(plan_id=f"{number:016x}"))
    for number, order in ((0, "1"), (1, "1"), (2, ""), (3, "4"), (3, "5"), (9, "9")):
        result(backend.db, f"{number:016x}", order)
    runner, _ = backend.runner(order_proof)
    backend.settle(runner)
    return backend


def read(source, *keys: str, start: str = "start", until: str = "end") -> list[str]:
    since = sources.starts(source, list(keys), offsets.parse(start, NOW_MS))
    return [one.id for one in source.read(since, offsets.last(offsets.parse(until, NOW_MS)))]


@pytest.mark.parametrize("start", ["start", "-2", "-0", "-99", "end", "id", "-1h"])
def test_archive_and_server_give_the_same(server, tmp_path, start):
    # Given plans on a server, hostile ones among them, and the same in an archive
    db = server.connect()
    ids = [send(db, plan(plan_id=f"{number:016x}")) for number in range(5)]
    db.execute_command("XADD", PLANS, "*", b"\xff", b"\x1b")
    result(db, "a", "1")
    archive = archive_all(db, tmp_path)
    start = ids[2] if start == "id" else start
    # When they are read from both
    server_, archived = sources.FromServer(db), sources.FromArchive(archive)
    for keys in ((PLANS,), (PLANS, RESULTS)):
        expected = read(server_, *keys, start=start)
        assert sorted(read(archived, *keys, start=start)) == sorted(expected)
    # Then it is what was asked for
    counts = {"start": 6, "-2": 2, "-0": 0, "-99": 6, "end": 0, "-1h": 6}
    assert len(read(server_, PLANS, start=start)) == counts.get(start, 4)
    assert read(archived, PLANS, until=ids[1]) == ids[:2]


def test_a_replay_finds_what_was_found_then_and_touches_nothing(server, scratch, tmp_path):
    # Given what an auditor found at the time
    backend = traded(server)
    archive = archive_all(backend.db, tmp_path)
    before = contents(backend.db)
    # When it is run again on the archive, in a sandbox
    entries = archive.read({stream.key for stream in order_proof.streams})
    outcome = sandbox.run(order_proof, entries, scratch.connect, VirtualClock())
    # Then it finds the same, in the time of then
    then = findings.of_archive(archive, "order_proof", outcome.first_ms, outcome.last_ms)
    now = findings.of_replay(outcome.published, "order_proof")
    assert findings.difference(then, now) == ({}, {})
    assert sum(now.values()) >= 6
    for one in outcome.published:
        event = facts.decoded(one)
        assert outcome.first_ms <= event.occurred_at.timestamp() * 1000 <= outcome.last_ms
    assert (outcome.entries, outcome.handled) == (10, 10)
    # And the live server is as it was
    assert contents(backend.db) == before
    # And a difference is noticed
    result(backend.db, f"{1:016x}", "77")
    more = archive_all(backend.db, tmp_path).read({stream.key for stream in order_proof.streams})
    scratch.connect().flushall()
    outcome = sandbox.run(order_proof, more, scratch.connect, VirtualClock())
    now = findings.of_replay(outcome.published, "order_proof")
    assert findings.difference(then, now) == ({}, {("execution_proven", f"{1:016x}"): 1})


def test_what_is_due_later_happens_in_virtual_time(server, scratch, tmp_path):
    # Given a plan that got no permits, an hour ago as it were
    db = server.connect()
    id_ = send(db, plan(plan_id="a"))
    archive = archive_all(db, tmp_path)
    # When the auditor of permits is run on it
    began = time.monotonic()
    outcome = sandbox.run(permit_audit, archive.read({PLANS}), scratch.connect, VirtualClock())
    # Then the minute that it waits has passed, though not for us
    [told] = [facts.decoded(one) for one in outcome.published]
    assert told.finding == "permit_missing"
    late_ms = told.occurred_at.timestamp() * 1000 - int(id_.split("-")[0])
    assert 59_000 < late_ms < 80_000
    assert time.monotonic() - began < 30


def test_a_gate_sees_the_universe_of_then(server, scratch, tmp_path):
    # Given a plan before and a plan after its symbol was listed
    from tests.integration.test_restore import changed

    db = server.connect()
    Publisher(db).publish(changed(1, "ETHUSDT"))
    send(db, opening(plan_id="before"))
    wait = db.time()
    while db.time()[0] == wait[0] and db.time()[1] // 1000 <= wait[1] // 1000 + 2:
        pass
    Publisher(db).publish(changed(2, "BTCUSDT", "ETHUSDT"))
    send(db, opening(plan_id="after"))
    archive = archive_all(db, tmp_path)
    # When P3.3 is run on both in a sandbox
    outcome = sandbox.run(
        p33, archive.read({PLANS}), scratch.connect, VirtualClock(), seed=PastUniverse(archive).seed
    )
    # Then the first is denied for it; and what stands in no stream is not made up
    decided = {
        event.plan_id: event.reason
        for event in map(facts.decoded, outcome.published)
        if isinstance(event, PermitDecided)
    }
    assert decided["before"] == "symbol_not_allowed"
    assert decided["after"] != "symbol_not_allowed"
    assert not any(event == "sanity_checks_passed" for event in decided.values())


def test_effects_that_a_sandbox_cannot_hold_are_refused(scratch):
    @consumer(streams.APPLY_PLAN, replay_safe=True, effects_outside="a file")
    def writes_files(_event, _context):
        """Writes a file."""
        raise AssertionError

    with pytest.raises(sandbox.SandboxError, match="a file"):
        sandbox.run(writes_files, [], scratch.connect, VirtualClock())
    scratch.connect().set("a", "b")
    with pytest.raises(sandbox.SandboxError, match="not empty"):
        sandbox.run(order_proof, [], scratch.connect, VirtualClock())


def test_what_a_handler_cannot_take_is_buried_in_the_sandbox(server, scratch, tmp_path):
    db = server.connect()
    db.execute_command("XADD", RESULTS, "*", "plan_id", b"\xff", "executed", "\x1b[2J")
    archive = archive_all(db, tmp_path)
    outcome = sandbox.run(order_proof, archive.read({RESULTS}), scratch.connect, VirtualClock())
    [letter] = outcome.published
    assert letter.stream == streams.DEAD_LETTER.key
    assert outcome.troubles["dead_letter"] == 1
    assert not db.exists(streams.DEAD_LETTER.key)


def test_a_group_is_set_back_and_told_of_in_one_step(server):
    # Given a group that has read everything
    backend = traded(server)
    db = backend.db
    ids = [row[0] for row in backend.entries(RESULTS)]
    told = len(backend.events(AuditFinding))
    first = {RESULTS: tuple(map(int, ids[2].split(b"-"))), PLANS: offsets.LAST}
    # When it is asked what would be handed over again
    made = redeliver.plan(db, order_proof, first, [RESULTS])
    assert [(one.entries, one.read) for one in made] == [(4, 2)]
    assert positions(db)["apply.result", "order_proof"][0] == ids[-1].decode()
    # And when it is done
    redeliver.carry_out(db, made[0], "me")
    # Then the group stands there, with a lag that the server knows, and it is in the history
    [info] = [g for g in db.xinfo_groups(RESULTS) if g["name"] == b"order_proof"]
    assert (info["entries-read"], info["lag"]) == (2, 4)
    [finding] = [one for one in backend.events(AuditFinding) if one.finding == redeliver.FINDING]
    assert (finding.subject, "by me" in finding.detail) == (f"order_proof@{RESULTS}", True)
    # And what is handled again changes nothing
    runner, _ = backend.runner(order_proof)
    backend.settle(runner)
    assert len(backend.events(AuditFinding)) == told + 1
    assert positions(db)["apply.result", "order_proof"] == (ids[-1].decode(), 6, 0)


def test_redelivery_is_refused_where_it_could_harm(server):
    backend = traded(server)
    db = backend.db
    everything = {PLANS: offsets.FIRST, RESULTS: offsets.FIRST}
    # A gate would permit again
    with pytest.raises(redeliver.RedeliverError, match="p33 is not replay-safe"):
        redeliver.plan(db, p33, everything, [])
    # Going forward would skip entries: nothing is to be done
    ahead = {PLANS: offsets.LAST, RESULTS: offsets.LAST}
    assert redeliver.plan(db, order_proof, ahead, []) == []
    with pytest.raises(redeliver.RedeliverError, match="reads none of these"):
        redeliver.plan(db, order_proof, everything, [streams.OPS_PROCESS.key])
    # A group that moved meanwhile is not touched
    [made] = redeliver.plan(db, order_proof, everything, [RESULTS])
    db.xgroup_setid(RESULTS, "order_proof", "5-5")
    with pytest.raises(redeliver.RedeliverError, match="has moved"):
        redeliver.carry_out(db, made, "me")
    assert positions(db)["apply.result", "order_proof"][0] == "5-5"
    db.xgroup_destroy(RESULTS, "order_proof")
    with pytest.raises(redeliver.RedeliverError, match="has no group order_proof"):
        redeliver.plan(db, order_proof, everything, [RESULTS])


class Verb:
    """./run replay, as it is typed, on this server and this archive."""

    def __init__(self, server, base) -> None:
        self.environ = {
            "PATH": "/usr/bin:/bin", "REDIS_URL": server.url, "QUANTUM_HOME": str(base / "home"),
            "QUANTUM_ENV_DIR": str(base / "none"), "ARCHIVE_DIR": str(base / "archive"),
            "LEDGER_DIR": str(base / "ledger"),
        }  # fmt: skip

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ops", "replay", *words],
            cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


def test_the_verb_prints_picks_and_refuses(server, tmp_path):
    db = server.connect()
    for number in range(12):
        send(db, plan(plan_id=f"{number:016x}", symbol="ETHUSDT" if number % 2 else "BTCUSDT"))
    db.execute_command("XADD", PLANS, "*", "note", "\x1b[2J\u202e", "symbol", "BTCUSDT")
    verb = Verb(server, tmp_path)
    # Without an archive the server is read; hostile text is escaped
    printed = verb("-2", "--stream", "apply.plan")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.count("\n") == 2
    assert "\x1b" not in printed.stdout
    assert "\u202e" not in printed.stdout
    # With one, that; the same lines either way
    archive_all(db, tmp_path / "archive")
    both = [
        verb("start", "symbol=BTCUSDT", "--json", "--from", one).stdout
        for one in ("redis", "archive")
    ]
    assert both[0] == both[1]
    assert len(both[0].splitlines()) == 7
    assert all(json.loads(line)["stream"] == PLANS for line in both[0].splitlines())
    # As a template it is what tail shows
    chosen = verb("start", "symbol=BTCUSDT", "-F", "%s %{data.symbol}").stdout
    assert chosen == "apply.plan BTCUSDT\n" * 7
    # What cannot be meant is refused with what can
    for words, code, cure in (
        (("nonsense",), 2, "is no filter"),
        (("@never",), 2, "is no moment"),
        (("start", "end"), 2, "--until"),
        (("start", "--until", "-5"), 2, "counts no entries"),
        (("--stream", "nonsense"), 2, "there are"),
        (("-F", "%z"), 2, "no such part"),
        (("--redeliver", "order_proof"), 2, "say from where on"),
        (("start", "--redeliver", "order_proof", "a=b"), 2, "no filter"),
        (("start", "--redeliver", "p33", "--yes"), 1, "not replay-safe"),
        (("start", "--redeliver", "order_proof", "--yes"), 1, "has no group"),
        (("--consumer", "archive"), 1, "outside Redis"),
        (("--consumer", "nobody"), 78, "there are"),
        (("--rebuild", "ledger", "--archive", str(tmp_path / "no")), 4, "no archive"),
    ):
        refused = verb(*words)
        assert (refused.returncode, cure in refused.stderr) == (code, True), (words, refused.stderr)


def test_the_verb_rebuilds_compares_and_redelivers(server, tmp_path):
    # Given what an auditor made, archived
    backend = traded(server)
    db = backend.db
    archive_all(db, tmp_path / "archive")
    verb = Verb(server, tmp_path)
    # Then it is the same rebuilt, to the byte, each time
    made = [verb("--rebuild", "order-proof", "--json") for _ in range(2)]
    assert [one.returncode for one in made] == [0, 0], made[0].stderr
    assert made[0].stdout == made[1].stdout != ""
    # And one key that is otherwise is found and named
    db.hset(streams.proof_of_plan(f"{3:016x}"), "order_id", "forged")
    differs = verb("--rebuild", "order-proof")
    assert differs.returncode == 3
    assert "'forged' on the server, '4' by the archive" in differs.stderr
    # The sandbox says the same as the archive
    compared = verb("--consumer", "order_proof", "--compare")
    assert compared.returncode == 0, compared.stderr
    assert "Findings are the same, 0 and 0 not" in compared.stderr
    # And redelivery is a dry run until it is meant
    dry = verb("start", "--redeliver", "order_proof", "--stream", "apply.result")
    assert (dry.returncode, "add --yes" in dry.stderr) == (0, True), dry.stderr
    assert "6 entries are handed over once more" in dry.stdout
    assert positions(db)["apply.result", "order_proof"][1] == 6
    done = verb("start", "--redeliver", "order_proof", "--stream", "apply.result", "--yes")
    assert done.returncode == 0, done.stderr
    assert positions(db)["apply.result", "order_proof"][:2] == ("0-0", 0)


def test_decisions_are_rebuilt_and_a_forged_one_is_found(server, tmp_path):
    from tests.p33_rig import P33Rig, hold, publish_universe

    gate = P33Rig(server)
    publish_universe(gate.db, "BTCUSDT")
    hold(gate.db, "0")
    gate.decide(opening(plan_id="a" * 16), opening(plan_id="b" * 16))
    archive_all(gate.db, tmp_path / "archive")
    verb = Verb(server, tmp_path)
    assert verb("--rebuild", "permits").returncode == 0
    gate.db.set(streams.decided("p33", "a" * 16), "forged")
    gate.db.set(streams.decided("p33", "c" * 16), "forged")
    found = verb("--rebuild", "permits")
    assert found.returncode == 3
    assert found.stderr.count("forged") == 1
    assert "unexpected" in found.stderr


def test_a_journal_that_was_cut_contradicts_the_archive(server, tmp_path):
    # Given operations that were recorded and told of
    from quantum_ops.ledger import book
    from quantum_ops.ledger.folder import Folder
    from quantum_ops.signoff.telling import Teller
    from tests.ledger_story import request

    folder = Folder.at(tmp_path / "ledger")
    book.record_many(folder, [request(f"Deploy {n}") for n in range(3)])
    db = server.connect()
    Teller(folder, lambda _finding: None).tell(db)
    archive_all(db, tmp_path / "archive")
    verb = Verb(server, tmp_path)
    same = verb("--rebuild", "ledger", "--json")
    assert same.returncode == 0, same.stderr
    assert len(same.stdout.splitlines()) >= 3
    # When one more is recorded behind everybody's back, it is unexpected
    book.record_many(folder, [request("Deploy 4")])
    odd = verb("--rebuild", "ledger")
    assert (odd.returncode, "told of none" in odd.stderr) == (3, True)
    # And when the journal is exchanged, nothing of it is what was told of
    import shutil

    shutil.rmtree(folder.base)
    book.record_many(folder, [request("Another")])
    cut = verb("--rebuild", "ledger")
    assert cut.returncode == 3
    assert "missing: record 2" in cut.stderr


def test_a_reader_that_leaves_early_is_no_error(server, tmp_path):
    db = server.connect()
    for number in range(3000):
        send(db, plan(plan_id=f"{number:016x}"))
    verb = Verb(server, tmp_path)
    piped = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m ops replay start | head -n 1"],
        cwd=ROOT, env=verb.environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (piped.stdout.count("\n"), piped.stderr) == (1, "")
