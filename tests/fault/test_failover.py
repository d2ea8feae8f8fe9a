"""Masters die, are cut off, and step down: nothing that was acknowledged is lost.

The full form (QUANTUM_FAULTS=full) plays twenty rounds of each kind, and docs/scaling.md has its
figures.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import replace

import pytest
import redis

from ops.doctor import server_checks, server_facts
from ops.doctor.snapshot import Snapshot
from quantum_ops import client, permits, streams
from quantum_ops.errors import PublishUnknownError
from quantum_ops.events import ApplyPlan, AuditFinding
from quantum_ops.publisher import Publisher
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.settings import RedisSettings
from tests.failover_rounds import play
from tests.p33_rig import P33Rig, hold, publish_universe
from tests.sentinel_rig import SERVICE, Rig
from tests.supervised import ROOT
from tests.waiting import wait_until

FULL = os.environ.get("QUANTUM_FAULTS") == "full"
pytestmark = pytest.mark.timeout(1800 if FULL else 120)


@pytest.fixture(scope="module", params=["valkey", "redis7"] if FULL else ["valkey"])
def rig(request):
    made = Rig(request.param)
    yield made
    made.close()


class Waiting:
    """The rig as programs see it whose settings want both replicas to have what they write."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.made = []

    def connect(self, **options):
        settings = RedisSettings(
            url=self._rig.url, timeout_s=2.0, wait_replicas=2, wait_replicas_ms=300
        )
        self.made.append(client.connect(settings, **options))
        return self.made[-1]

    @contextmanager
    def one_replica_hangs(self):
        """The master goes on with one replica; the other one takes nothing."""
        other = next(port for port in self._rig.servers if port != self._rig.master())
        self._rig.servers[other].signal(signal.SIGSTOP)
        yield
        self._rig.servers[other].signal(signal.SIGCONT)


@pytest.fixture
def server(rig):
    made = Waiting(rig)
    made.connect().flushall()
    yield made
    for db in made.made:
        db.connection_pool.disconnect()


@pytest.fixture
def gate(server):
    made = P33Rig(server)
    publish_universe(made.db, "BTCUSDT")
    hold(made.db, "0")
    return made


def plan(number: int, **fields) -> ApplyPlan:
    shown = {"decision": "EXECUTE", "symbol": "BTCUSDT", "side": "BUY", "qty": "1", **fields}
    return ApplyPlan(plan_id=f"{number:016x}", source="t", timestamp="1", **shown)


def verdict(gate, sent: ApplyPlan) -> permits.Verdict:
    return permits.verify(gate.db, sent, trusted={}, require_signature=False)


def test_an_event_counts_as_published_once_the_replicas_have_it(server):
    # Given an event that is published while a replica hangs
    publisher = Publisher(server.connect(), patience_s=0.0)
    event = AuditFinding(auditor="t", finding="f", severity="info", subject="s")
    with server.one_replica_hangs(), pytest.raises(PublishUnknownError, match="1 of 2 replicas"):
        publisher.publish(event)
    # When it is published again, by somebody who has written nothing yet
    again = Publisher(server.connect(), patience_s=0.0)
    with server.one_replica_hangs(), pytest.raises(PublishUnknownError, match="1 of 2 replicas"):
        again.publish(event)
    id_ = again.publish(event)
    # Then it stands there once
    [(found, _)] = server.connect().xrange(streams.AUDIT_FINDING.key)
    assert found.decode() == id_


def test_a_permit_can_be_used_only_once_the_replicas_have_the_decision(server, gate):
    [told] = gate.decide(plan(1))
    assert told.allow
    assert 50 < gate.db.ttl(streams.permit("p33", plan(1).plan_id)) <= 60
    assert verdict(gate, plan(1)).allow
    # When a replica hangs
    with server.one_replica_hangs():
        allowed, withdrawn = gate.decide(plan(2))
    # Then the permit never could be used, and all say so
    assert (allowed.allow, withdrawn.allow, withdrawn.reason) == (True, False, "not_replicated")
    assert gate.permit(plan(2).plan_id)["reason"] == "not_replicated"
    assert verdict(gate, plan(2)).reason == "denied"
    assert gate.pending() == 0
    assert [t.kind for t in gate.observer.troubles] == ["withdrawn"]
    assert gate.db.keys("quantum:ops:unreplicated:*") == []
    # And a denial needs nobody's word
    with server.one_replica_hangs():
        [told] = gate.decide(plan(3, symbol="ETHUSDT"))
    assert gate.permit(plan(3).plan_id)["reason"] == "symbol_not_allowed"


def test_a_permit_whose_gate_dies_before_the_replicas_answer_is_never_let_out(
    gate, server, monkeypatch
):
    # Given a gate that dies while it waits
    def dies(inbox, *command):
        if command[0] == "WAIT":
            raise redis.ConnectionError("killed here")
        return say(inbox, *command)

    say = RedisInbox._one
    monkeypatch.setattr(RedisInbox, "_one", dies)
    gate.send(plan(1))
    with pytest.raises(redis.ConnectionError):
        gate.settle()
    monkeypatch.undo()
    # Then nobody can use what it had decided
    assert verdict(gate, plan(1)).reason == "missing"
    # And another plan under this id is denied without it coming back
    other = P33Rig(server, "other")
    [told] = other.decide(plan(1, qty="2"))
    assert told.reason == "plan_id_conflict"
    assert gate.db.keys("quantum:ops:unreplicated:*") == []
    assert gate.permit(plan(1).plan_id)["reason"] == "plan_id_conflict"


def test_a_permit_that_may_come_back_is_not_acted_on(server, gate):
    gate.decide(plan(1))
    with server.one_replica_hangs():
        assert verdict(gate, plan(1)).reason == "not_replicated"
    assert verdict(gate, plan(1)).reason == "missing"


def failover_sh(rig, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "ops" / "redis" / "failover.sh", *options],
        env={**os.environ, "REDIS_URL": rig.url}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_script_takes_the_url_as_programs_do_and_refuses_what_is_no_pause(rig):
    def checked(url: str, *options: str):
        return subprocess.run(
            [ROOT / "ops" / "redis" / "failover.sh", "--check", *options],
            env={**os.environ, "REDIS_URL": url}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    # Given a user at the master whose password has signs that a URL must quote
    master = rig.direct(rig.master())
    master.execute_command("ACL", "SETUSER", "mover", "on", ">p@ss:w%\\rd", "~*", "&*", "+@all")
    hosts = rig.url.removeprefix("sentinel://")
    bracketed = re.sub(r"127\.0\.0\.1", "[127.0.0.1]", hosts)  # as IPv6 addresses are written
    # Then the login of the URL is the one that is used: redis-cli tells of a wrong one, and goes on
    right = checked(f"sentinel://mover:p%40ss:w%25%5Crd@{bracketed}")
    assert (right.returncode, right.stderr) == (0, "")
    assert "WRONGPASS" in checked(f"sentinel://mover:wrong@{hosts}").stderr
    # And a pause that would hold writes for days, or wraps around, is none
    for pause in ("301", "99999999999999999999", "4", "5x", ""):
        refused = checked(rig.url, "--pause", pause)
        assert (refused.returncode, f"--pause {pause}: is" in refused.stderr) == (2, True)
    master.execute_command("ACL", "DELUSER", "mover")


@contextmanager
def failover_running(rig, *options: str):
    """The script, not waited for; its output can be read while it runs."""
    run = subprocess.Popen(
        [ROOT / "ops" / "redis" / "failover.sh", *options],
        env={**os.environ, "REDIS_URL": rig.url}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with run:
        yield run


def test_a_planned_change_is_refused_while_a_replica_that_may_be_chosen_is_behind(rig):
    assert failover_sh(rig, "--check").returncode == 0
    # Given a replica without a master, which the sentinels still take for as good as the other
    master = rig.master()
    other = next(port for port in rig.servers if port != master)
    rig.said(other, "REPLICAOF", "127.0.0.1", "1")
    wait_until(lambda: b"connected_slaves:1" in rig.said(master, "INFO", "replication"), 10, "gone")
    # When somebody wants another master
    done = failover_sh(rig)
    # Then nothing was touched, nor held
    assert done.returncode == 3, done.stdout + done.stderr
    assert "of 2 replicas that may be promoted only 1 are online" in done.stderr
    assert rig.said(master, "SET", "still", "written") == b"OK"
    rig.said(other, "REPLICAOF", "127.0.0.1", master)
    wait_until(rig.is_whole, 20, "all is in step again")
    assert rig.master() == master


def test_a_planned_change_that_a_replica_does_not_follow_is_taken_back(rig):
    # Given a replica that hangs, which neither the master nor a sentinel has noticed
    master = rig.master()
    other = next(port for port in rig.servers if port != master)
    db = rig.connect()
    db.set("moves", "the offset")
    rig.servers[other].signal(signal.SIGSTOP)
    db.set("moves", "on")
    # When the change has waited for it in vain
    done = failover_sh(rig, "--pause", "5")
    rig.servers[other].signal(signal.SIGCONT)
    # Then writes go on at once, where they were
    assert done.returncode == 1, done.stdout + done.stderr
    assert "a replica does not catch up; writes go on as before" in done.stderr
    assert rig.said(master, "SET", "still", "written") == b"OK"
    wait_until(rig.is_whole, 20, "all is in step again")
    assert rig.master() == master


def patience(rig) -> set[bytes]:
    """After how many ms each sentinel takes the master for dead."""
    rows = [rig.said(port, "SENTINEL", "MASTER", SERVICE) for port in rig.sentinel_ports]
    return {row[row.index(b"down-after-milliseconds") + 1] for row in rows}


def noted(rig) -> bytes | None:
    return rig.said(rig.master(), "GET", streams.FAILOVER)


def test_what_a_killed_planned_change_leaves_is_named_and_set_back_by_the_next(rig):
    # Given a run that waits for a replica which hangs, with writes held and sentinels patient
    other = next(port for port in rig.servers if port != rig.master())
    before = patience(rig)
    rig.connect().set("moves", "the offset")
    rig.servers[other].signal(signal.SIGSTOP)
    with failover_running(rig, "--pause", "5") as run:
        assert any(line.startswith("held ") for line in run.stdout)
        run.send_signal(signal.SIGSTOP)
        assert patience(rig) == {b"5000"} != before
        # When another one begins meanwhile, then it touches nothing
        second = failover_sh(rig, "--check")
        assert (second.returncode, patience(rig)) == (3, {b"5000"}), second.stdout
        assert f"another run (process {run.pid} on " in second.stderr
        # When it is killed, and the pause is over
        run.kill()
        run.wait()
    rig.servers[other].signal(signal.SIGCONT)
    assert rig.said(rig.master(), "CLIENT", "UNPAUSE") == b"OK"
    assert patience(rig) == {b"5000"}
    # Then the doctor names it, with the cure
    facts = server_facts.take(RedisSettings(url=rig.url, timeout_s=2.0))
    [told] = server_checks.failover(Snapshot(server=facts))
    assert told.level == "note"
    assert told.cure.endswith(" s: ops/redis/failover.sh --check")
    [told] = server_checks.failover(Snapshot(server=replace(facts, now_s=facts.now_s + 99)))
    assert (told.level, f"process {run.pid}" in told.what) == ("problem", True)
    # And the next run sets all back, though it only checks, and takes the note away
    after = failover_sh(rig, "--check")
    assert (noted(rig), patience(rig)) == (None, before), after.stdout + after.stderr
    assert after.stdout.count("set back ") == 3
    wait_until(rig.is_whole, 20, "all is in step again")


def test_what_somebody_has_set_since_is_left_and_a_note_of_others_is_not_believed(rig):
    # Given a note of a run that is long over, and sentinels that have another patience by now
    db, before = rig.connect(), patience(rig)
    [where, *_] = rig.sentinel_ports
    db.set(streams.FAILOVER, f"1 elsewhere 1 6000 127.0.0.1:{where}=1234")
    assert failover_sh(rig, "--check").returncode == 0
    assert (noted(rig), patience(rig)) == (None, before)
    # And given one that nobody of ours wrote
    db.set(streams.FAILOVER, "1 elsewhere 1 6000 127.0.0.1:1=1; reboot")
    done = failover_sh(rig, "--check")
    assert done.returncode == 3
    assert "quantum:ops:failover is no note of this script" in done.stderr
    db.delete(streams.FAILOVER)


@pytest.mark.parametrize("kind", ["planned", "kill", "stop", "partition"] if FULL else ["planned"])
def test_nothing_acknowledged_is_lost_and_all_come_back_by_themselves(rig, kind):
    for _ in range(20 if FULL else 1):
        made = play(rig, kind, wait=1, min_replicas=1)
        assert (made.lost, made.doubled, made.undone) == (0, 0, 0), made
        assert made.acked > 100
        assert noted(rig) is None


def test_whoever_stays_with_a_master_that_is_cut_off_is_never_acknowledged(rig):
    # Last: there is no time to wait until the old master has become a replica
    made = play(rig, "partition", wait=1, min_replicas=1, heal=False)
    assert (made.lost, made.doubled, made.undone) == (0, 0, 0), made
    assert made.unknown > 0
