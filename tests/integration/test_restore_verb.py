"""./run restore as an operator types it: on a system that runs, and on one that is down."""

from __future__ import annotations

import json
import os
import signal

import pytest

from quantum_ops import client, streams
from quantum_ops.history.folder import Folder
from quantum_ops.history.reader import Archive
from quantum_ops.recovery import orders
from quantum_ops.recovery.restore import FINDING
from quantum_ops.universe import load_universe
from tests.recovery_rig import archive_all, contents, keys
from tests.servers import Server
from tests.supervised import System
from tests.waiting import wait_until

pytestmark = pytest.mark.whole

OURS = (streams.decided("p33", ""), *orders.FAMILIES)


@pytest.fixture
def system():
    made = System()
    yield made
    made.close()


def archived(system) -> Archive:
    return Archive(Folder(system.home / "demo" / "archive"))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_after_a_demo_a_flushed_server_comes_back(system):
    # Given a demo that has traded for a while
    assert system.verb("demo").returncode == 0
    db = system.connect()
    wait_until(lambda: db.xlen(streams.APPLY_RESULT.key) >= 8, 60, "executions")
    wait_until(lambda: db.xlen(streams.UNIVERSE_CHANGED.key) >= 2, 60, "changes of the universe")
    symbols = load_universe(db, now_s=0.0).symbols
    assert symbols
    seconds, micros = db.time()
    # Behind that moment nothing is added any more: what is asked about it is asked for good.
    then = f"{seconds * 1000 + micros // 1000 - 1}-{2**64 - 1}"
    before, memory = contents(db), keys(db, *OURS)
    ids = {key: rows[-1][0].decode() for key, rows in before.items() if rows}

    def is_archived() -> bool:
        spans = archived(system).spans()
        return all(
            key in spans and spans[key].high >= tuple(map(int, id_.split("-")))
            for key, id_ in ids.items()
        )

    wait_until(is_archived, 30, "all of that is archived")
    answers = as_of(system, then, before)
    # When somebody wipes the server
    db.flushall()
    told = system.verb("restore", "--trading-streams")
    # Then nothing happens without --yes, and the plan says what would
    assert told.returncode == 0, told.stderr
    assert "to do it: ./run restore --trading-streams --yes" in told.stderr
    assert not db.exists(streams.RESTORE)
    done = system.verb("restore", "--trading-streams", "--yes")
    assert done.returncode == 0, done.stderr
    # And every stream has what it had, entry for entry, and whatever came after it
    after = contents(db)
    for key, rows in before.items():
        assert after[key][: len(rows)] == rows, key
    # And so have the gates' and the auditors' memories, and the universe
    known = keys(db, *OURS)
    assert {key: known.get(key) for key in memory if ":symbol:" not in key} == {
        key: value for key, value in memory.items() if ":symbol:" not in key
    }
    for key, members in memory.items():
        if ":symbol:" in key:
            assert members.items() <= known[key].items()
    assert load_universe(db, now_s=0.0).symbols
    # And what was true then is answered as it was then, to the letter
    assert as_of(system, then, before) == answers
    # And the programs are at work again; what they tell has no gap and nothing twice
    system.wait_ready(60)
    found = [
        dict(zip(row[::2], row[1::2], strict=True))
        for _, row in db_rows(db, streams.AUDIT_FINDING.key)
    ]
    ids_ = [
        one[b"event_id"] for one in found if one[b"auditor"] in (b"order_proof", b"permit_audit")
    ]
    assert len(ids_) == len(set(ids_))
    names = {one[b"finding"].decode() for one in found}
    assert FINDING in names
    assert not names & {"archive_gap", "order_id_reused", "plan_executed_again"}
    assert system.verb("restore", "--check", "--trading-streams").returncode == 0


def as_of(system, then: str, before) -> list[str]:
    """Everything that can be asked about a moment, of the first order that was executed."""
    rows = [row[1] for row in before[streams.APPLY_RESULT.key]]
    results = [dict(zip(row[::2], row[1::2], strict=True)) for row in rows]
    executed = next(one for one in results if one.get(b"order_id"))
    plan_id, order_id = executed[b"plan_id"].decode(), executed[b"order_id"].decode()
    asked = (["universe"], ["permits", plan_id], ["order", order_id], ["ledger", "--effective"])
    told = [system.verb("as-of", then, *words, "--json") for words in asked]
    told.append(system.verb("universe", "diff", "2026-01-01", then, "--json"))
    assert [one.returncode for one in told] == [0] * len(told), [one.stderr for one in told]
    assert json.loads(told[1].stdout)["results"][0]["order_id"] == order_id
    assert json.loads(told[3].stdout)["records"] >= 1
    return [one.stdout for one in told]


def db_rows(db, key: str):
    """Every entry, byte for byte."""
    return client.raw(db, "XRANGE", key, "-", "+")


def test_a_system_that_is_down_is_restored_with_a_server_for_this_alone(system, valkey):
    # Given an archive, and a home without any data
    db = valkey.connect()
    for stream in streams.CATALOGUE:
        db.execute_command("XADD", stream.key, "*", "a", "\x1b[2J")
    before = contents(db)
    archive_all(db, system.home / "archive")
    # When it is restored
    done = system.verb("restore", "--yes", "--trading-streams")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    # Then a second time finds nothing missing, and the data is there
    again = system.verb("restore", "--json", "--trading-streams")
    told = json.loads(again.stdout.partition("\n")[0])
    assert told["missing"] == 0
    assert told["streams"]["apply.plan"]["entries"] == len(before[streams.APPLY_PLAN.key]) == 1
    assert system.pids() == {}


def test_refusals_name_the_cure(system, valkey):
    none = system.verb("restore")
    assert (none.returncode, "there is no archive" in none.stderr) == (4, True)
    odd = system.verb("restore", "--stream", "nonsense")
    assert (odd.returncode, "there are" in odd.stderr) == (2, True)
    archive_all(valkey.connect(), system.home / "archive")
    valkey.connect().execute_command("XADD", streams.OPS_PROCESS.key, "*", "a", "b")
    archive_all(valkey.connect(), system.home / "archive")
    # A server that is not ours never gets the trading side's streams
    foreign = system.verb("restore", "--trading-streams", REDIS_URL=valkey.url)
    assert (foreign.returncode, "not the embedded one" in foreign.stderr) == (1, True)


def test_a_program_at_work_on_another_host_is_waited_for_and_then_refused(system):
    # Given a server of one's own, lost, on which somebody's consumer is at work
    server = Server("valkey")
    try:
        db = server.connect()
        db.execute_command("XADD", streams.OPS_PROCESS.key, "*", "a", "b")
        archive_all(db, system.home / "archive")
        db.flushall()
        db.hset(streams.heartbeat("p33", 3), mapping={"updated_ms": str(2**45)})
        refused = system.verb("restore", "--yes", REDIS_URL=server.url)
        assert refused.returncode == 1
        assert "p33:3 is at work on this server" in refused.stderr
        assert not db.exists(streams.OPS_PROCESS.key)
        db.delete(streams.heartbeat("p33", 3))
        done = system.verb("restore", "--yes", REDIS_URL=server.url)
        assert done.returncode == 0, done.stderr
        assert db.xlen(streams.OPS_PROCESS.key) == 1
    finally:
        server.close()


def test_an_archive_that_somebody_writes_is_refused(system, valkey):
    db = valkey.connect()
    db.execute_command("XADD", streams.OPS_PROCESS.key, "*", "a", "b")
    archive_all(db, system.home / "archive")
    db.flushall()
    from quantum_ops.history import writer

    with writer.lock(Folder(system.home / "archive")):
        refused = system.verb("restore", "--yes", REDIS_URL=valkey.url)
    assert refused.returncode == 1
    assert "writes this archive" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_killed_in_the_middle_the_next_one_starts_what_the_first_one_stopped(system):
    # Given a system with programs that take a while to drain
    system.with_stand_ins()
    system.environ["DRAIN_S"] = "3"
    system.start()
    up = {name for name, pid in system.pids().items() if pid}
    db = system.connect()
    db.execute_command("XADD", streams.OPS_PROCESS.key, "*", "a", "b")
    archive_all(db, system.home / "archive")
    db.delete(streams.OPS_PROCESS.key)
    # When a restore is killed while it waits for them
    first = system.begin("restore", "--yes")
    wait_until(lambda: not all(system.pids().get(name) for name in up - {"redis"}), 30, "stopping")
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    wait_until(lambda: not any(system.pids().get(name) for name in up - {"redis"}), 30, "stopped")
    # Then the next one does it, and everything is up again
    again = system.verb("restore", "--yes")
    assert again.returncode == 0, again.stderr
    wait_until(lambda: all(system.pids().get(name) for name in up), 30, "all up")
    assert db.xlen(streams.OPS_PROCESS.key) == 1
