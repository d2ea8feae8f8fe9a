"""What the runner asks of its inbox, when, and what it says of it; in steered time.

What it promises on every backend stands in tests/integration/test_promises.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import redis

from quantum_ops import codec, entry_id, logs, pace, streams
from quantum_ops.consumer import Bounds, consumer
from quantum_ops.context import Context
from quantum_ops.errors import Hold, RefusedError, Retry
from quantum_ops.events import ApplyPlan
from quantum_ops.inbox import GroupMadeAnew, Receipt
from quantum_ops.memory import MemoryInbox, MemoryRedis
from quantum_ops.observe import BatchReport, Trouble
from quantum_ops.runner import PENDING_PAGE, Runner
from quantum_ops.testing import FrozenClock, Recorder

PLANS = streams.APPLY_PLAN.key
AWAY = redis.exceptions.ConnectionError("connection reset")


class Spied:
    """An inbox that notes what is asked of it, and fails where it is told to.

    ``failures`` are (method, error) in their order; None lets a call through.
    """

    def __init__(self, inbox: MemoryInbox) -> None:
        self._inbox = inbox
        self.calls: list[tuple] = []
        self.failures: list[tuple[str, Exception | None]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append((name, *args))
            if self.failures and self.failures[0][0] == name:
                error = self.failures.pop(0)[1]
                if error is not None:
                    raise error
            return getattr(self._inbox, name)(*args)

        return call

    def asked(self, *names: str) -> list[tuple]:
        """The calls of these names so far, without their settlements; forgotten then."""
        calls, self.calls = self.calls, []
        drop = {"exchange": 2, "submit": 2}
        return [(one[0], *one[drop.get(one[0], 1) :]) for one in calls if one[0] in names]


class Steps(FrozenClock):
    """A clock that notes its waits, and asks for a stop at the ``last``."""

    def __init__(self, last: int = 1 << 30) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._last = last

    def wait(self, seconds: float) -> None:
        super().wait(seconds)
        self.waits.append(seconds)
        if len(self.waits) == self._last:
            self.stop()


class Rig:
    """A runner on a spied inbox in memory."""

    def __init__(self, made, *, last: int = 1 << 30, server: MemoryRedis | None = None, **bounds):
        self.server = server or MemoryRedis()
        self.clock = Steps(last)
        self.states: list[str] = []
        self.observer = Recorder()
        self.context = Context(made.name, None, logs.get(), self.clock)
        self.inbox = Spied(MemoryInbox(self.server, (PLANS,), made.name))
        usual = {"batch": 50, "block_ms": 500, "claim_after_s": 60.0, "max_deliveries": 5,
                 "retry_base_s": 1.0, "retry_cap_s": 30.0}  # fmt: skip
        self.runner = Runner(
            made, self.inbox, self.context, Bounds(**{**usual, **bounds}), self.observer,
            clock=self.clock, on_idle=self.states.append,
        )  # fmt: skip

    def publish(self, count: int) -> None:
        for number in range(count):
            self.server.add(PLANS, codec.encode(ApplyPlan(plan_id=f"p{number}", decision="SKIP")))

    def acked(self) -> int:
        return sum(report.acked for report in self.observer.reports)


@consumer(streams.APPLY_PLAN)
def plain(event, context): ...


@pytest.fixture(autouse=True)
def no_jitter(monkeypatch):
    monkeypatch.setattr(pace.random, "uniform", lambda _low, high: high)


def test_opened_it_looks_at_its_own_first_then_at_what_others_left_and_says_that_it_is_ready():
    rig = Rig(plain, claim_after_s=60.0)
    rig.runner.open()
    assert rig.inbox.asked("ensure_groups", "pending", "claim", "exchange") == [
        ("ensure_groups",), ("pending", PLANS, entry_id.ZERO, PENDING_PAGE),
        ("claim", PLANS, 60_000),
    ]  # fmt: skip
    assert rig.states == ["ready"]
    # And a handler that works for long can say so, too
    rig.context.alive()
    assert rig.states == ["ready"] * 2
    # And nothing was handled, so there is nothing to settle
    rig.runner.flush()
    assert rig.inbox.asked("exchange", "submit") == []
    assert rig.runner.handled == 0


def test_what_is_pending_is_handled_to_its_end_page_by_page():
    # Given more than a page that this very process took before it died
    dead = Rig(plain)
    count = PENDING_PAGE + PENDING_PAGE // 2
    dead.runner.open()
    dead.publish(count)
    dead.inbox.exchange({}, count, 0)
    # When it starts again, then all of it is settled before anything is read
    rig = Rig(plain, server=dead.server)
    rig.runner.open()
    assert rig.runner.handled == rig.acked() == count
    assert ("exchange", 50, 500) not in rig.inbox.asked("exchange")


@pytest.mark.parametrize(
    ("claim_after_s", "every_s"), [(0.1, 0.05), (0.2, 0.05), (4.0, 1.0), (8.0, 2.0), (60.0, 2.0)]
)
def test_idle_entries_are_looked_for_four_times_until_they_are_and_every_two_seconds_at_most(
    claim_after_s, every_s
):
    rig = Rig(plain, claim_after_s=claim_after_s)
    rig.runner.open()
    assert rig.inbox.asked("claim") == [("claim", PLANS, int(claim_after_s * 1000))]
    for _ in range(2):
        # Not before the time, and at the very moment
        due_s = rig.clock.monotonic_s() + every_s
        rig.clock.wait(every_s * 0.95)
        rig.runner.step(wait=False)
        assert rig.inbox.asked("claim") == []
        rig.clock._ahead_s = due_s
        rig.runner.step(wait=False)
        assert len(rig.inbox.asked("claim")) == 1


def test_checkpoints_are_written_at_the_first_step_and_then_once_a_second():
    rig = Rig(plain)
    rig.runner.open()
    told = []
    for _ in range(6):
        rig.runner.step(wait=False)
        told.append(len(rig.inbox.asked("checkpoint")))
        rig.clock.wait(0.5)
    assert told == [1, 0, 1, 0, 1, 0]
    assert set(rig.states) == {"ready"}


def test_ticks_come_at_the_first_step_and_then_at_their_time():
    ticks = []

    @consumer(
        streams.APPLY_PLAN, tick=lambda context: ticks.append(context.clock.monotonic_s()), tick_s=5
    )
    def ticking(event, context): ...

    rig = Rig(ticking, block_ms=60_000)
    rig.runner.open()
    for _ in range(5):
        rig.runner.step()
        rig.clock.wait(2.5)
    assert ticks == [0.0, 5.0, 10.0]
    # And a read waits no longer than until the next
    assert [block_ms for _, _, block_ms in rig.inbox.asked("exchange")] == [
        5_000, 2_500, 5_000, 2_500, 5_000,
    ]  # fmt: skip


def test_a_read_waits_as_long_as_it_may_but_not_past_the_next_retry():
    attempts = []

    @consumer(streams.APPLY_PLAN)
    def later(event, context):
        attempts.append(context.attempt)
        if context.attempt == 1:
            raise Retry(0.25)

    rig = Rig(later)
    rig.runner.open()
    rig.publish(1)
    # Given nothing that waits, then the whole time; not at all if nobody wants to wait
    assert rig.runner.due_in_s() is None
    assert rig.runner.last_id == ""
    assert rig.runner.step() == 1
    assert rig.runner.last_id == list(rig.server.streams[PLANS].entries)[-1].decode()
    assert rig.runner.due_in_s() == 0.25
    assert rig.runner.step() == 0
    rig.runner.step(wait=False)
    rig.clock.wait(0.2495)
    rig.runner.step()
    assert rig.inbox.asked("exchange", "pending")[1:] == [
        ("exchange", 50, 500), ("exchange", 50, 250), ("exchange", 50, 0), ("exchange", 50, 1),
    ]  # fmt: skip
    # When its time has come, to the moment, then it is handled, and settled before the next read
    rig.clock.wait(0.25 - rig.clock.monotonic_s())
    [id_] = rig.server.streams[PLANS].groups["later"].pending
    rig.runner.step()
    assert attempts == [1, 2]
    assert rig.inbox.asked("exchange", "pending") == [
        ("pending", PLANS, entry_id.before(id_), 1), ("exchange", 0, 0), ("exchange", 50, 500),
    ]  # fmt: skip
    assert rig.runner.due_in_s() is None


def test_what_was_handled_is_settled_before_a_retry_is_looked_at():
    @consumer(streams.APPLY_PLAN)
    def later(event, context):
        if event.plan_id == "p0" and context.attempt == 1:
            raise Retry(0.0)

    rig = Rig(later)
    rig.runner.open()
    rig.publish(2)
    rig.runner.step()
    rig.inbox.asked()
    rig.runner.step()
    assert [one[0] for one in rig.inbox.asked("exchange", "pending")] == [
        "exchange", "pending", "exchange", "exchange",
    ]  # fmt: skip


def test_slow_work_is_sent_in_slices_and_heard_of_once():
    # Given 50 entries that take 20 ms each, of which the last two want to come again
    @consumer(streams.APPLY_PLAN)
    def slow(event, context):
        context.clock.wait(0.02)
        if event.plan_id in ("p48", "p49"):
            raise Retry(9)

    rig = Rig(slow)
    rig.runner.open()
    rig.publish(50)
    states = len(rig.states)
    rig.inbox.asked()
    assert rig.runner.step() == 50
    # Then what was handled so far is sent after the first slice, and then every 50 ms
    sent = [sum(len(part.acks) for part in one[1].values())
            for one in rig.inbox.calls if one[0] == "submit"]  # fmt: skip
    assert sent == [16, *[2] * 16]
    # And it says that it is alive before each slice but the first, and at the end
    assert rig.states[states:] == ["ready"] * (len(sent) + 1)
    # When nothing but what was sent is left, then it is heard of all the same, and once
    rig.inbox.asked()
    rig.runner.flush()
    assert rig.inbox.asked("exchange") == [("exchange", 0, 0)]
    assert rig.acked() == rig.runner.handled == 48
    rig.runner.flush()
    assert rig.inbox.asked("exchange") == []


def test_a_batch_that_was_read_ahead_is_taken_without_a_wait_and_an_empty_one_read_again():
    rig = Rig(plain, batch=2)
    rig.runner.open()
    rig.publish(4)
    # Given two full batches: behind the first nothing is known of how quick they are
    rig.inbox.asked()
    assert (rig.runner.step(), rig.runner.step()) == (2, 2)
    assert rig.inbox.asked("exchange", "read_ahead") == [
        ("exchange", 2, 500), ("exchange", 2, 500), ("read_ahead", 2),
    ]  # fmt: skip
    # When what was read ahead is empty, then it is waited for as usual
    assert rig.runner.step() == 0
    assert rig.inbox.asked("exchange", "read_ahead") == [("exchange", 2, 0), ("exchange", 2, 500)]
    # And nothing of it is heard of twice
    rig.runner.flush()
    assert rig.inbox.asked("exchange") == []
    assert rig.acked() == 4


def test_redis_away_is_told_and_waited_out_with_longer_and_longer_waits():
    rig = Rig(plain, last=4)
    rig.inbox.failures = [("ensure_groups", AWAY)] * 4
    rig.runner.run()
    assert rig.clock.waits == [0.1, 0.2, 0.4, 0.8]
    assert (
        rig.observer.troubles
        == [Trouble("plain", "redis_away", "", "", 0, "ConnectionError", "connection reset")] * 4
    )
    assert rig.states == ["waiting"] * 4
    # And each time the connection is dropped, at the end, too
    assert rig.inbox.asked("disconnect") == [("disconnect",)] * 5


def test_the_waits_begin_anew_once_a_step_went_through():
    rig = Rig(plain, last=4)
    rig.inbox.failures = [
        ("ensure_groups", AWAY), ("ensure_groups", AWAY), ("exchange", None), ("exchange", AWAY),
        ("ensure_groups", AWAY),
    ]  # fmt: skip
    rig.runner.run()
    assert rig.clock.waits == [0.1, 0.2, 0.1, 0.2]
    # And of nothing that was settled nothing is heard
    assert rig.observer.reports == []


def test_a_line_that_loses_some_replies_while_work_goes_on_is_not_waited_for_as_one_that_is_gone():
    # Given a backlog of its own that is handled between failures, one entry at a time
    dead = Rig(plain)
    dead.runner.open()
    dead.publish(3)
    dead.inbox.exchange({}, 3, 0)
    rig = Rig(plain, server=dead.server, last=5)
    rig.inbox.failures = [
        ("ensure_groups", AWAY), ("reread", None), ("reread", AWAY), ("reread", None),
        ("reread", AWAY), ("ensure_groups", AWAY), ("ensure_groups", AWAY),
    ]  # fmt: skip
    rig.runner.run()
    assert rig.clock.waits == [0.1, 0.1, 0.1, 0.2, 0.4]
    assert rig.runner.handled == 2


def test_what_was_not_settled_when_the_line_broke_is_settled_once():
    # Given three entries that are handled, and a line that breaks before they are settled
    @consumer(streams.APPLY_PLAN, idle=lambda context: rig.runner.handled and context.clock.stop())
    def counter(event, context): ...

    rig = Rig(counter)
    rig.publish(3)
    rig.inbox.failures = [("checkpoint", AWAY)]
    rig.runner.run()
    # Then they are handled again as what is pending, and nothing is fenced or heard of twice
    assert rig.runner.handled == 3
    assert rig.observer.kinds() == ["redis_away"]
    assert [(report.acked, report.fenced) for report in rig.observer.reports] == [(1, 0)] * 3


def test_a_group_that_vanished_is_made_anew_told_and_not_waited_for_in_a_loop():
    # Given a group that is destroyed before anything of it was written down
    def idle(context):
        if rig.observer.troubles:
            context.clock.stop()
        else:
            rig.server.streams[PLANS].groups.clear()
            rig.server.keys.clear()

    @consumer(streams.APPLY_PLAN, idle=idle)
    def gone(event, context): ...

    rig = Rig(gone)
    rig.runner.run()
    assert rig.observer.troubles == [
        Trouble("gone", "group_recreated", PLANS, "", 0, "group_gone", "")
    ]
    assert len(rig.server.streams[streams.AUDIT_FINDING.key].entries) == 1
    assert rig.clock.waits == [0.05]
    assert rig.inbox.asked("disconnect") == [("disconnect",)] * 2


def test_a_first_start_makes_its_group_without_a_word():
    rig = Rig(plain)
    rig.runner.open()
    assert rig.observer.troubles == []
    assert streams.AUDIT_FINDING.key not in rig.server.streams


def test_a_server_that_came_back_with_nothing_is_told_once_without_any_checkpoint():
    # Given a line that breaks once the group is made, and behind which the server is emptied
    def idle(context):
        if not rig.observer.troubles:
            rig.inbox.failures = [("pending", AWAY), ("ensure_groups", AWAY)]
            rig.server.streams.clear()
            rig.server.keys.clear()
        elif rig.observer.kinds()[-1] == "group_recreated":
            context.clock.stop()

    @consumer(streams.APPLY_PLAN, idle=idle)
    def emptied(event, context): ...

    rig = Rig(emptied)
    rig.runner.run()
    assert rig.observer.kinds() == ["redis_away", "redis_away", "group_recreated"]
    assert len(rig.server.streams[streams.AUDIT_FINDING.key].entries) == 1


def test_a_finding_that_the_server_did_not_take_is_told_with_the_reason():
    rig = Rig(plain)
    made = GroupMadeAnew(PLANS, "0-0", "", vanished=True, untold="WRONGTYPE no stream")
    rig.inbox.ensure_groups = lambda: [made]
    MemoryInbox(rig.server, (PLANS,), "plain").ensure_groups()
    rig.runner.open()
    assert rig.observer.troubles == [
        Trouble("plain", "group_recreated", PLANS, "", 0, "group_gone", "WRONGTYPE no stream")
    ]


def test_whoever_refuses_us_for_good_ends_the_process_and_so_does_a_bug():
    rig = Rig(plain, last=1)
    rig.inbox.failures = [("exchange", redis.exceptions.NoPermissionError("NOPERM"))]
    with pytest.raises(RefusedError, match="NOPERM"):
        rig.runner.run()
    rig = Rig(plain, last=1)
    rig.inbox.failures = [("exchange", ValueError("a bug"))]
    with pytest.raises(ValueError, match="a bug"):
        rig.runner.run()
    assert rig.clock.waits == []


def test_asked_to_stop_it_settles_writes_its_checkpoint_and_leaves():
    ended = []

    @consumer(streams.APPLY_PLAN, teardown=lambda context: ended.append(context.group))
    def last(event, context):
        rig.clock.stop()

    rig = Rig(last)
    rig.publish(3)
    rig.runner.run()
    assert rig.runner.handled == rig.acked() == 3
    assert [one[0] for one in rig.inbox.calls[-3:]] == ["exchange", "checkpoint", "disconnect"]
    assert rig.inbox.calls[-3][2:] == (0, 0)
    assert ended == ["last"]


def test_held_up_it_waits_with_its_reason_shown_until_it_passes():
    tries = []

    def ask(context):
        tries.append(context.vitals.get("detail"))
        if len(tries) in (2, 3):
            raise Hold("the disk is full")
        if len(tries) > 4:
            rig.clock.stop()

    @consumer(streams.APPLY_PLAN, hold=ask)
    def careful(event, context): ...

    rig = Rig(careful, last=20)
    rig.runner.run()
    # Then it asks again after each wait, and shows nothing once it passed
    assert tries == [None, None, "the disk is full", "the disk is full", ""]
    assert rig.clock.waits == [0.1, 0.2]
    # And keeps no line open meanwhile, on which replies would be left
    assert rig.inbox.asked("disconnect") == [("disconnect",)] * 3
    # And asked to stop while it is held up it does not wait once more
    tries.clear()
    stopped = Rig(consumer(streams.APPLY_PLAN, hold=lambda _: stop_and_hold())(plain.handler))

    def stop_and_hold():
        stopped.clock.stop()
        raise Hold("not now")

    stopped.runner.run()
    assert stopped.clock.waits == []


def test_what_could_not_be_committed_shows_nothing_once_it_could():
    full = [True, False]

    def commit(context):
        if full.pop(0):
            raise Hold("the shelf is full")

    @consumer(streams.APPLY_PLAN, commit=commit)
    def keeper(event, context): ...

    rig = Rig(keeper)
    rig.runner.open()
    rig.publish(1)
    rig.runner.step()
    rig.runner.flush()
    assert rig.acked() == 1
    assert rig.clock.waits == [0.1]
    assert rig.context.vitals == {"detail": ""}


def test_a_lost_entry_is_told_with_its_stream_and_nothing_made_up():
    dead = Rig(plain)
    dead.runner.open()
    dead.publish(1)
    dead.runner.step()
    [id_] = dead.server.streams[PLANS].entries
    dead.server.streams[PLANS].entries.clear()
    dead.server.streams[PLANS].groups["plain"].pending[id_].consumer = "another"
    dead.server.streams[PLANS].groups["plain"].pending[id_].since_s -= 61
    rig = Rig(plain, server=dead.server)
    rig.runner.open()
    assert rig.observer.troubles == [
        Trouble("plain", "lost", PLANS, id_.decode(), 0, "payload_lost", "")
    ]


def test_what_the_server_made_of_a_settlement_is_told_word_for_word():
    rig = Rig(plain)
    report = BatchReport("plain")
    receipt = Receipt(fenced=2, withdrawn=3, failed=[(b"1-0", "WRONGTYPE"), (b"2-0", "OOM")])
    rig.runner._heard = [(report, receipt)]
    rig.runner._tell()
    assert rig.observer.reports == [report]
    assert [(one.kind, one.entry_id, one.reason, one.error) for one in rig.observer.troubles] == [
        ("fenced", "", "settled_elsewhere", "2"),
        ("withdrawn", "", "not_replicated", "3"),
        ("dead_letter", "1-0", "effect_failed", "WRONGTYPE"),
        ("dead_letter", "2-0", "effect_failed", "OOM"),
    ]
    # And once
    rig.runner._tell()
    assert len(rig.observer.reports) == 1
