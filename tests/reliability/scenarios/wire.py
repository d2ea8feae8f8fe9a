"""A proxy before the server loses, cuts, resets and delays what passes, and leaves lines open."""

from __future__ import annotations

import random
import time

from tests.proxy import FAULTS, Proxy
from tests.reliability.result import Result
from tests.reliability.rig import Rig
from tests.waiting import wait_until

TITLE = "a line that loses, cuts, resets, delays, half opens"
GOAL = 10_000
NOT_TESTED = "packets that the network doubles or reorders: TCP's business; TLS"
SHARE = 0.04
WEIGHTS = {"drop": 4, "reset": 4, "cut": 4, "delay": 2, "half_open": 1}
PATIENCE_S = 0.3
"""Seconds that clients wait for a silent line; the product waits more than five."""
STUCK_S = 60.0


class Weather:
    """Decides about each piece, by chance; ``clear`` ends it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.clear = False

    def __call__(self) -> str:
        if self.clear or self._random.random() >= SHARE:
            return ""
        return self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` faults on replies and requests, then a clear line; what was begun must settle."""
    assert WEIGHTS.keys() == FAULTS.keys()
    replies, requests = Weather(result.seed), Weather(result.seed + 1)
    proxy = Proxy(rig.server.socket, replies, requests=requests, tcp=True)
    try:
        producers = [
            rig.producer("publisher", url=proxy.url, timeout_s=PATIENCE_S) for _ in range(3)
        ]
        workers = [
            rig.worker(
                number, url=proxy.url, patience_s=PATIENCE_S, REDIS_TIMEOUT_SEC=str(PATIENCE_S)
            )
            for number in range(5)
        ]
        wait_until(lambda: proxy.injected.total() >= goal, 1200, f"{goal} faults")
        for pid in producers:
            rig.end(pid)
        replies.clear = requests.clear = True
        began = time.monotonic()
        rig.settle(STUCK_S)
        settled_s = time.monotonic() - began
        for pid in workers:
            state = rig.end(pid)
            result.expect(f"a worker {state}", holds=state == "exited 0")
    finally:
        proxy.close()
    result.faults = dict(proxy.injected)
    result.fenced = rig.fenced()
    result.figures["settled after the last fault, s"] = round(settled_s, 2)
    result.recovery_s, result.recovery_n = (settled_s, settled_s), 1
    result.clean(rig.verdict())
