"""Clocks jump: the server's, the gate's; no permit is accepted after its time is over."""

from __future__ import annotations

import os
import random
import shutil
import struct
import tempfile
import time
from collections import Counter
from pathlib import Path

from quantum_ops import permits, streams
from quantum_ops.permits.check import MAX_AHEAD_S, judge
from tests.p33_rig import P33Rig, hold, publish_universe
from tests.p33_stories import plan
from tests.reliability import native
from tests.reliability.result import Result
from tests.reliability.rig import Rig
from tests.servers import Server

TITLE = "clock jumps of server and gate, a second to a day"
GOAL = 200
NOT_TESTED = (
    "an executor whose own clock is wrong by more than a permit's life: nothing that it reads could"
    " tell it"
)
JUMPS_S = (1, 5, 30, 60, 300, 3600, 86_400)
LATER_S = (-1, 0, 1, 60, 3600, 90_000)
"""Moments relative to a permit's end at which it is tried; from 0 on it must be refused."""


class Shifted(Server):
    """A server whose time of day is wrong by ``shift`` seconds."""

    def __init__(self, flavour: str, *options: str) -> None:
        self.file = Path(tempfile.mkdtemp(prefix="qo-clock-")) / "shift"
        self.shift(0)
        env = {
            **os.environ,
            "LD_PRELOAD": str(native.built("clock")),
            "CLOCK_SHIFT": str(self.file),
        }
        super().__init__(flavour, *options, env=env)

    def close(self) -> None:
        """End it, and forget its clock."""
        super().close()
        shutil.rmtree(self.file.parent, ignore_errors=True)

    def shift(self, seconds: int) -> None:
        """Jump: from now on the clock is wrong by ``seconds``."""
        # Written in place: the server has the file mapped.
        with self.file.open("r+b" if self.file.exists() else "wb") as to:
            to.write(struct.pack("q", seconds))


server = Shifted


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` jumps; after each a plan is decided, and its permit is tried at many moments."""
    chance = random.Random(result.seed)
    signer = permits.new_key(rig.folder / "k.pem")
    trusted = permits.trusted([rig.folder / "k.pem.pub"])
    assert signer.key_id in trusted
    shifted = rig.server
    gate = P33Rig(shifted, signing_key=str(rig.folder / "k.pem"))
    publish_universe(gate.db, "BTCUSDT", refresh_s=10_000_000)
    faults: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    outlived: list[tuple[bytes, object]] = []
    for number in range(goal):
        seconds = chance.choice(JUMPS_S) * chance.choice((-1, 1))
        where = ("server", "gate")[number % 2]
        if where == "server":
            shifted.shift(seconds)
        else:
            gate.clock.shift_s = float(seconds)
        faults[where] += 1
        ahead = rig.db.time()[0] - time.time()
        seen["server's clock seen wrong"] += abs(ahead) > 0.5
        # Of its own clock's present: what is tried is the permit, not the gate's denials.
        hold(gate.db, "1", age_s=1.0 - gate.clock.shift_s)
        made = plan(plan_id=f"{number:016x}")
        gate.decide(made)
        raw = gate.db.get(streams.permit("p33", made.plan_id))
        if raw is None:
            # The server's own clock has ended it: that denies.
            seen["permits gone at once"] += 1
            continue
        permit = judge(raw, made, trusted=trusted, now_s=time.time()).permit
        assert permit is not None
        seen["permits that allow" if permit.allow else "denials"] += 1
        for later_s in LATER_S:
            end_s = permit.expires_at
            _try(result, seen, (raw, made, trusted), end_s + later_s, end_s)
        outlived.append((raw, made))
        # And by an executor whose clock is right, while the server keeps it as long as it likes.
        verdict = permits.verify(gate.db, made, trusted=trusted, consume=False)
        seen[f"right clock: {verdict.reason}"] += 1
        result.expect(
            "a permit of a gate whose clock is ahead was taken before its time",
            holds=not (verdict.allow and permit.created_at > time.time() + MAX_AHEAD_S),
        )
        result.expect(
            f"an expired permit was accepted ({verdict})",
            holds=not (verdict.allow and time.time() >= permit.expires_at),
        )
    # A day later by the right clock, all of it once more: none may count, wherever it was kept.
    for raw, made in outlived:
        _try(result, seen, (raw, made, trusted), time.time() + 3 * 86_400, 0.0)
    result.faults = dict(faults)
    result.figures |= seen
    result.expect("nothing was ever allowed", holds=seen["accepted in its time"] > 0)
    result.expect("the server's clock never moved", holds=seen["server's clock seen wrong"] > 0)


def _try(result: Result, seen: Counter[str], what, now_s: float, end_s: float) -> None:
    """Judge at ``now_s`` a permit (bytes, plan, keys) whose own time ends at ``end_s``."""
    raw, made, trusted = what
    verdict = judge(raw, made, trusted=trusted, now_s=now_s)
    if now_s < end_s:
        seen["accepted in its time"] += verdict.allow
        return
    seen["tried after its time"] += 1
    seen["accepted after its time"] += verdict.allow
    result.expect(f"accepted {now_s - end_s} s after its end", holds=not verdict.allow)
