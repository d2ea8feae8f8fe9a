"""The server is killed again and again while producers write and consumers work.

It has the users that ./run gives it, by whose rights some servers judge their file when they start.
"""

from __future__ import annotations

import random
import time

from tests.reliability.guarded import Guarded
from tests.reliability.result import Result
from tests.reliability.rig import ALWAYS, Rig, percentile
from tests.waiting import wait_until

TITLE = "kill -9 of the server"
GOAL = 100
OPTIONS = ALWAYS
NOT_TESTED = "a server that answers and has lost its disk"

server = Guarded


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` kills, each after some events were acknowledged since the last."""
    chance = random.Random(result.seed)
    producers = [rig.producer() for _ in range(2)]
    workers = [rig.worker(number) for number in range(2)]
    took: list[float] = []
    for _ in range(goal):
        begin = rig.acked()
        wait_until(lambda: rig.acked() > begin + 20, 30, "events are acknowledged")
        time.sleep(chance.uniform(0.0, 0.05))
        rig.server.kill()
        took.append(rig.start_again())
    for pid in producers:
        rig.end(pid)
    rig.settle()
    for pid in workers:
        state = rig.end(pid)
        result.expect(f"a worker {state}", holds=state == "exited 0")
    result.faults = {"kill -9": goal}
    result.fenced = rig.fenced()
    result.recovery_s = (percentile(took, 0.5), percentile(took, 0.99))
    result.recovery_n = len(took)
    result.clean(rig.verdict())
