"""P3.3 itself is killed, or put to sleep and woken up late, at named points and at random.

Beside the victim two processes of the gate go on. Every plan must have exactly the decisions that
it must have, and no permit may allow what no decision tells of.
"""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections import Counter

from tests.reliability.gate import PROCESSES, SETTINGS, Gate
from tests.reliability.result import Result
from tests.reliability.rig import Rig
from tests.waiting import wait_until

TITLE = "kill -9 and SIGSTOP of the gate"
GOAL = 200
NOT_TESTED = "executors that are killed between reading a permit and acting on it: the trading side"
POINTS = ("delivered", "handled", "half_sent", "sent", "random")
VICTIM = PROCESSES


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` faults: each point in turn, a kill and then a sleep."""
    chance = random.Random(result.seed)
    tried = Gate(rig, result)
    faults: Counter[str] = Counter()
    strikes = itertools.cycle(itertools.product((signal.SIGKILL, signal.SIGSTOP), POINTS))
    for by, point in itertools.islice(strikes, goal):
        named = "" if point == "random" else point
        victim = rig.worker(
            VICTIM, "p33", named, signal_=by, patience_s=0.3, **SETTINGS
        )  # fmt: skip
        # The others sleep until it has come there: they might leave it nothing.
        for pid in tried.pids if named else ():
            rig.farm.signal(pid, signal.SIGSTOP)
        tried.world.burst()
        state = rig.ended(victim, 10.0) if named else ""
        struck = time.monotonic()
        for pid in tried.pids:
            rig.farm.signal(pid, signal.SIGCONT)
        if not named:
            time.sleep(chance.uniform(0.0, 0.02))
            rig.farm.signal(victim, by)
            state = rig.ended(victim, 5.0)
        wait_until(tried.world.is_settled, 30, f"others do what {point} held up")
        tried.recovered_s.append(time.monotonic() - struck)
        if by == signal.SIGSTOP:
            rig.farm.signal(victim, signal.SIGCONT)
            ended = rig.end(victim)
            # Struck at random it may not have come so far as to know what SIGTERM means.
            well = ended == "exited 0" or (not named and ended == "killed 15")
            result.expect(f"a gate that had slept {ended}", holds=well)
        result.expect(f"a gate that was struck {state}", holds=state in ("killed 9", "stopped 19"))
        faults[f"{by.name} {point}"] += 1
    tried.finish(dict(faults))
