"""What is our own trouble is waited out: no entry is charged for it, none is buried."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from quantum_ops import streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import consumer
from quantum_ops.errors import Hold
from quantum_ops.events import ApplyPlan, DeadLetter
from quantum_ops.holding import LONGEST_WAIT_S, PATIENCE_S, Holding
from quantum_ops.settings import RuntimeSettings
from quantum_ops.testing import FrozenClock
from tests.waiting import wait_until

IMPATIENT = RuntimeSettings(
    batch=50, block_ms=10, claim_after_s=0.2, retry_base_s=0.001, retry_cap_s=0.05, max_deliveries=2
)


def plan(plan_id):
    return ApplyPlan(plan_id=plan_id, decision="EXECUTE", symbol="BTCUSDT", side="BUY", qty="1")


class Quick(FrozenClock):
    """A clock whose waits are over at once, and which stops after so many."""

    def __init__(self, waits):
        super().__init__()
        self.waits, self.left = [], waits

    def wait(self, seconds):
        super().wait(seconds)
        self.waits.append(seconds)
        self.left -= 1
        if self.left == 0:
            self.stop()


def test_a_batch_waits_in_hand_however_long_the_trouble_lasts(backend):
    # Given a disk that is full for far more tries than an entry may have
    tries = []

    def keep(events, context):
        tries.append((len(events), context.entry_ids))
        if len(tries) < 40:
            raise Hold("the disk is full")

    @consumer(streams.APPLY_PLAN, prepare=keep)
    def keeper(event, context):
        context.incr(f"kept {event.plan_id} at {context.attempt}")

    ids = [backend.publish(plan(one)).decode() for one in "ab"]
    runner, observer = backend.runner(keeper, runtime=IMPATIENT, clock=Quick(1000))
    # When it is handled
    backend.settle(runner)
    # Then both entries are kept, at their first delivery, and each try was given their ids
    assert [backend.get(f"kept {one} at 1") for one in "ab"] == [b"1", b"1"]
    assert tries == [(2, ids)] * 40
    assert backend.events(DeadLetter) == []
    assert observer.kinds() == ["held_up"]


def test_asked_to_stop_while_it_waits_nothing_is_settled_and_the_next_process_goes_on(backend):
    full = [True]

    def ask(context):
        if full[0]:
            raise Hold("the disk is full")

    def keep(events, context):
        ask(context)

    @consumer(streams.APPLY_PLAN, prepare=keep)
    def keeper(event, context):
        context.incr("kept")

    backend.publish(plan("a"))
    runner, _ = backend.runner(keeper, runtime=IMPATIENT, clock=Quick(3))
    with pytest.raises(Hold):
        runner.step(wait=False)
    assert backend.get("kept") is None
    assert backend.pending(streams.APPLY_PLAN.key, "keeper") == 1

    # And processes that ask before they read may be started any number of times
    @consumer(streams.APPLY_PLAN, prepare=keep, hold=ask)
    def keeper(event, context):
        context.incr("kept")

    for _ in range(10):
        with pytest.raises(Hold):
            backend.runner(keeper, runtime=IMPATIENT)
    full[0] = False
    runner, observer = backend.runner(keeper, runtime=IMPATIENT)
    backend.settle(runner)
    assert backend.get("kept") == b"1"
    assert observer.kinds() == []


def test_held_up_it_reads_nothing_and_settles_what_was_handled(backend):
    held = []

    def ask(context):
        if held:
            raise Hold(held[0])

    @consumer(streams.APPLY_PLAN, hold=ask)
    def keeper(event, context):
        context.incr("kept")

    runner, _ = backend.runner(keeper)
    backend.publish(plan("a"))
    runner.step(wait=False)
    held.append("not now")
    backend.publish(plan("b"))
    with pytest.raises(Hold, match="not now"):
        runner.step(wait=False)
    assert backend.get("kept") == b"1"
    assert backend.pending(streams.APPLY_PLAN.key, "keeper") == 0
    held.clear()
    backend.settle(runner)
    assert backend.get("kept") == b"2"


def test_a_running_process_stands_by_until_its_turn_comes(backend):
    taken = [True]

    def ask(context):
        if taken[0]:
            raise Hold("another process does it", standby=True)

    @consumer(streams.APPLY_PLAN, hold=ask)
    def keeper(event, context):
        context.incr("kept")

    backend.publish(plan("a"))
    clock = Clock()
    shown = []
    taken[0] = False
    runner, observer = backend.runner(keeper, clock=clock)
    taken[0] = True
    runner._holding._show = shown.append
    running = threading.Thread(target=runner.run)
    running.start()
    try:
        wait_until(lambda: "standby" in shown, 5, "it stands by")
        assert backend.get("kept") is None
        taken[0] = False
        wait_until(lambda: backend.get("kept") == b"1", 5, "it takes over")
    finally:
        clock.stop()
        running.join(5)
    assert not running.is_alive()
    assert observer.kinds() == ["standby"]


def test_somebody_is_called_once_and_told_when_it_is_over():
    told, shown, troubles = [], [], []

    vital = SimpleNamespace(vitals={})

    def tell(reason, lasted_s):
        told.append((reason, lasted_s))
        return True

    clock = FrozenClock()
    holding = Holding(
        vital, clock, shown.append, tell,
        lambda kind, **more: troubles.append((kind, more["error"])),
    )  # fmt: skip
    while clock.monotonic_s() < 100:
        assert holding.wait(Hold("full"))
    assert holding.wait(Hold("damaged"))
    assert [reason for reason, _ in told] == ["full"]
    assert PATIENCE_S <= told[0][1] < PATIENCE_S + LONGEST_WAIT_S
    assert vital.vitals == {"detail": "damaged"}
    assert set(shown) == {"waiting"}
    assert troubles == [("held_up", "full"), ("held_up", "damaged")]
    holding.over()
    assert told[1][0] == ""
    assert vital.vitals == {"detail": ""}
    holding.over()
    assert len(told) == 2
    # And one who stands by calls nobody
    for _ in range(100):
        holding.wait(Hold("another", standby=True))
    holding.over()
    assert len(told) == 2


def test_only_a_hook_may_hold(backend):
    """Raised by a handler it is a failure like any other: its entry ends in the dead letter."""

    @consumer(streams.APPLY_PLAN)
    def wrong(event, context):
        raise Hold("never")

    backend.publish(plan("a"))
    runner, _ = backend.runner(wrong, runtime=IMPATIENT)
    backend.settle(runner)
    assert [one.reason for one in backend.events(DeadLetter)] == ["handler_failed"]
