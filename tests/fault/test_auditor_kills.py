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
                self.planted.append(("order_id_reused", plan_id))
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

    def told(self) -> list[tuple[str, str]]:
        found = [fields for _, fields in self.db.xrange(streams.AUDIT_FINDING.key)]
        named = [(f[b"finding"].decode(), f[b"subject"].decode()) for f in found]
        return sorted(one for one in named if one[0] in CRITICAL)

    def is_told(self) -> bool:
        return self.told() == sorted(self.planted)


@pytest.fixture
def programs():
    started: list[Program] = []
    yield started
    for program in started:
        program.end()


def auditors(url: str) -> list[Program]:
    settings = {"ORDER_PROOF_PATIENCE_SEC": "0.5", "QUANTUM_RETRY_CAP_SEC": "0.4"}
    return [Program(url, name, **settings) for name in ("permit_audit", "order_proof")]


def check(world: World) -> None:
    told = world.told()
    assert sorted(set(world.planted) - set(told)) == [], "missed"
    assert sorted(told) == sorted(world.planted), "doubled or made up"
    everything = [
        (f[b"finding"], f[b"subject"]) for _, f in world.db.xrange(streams.AUDIT_FINDING.key)
    ]
    assert len(everything) == len(set(everything))
    assert world.db.xlen(streams.DEAD_LETTER.key) == 0


@pytest.mark.slow
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
def test_frozen_auditor_and_its_heir_tell_each_thing_once(valkey, programs):
    world = World(valkey.connect())
    programs += auditors(valkey.url)
    programs.append(Program(valkey.url, "permit_audit", 1))
    wait_until(lambda: world.db.exists(streams.heartbeat("permit_audit", 1)), 20, "all are up")
    for _ in range(max(2, KILLS // 4)):
        world.burst()
        programs[0].signal(signal.SIGSTOP)
        world.burst()
        wait_until(world.is_told, 40, "the other one tells")
        programs[0].signal(signal.SIGCONT)
    wait_until(world.is_told, 40, "told")
    check(world)
