"""The auditor of the universe killed at random moments; an outside look knows what was planted."""

from __future__ import annotations

import collections
import random
import threading
import time

import pytest

from quantum_ops import codec, streams
from quantum_ops.events import UniverseChanged, UniverseChecked
from quantum_ops.publisher import Publisher
from quantum_ops.universe import symbols_sha256
from tests.p33_rig import publish_universe
from tests.programs import FULL, Program
from tests.waiting import wait_until

KILLS = 200 if FULL else 6
DAY_MS = 86_400_000
PERIOD_MS = 300_000
LATE = 0.8
"""Share of kills that wait until it is up; the others fall into its start."""


class World:
    """A universe that gates use, second fetches of it, and readers that do not follow."""

    def __init__(self, db) -> None:
        self.db = db
        self.publisher = Publisher(db)
        self.began_ms = int(time.time() * 1000)
        self.planted: collections.Counter[tuple[str, str]] = collections.Counter()
        self.rounds = 0
        publish_universe(db, "BTCUSDT", refresh_s=3600)
        # Yesterday's one change, whose day is to be reported once
        first = UniverseChanged(
            epoch=1, prev_epoch=0, mode="testnet", asof_epoch=1, count=1, sha256="x",
            symbols_sha256=symbols_sha256(["BTCUSDT"]), symbols=("BTCUSDT",), added=("BTCUSDT",),
        )  # fmt: skip
        at_ms = self.began_ms - self.began_ms % DAY_MS - DAY_MS // 2
        db.execute_command("XADD", streams.UNIVERSE_CHANGED.key, at_ms, *codec.encode(first))
        self.planted["universe_churn", ""] = 1

    def check(self, outcome: str = "compared", **fields) -> None:
        self.began_ms += PERIOD_MS
        known = {"fresh": True, "epoch": 1, "checked_s": self.began_ms // 1000, "refresh_s": 60.0}
        event = UniverseChecked(outcome=outcome, began_ms=self.began_ms, **known, **fields)
        self.publisher.publish(event)

    def plant(self) -> None:
        """A difference that stays, a fetch that fails twice, a reader that falls behind."""
        self.rounds += 1
        symbol = f"R{self.rounds:04d}USDT"
        for _ in range(3):
            self.check(missing=(symbol,), differing=1)
        self.planted["universe_differs_from_exchange", f"not published: {symbol}"] += 1
        self.check("failed", reason=symbol)
        self.check("failed", reason=symbol)
        self.check("failed", reason=symbol)
        self.planted["universe_check_failed", symbol] += 1
        self.check()
        self.planted["universe_agrees_with_exchange", ""] += 1
        self.planted["universe_reader_behind", f"is at epoch {1000 + self.rounds}"] += 1

    def beat(self) -> None:
        """The reader's heartbeat, with its own epoch in each round."""
        now_ms = int(time.time() * 1000)
        fields = {"state": "ready", "updated_ms": now_ms, "allowlist_source": "universe",
                  "universe_epoch": 1000 + self.rounds}  # fmt: skip
        self.db.hset(streams.heartbeat("p33", self.rounds % 4), mapping=fields)
        for number in {0, 1, 2, 3} - {self.rounds % 4}:
            self.db.delete(streams.heartbeat("p33", number))

    def told(self) -> collections.Counter[tuple[str, str]]:
        """What was told, in the words that it was planted with."""
        found: collections.Counter[tuple[str, str]] = collections.Counter()
        for _, fields in self.db.xrange(streams.AUDIT_FINDING.key):
            finding, detail = fields[b"finding"].decode(), fields[b"detail"].decode()
            if finding == "universe_reader_behind":
                if fields[b"severity"] == b"critical":
                    continue  # a slow machine may take its minute to a round
                detail = detail.partition(",")[0]
            elif finding in ("universe_churn", "universe_agrees_with_exchange"):
                detail = ""
            if finding in {name for name, _ in self.planted}:
                found[finding, detail] += 1
        return found

    def missing(self) -> str:
        return f"{self.planted - self.told()} missed, {self.told() - self.planted} made up"


@pytest.mark.slow
@pytest.mark.timeout(1800 if FULL else 120)
def test_killed_auditor_of_the_universe_misses_nothing_and_tells_nothing_twice(valkey):
    source = random.Random(20261125)
    world = World(valkey.connect())
    pause = threading.Event()
    program = Program(
        valkey.url, "universe_audit", UNIVERSE_AUDIT_READER_GRACE_SEC="1",
        UNIVERSE_AUDIT_FETCH="true",
    )  # fmt: skip
    kills = 0

    def is_up() -> bool:
        pid = world.db.hget(streams.heartbeat("universe_audit", 0), "pid")
        return pid == str(program.process.pid).encode()

    def killed_until_told() -> bool:
        nonlocal kills
        world.beat()
        if world.told() == world.planted:
            return True
        if source.random() < LATE:
            wait_until(is_up, 20, "it is up")
        # Chance says where in its start, its reading or its look the kill falls.
        pause.wait(source.uniform(0, 0.5))
        program.kill()
        kills += 1
        return False

    try:
        while kills < KILLS:
            # Given something new to find in each round
            world.plant()
            # When the auditor is killed again and again, and looks at each of its starts
            wait_until(killed_until_told, 100, f"round {world.rounds}: {world.missing()}")
    finally:
        program.end()
    # Then each thing that was planted is told exactly once, and nothing else of its kind
    assert world.told() == world.planted
    assert kills >= KILLS
    events = [fields[b"event_id"] for _, fields in world.db.xrange(streams.AUDIT_FINDING.key)]
    assert len(events) == len(set(events))
    assert world.db.xlen(streams.DEAD_LETTER.key) == 0
