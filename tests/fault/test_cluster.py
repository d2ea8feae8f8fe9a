"""A consumer with effects on a real Redis Cluster: three masters, and in full three replicas."""

from __future__ import annotations

import os
import threading

import pytest
import redis

from quantum_ops import codec, key_map, logs, streams
from quantum_ops.clock import Clock
from quantum_ops.cluster import ClusterInbox
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.errors import Reject
from quantum_ops.events import ApplyPlan, PermitDecided
from quantum_ops.key_map import CrossSlotError
from quantum_ops.runner import Runner
from quantum_ops.settings import RuntimeSettings
from quantum_ops.testing import Recorder
from tests.cluster_rig import Cluster
from tests.waiting import wait_until

FULL = os.environ.get("QUANTUM_FAULTS") == "full"
pytestmark = pytest.mark.timeout(1800 if FULL else 120)
RUNTIME = RuntimeSettings(block_ms=100, claim_after_s=2.0, retry_cap_s=1.0)
PLAN = key_map.PLAN


@pytest.fixture(scope="module")
def cluster():
    made = Cluster("valkey", replicas=1 if FULL else 0)
    yield made
    made.close()


@consumer(streams.APPLY_PLAN, streams.APPLY_RESULT)
def gate(event, context):
    """Permits, tells of it, counts; what is poison goes to the dead letter of its group."""
    if event.symbol == "POISON":
        raise Reject("poison")
    context.set(streams.permit("p33", event.plan_id), "1", ttl_s=600)
    context.hincr(streams.decided("p33", "all"), event.plan_id)
    context.publish(
        PermitDecided(
            gate="p33", plan_id=event.plan_id, symbol=event.symbol, allow=True, reason="t"
        )
    )


class Process:
    """The consumer in a thread, as its process would run it."""

    def __init__(self, cluster: Cluster, name: str = "one") -> None:
        self.clock = Clock()
        self.observer = Recorder()
        self.made = [cluster.connect(PLAN), cluster.connect(PLAN, block_ms=RUNTIME.block_ms)]
        context = Context("gate", self.made[0], logs.get(), self.clock)
        keys = tuple(stream.key for stream in gate.streams)
        inbox = ClusterInbox(self.made[1], keys, "gate", name)
        self.runner = Runner(
            gate, inbox, context, gate.bound(RUNTIME), self.observer, clock=self.clock
        )
        self.thread = threading.Thread(target=self.runner.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.clock.stop()
        self.thread.join(20)
        for db in self.made:
            db.connection_pool.disconnect()


def mapped(key: str) -> str:
    return key_map.mapped(key, PLAN)


def add(db, number: int, symbol: str = "BTCUSDT") -> None:
    plan = ApplyPlan(
        plan_id=f"{number:016x}", decision="EXECUTE", symbol=symbol, side="BUY", qty="1",
        source="t", timestamp="1",
    )  # fmt: skip
    db.execute_command("XADD", mapped(streams.APPLY_PLAN.key), "*", *codec.encode(plan))


def counts(db) -> list[bytes]:
    return list(db.hgetall(mapped(streams.decided("p33", "all"))).values())


def test_a_consumer_with_effects_runs_on_the_shard_of_its_group(cluster):
    # Given groups that lie on different shards
    assert len({cluster.owner(group) for group in key_map.GROUPS}) > 1
    db = cluster.connect(PLAN)
    process = Process(cluster)
    try:
        for number in range(50):
            add(db, number)
        add(db, 50, "POISON")
        # Then every effect is made once, in one slot with the acknowledgement
        wait_until(lambda: db.xlen(mapped(streams.DEAD_LETTER.key)) == 1, 20, "all is done")
        assert counts(db) == [b"1"] * 50
        assert db.xlen(mapped(streams.PERMIT_DECIDED.key)) == 50
        assert db.xpending(mapped(streams.APPLY_PLAN.key), "gate")["pending"] == 0
        [(_, letter)] = db.xrange(mapped(streams.DEAD_LETTER.key))
        assert letter[b"original.symbol"] == b"POISON"
        # And what it says is in the catalogue's words
        assert {one.stream for one in process.observer.troubles} == {streams.APPLY_PLAN.key}
    finally:
        process.stop()
        db.connection_pool.disconnect()


def test_a_unit_across_groups_is_refused_before_it_is_sent(cluster):
    inbox_db = cluster.connect(PLAN)
    with pytest.raises(CrossSlotError, match=r"apply\.plan.*deploy\.completed"):
        ClusterInbox(
            inbox_db, (streams.APPLY_PLAN.key, streams.DEPLOY_COMPLETED.key), "gate", "one"
        )


@pytest.mark.skipif(not FULL, reason="twenty failovers take minutes: QUANTUM_FAULTS=full")
def test_masters_that_die_are_replaced_and_no_effect_is_doubled(cluster):
    db = cluster.connect(PLAN)
    db.flushall()
    process = Process(cluster)
    number = 0
    try:
        for _ in range(20):
            # Given plans that the one replica has
            for _ in range(50):
                add(db, number)
                number += 1
            assert db.wait(1, 2000) == 1
            # When their master dies in the midst of work
            old = cluster.owner(PLAN)
            cluster.nodes[old].kill()
            wait_until(
                lambda old=old: owner_now(cluster) not in (0, old), 30, "there is another one"
            )
            db.connection_pool.disconnect()
            # Then all that was acknowledged is there, and handled once
            assert db.xlen(mapped(streams.APPLY_PLAN.key)) == number
            wait_until(lambda count=number: len(counts(db)) == count, 30, "all is done")
            assert set(counts(db)) == {b"1"}
            cluster.heal()
            db.connection_pool.disconnect()
    finally:
        process.stop()
        db.connection_pool.disconnect()


def owner_now(cluster: Cluster) -> int:
    try:
        return cluster.owner(PLAN)
    except redis.exceptions.ClusterDownError:
        return 0
