"""Entries meet their handler: what is noted down for the server, and what is told of it.

What the runner makes of it, on every backend, stands in tests/integration/test_promises.py.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import redis

from quantum_ops import codec, handling, logs, streams
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.errors import Hold, Reject
from quantum_ops.events import ApplyPlan
from quantum_ops.handling import Handling
from quantum_ops.settings import RuntimeSettings
from quantum_ops.testing import FrozenClock

PLANS = streams.APPLY_PLAN.key
AWAY = redis.exceptions.ConnectionError("connection reset")
REFUSED = redis.exceptions.NoPermissionError("NOPERM no right")


def entry(number: int, plan_id: str = "a") -> list:
    event = ApplyPlan(plan_id=plan_id, decision="EXECUTE", symbol="BTCUSDT")
    return [b"%d-0" % number, codec.encode(event)]


class Bench:
    """A handling of ``made`` on its own: no server, no runner, a clock that stands."""

    def __init__(self, made, *, stopping: bool = False) -> None:
        self.troubles: list[tuple] = []
        self.passed = 0
        self.clock = FrozenClock()
        self.context = Context(made.name, None, logs.get(), self.clock)
        holding = SimpleNamespace(wait=lambda _held: not stopping, over=self._over)
        bounds = made.bound(RuntimeSettings(max_deliveries=3))
        self.work = Handling(made, self.context, bounds, self.clock, self._tell, holding=holding)

    def _over(self) -> None:
        self.passed += 1

    def _tell(self, kind, id_="", **more) -> None:
        self.troubles.append((kind, id_, *(more[name] for name in sorted(more))))

    @property
    def settlement(self):
        [(key, found)] = self.work.take_settlements().items()
        assert key == PLANS
        return found


def test_each_entry_is_measured_and_the_batch_is_as_old_as_its_first(monkeypatch):
    # Given a processor clock that shows 0.5 s, 1 s, 1.5 s ... for entries, one after the other
    shown = itertools.accumulate(itertools.count(0, 0.5), initial=100.0)
    monkeypatch.setattr(handling.time, "perf_counter", lambda: next(shown))
    next(shown)

    @consumer(streams.APPLY_PLAN)
    def plain(event, context): ...

    bench = Bench(plain)
    assert bench.work.last_id == ""
    age_ms = 4_000
    first = int(bench.clock.now_s() * 1000) - age_ms
    # When three entries are handled
    bench.work.handle(PLANS, [entry(first), entry(first + 1), entry(first + 2)])
    # Then each has its own time, and the age is the first one's
    report = bench.work.report
    assert report.durations_s == [0.5, 1.0, 1.5]
    assert report.ages_s == [pytest.approx(age_ms / 1000, abs=2)]
    assert bench.work.last_id == f"{first + 2}-0"
    # And nothing at all is neither measured nor remembered
    bench.work.handle(PLANS, [])
    assert (len(report.ages_s), len(report.durations_s)) == (1, 3)
    assert bench.work.last_id == f"{first + 2}-0"


def test_an_entry_that_comes_again_is_measured_and_remembered_too():
    @consumer(streams.APPLY_PLAN)
    def slow(event, context):
        bench.clock.wait(2.5)

    bench = Bench(slow)
    bench.clock.wait(1.0)
    bench.work.again(entry(7), PLANS, 2)
    assert bench.work.report.durations_s == [2.5]
    assert bench.work.last_id == "7-0"
    assert bench.settlement.acks == [b"7-0"]


def test_prepare_is_told_the_stream_and_the_attempt_of_its_entries_the_first_and_the_next_time():
    seen = []

    def fetch(events, context):
        seen.append((context.stream, context.attempt, context.entry_ids))
        return len(seen)

    @consumer(streams.APPLY_PLAN, prepare=fetch)
    def gate(event, context):
        seen.append((context.stream, context.attempt, context.state))

    bench = Bench(gate)
    # Given an entry that came again before the batch: what was true for it must not stay
    bench.work.again(entry(1), PLANS, 3)
    bench.context.stream = "another"
    good, events = bench.work.prepared(PLANS, [entry(2), entry(3)])
    bench.work.handle(PLANS, good, events)
    assert seen == [
        (PLANS, 3, ["1-0"]), (PLANS, 3, 1),
        (PLANS, 1, ["2-0", "3-0"]), (PLANS, 1, 3), (PLANS, 1, 3),
    ]  # fmt: skip


@pytest.mark.parametrize("again", [False, True])
def test_held_up_it_waits_and_says_when_it_passed(again):
    tries = []

    def fetch(events, context):
        tries.append(len(events))
        if len(tries) < 3:
            raise Hold("the disk is full")

    @consumer(streams.APPLY_PLAN, prepare=fetch)
    def gate(event, context): ...

    bench = Bench(gate)
    if again:
        bench.work.again(entry(1), PLANS, 2)
    else:
        bench.work.prepared(PLANS, [entry(1)])
    assert (tries, bench.passed) == ([1, 1, 1], 1)
    # And asked to stop meanwhile, nothing is settled, charged or told
    tries.clear()
    stopped = Bench(gate, stopping=True)
    with pytest.raises(Hold):
        stopped.work.again(entry(1), PLANS, 2)
    assert (tries, stopped.passed, stopped.troubles) == ([1], 0, [])
    assert not stopped.settlement


@pytest.mark.parametrize("error", [AWAY, REFUSED], ids=["away", "refused"])
@pytest.mark.parametrize("hook", ["handler", "prepare", "last_words"])
def test_a_server_that_is_away_or_refuses_us_under_a_hook_is_nobodys_fault(error, hook):
    def fail(*_):
        raise error

    def reject(event, context):
        raise ValueError("failed to the end")

    hooks = {hook: fail} if hook != "handler" else {}

    @consumer(streams.APPLY_PLAN, max_deliveries=1, **hooks)
    def gate(event, context):
        (fail if hook == "handler" else reject)(event, context)

    bench = Bench(gate)
    # When a hook meets it, then the session is over: the entry is neither buried nor put off
    with pytest.raises(type(error)):
        bench.work.handle(PLANS, *bench.work.prepared(PLANS, [entry(1)]))
    assert bench.troubles == []
    assert not bench.settlement
    assert not bench.work.waiting


@pytest.mark.parametrize("raw", [False, True])
def test_an_entry_without_its_payload_never_meets_a_handler(raw):
    met = []

    @consumer(streams.APPLY_PLAN, raw=raw)
    def careless(event, context):
        met.append(event)

    bench = Bench(careless)
    bench.work.handle(PLANS, [[b"1-0", None]])
    bench.work.again([b"2-0", None], PLANS, 2)
    assert met == []
    letters = bench.settlement.letters
    assert [(one.entry_id, one.reason) for one in letters] == [
        (b"1-0", "payload_lost"), (b"2-0", "payload_lost"),
    ]  # fmt: skip
    assert [kind for kind, *_ in bench.troubles] == ["lost", "lost"]


@pytest.mark.parametrize("prepare", [None, lambda *_: None])
def test_what_is_no_event_was_delivered_once(prepare):
    @consumer(streams.APPLY_PLAN, prepare=prepare)
    def never(event, context): ...

    bench = Bench(never)
    bench.work.handle(PLANS, *bench.work.prepared(PLANS, [[b"1-0", [b"no", b"event"]]]))
    assert [one[:3] for one in bench.settlement.letters] == [(b"1-0", 1, "undecodable")]


def test_a_burial_stands_behind_the_claim_of_its_key_and_before_all_else():
    # A claim that were second would claim nothing, and hide the contradiction (see FINISH).
    @consumer(streams.APPLY_PLAN)
    def strict(event, context):
        if event.plan_id == "claims":
            context.first("decided", "x", ttl_s=60)
        context.set("permit", "denied")
        context.set("told", "yes")
        raise Reject("no good", keep_effects=True)

    bench = Bench(strict)
    bench.work.handle(PLANS, [entry(1, "claims"), entry(2, "plain")])
    told = [[command[0][0] for command in made] for _, _, made in bench.settlement.applied]
    assert told == [["FIRST", "BURY", "SET", "SET"], ["BURY", "SET", "SET"]]


@pytest.mark.parametrize("says", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_what_prepare_rejects_carries_its_own_effects_and_none_of_an_entry_before(again, says):
    # Given an entry that came again and declared its permit
    def fetch(events, context):
        if any(event.plan_id == "bad" for event in events):
            if says:
                context.set("why", "no")
            raise Reject("contradicts itself", keep_effects=True)

    @consumer(streams.APPLY_PLAN, prepare=fetch)
    def gate(event, context):
        context.set(f"permit:{event.plan_id}", "granted")

    bench = Bench(gate)
    bench.work.again(entry(1, "good"), PLANS, 2)
    # When prepare refuses the next
    if again:
        bench.work.again(entry(2, "bad"), PLANS, 2)
    else:
        assert bench.work.prepared(PLANS, [entry(2, "bad")]) == ([], None)
    # Then it is buried, with what prepare had to say, and its neighbour's permit is not written
    # a second time on its behalf
    settlement = bench.settlement
    made = {id_: [command[1] for command in commands] for id_, _, commands in settlement.applied}
    letter = streams.DEAD_LETTER.key
    assert made == {b"1-0": ["permit:good"], **({b"2-0": [letter, "why"]} if says else {})}
    letters = [one[:3] for one in settlement.letters]
    assert letters == ([] if says else [(b"2-0", 1 + again, "rejected")])


def test_what_failed_for_the_last_time_is_told_with_all_that_finds_it():
    def stammer(flat, error, context):
        raise OSError("y" * 501)

    @consumer(streams.APPLY_PLAN, last_words=stammer)
    def broken(event, context):
        raise KeyError("x" * 600)

    bench = Bench(broken)
    bench.work.handle(PLANS, [entry(1)])
    bench.work.again(entry(2), PLANS, 3)
    (retry, words, letter) = bench.troubles
    assert retry == ("retry", "1-0", 1, repr("x" * 600), "KeyError", PLANS)
    assert words == ("last_words_failed", "2-0", 3, "y" * 500, "OSError", PLANS)
    assert letter[:3] == ("dead_letter", "2-0", 3)
    assert letter[4:] == ("handler_failed", PLANS)
    assert bench.work.waiting.holds(PLANS, b"1-0")
