"""The server's memory runs full while the gate has plans to decide."""

from __future__ import annotations

import signal
import time

from tests.reliability import gate
from tests.reliability.gate import Gate
from tests.reliability.result import Result
from tests.reliability.rig import Rig
from tests.waiting import wait_until

TITLE = "full memory (maxmemory, noeviction)"
GOAL = 20
NOT_TESTED = "the kernel's own OOM killer: that is kill -9 of the server"


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` times full, each until the gate has met it."""
    tried = Gate(rig, result)
    meanwhile = 0
    for _ in range(goal):
        before = len(rig.told("redis_away"))
        # Asleep meanwhile: awake, it might have decided all before memory is full.
        for pid in tried.pids:
            rig.farm.signal(pid, signal.SIGSTOP)
        tried.world.burst()
        rig.db.config_set("maxmemory", "1")
        try:
            for pid in tried.pids:
                rig.farm.signal(pid, signal.SIGCONT)
            # Decision, permit and acknowledgement are one step that begins with the latter, which
            # needs no memory: a server takes all of it, or nothing.
            wait_until(
                lambda: gate.away(rig, before) or tried.is_idle(), 20, "the gate meets full memory"
            )
            tried.look()
            if tried.is_idle():
                meanwhile += 1
        finally:
            rig.db.config_set("maxmemory", "0")
        freed, there = time.monotonic(), tried.decided()
        tried.world.burst()
        wait_until(lambda: tried.decided() > there, 20, "decisions")
        tried.recovered_s.append(time.monotonic() - freed)
        wait_until(tried.world.is_settled, 60, "all plans are decided")
    result.figures["times that all was decided, and told, in full memory"] = meanwhile
    tried.finish({"memory full": goal})
