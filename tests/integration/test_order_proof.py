"""Every Finding of order_proof from a story, each told once, and the index of proofs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consumers.order_proof import FINDINGS, order_proof
from quantum_ops import streams
from quantum_ops.events import AuditFinding
from quantum_ops.settings import OrderProofSettings
from tests.backends import RedisBackend
from tests.p33_rig import ShiftedClock, send
from tests.p33_stories import plan

A, B = "a" * 16, "b" * 16


class ProofRig:
    """One auditor of orders, and the trading side before it."""

    def __init__(self, server, name: str = "one", **settings) -> None:
        self.db = server.connect()
        self.backend = RedisBackend(server.connect)
        self.clock = ShiftedClock()
        self.runner, self.observer = self.backend.runner(
            order_proof, name, settings=OrderProofSettings(**settings), clock=self.clock
        )

    def plans(self, *plan_ids: str) -> None:
        for plan_id in plan_ids:
            send(self.db, plan(plan_id=plan_id))

    def execute(self, plan_id: str, order_id: str = "", **fields: str) -> str:
        result = {"plan_id": plan_id, "symbol": "BTCUSDT", "executed": "true", "source": "x"}
        if order_id:
            result["order_id"] = order_id
        return self.db.xadd(streams.APPLY_RESULT.key, {**result, **fields}).decode()

    def settle(self) -> list[str]:
        """Read all there is, results that wait for their plan included; gives what was told."""
        self.backend.settle(self.runner)
        self.clock.shift_s += 5
        self.backend.settle(self.runner)
        return [f"{one.finding} {one.subject[:1]}" for one in self.findings()]

    def tidy(self) -> None:
        """What it does each minute."""
        self.runner._tick_due = 0.0
        self.runner.step(wait=False)

    def findings(self) -> list[AuditFinding]:
        return self.backend.events(AuditFinding)


@pytest.fixture
def rig(server):
    return ProofRig(server, patience_s=0.1)


PLACES = [
    {"order_id": "4711"},
    {"details": json.dumps({"order_id": 4711, "order_status": "FILLED"})},
    {"steps_results": json.dumps([{"step": "leverage"}, {"step": "order", "order_id": "4711"}])},
]


@pytest.mark.parametrize("executed", ["true", "True"])
@pytest.mark.parametrize("place", PLACES, ids=["top", "details", "steps"])
def test_execution_is_proven_by_an_order_id_in_any_of_three_places(rig, place, executed):
    rig.plans(A)
    entry = rig.execute(A, executed=executed, timestamp="1790000000", **place)
    assert rig.settle() == ["execution_proven a"]
    [finding] = rig.findings()
    assert (finding.severity, finding.detail) == ("info", "BTCUSDT order 4711")
    assert finding.evidence == (entry,)
    # And it is found by its plan, its order and its symbol, for a while
    assert rig.db.hgetall(streams.proof_of_plan(A)) == {
        b"entry_id": entry.encode(), b"symbol": b"BTCUSDT", b"order_id": b"4711",
        b"executed_at": b"1790000000",
    }  # fmt: skip
    assert rig.db.get(streams.proof_of_order("BTCUSDT", "4711")) == A.encode()
    assert rig.db.zrange(streams.proofs_of_symbol("BTCUSDT"), 0, -1) == [A.encode()]
    keys = (
        streams.proof_of_plan(A),
        streams.proof_of_order("BTCUSDT", "4711"),
        streams.proofs_of_symbol("BTCUSDT"),
    )
    rig.tidy()
    for key in keys:
        assert 29 * 86_400 < rig.db.ttl(key) <= 30 * 86_400


@pytest.mark.parametrize("nothing", ["", "null", "None", "  ", "0", "nan"])
def test_execution_without_an_order_id_is_critical_and_told_once(rig, nothing):
    rig.plans(A)
    rig.execute(A, nothing)
    rig.execute(A, nothing, details='{"order_id":null}')
    assert rig.settle() == ["executed_without_order_id a"]
    assert rig.findings()[0].severity == "critical"


def test_results_that_executed_nothing_are_none_of_its_business(rig):
    rig.execute(A, "1", executed="false")
    assert rig.settle() == []


def test_same_result_again_tells_nothing_again(rig):
    rig.plans(A)
    for _ in range(3):
        rig.execute(A, "4711")
    assert rig.settle() == ["execution_proven a"]


def test_order_of_another_plan_is_critical_and_does_not_change_the_index(rig):
    rig.plans(A, B)
    rig.execute(A, "4711")
    rig.execute(B, "4711")
    rig.execute(B, "4711")
    assert rig.settle() == ["execution_proven a", "order_id_reused b"]
    assert rig.findings()[1].detail == f"BTCUSDT order 4711 is of plan {A}"
    assert rig.db.get(streams.proof_of_order("BTCUSDT", "4711")) == A.encode()
    assert rig.db.exists(streams.proof_of_plan(B)) == 0


def test_order_ids_are_unique_in_their_symbol_only(rig):
    rig.plans(A, B)
    rig.execute(A, "4711")
    rig.execute(B, "4711", symbol="ETHUSDT")
    assert rig.settle() == ["execution_proven a", "execution_proven b"]


@pytest.mark.parametrize("together", [True, False])
def test_second_order_for_a_plan_is_critical(rig, together):
    rig.plans(A)
    rig.execute(A, "4711")
    if not together:
        rig.settle()
    rig.execute(A, "4712")
    assert rig.settle() == ["execution_proven a", "plan_executed_again a"]
    assert rig.findings()[1].detail == "order 4712 after order 4711"
    assert rig.db.hget(streams.proof_of_plan(A), "order_id") == b"4711"


def test_result_waits_for_its_plan_and_is_critical_if_none_comes(server):
    rig = ProofRig(server, patience_s=2.0)
    rig.execute(A, "1")
    rig.runner.step(wait=False)
    rig.plans(A)
    rig.execute(B, "2")
    assert sorted(rig.settle()) == [
        "execution_proven a",
        "execution_proven b",
        "result_without_plan b",
    ]


def test_results_that_overtake_their_plans_after_an_absence_are_no_strangers(server):
    # Given an auditor that was away, and many more plans than results meanwhile
    rig = ProofRig(server)
    ids = [f"{number:016x}" for number in range(700)]
    for number, plan_id in enumerate(ids):
        rig.plans(plan_id)
        if number % 7 == 0:
            rig.execute(plan_id, str(1000 + number))
    rig.execute("stranger", "1")
    rig.db.xadd(streams.APPLY_PLAN.key, {"no": "plan"})
    rig.clock.shift_s = 3600
    rig.settle()
    told = sorted(one.finding for one in rig.findings())
    assert told == ["execution_proven"] * 101 + ["result_without_plan"]
    assert [one.subject for one in rig.findings() if one.severity == "critical"] == ["stranger"]
    # And each plan was read ahead once, not once for each result
    assert (
        rig.runner._context.held.ahead._passed
        == rig.db.xrevrange(streams.APPLY_PLAN.key, count=1)[0][0]
    )


def test_plan_in_the_hands_of_a_frozen_process_is_a_plan(rig, server):
    # Given another process that has read the plan and says nothing more
    rig.plans(A)
    rig.db.xreadgroup("order_proof", "frozen", {streams.APPLY_PLAN.key: ">"})
    rig.execute(A, "1")
    rig.execute(B, "2")
    assert rig.settle() == ["execution_proven a", "execution_proven b", "result_without_plan b"]


def test_stream_of_plans_that_was_made_anew_is_read_from_its_beginning(rig):
    rig.execute(B, "1")
    rig.plans(A)
    rig.settle()
    rig.runner._context.held.ahead._passed = b"9999999999999999-1"
    other = "c" * 16
    rig.plans(other)
    rig.db.xgroup_setid(streams.APPLY_PLAN.key, "order_proof", "0")
    found = rig.runner._context.held.ahead.find(rig.db, [other])
    assert found == {other}


def test_two_processes_that_meet_one_order_id_at_once_tell_the_reuse(rig, server):
    other = ProofRig(server, "two", patience_s=0.1)
    rig.plans(A, B)
    rig.settle()
    rig.execute(A, "4711")
    rig.runner.step(wait=False)
    rig.execute(B, "4711")
    other.runner.step(wait=False)
    other.settle()
    told = rig.settle()
    # Whoever settled first holds the order; the other plan is the one that reused it
    first = rig.db.get(streams.proof_of_order("BTCUSDT", "4711")).decode()[:1]
    second = "b" if first == "a" else "a"
    assert sorted(told) == [f"execution_proven {first}", f"order_id_reused {second}"]


def test_old_proofs_leave_the_index_of_their_symbol(rig):
    rig.db.zadd(streams.proofs_of_symbol("BTCUSDT"), {"old": 1})
    rig.plans(A)
    rig.execute(A, "1")
    rig.settle()
    rig.tidy()
    assert rig.db.zrange(streams.proofs_of_symbol("BTCUSDT"), 0, -1) == [A.encode()]


@pytest.mark.parametrize("key", [streams.proof_of_order("BTCUSDT", "4711"), streams.planned(A)])
def test_index_of_another_type_is_told_or_harmless_and_stalls_nothing(rig, key):
    rig.plans(A)
    rig.settle()
    rig.db.delete(key)
    rig.db.lpush(key, "odd")
    rig.execute(A, "4711")
    told = rig.settle()
    assert told in (["order_id_reused a"], ["execution_proven a"])
    assert rig.backend.pending(streams.APPLY_RESULT.key, "order_proof") == 0


def test_every_finding_has_a_story():
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name} ' in source for name in FINDINGS)
