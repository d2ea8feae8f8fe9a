"""The promises of the runtime, told once and kept on every backend.

In memory, on fakeredis, on the embedded Valkey and on Debian's redis-server 7.0.
"""

from __future__ import annotations

import time

import pytest

from quantum_ops import entry_id, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import consumer
from quantum_ops.errors import Reject, Retry
from quantum_ops.events import ApplyPlan, AuditFinding, DeadLetter
from quantum_ops.settings import RuntimeSettings
from tests.waiting import wait_until

PLANS = streams.APPLY_PLAN.key


def plan(plan_id: str) -> ApplyPlan:
    return ApplyPlan(plan_id=plan_id, decision="EXECUTE", symbol="BTCUSDT")


def counting(calls: list[str], **constraints):
    """A consumer that notes each call and counts it in Redis with the acknowledgement."""

    @consumer(streams.APPLY_PLAN, **constraints)
    def counter(event, context):
        calls.append(event.plan_id)
        context.incr(f"count:{event.plan_id}")

    return counter


def test_every_entry_is_handled_once_in_order_and_acknowledged(backend):
    # Given 120 plans that were there before the group existed
    for number in range(120):
        backend.publish(plan(f"p{number}"))
    calls: list[str] = []
    # When a consumer runs
    runner, observer = backend.runner(counting(calls))
    backend.settle(runner)
    # Then each was handled once, in order, its effect applied once, and nothing is pending
    assert calls == [f"p{number}" for number in range(120)]
    assert {backend.get(f"count:p{number}") for number in range(120)} == {b"1"}
    assert backend.pending(PLANS, "counter") == 0
    assert observer.troubles == []
    assert sum(report.acked for report in observer.reports) == 120


class SlowClock(Clock):
    """A clock on which ``spent_s`` seconds more have passed."""

    def __init__(self) -> None:
        super().__init__()
        self.spent_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.spent_s


def test_slow_work_is_settled_while_the_batch_goes_on(backend):
    # Given 60 plans in one batch and a handler that takes 20 ms for each
    for number in range(60):
        backend.publish(plan(f"p{number}"))
    clock = SlowClock()
    unsettled: list[int] = []

    @consumer(streams.APPLY_PLAN)
    def slow(event, context):
        clock.spent_s += 0.02
        if event.plan_id == "p59":
            # Then a kill at the last one would do over only the last few (50 ms), not all
            wait_until(lambda: backend.pending(PLANS, "slow") <= 3, 10, "earlier ones settled")
            unsettled.append(backend.pending(PLANS, "slow"))

    runner, _ = backend.runner(slow, clock=clock)
    beats: list[float] = []
    runner._on_idle = lambda _state: beats.append(clock.spent_s)
    backend.settle(runner)
    assert unsettled
    # And the process says that it is alive while it works on them
    assert len([one for one in beats if 0 < one < 60 * 0.02]) > 3
    assert backend.pending(PLANS, "slow") == 0


def test_typed_event_is_decoded_from_bytes(backend):
    seen = []

    @consumer(streams.APPLY_PLAN)
    def typed(event, context):
        seen.append((event, context.attempt, context.stream, context.entry_id))

    entry_id = backend.add(
        PLANS, [b"plan_id", b"x", b"decision", b"EXECUTE", b"reduceOnly", b"True", b"new", b"1"]
    )
    runner, _ = backend.runner(typed)
    backend.settle(runner)
    expected = ApplyPlan(plan_id="x", decision="EXECUTE", reduce_only=True)
    assert seen == [(expected, 1, PLANS, entry_id.decode())]


@pytest.mark.parametrize(
    ("flat", "field"),
    [
        ([b"plan_id", b"\xff\xfe", b"decision", b"EXECUTE"], "plan_id"),
        ([b"plan_id", b"a", b"plan_id", b"b", b"decision", b"EXECUTE"], "plan_id"),
        ([b"plan_id", b"a"], "decision"),
        ([b"plan_id", b"a", b"decision", b"EXECUTE", b"reduceOnly", b"perhaps"], "reduceOnly"),
        ([b"plan_id", b"", b"decision", b"EXECUTE"], "plan_id"),
    ],
)
def test_undecodable_entry_is_buried_at_once_with_its_bytes_and_stalls_nobody(backend, flat, field):
    # Given a bad entry between two good ones
    backend.publish(plan("before"))
    bad = backend.add(PLANS, flat)
    backend.publish(plan("after"))
    calls: list[str] = []
    # When they are handled
    runner, _ = backend.runner(counting(calls))
    backend.settle(runner)
    # Then the good ones were handled and the bad one is in the dead letter, byte for byte
    assert calls == ["before", "after"]
    [letter] = backend.events(DeadLetter)
    assert (letter.reason, letter.entry_id, letter.deliveries) == ("undecodable", bad.decode(), 1)
    assert field in letter.error
    [(_, stored)] = backend.entries(streams.DEAD_LETTER.key)
    start = stored.index(b"original." + flat[0])
    assert [name.removeprefix(b"original.") for name in stored[start::2]] == flat[::2]
    assert stored[start + 1 :: 2] == flat[1::2]
    assert backend.pending(PLANS, "counter") == 0


def test_failed_entry_is_tried_again_until_it_succeeds(backend):
    attempts = []

    @consumer(streams.APPLY_PLAN)
    def flaky(event, context):
        attempts.append(context.attempt)
        if context.attempt < 3:
            raise ValueError("not yet")
        context.incr("done")

    backend.publish(plan("a"))
    runner, observer = backend.runner(flaky)
    backend.settle(runner)
    assert attempts == [1, 2, 3]
    assert backend.get("done") == b"1"
    assert observer.kinds() == ["retry", "retry"]


def test_entry_that_always_fails_ends_in_the_dead_letter_with_its_traceback(backend):
    attempts = []

    @consumer(streams.APPLY_PLAN, max_deliveries=3)
    def broken(event, context):
        attempts.append(context.attempt)
        context.incr("effects")
        raise ValueError("never works")

    backend.publish(plan("a"))
    backend.publish(plan("b"))
    runner, _ = backend.runner(broken)
    backend.settle(runner)
    assert sorted(attempts) == [1, 1, 2, 2, 3, 3]
    letters = backend.events(DeadLetter)
    assert [(one.reason, one.deliveries) for one in letters] == [("handler_failed", 3)] * 2
    assert "never works" in letters[0].error
    assert "Traceback" in letters[0].error
    # Effects that were declared before the failure were never applied
    assert backend.get("effects") is None


def test_asked_retry_waits_as_asked_and_reject_buries_at_once(backend):
    @consumer(streams.APPLY_PLAN)
    def choosy(event, context):
        if event.plan_id == "later" and context.attempt == 1:
            raise Retry(0.02, "evidence is missing")
        if event.plan_id == "never":
            raise Reject("contradicts itself")

    backend.publish(plan("later"))
    backend.publish(plan("never"))
    runner, observer = backend.runner(choosy)
    backend.settle(runner)
    assert [(t.kind, t.reason) for t in observer.troubles] == [
        ("retry", "asked"),
        ("dead_letter", "rejected"),
    ]
    assert backend.events(DeadLetter)[0].error == "contradicts itself"
    assert backend.pending(PLANS, "choosy") == 0


def test_crash_before_settling_loses_nothing_and_charges_only_what_is_handed_over(backend):
    # Given a process that read ten entries, handled them and died before settling
    for number in range(10):
        backend.publish(plan(f"p{number}"))
    dead_calls: list[str] = []
    dead, _ = backend.runner(counting(dead_calls))
    dead.step(wait=False)
    assert len(dead_calls) == 10
    assert backend.get("count:p0") is None
    # When the same process starts again
    calls: list[str] = []
    runner, _ = backend.runner(counting(calls))
    backend.settle(runner)
    # Then all ten are handled again and their effects stand once
    assert calls == [f"p{number}" for number in range(10)]
    assert {backend.get(f"count:p{number}") for number in range(10)} == {b"1"}
    assert backend.pending(PLANS, "counter") == 0


def test_entry_that_kills_the_process_is_buried_before_it_does_it_again(backend):
    # Given a poison entry that kills the process in the handler, and an innocent neighbour
    class Killed(BaseException):
        pass

    calls = []

    @consumer(streams.APPLY_PLAN, max_deliveries=3)
    def fatal(event, context):
        calls.append(event.plan_id)
        if event.plan_id == "poison":
            raise Killed
        context.incr("innocent")

    backend.publish(plan("poison"))
    backend.publish(plan("innocent"))
    # When the process is started again and again
    deaths = 0
    while True:
        try:
            runner, _ = backend.runner(fatal)
            backend.settle(runner)
            break
        except Killed:
            deaths += 1
            assert deaths < 10
    # Then the poison met the handler three times, and the innocent was handled, not charged
    assert deaths == 3
    assert calls == ["poison"] * 3 + ["innocent"]
    [letter] = backend.events(DeadLetter)
    assert (letter.reason, letter.deliveries) == ("too_many_deliveries", 3)
    assert backend.get("innocent") == b"1"


def test_zombie_that_wakes_up_after_a_claim_changes_nothing(backend):
    # Given a process that handled an entry and was stopped before settling it
    backend.publish(plan("a"))
    zombie, seen = backend.runner(counting([]), name="zombie")
    zombie.step(wait=False)
    # When another process claims it after the idle time and settles it
    calls: list[str] = []
    other, _ = backend.runner(counting(calls), name="other")
    wait_until(lambda: other.step(wait=False) or calls, what="claimed")
    backend.settle(other)
    assert calls == ["a"]
    # And the zombie wakes up
    zombie.flush()
    # Then its effect is fenced off and counted
    assert backend.get("count:a") == b"1"
    assert "fenced" in seen.kinds()


def test_effect_that_redis_refuses_buries_the_entry_and_spares_its_neighbours(backend):
    backend.put_string("wrong", b"a string")

    @consumer(streams.APPLY_PLAN)
    def writer(event, context):
        if event.plan_id == "bad":
            context.hset("wrong", {"field": "1"})
            context.incr("after-the-refused-one")
        else:
            context.hset("right", {event.plan_id: "1"})

    for name in ("a", "bad", "b"):
        backend.publish(plan(name))
    runner, observer = backend.runner(writer)
    backend.settle(runner)
    assert set(backend.get("right")) == {b"a", b"b"}
    assert backend.get("after-the-refused-one") is None
    [letter] = backend.events(DeadLetter)
    assert letter.reason == "effect_failed"
    assert "WRONGTYPE" in letter.error
    assert backend.pending(PLANS, "writer") == 0
    assert observer.kinds() == ["dead_letter"]


def test_once_stops_the_effects_of_a_second_event_with_the_same_key(backend):
    @consumer(streams.APPLY_PLAN)
    def once(event, context):
        context.once(f"seen:{event.plan_id}", ttl_s=60)
        context.incr("decided")
        context.publish(AuditFinding(auditor="t", finding="decided", severity="info"))

    for _ in range(3):
        backend.publish(plan("same"))
    runner, observer = backend.runner(once)
    backend.settle(runner)
    assert backend.get("decided") == b"1"
    assert len(backend.events(AuditFinding)) == 1
    assert sum(report.skipped for report in observer.reports) == 2


def test_entry_trimmed_while_pending_is_recorded_as_lost(backend):
    # Given an entry that was read and then deleted from the stream before it was settled
    entry_id = backend.publish(plan("a"))
    runner, _ = backend.runner(counting([]))
    runner.step(wait=False)
    backend.remove(PLANS, entry_id)
    # When the process comes back
    calls: list[str] = []
    again, observer = backend.runner(counting(calls))
    backend.settle(again)
    # Then the loss is on record and nothing is pending; the handler never saw an empty event
    assert calls == []
    [letter] = backend.events(DeadLetter)
    assert (letter.reason, letter.entry_id) == ("payload_lost", entry_id.decode())
    assert observer.kinds() == ["lost"]
    assert backend.pending(PLANS, "counter") == 0


def test_entry_trimmed_while_pending_with_a_dead_process_is_recorded_as_lost_by_the_claim(backend):
    entry_id = backend.publish(plan("a"))
    dead, _ = backend.runner(counting([]), name="dead")
    dead.step(wait=False)
    backend.remove(PLANS, entry_id)
    other, observer = backend.runner(counting([]), name="other")
    wait_until(lambda: other.step(wait=False) or observer.troubles, what="claim")
    assert observer.kinds() == ["lost"]
    assert backend.events(DeadLetter)[0].reason == "payload_lost"
    assert backend.pending(PLANS, "counter") == 0


def test_entries_of_a_dead_process_are_taken_over_once(backend):
    # Given a process that died with ten plans handled and none of them settled
    for number in range(10):
        backend.publish(plan(f"p{number}"))
    dead, _ = backend.runner(counting([]), name="dead")
    dead.step(wait=False)
    calls: list[str] = []
    heir, _ = backend.runner(counting(calls), name="heir")
    wait_until(lambda: heir.step(wait=False) or len(calls) == 10, what="ten taken over")
    backend.settle(heir)
    assert calls == [f"p{number}" for number in range(10)]
    assert {backend.get(f"count:p{number}") for number in range(10)} == {b"1"}


def test_two_processes_share_the_work_of_one_group(backend):
    for number in range(100):
        backend.publish(plan(f"p{number}"))
    first_calls: list[str] = []
    second_calls: list[str] = []
    runtime = RuntimeSettings(batch=10, block_ms=10, claim_after_s=5, retry_cap_s=0.05)
    first, _ = backend.runner(counting(first_calls), name="first", runtime=runtime)
    second, _ = backend.runner(counting(second_calls), name="second", runtime=runtime)
    while first.step(wait=False) + second.step(wait=False):
        pass
    first.flush()
    second.flush()
    assert first_calls
    assert second_calls
    assert sorted(first_calls + second_calls) == sorted(f"p{number}" for number in range(100))


def test_destroyed_group_is_made_anew_at_its_checkpoint_and_told(backend):
    # Given a group that has handled and settled five entries
    for number in range(5):
        backend.publish(plan(f"p{number}"))
    calls: list[str] = []
    runner, observer = backend.runner(counting(calls))
    backend.settle(runner)
    # When the group is destroyed and two entries more arrive
    backend.destroy_group(PLANS, "counter")
    backend.publish(plan("p5"))
    backend.publish(plan("p6"))
    runner, observer = backend.runner(counting(calls))
    backend.settle(runner)
    # Then only the new ones are handled, and somebody is told
    assert calls == [f"p{number}" for number in range(7)]
    assert observer.kinds() == ["group_recreated"]
    [told] = backend.events(AuditFinding)
    assert (told.finding, told.subject) == ("group_recreated", f"counter@{PLANS}")


def test_a_server_that_was_emptied_while_its_consumers_were_away_is_told_once(backend):
    # Given two processes that have their group, and a server that loses all, checkpoints too
    (one, _), (two, _) = (backend.runner(counting([]), name) for name in ("one", "two"))
    for runner in (one, two):
        runner._forget()
    backend.empty()
    # When both come back, and a third one that never had it
    for runner in (one, two):
        runner.open()
    backend.runner(counting([]), "three")
    # Then it is one Finding
    [told] = backend.events(AuditFinding)
    assert told.detail == "the consumer group had vanished; made anew at 0-0 (no checkpoint)"


def test_deleted_stream_that_began_anew_is_read_from_its_start(backend):
    old = backend.publish(plan("old"))
    calls: list[str] = []
    runner, _ = backend.runner(counting(calls))
    backend.settle(runner)
    backend.delete_stream(PLANS)
    # Ids are milliseconds: within the same one the new stream's first id would be the old one's
    wait_until(lambda: time.time() * 1000 > entry_id.parse(old)[0] + 1)
    backend.publish(plan("new"))
    runner, observer = backend.runner(counting(calls))
    backend.settle(runner)
    assert calls == ["old", "new"]
    assert observer.kinds() == ["group_recreated"]


def test_prepare_fetches_state_once_for_the_whole_batch(backend):
    fetched = []
    seen = []

    def fetch(events, context):
        fetched.append(len(events))
        return {event.plan_id: event.plan_id.upper() for event in events}

    @consumer(streams.APPLY_PLAN, prepare=fetch)
    def prepared(event, context):
        seen.append(context.state[event.plan_id])

    for name in ("a", "b", "c"):
        backend.publish(plan(name))
    backend.add(PLANS, [b"broken", b"entry"])
    runner, _ = backend.runner(prepared)
    backend.settle(runner)
    assert fetched == [3]
    assert seen == ["A", "B", "C"]
    assert [letter.reason for letter in backend.events(DeadLetter)] == ["undecodable"]


def test_one_consumer_of_two_streams_gets_the_type_of_each(backend):
    seen = []

    @consumer(streams.APPLY_PLAN, streams.AUDIT_FINDING)
    def both(event, context):
        seen.append(type(event).__name__)

    backend.publish(plan("a"))
    backend.publish(AuditFinding(auditor="x", finding="y", severity="info"))
    runner, _ = backend.runner(both)
    backend.settle(runner)
    assert sorted(seen) == ["ApplyPlan", "AuditFinding"]
    assert backend.pending(PLANS, "both") == 0
    assert backend.pending(streams.AUDIT_FINDING.key, "both") == 0


def test_waiting_entry_does_not_hold_up_the_ones_behind_it(backend):
    order = []

    @consumer(streams.APPLY_PLAN)
    def patient(event, context):
        order.append((event.plan_id, context.attempt))
        if event.plan_id == "slow" and context.attempt == 1:
            raise Retry(0.03)

    backend.publish(plan("slow"))
    backend.publish(plan("fast"))
    runner, _ = backend.runner(patient)
    backend.settle(runner)
    assert order == [("slow", 1), ("fast", 1), ("slow", 2)]


def test_trading_streams_are_never_written(backend):
    @consumer(streams.AUDIT_FINDING, max_deliveries=1)
    def forger(event, context):
        context.publish(plan("forged"))

    backend.publish(AuditFinding(auditor="x", finding="y", severity="info"))
    runner, _ = backend.runner(forger)
    backend.settle(runner)
    assert backend.entries(PLANS) == []
    assert "never written" in backend.events(DeadLetter)[0].error
