"""The promises of a runner that asks for the next batch before it has handled this one."""

from __future__ import annotations

import pytest

from quantum_ops import client, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import consumer
from quantum_ops.errors import Retry
from quantum_ops.events import ApplyPlan
from quantum_ops.settings import RuntimeSettings
from tests.waiting import wait_until

PLANS = streams.APPLY_PLAN.key
BATCH = 10
CALM = RuntimeSettings(batch=BATCH, block_ms=10, retry_base_s=0.01, retry_cap_s=0.05)
"""Nothing is claimed by itself here: an hour would have to pass."""
EAGER = RuntimeSettings(
    batch=BATCH, block_ms=10, claim_after_s=0.05, retry_base_s=0.01, retry_cap_s=0.04
)


class JumpingClock(Clock):
    """A clock on which ``slept_s`` seconds more have passed: the process was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.slept_s


@pytest.fixture
def plans(backend):
    """Five full batches of plans, and their names in order."""
    names = [f"p{number:02}" for number in range(5 * BATCH)]
    for name in names:
        backend.publish(ApplyPlan(plan_id=name, decision="EXECUTE", symbol="BTCUSDT"))
    return names


def watched(runner) -> list[int]:
    """The reads ahead that ``runner`` makes from now on."""
    asked: list[int] = []
    read_ahead = runner._inbox.read_ahead

    def note(count: int) -> None:
        asked.append(count)
        read_ahead(count)

    runner._inbox.read_ahead = note
    return asked


def test_a_backlog_is_read_ahead_and_handled_once_in_order(backend, plans):
    calls: list[str] = []

    @consumer(streams.APPLY_PLAN)
    def counter(event, context):
        calls.append(event.plan_id)
        context.incr(f"count:{event.plan_id}")
        if event.plan_id == "p25" and hasattr(backend, "db"):
            backend.db.script_flush()  # what is on its way then has to be sent again

    runner, observer = backend.runner(counter, runtime=CALM)
    asked = watched(runner)
    backend.settle(runner)
    assert asked
    assert calls == plans
    assert {backend.get(f"count:{name}") for name in plans} == {b"1"}
    assert backend.pending(PLANS, "counter") == 0
    assert sum(report.acked for report in observer.reports) == len(plans)
    assert observer.troubles == []


def test_asked_to_stop_it_finishes_what_it_has_read(backend, plans):
    clock, calls = Clock(), []

    @consumer(streams.APPLY_PLAN)
    def counter(event, context):
        calls.append(event.plan_id)
        if event.plan_id == "p12":
            clock.stop()

    # Given a process that has read a batch ahead when it is asked to stop
    runner, _ = backend.runner(counter, runtime=CALM, clock=clock)
    asked = watched(runner)
    runner.run()
    # Then it handles that one, too, and nothing is left behind that a start would be charged for
    assert asked == [BATCH]
    assert calls == plans[: 3 * BATCH]
    assert backend.pending(PLANS, "counter") == 0


def test_a_zombie_does_not_touch_what_was_claimed_from_its_hands(backend, plans):
    # Given a process that has handled two batches and holds a third, read ahead, when it is stopped
    clock, mine, theirs = JumpingClock(), [], []

    @consumer(streams.APPLY_PLAN)
    def group(event, context):
        mine.append(event.plan_id)

    @consumer(streams.APPLY_PLAN, name="group")
    def same(event, context):
        theirs.append(event.plan_id)

    zombie, seen = backend.runner(group, "zombie", CALM, clock=clock)
    asked = watched(zombie)
    zombie.step()
    zombie.step()
    assert asked == [BATCH]
    # When another process claims all that lies there, and the first wakes up after an hour
    heir, _ = backend.runner(same, "heir", EAGER)
    wait_until(lambda: heir.step(wait=False) == 0 and len(theirs) == 4 * BATCH, what="taken over")
    heir.flush()
    clock.slept_s = 3600.0
    zombie._claim_due = float("inf")
    zombie.step()
    # Then its handler, whose work no fence undoes, never sees them
    assert mine == plans[: 2 * BATCH]
    assert "fenced" in seen.kinds()
    assert sum(report.fenced for report in seen.reports) >= BATCH
    assert backend.pending(PLANS, "group") == 0


def test_a_crash_costs_what_was_read_ahead_one_delivery_and_no_more(backend, plans):
    attempts: dict[str, int] = {}

    @consumer(streams.APPLY_PLAN)
    def counter(event, context):
        attempts[event.plan_id] = context.attempt
        context.incr(f"count:{event.plan_id}")

    # Given a process that is killed while it holds two batches
    runner, _ = backend.runner(counter, runtime=CALM)
    asked = watched(runner)
    runner.step()
    runner.step()
    assert asked == [BATCH]
    runner._inbox.disconnect()
    # When the next one comes
    runner, observer = backend.runner(counter, runtime=CALM)
    backend.settle(runner)
    # Then each is handled, and those that were in hand or read ahead were charged once for it
    assert sorted(attempts) == plans
    assert {attempts[name] for name in plans[: 3 * BATCH]} <= {1, 2}
    assert {attempts[name] for name in plans[3 * BATCH :]} == {1}
    assert {backend.get(f"count:{name}") for name in plans} == {b"1"}
    assert observer.troubles == []


def die_with_one(backend, group: str) -> None:
    """Another process of ``group`` took one entry and has been silent for a day."""
    inbox = backend.inbox((PLANS,), group, "dead")
    [(_, [(id_, _)])] = inbox.exchange({}, 1, 0)[1]
    if hasattr(backend, "db"):
        day_ms = 86_400_000
        client.raw(backend.db, "XCLAIM", PLANS, group, "dead", 0, id_, "IDLE", day_ms, "JUSTID")
    else:
        backend.server.streams[PLANS].groups[group].pending[id_].since_s -= 86_400


def test_what_is_claimed_or_tried_again_is_never_what_lies_in_hand(backend, plans):
    # Given a batch in hand, the next read ahead, and a claim and a retry that come due meanwhile
    calls: list[str] = []

    @consumer(streams.APPLY_PLAN)
    def counter(event, context):
        calls.append(event.plan_id)
        if event.plan_id == "p15" and context.attempt == 1:
            die_with_one(backend, "counter")
            runner._claim_due = 0.0
            raise Retry(after_s=0.001)

    runner, observer = backend.runner(counter, runtime=CALM)
    asked = watched(runner)
    backend.settle(runner)
    # Then nothing meets its handler more often than it must
    assert asked
    assert sorted(calls) == sorted([*plans, "p15"])
    assert observer.kinds() == ["retry"]
    assert backend.pending(PLANS, "counter") == 0
    # And however long the backlog is, the claim comes in between
    assert calls.index("p30") < calls.index("p49")


def test_state_is_fetched_after_the_batch_before_was_settled(backend, plans):
    seen: list[int] = []

    def fetch(events, context):
        seen.append(int(backend.get("handled") or 0))

    @consumer(streams.APPLY_PLAN, prepare=fetch)
    def gate(event, context):
        context.incr("handled")

    runner, _ = backend.runner(gate, runtime=CALM)
    asked = watched(runner)
    backend.settle(runner)
    assert asked
    assert seen == [0, 10, 20, 30, 40]


def test_a_group_that_vanishes_meanwhile_loses_nothing(backend, plans):
    calls: list[str] = []

    @consumer(streams.APPLY_PLAN)
    def counter(event, context):
        calls.append(event.plan_id)
        if event.plan_id == "p15" and len(calls) == 16:
            backend.destroy_group(PLANS, "counter")

    clock = Clock()
    runner, observer = backend.runner(counter, runtime=CALM, clock=clock)
    asked = watched(runner)
    runner._on_idle = lambda _state: clock.stop() if set(calls) == set(plans) else None
    runner.run()
    assert asked
    assert set(calls) == set(plans)
    assert "group_recreated" in observer.kinds()


def test_nothing_is_read_ahead_by_whoever_has_to_ask_first(backend, plans):
    @consumer(streams.APPLY_PLAN, hold=lambda _context: None)
    def careful(event, context): ...

    runner, _ = backend.runner(careful, runtime=CALM)
    asked = watched(runner)
    backend.settle(runner)
    assert asked == []


def test_renewing_keeps_what_is_ours_uncharged_and_takes_nothing_back(backend, plans):
    # Given ten entries with one process, of which another claims all, and the first takes one back
    one, other = (backend.inbox((PLANS,), "group", name) for name in ("one", "other"))
    one.ensure_groups()
    [(_, entries)] = one.exchange({}, BATCH, 0)[1]
    ids = [entry[0] for entry in entries]
    assert one.renew(PLANS, ids) == set(ids)
    assert [row.deliveries for row in one.pending(PLANS, b"0-0", BATCH)] == [1] * BATCH
    other.claim(PLANS, 0)
    # When the first one renews, then none of them is its any more, and they stay where they are
    assert one.renew(PLANS, ids) == set()
    assert len(other.pending(PLANS, b"0-0", BATCH)) == BATCH
    # And one whose payload is gone is still recorded as lost by whoever claims it
    backend.remove(PLANS, ids[0])
    assert other.renew(PLANS, ids) == set(ids)
    assert one.claim(PLANS, 0).lost == [ids[0]]
