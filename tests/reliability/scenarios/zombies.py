"""A consumer falls asleep at a named point, others do its work, and it wakes up."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections import Counter

from tests.reliability.names import STREAM
from tests.reliability.points import IN_HANDLER, POINTS
from tests.reliability.result import Result
from tests.reliability.rig import QUICK_CLAIM_S, Rig, percentile
from tests.waiting import wait_until

TITLE = "SIGSTOP at a named point, claimed by another, SIGCONT"
GOAL = 320
NOT_TESTED = "a machine that is suspended with its server connections half closed"
SLEEPER = 0


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` sleepers, the points in turn, beside two processes that stay awake."""
    chance = random.Random(result.seed)
    producer = rig.producer("many", pause_s=0.02)
    wait_until(lambda: rig.db.exists(STREAM), 10, "events")
    awake = [rig.worker(number) for number in (1, 2)]
    faults: Counter[str] = Counter()
    fenced_where: Counter[str] = Counter()
    took: list[float] = []
    turn = itertools.cycle(POINTS)
    while sum(faults.values()) < goal:
        point = next(turn)
        settings = {}
        if point in ("claimed", "reread"):
            # A process dies with entries in hand: its successor meets them, or who claims them. The
            # others sleep so long: they might be quicker.
            for pid in awake:
                rig.farm.signal(pid, signal.SIGSTOP)
            rig.ended(rig.worker(SLEEPER if point == "reread" else 3, point="delivered"), 20)
        if point == "claimed":
            settings["QUANTUM_CLAIM_AFTER_SEC"] = str(QUICK_CLAIM_S)
            time.sleep(QUICK_CLAIM_S)
        after = chance.randint(1, 30) if point == IN_HANDLER else 1
        sleeper = rig.worker(
            SLEEPER, point=point, after=after, signal_=signal.SIGSTOP, **settings
        )  # fmt: skip
        state = rig.ended(sleeper, 3)
        for pid in awake:
            rig.farm.signal(pid, signal.SIGCONT)
        if not state.startswith("stopped"):
            # The others had been faster; only those that slept are counted.
            result.expect(f"{state} instead of sleeping at {point}", holds=not state)
            rig.kill(sleeper)
            continue
        asleep = time.monotonic()
        held = rig.held(rig.me(SLEEPER))
        wait_until(lambda: not rig.still_pending(held), 20, f"others do what sleeps at {point}")
        took += [time.monotonic() - asleep] * bool(held)
        rig.note_sleeper(sleeper, held)
        before = rig.fenced()
        rig.farm.signal(sleeper, signal.SIGCONT)
        # In order: what it holds in memory it still sends, and must be refused.
        state = rig.end(sleeper)
        result.expect(f"a sleeper at {point} {state}", holds=state == "exited 0")
        faults[point] += 1
        fenced_where[point] += rig.fenced() - before
    rig.end(producer)
    rig.settle()
    for pid in awake:
        rig.end(pid)
    result.faults = dict(faults)
    result.fenced = rig.fenced()
    result.figures["fenced at"] = dict(fenced_where)
    # After reading, after handling and in mid-send the sleeper has something to say too late.
    for point in ("delivered", IN_HANDLER, "handled", "read_ahead", "renewed", "half_sent"):
        result.expect(
            f"fewer refusals at {point} than sleepers", holds=fenced_where[point] >= faults[point]
        )
    result.recovery_s = (percentile(took, 0.5), percentile(took, 0.99))
    result.recovery_n = len(took)
    result.clean(rig.verdict())
