"""Auditors killed and frozen under load; an outside look knows which violations were planted."""

from __future__ import annotations

import json
import random
import signal

import pytest

from quantum_ops import streams
from quantum_ops.audit.sight import GATES, P33, key
from tests.p33_rig import send
from tests.p33_stories import plan
from tests.programs import FULL, Program
from tests.waiting import wait_until

KILLS = 200 if FULL else 8
FREEZES = 50 if FULL else 2
LIMIT_S = 1200 if FULL else 120
BURST = 30
CRITICAL = {
    "executed_without_permits", "executed_without_order_id", "order_id_reused",
    "result_without_plan",
}  # fmt: skip


class World:
    """Plans, permits and results of every kind, and what must be told of each."""

    def __init__(self, db) -> None:
        self.db = db
        self.sent = 0
        self.planted: list[tuple[str, str]] = []
        self.read: list[tuple[str, str]] = []
        self._last: str | bytes = "-"

    def burst(self) -> None:
        for _ in range(BURST):
            self.sent += 1
            plan_id, order = f"{self.sent:016x}", str(10_000 + self.sent)
            kind = self.sent % 6
            if kind != 5:
                send(self.db, plan(plan_id=plan_id))
            gates = GATES if kind != 1 else (P33,)
            self.permits(plan_id, gates)
            if kind == 2:
                order = ""
                self.planted.append(("executed_without_order_id", plan_id))
            if kind == 3 and self.sent > BURST:
                # The order of the plan six before, which had one of its own
                order = str(10_000 + self.sent - 3)
                # Named by the order: which of two is told depends on whose result is read first,
                # and one that is in frozen hands is read late.
                self.planted.append(("order_id_reused", order))
            if kind == 1:
                self.planted.append(("executed_without_permits", plan_id))
            if kind == 5:
                self.planted.append(("result_without_plan", plan_id))
            self.result(plan_id, order)

    def permits(self, plan_id: str, gates: tuple[str, ...]) -> None:
        documents = {"p26": "1", "governor": json.dumps({"granted": True, "symbol": "BTCUSDT"})}
        for gate in gates:
            document = documents.get(gate, json.dumps({"allow": True, "symbol": "BTCUSDT"}))
            self.db.set(key(gate, plan_id), document, ex=60)

    def result(self, plan_id: str, order: str) -> None:
        fields = {"plan_id": plan_id, "symbol": "BTCUSDT", "executed": "true", "order_id": order}
        self.db.xadd(streams.APPLY_RESULT.key, {k: v for k, v in fields.items() if v})

    def findings(self) -> list[tuple[str, str]]:
        """Finding and subject of all that was told so far; only what is new is read."""
        for id_, fields in self.db.xrange(streams.AUDIT_FINDING.key, min=self._last):
            finding, subject = fields[b"finding"].decode(), fields[b"subject"].decode()
            if finding == "order_id_reused":
                subject = fields[b"detail"].decode().split()[2]
            self.read.append((finding, subject))
            self._last = b"(" + id_
        return self.read

    def told(self) -> list[tuple[str, str]]:
        return sorted(one for one in self.findings() if one[0] in CRITICAL)

    def is_told(self) -> bool:
        return self.told() == sorted(self.planted)


@pytest.fixture
def programs():
    started: list[Program] = []
    yield started
    for program in started:
        program.end()


NAMES = ("permit_audit", "order_proof")
BEATS = [streams.heartbeat(name, number) for name in NAMES for number in (0, 1)]


def auditors(url: str, number: int = 0) -> list[Program]:
    settings = {"ORDER_PROOF_PATIENCE_SEC": "0.5", "QUANTUM_RETRY_CAP_SEC": "0.4"}
    return [Program(url, name, number, **settings) for name in NAMES]


def check(world: World) -> None:
    told = world.told()
    assert sorted(set(world.planted) - set(told)) == [], "missed"
    assert sorted(told) == sorted(world.planted), "doubled or made up"
    everything = world.findings()
    assert len(everything) == len(set(everything))
    assert world.db.xlen(streams.DEAD_LETTER.key) == 0


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S)
def test_killed_auditors_miss_nothing_and_tell_nothing_twice(valkey, programs):
    # Given both auditors and a stream of executions, a part of them wrong
    source = random.Random(20261124)
    world = World(valkey.connect())
    programs += auditors(valkey.url)
    for _ in range(KILLS):
        # Counted before the burst: all of it may be told by the time that a count comes back.
        before = world.db.xlen(streams.AUDIT_FINDING.key)
        world.burst()
        wait_until(lambda n=before: world.db.xlen(streams.AUDIT_FINDING.key) > n, 20, "at work")
        # When one of them is killed in the middle of it
        source.choice(programs).kill()
    wait_until(world.is_told, 40, f"{len(world.planted)} violations told")
    # Then each planted violation is told exactly once, and nothing else
    check(world)


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S)
def test_frozen_auditors_and_their_heirs_tell_each_thing_once(valkey, programs):
    # Given two processes of each auditor
    world = World(valkey.connect())
    programs += [*auditors(valkey.url), *auditors(valkey.url, 1)]
    wait_until(lambda: all(map(world.db.exists, BEATS)), 20, "all are up")
    for number in range(FREEZES):
        # When one of each is frozen in the middle of a burst, and thawed when its heir is done
        frozen = programs[:2] if number % 2 else programs[2:]
        world.burst()
        for program in frozen:
            program.signal(signal.SIGSTOP)
        world.burst()
        wait_until(world.is_told, 40, "the other ones tell")
        for program in frozen:
            program.signal(signal.SIGCONT)
    # Then what the frozen ones still held in their hands changes nothing
    wait_until(world.is_told, 40, "told")
    for program in programs:
        assert program.end() == 0
    check(world)
