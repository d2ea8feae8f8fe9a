"""Promises that gates build on, kept on every backend: one decision for each plan, last words.

The plain promises stand in test_promises.py.
"""

from __future__ import annotations

import pytest

from quantum_ops import streams
from quantum_ops.consumer import consumer
from quantum_ops.errors import ConfigurationError, Reject
from quantum_ops.events import ApplyPlan, AuditFinding, DeadLetter

PLANS = streams.APPLY_PLAN.key


def plan(plan_id: str, side: str = "BUY") -> ApplyPlan:
    return ApplyPlan(plan_id=plan_id, decision="EXECUTE", symbol="BTCUSDT", side=side)


def deciding(calls: list[tuple[str, int]]):
    """Decides a plan id for the side it came with first; tells of another side under it."""

    @consumer(streams.APPLY_PLAN)
    def decider(event, context):
        calls.append((event.side, context.attempt))
        if context.attempt > 1:
            context.once(f"told:{event.plan_id}", ttl_s=60)
            context.incr("conflicts")
            return
        context.first(f"decided:{event.plan_id}", event.side, ttl_s=60)
        context.incr(f"permits:{event.plan_id}")

    return decider


def test_first_decides_and_the_same_again_changes_nothing(backend):
    # Given a plan that was published twice, and another one
    for event in (plan("a"), plan("a"), plan("b")):
        backend.publish(event)
    calls = []
    # When they are decided
    runner, observer = backend.runner(deciding(calls))
    backend.settle(runner)
    # Then each plan id has one permit, and the repeat was acknowledged without any effect
    assert (backend.get("permits:a"), backend.get("permits:b")) == (b"1", b"1")
    assert backend.get("conflicts") is None
    assert sum(report.skipped for report in observer.reports) == 1
    assert backend.pending(PLANS, "decider") == 0
    assert len(calls) == 3


def test_another_value_under_a_decided_key_is_handled_once_more_and_told(backend):
    # Given two different plans under one id, and a plan between them
    for event in (plan("a", "BUY"), plan("b"), plan("a", "SELL")):
        backend.publish(event)
    calls = []
    runner, _ = backend.runner(deciding(calls))
    backend.settle(runner)
    # Then the second was neither applied nor lost: it came again, so that it could be told
    assert calls == [("BUY", 1), ("BUY", 1), ("SELL", 1), ("SELL", 2)]
    assert (backend.get("permits:a"), backend.get("conflicts")) == (b"1", b"1")
    assert backend.get("decided:a") == b"BUY"
    assert backend.pending(PLANS, "decider") == 0


def test_two_processes_that_decide_the_same_id_at_once_cannot_hide_the_contradiction(backend):
    # Given two processes that hold one plan each, both under the same id
    calls = []
    decider = deciding(calls)
    one, _ = backend.runner(decider, "one")
    other, _ = backend.runner(decider, "other")
    backend.publish(plan("a", "BUY"))
    one.step(wait=False)
    backend.publish(plan("a", "SELL"))
    other.step(wait=False)
    # When both settle
    backend.settle(one)
    backend.settle(other)
    # Then one is applied, the other one is told as a contradiction
    assert (backend.get("permits:a"), backend.get("conflicts")) == (b"1", b"1")
    assert ("SELL", 2) in calls


def test_first_must_come_first(backend):
    @consumer(streams.APPLY_PLAN, max_deliveries=1)
    def late(event, context):
        context.incr("done")
        context.first("decided", "x", ttl_s=60)

    backend.publish(plan("a"))
    runner, _ = backend.runner(late)
    backend.settle(runner)
    assert backend.get("done") is None
    assert "declare it before them" in backend.events(DeadLetter)[0].error


def test_decided_key_of_another_type_is_a_contradiction_too(backend):
    @consumer(streams.AUDIT_FINDING)
    def spoiler(event, context):
        context.hset("decided:a", {"x": "y"})

    backend.publish(AuditFinding(auditor="x", finding="y", severity="info"))
    spoiling, _ = backend.runner(spoiler)
    backend.settle(spoiling)
    calls = []
    backend.publish(plan("a"))
    runner, _ = backend.runner(deciding(calls))
    backend.settle(runner)
    assert (backend.get("permits:a"), backend.get("conflicts")) == (None, b"1")


def test_rejected_plan_can_leave_a_denial_beside_its_dead_letter(backend):
    @consumer(streams.APPLY_PLAN)
    def strict(event, context):
        context.first(f"decided:{event.plan_id}", event.side, ttl_s=60)
        context.set(f"permit:{event.plan_id}", "denied")
        raise Reject("qty is no number", keep_effects=event.plan_id == "kept")

    for plan_id in ("kept", "dropped", "kept"):
        backend.publish(plan(plan_id))
    runner, observer = backend.runner(strict)
    backend.settle(runner)
    # Then the denial stands, once, and every rejected entry is kept, the repeat included
    assert (backend.get("permit:kept"), backend.get("permit:dropped")) == (b"denied", None)
    letters = backend.events(DeadLetter)
    assert [letter.reason for letter in letters] == ["rejected"] * 3
    assert observer.kinds() == ["dead_letter"] * 3
    assert backend.pending(PLANS, "strict") == 0


def test_undecodable_entry_can_leave_a_denial_beside_its_dead_letter(backend):
    seen = []

    def deny(flat, error, context):
        seen.append((error.field, context.entry_id, context.attempt))
        context.set("permit:x", "denied")

    @consumer(streams.APPLY_PLAN, last_words=deny)
    def reader(event, context):
        context.incr("handled")

    bad = backend.add(PLANS, [b"plan_id", b"x", b"decision", b"EXECUTE", b"symbol", b"\xff"])
    backend.publish(plan("good"))
    runner, _ = backend.runner(reader)
    backend.settle(runner)
    assert seen == [("symbol", bad.decode(), 1)]
    assert (backend.get("permit:x"), backend.get("handled")) == (b"denied", b"1")
    assert [letter.entry_id for letter in backend.events(DeadLetter)] == [bad.decode()]


def test_entry_that_fails_to_the_end_can_leave_a_denial_too(backend):
    def deny(flat, error, context):
        context.set(f"denied:{flat[1].decode()}", str(error)[:60])

    @consumer(streams.APPLY_PLAN, last_words=deny, max_deliveries=2)
    def failing(event, context):
        context.incr("handled")
        raise ValueError("always")

    backend.publish(plan("a"))
    runner, observer = backend.runner(failing)
    backend.settle(runner)
    assert backend.get("denied:a") == b"always"
    assert backend.get("handled") is None
    assert observer.kinds() == ["retry", "dead_letter"]


def test_last_words_that_fail_cost_their_effects_and_never_the_consumer(backend):
    # Given last words that always fail, halfway through what they wanted to say
    def stammer(flat, error, context):
        context.set("permit:x", "half")
        raise KeyError("missing")

    @consumer(streams.APPLY_PLAN, last_words=stammer)
    def reader(event, context):
        context.incr("handled")

    # When an entry that cannot be decoded comes before a good one
    bad = backend.add(PLANS, [b"plan_id", b"x", b"decision", b"EXECUTE", b"symbol", b"\xff"])
    backend.publish(plan("good"))
    runner, observer = backend.runner(reader)
    backend.settle(runner)
    # Then it is buried as it came, nothing half-said is written, and the failure is told
    assert [letter.entry_id for letter in backend.events(DeadLetter)] == [bad.decode()]
    assert (backend.get("permit:x"), backend.get("handled")) == (None, b"1")
    assert observer.kinds() == ["last_words_failed", "dead_letter"]
    assert backend.pending(PLANS, "reader") == 0


def test_setup_runs_once_and_idle_before_the_first_batch_and_whenever_nothing_came(backend):
    order = []

    def set_up(context):
        order.append("setup")
        return {"plans": 0}

    def idle(context):
        order.append(f"idle after {context.held['plans']}")

    @consumer(streams.APPLY_PLAN, setup=set_up, idle=idle)
    def counter(event, context):
        context.held["plans"] += 1

    backend.publish(plan("a"))
    runner, _ = backend.runner(counter)
    assert order == ["setup", "idle after 0"]
    backend.settle(runner)
    assert order[2:] == ["idle after 1"]


def test_tick_runs_under_load_and_sees_what_was_handled_before(backend):
    seen = []

    def tick(context):
        seen.append(backend.get("handled"))

    @consumer(streams.APPLY_PLAN, tick=tick, tick_s=0.0, batch=2)
    def counter(event, context):
        context.incr("handled")

    for number in range(6):
        backend.publish(plan(f"p{number}"))
    runner, _ = backend.runner(counter)
    backend.settle(runner)
    assert seen == [None, b"2", b"4", b"6"]


def test_tick_that_fails_for_good_is_not_hidden(backend):
    def tick(context):
        raise ValueError("a bug")

    @consumer(streams.APPLY_PLAN, tick=tick)
    def never(event, context): ...

    runner, _ = backend.runner(never)
    with pytest.raises(ValueError, match="a bug"):
        runner.step(wait=False)


def test_setup_that_refuses_is_told_before_anything_is_read(backend):
    def refuse(context):
        raise ConfigurationError("no key")

    @consumer(streams.APPLY_PLAN, setup=refuse)
    def never(event, context): ...

    with pytest.raises(ConfigurationError, match="no key"):
        backend.runner(never)


def test_state_of_one_streams_entries_sees_what_anothers_declared_in_the_same_read(backend):
    # Given a plan and its result that are read together
    seen = []

    def fetch(events, context):
        return backend.get("planned")

    @consumer(streams.APPLY_PLAN, streams.AUDIT_FINDING, prepare=fetch)
    def both(event, context):
        if isinstance(event, ApplyPlan):
            context.set("planned", event.plan_id)
        else:
            seen.append(context.state)

    runner, _ = backend.runner(both)
    backend.publish(plan("a"))
    backend.publish(AuditFinding(auditor="x", finding="y", severity="info"))
    backend.settle(runner)
    # Then the result finds its plan
    assert seen == [b"a"]
