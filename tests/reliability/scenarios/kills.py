"""Consumers are killed, at named points and at random."""

from __future__ import annotations

import random
import time
from collections import Counter

from tests.reliability.names import STREAM
from tests.reliability.points import IN_HANDLER, POINTS
from tests.reliability.result import Result
from tests.reliability.rig import QUICK_CLAIM_S, Rig, percentile
from tests.waiting import wait_until

TITLE = "kill -9 of consumers"
GOAL = 2000
EVENTS_PER_KILL = 100
EACH = 0.03
"""Share of the kills that each named point gets; the rest comes at random."""
NOT_TESTED = (
    "consumers whose effects are outside Redis (the ledger's and the archive's have suites)"
)
SLOTS = 3
PRODUCER_EVERY = 10


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` kills among three processes, with a hundred events for each."""
    chance = random.Random(result.seed)
    each = max(1, round(goal * EACH))
    schedule = [point for point in POINTS for _ in range(each)]
    schedule += ["random"] * (goal - len(schedule))
    chance.shuffle(schedule)
    producer = rig.producer("many", pause_s=0.02)
    wait_until(lambda: rig.db.exists(STREAM), 10, "events")
    numbers = list(range(SLOTS))
    slots = [_fork(rig, number, schedule, chance, left=False) for number in numbers]
    wait_until(lambda: rig.db.xinfo_groups(STREAM), 10, "the group")
    faults: Counter[str] = Counter()
    at = producers = 0
    while schedule or sum(faults.values()) < goal or any(doom != "random" for _, doom in slots):
        at = (at + 1) % SLOTS
        pid, doom = slots[at]
        state = rig.ended(pid, 1.0) if doom != "random" else ""
        if not state:
            if doom == "random":
                time.sleep(chance.uniform(0.0, 0.03))
            else:
                # It never came there; its turn comes again.
                schedule.append(doom)
                chance.shuffle(schedule)
            state, doom = rig.kill(pid), "random"
        died = time.monotonic()
        result.expect(f"a worker that was to be killed {state}", holds=state == "killed 9")
        faults[doom] += 1
        if sum(faults.values()) % PRODUCER_EVERY == 0:
            # What it had sent and not classified is unknown to everybody.
            rig.kill(producer)
            producer = rig.producer("many", pause_s=0.02)
            producers += 1
        held = rig.held(rig.me(numbers[at]))
        rig.watch_recovery(held, died)
        if held and "claimed" in schedule[-3:]:
            # Its name is not used again: what it held is there to be claimed.
            numbers[at] += SLOTS
        slots[at] = _fork(rig, numbers[at], schedule, chance, left=numbers[at] >= SLOTS)
    for pid, _ in slots:
        rig.kill(pid)
    last = [rig.worker(number) for number in range(SLOTS)]
    wait_until(lambda: rig.acked() >= goal * EVENTS_PER_KILL, 600, "enough events")
    rig.end(producer)
    rig.settle()
    wait_until(lambda: not rig._watching, 10, "recoveries")
    for pid in last:
        state = rig.end(pid)
        result.expect(f"a worker that was asked to stop {state}", holds=state == "exited 0")
    result.faults = dict(faults)
    result.figures["producers killed besides"] = producers
    result.fenced = rig.fenced()
    result.recovery_s = (percentile(rig.recovered_s, 0.5), percentile(rig.recovered_s, 0.99))
    result.recovery_n = len(rig.recovered_s)
    result.clean(rig.verdict())


def _fork(
    rig: Rig, number: int, schedule: list[str], chance: random.Random, *, left: bool
) -> tuple[int, str]:
    doom = schedule.pop() if schedule else "random"
    if doom == "random":
        return rig.worker(number), doom
    if doom == "claimed" and left:
        # Sooner than the others: it is its turn to find something.
        time.sleep(QUICK_CLAIM_S)
        quick = {"QUANTUM_CLAIM_AFTER_SEC": str(QUICK_CLAIM_S)}
        return rig.worker(number, point=doom, **quick), doom
    # In a batch of twenty, anywhere; else within the first few times.
    after = chance.randint(1, 60) if doom == IN_HANDLER else chance.randint(1, 3)
    return rig.worker(number, point=doom, after=after), doom
