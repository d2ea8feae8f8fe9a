"""A round of the warden with everything around it in memory: what it asks for and what it tells."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from ops.paths import Paths
from ops.readiness import Server, Verdict
from ops.running import Running
from ops.system import Sight
from ops.warden import holds
from ops.warden.holds import Hold
from ops.warden.known import Known
from ops.warden.rounds import Rounds
from ops.warden.spool import Spool
from quantum_ops import logs
from quantum_ops.settings import WardenSettings
from tests.unit.test_warden_rules import process

SETTINGS = WardenSettings(
    backoff_base_s=1, silence_s=1, memory_mb=1, memory_grace_s=5, memory_limits=(("archive", 0),)
)


class World:
    """supervisord and Redis as the warden sees them; ``now_s`` is its clock."""

    def __init__(self, home: Path) -> None:
        self.paths = Paths.find(environ={"QUANTUM_HOME": str(home)})
        self.paths.create()
        self.verdicts: list[Verdict] = []
        self.heard = self.redis = True
        self.now_s = 0.0
        self.asked: list[tuple[str, str]] = []
        self.found: list[tuple[str, str]] = []
        self.spool = Spool(self.paths.warden / "process.jsonl")
        self.rounds = Rounds(
            SETTINGS, self, self.spool, Known(), logs.get(),
            find=lambda: (self.paths, Running("redis://x", 1, "live", self.paths.run_dir)),
            look=self.look, daemon=lambda _: self, now_s=lambda: self.now_s,
        )  # fmt: skip

    def look(self, paths, current) -> Sight:
        return Sight(paths, current, "RUNNING", Server(owned=True), self.verdicts)

    def beat(self, **_: object) -> bool:
        return self.heard

    def find(self, finding, heal="") -> bool:
        if self.redis:
            self.found.append((finding.finding, heal))
        return self.redis

    def start(self, process) -> None:
        self.asked.append(("start", process.name))

    def signal(self, process, name) -> None:
        self.asked.append((name, process.name))

    def pass_s(self, *seconds: float) -> None:
        for passed in seconds:
            self.now_s += passed
            self.rounds.turn()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.spool.close()


def test_a_process_over_its_limit_is_drained_once_its_grace_is_over(world):
    # given two processes of our own size, of which one has no limit
    world.verdicts = [
        Verdict(process(pid=os.getpid()), "READY"),
        Verdict(process(pid=os.getpid(), name="archive-00", group="archive"), "READY"),
    ]
    world.pass_s(0, 4)
    assert world.asked == []
    assert world.rounds.is_busy
    # then only the other is asked to end, once, and it is told
    world.pass_s(2, 1, 1)
    assert world.asked == [("TERM", "p33-00")]
    assert world.found == [("process_over_memory", "p33:memory")]


def test_a_spare_waits_until_its_neighbour_is_back(world):
    # given two silent processes of one program, which supervisord has in two groups
    spare = process(pid=43, name="p33-01", group="p33_spare")
    world.verdicts = [Verdict(process(), "STALE"), Verdict(spare, "STALE")]
    world.pass_s(0, 2, 2, 2)
    assert world.asked == [("TERM", "p33-00")]
    # when the first is back, then it is the other's turn
    world.verdicts[0] = Verdict(process(pid=44), "READY")
    world.pass_s(2)
    assert world.asked == [("TERM", "p33-00"), ("TERM", "p33-01")]


def test_silence_tells_nothing_while_the_server_does_not_take_our_own_heartbeat(world):
    world.verdicts = [Verdict(process(), "STALE")]
    world.heard = False
    world.pass_s(0, 100, 100)
    assert world.asked == []
    world.heard = True
    world.pass_s(1, 1, 1)
    assert world.asked == [("TERM", "p33-00")]


def test_refused_settings_are_told_once_and_never_tried_again(world):
    world.verdicts = [Verdict(process("EXITED", pid=0, exit_status=78), "DOWN")]
    world.redis = False
    world.pass_s(0, 100)
    world.redis = True
    world.pass_s(100, 1000, 10_000)
    assert world.asked == []
    assert world.found == [("process_refused_settings", "")]


def test_nothing_is_touched_while_somebody_starts_or_stops(world):
    world.verdicts = [Verdict(process("FATAL", pid=0), "DOWN")]
    with world.paths.start_lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        world.pass_s(0, 10, 10)
        assert world.asked == []
    world.pass_s(1, 10)
    assert world.asked == [("start", "p33-00")]


def test_a_hold_list_that_cannot_be_read_holds_everything_and_is_told(world):
    world.verdicts = [Verdict(process("FATAL", pid=0), "DOWN")]
    holds.add(world.paths, ["p33"], Hold("now", "ann@box"))
    world.pass_s(0, 10)
    (world.paths.warden / holds.FILE).write_text("{")
    world.pass_s(10, 10)
    assert world.asked == []
    assert world.found == [("holds_unreadable", "")]
    (world.paths.warden / holds.FILE).unlink()
    world.pass_s(0, 10)
    assert world.asked == [("start", "p33-00")]
