"""The only place that runs the gate through outages: no ALLOW that nobody can audit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import redis

from tests.p33_world import World
from tests.reliability.farm import ROOT
from tests.reliability.names import PLANS, STREAM
from tests.reliability.result import Result
from tests.reliability.rig import Rig, percentile
from tests.waiting import wait_until

PROCESSES = 2
SETTINGS = {
    "P33_STALE_THRESHOLD_SEC": "60", "REDIS_TIMEOUT_SEC": "0.3", "UNIVERSE_CACHE_SECONDS": "3600",
}  # fmt: skip


class Gate:
    """Two processes of P3.3 and plans of every kind, on the server of ``rig``."""

    def __init__(self, rig: Rig, result: Result) -> None:
        self._rig = rig
        self._result = result
        self.expected = rig.folder / "expected"
        self.client = rig.server.connect()
        self.world = World(self.client)
        self.pids = [
            rig.worker(number, "p33", patience_s=0.3, **SETTINGS) for number in range(PROCESSES)
        ]
        self.world.burst()
        wait_until(self.world.is_settled, 30, "the first plans are decided")
        self.recovered_s: list[float] = []
        self.unaudited = 0
        self.decided_meanwhile = 0

    def outside(self) -> dict[str, Any]:
        """What the outside checker sees now."""
        said = subprocess.run(
            [sys.executable, "-m", "tests.reliability.permits", self._rig.server.url,
             str(self.expected)],
            cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if said.returncode:
            raise AssertionError(f"the checker failed: {said.stderr}")
        verdict: dict[str, Any] = json.loads(said.stdout)
        return verdict

    def is_idle(self) -> bool:
        """Whether all plans are settled, asked without writing anything."""
        [group] = [one for one in self._rig.db.xinfo_groups(PLANS) if one["name"] == "p33"]
        last = self._rig.db.xinfo_stream(PLANS)["last-generated-id"]
        return bool(group["pending"] == 0 and group["last-delivered-id"] == last)

    def decided(self) -> int:
        """Decisions that stand there."""
        return int(self._rig.db.xlen(STREAM))

    def look(self) -> None:
        """Look from outside, whatever the gate is doing."""
        self.unaudited += self.outside()["unaudited"]

    def finish(self, faults: dict[str, int]) -> None:
        """Stop it, and hold the result to what must stand there."""
        result = self._result
        wait_until(self.world.is_settled, 60, "all plans are decided")
        decisions = [list(pair) for pair in self.world.decisions]
        told = {"decisions": decisions, "letters": self.world.letters}
        self.expected.write_text(json.dumps(told), encoding="ascii")
        verdict = self.outside()
        for pid in self.pids:
            state = self._rig.end(pid)
            result.expect(f"a gate {state}", holds=state == "exited 0")
        self.unaudited += verdict["unaudited"]
        result.faults = faults
        result.verdict = verdict
        result.figures["permits that allow, not audited"] = self.unaudited
        result.fenced = self._rig.fenced()
        result.recovery_s = (
            percentile(self.recovered_s, 0.5), percentile(self.recovered_s, 0.99)
        )  # fmt: skip
        result.recovery_n = len(self.recovered_s)
        for name in ("lost", "doubled", "unexplained", "letters_missing"):
            result.expect(f"{verdict[name]} {name}", holds=verdict[name] == 0)
        result.expect(f"{self.unaudited} permits not audited", holds=self.unaudited == 0)
        self.client.connection_pool.disconnect()


def away(rig: Rig, before: int) -> bool:
    """Whether a gate has said since ``before`` lines that it cannot reach the server, or write."""
    return len(rig.told("redis_away")) > before


ERRORS = (redis.RedisError, OSError)
