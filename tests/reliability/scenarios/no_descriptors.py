"""Nobody can open a connection: the server, or the gate, is out of file descriptors."""

from __future__ import annotations

import resource
import time
from collections import Counter
from pathlib import Path

from tests.reliability import gate
from tests.reliability.gate import Gate
from tests.reliability.result import Result
from tests.reliability.rig import Rig
from tests.waiting import wait_until

TITLE = "no file descriptors left"
GOAL = 20
NOT_TESTED = "a machine whose table of open files is full for everybody"


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` times, in turn at the server and at the gate; each has to connect anew meanwhile."""
    tried = Gate(rig, result)
    faults: Counter[str] = Counter()
    for number in range(goal):
        where = "server" if number % 2 else "gate"
        assert rig.server.process is not None
        pids = [rig.server.process.pid] if where == "server" else tried.pids
        before = len(rig.told("redis_away"))
        was = [_close_to_new(pid) for pid in pids]
        try:
            # Ours stay: it is the gate that has to come again.
            tried.world.burst()
            for connected in rig.db.client_list():
                if "p33" in connected["name"]:
                    rig.db.client_kill_filter(_id=connected["id"])
            wait_until(lambda: gate.away(rig, before), 20, "the gate meets it")
        finally:
            for pid, limits in zip(pids, was, strict=True):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        tried.look()
        freed, there = time.monotonic(), tried.decided()
        tried.world.burst()
        wait_until(lambda: tried.decided() > there, 20, "decisions")
        tried.recovered_s.append(time.monotonic() - freed)
        wait_until(tried.world.is_settled, 60, "all plans are decided")
        faults[where] += 1
    tried.finish(dict(faults))


def _close_to_new(pid: int) -> tuple[int, int]:
    """Let the process open nothing more; gives the limits that it had."""
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    # The lowest number that it does not use is the one that it would get.
    used = {int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()}
    free = next(number for number in range(1 << 20) if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    return limits
