"""The server's power fails: what was not synced is cut off its files, at times in mid-record.

A recorder inside the server notes each file's size whenever an fsync of it ends. After kill -9 each
file is cut to that size, or somewhere between it and the size that the kill left: a disk may have
written part of what it was not asked to sync. Names of files are taken as durable at once. It has
the users that ./run gives it, by whose rights some servers judge their file when they start.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.reliability import native
from tests.reliability.guarded import Guarded
from tests.reliability.result import Result
from tests.reliability.rig import ALWAYS, Rig, percentile
from tests.waiting import wait_until

TITLE = "power loss of the server, simulated"
GOAL = 100
CONTROLS = 5
OPTIONS = ALWAYS
NOT_TESTED = "a disk that lies about fsync; directory entries that are lost; real power"
TWICE = (
    "Redis 7.0 keeps the half of a torn transaction in its file, and applies it with the next one "
    "when it starts again; see power_loss in docs/reliability.md"
)
FOUND = (
    "**Redis 7.0's file is repaired here before each start, as its operator is told to: else it may double; Valkey 9 needs "
    "nothing.** It is a fault of that server, "
    "[shown alone](../tests/reliability/test_torn_transaction.py): if the power fails while a transaction (the "
    "acknowledgement with its effects) goes to the disk, Redis 7.0 rightly does not apply the half that is there, but leaves "
    "it in its file; the next restart applies it together with the transaction that did the work anew. "
    "`./run`'s own server is Valkey. On a Redis 7.0 of your own, after a power loss and before you start it, type "
    "`redis-check-aof --fix appendonlydir/appendonly.aof.manifest`; how many events are doubled without it is told above"
)
DISK_DELAY_US = 2000


class Recorded(Guarded):
    """A server whose synced sizes are known."""

    def __init__(self, flavour: str, *options: str) -> None:
        self.log = Path(tempfile.mkdtemp(prefix="qo-sync-")) / "synced"
        env = {
            **os.environ,
            "LD_PRELOAD": str(native.built("fsyncrec")),
            "FSYNCREC_LOG": str(self.log),
            "FSYNCREC_DELAY_US": str(DISK_DELAY_US),
        }
        super().__init__(flavour, *options, env=env)

    def close(self) -> None:
        """End it, and forget what it had synced."""
        super().close()
        shutil.rmtree(self.log.parent, ignore_errors=True)

    def lose_power(self, chance: random.Random) -> int:
        """Kill it, and cut what was not synced; gives the bytes that were cut."""
        self.kill()
        synced: dict[tuple[int, int], int] = {}
        for line in self.log.read_text(encoding="ascii").splitlines():
            device, inode, size = map(int, line.split())
            synced[device, inode] = size
        cut = 0
        kept: list[str] = []
        for path in sorted((self.folder / "appendonlydir").iterdir()):
            at = path.stat()
            low = min(at.st_size, synced.get((at.st_dev, at.st_ino), 0))
            keep = low if chance.random() < 0.5 else chance.randint(low, at.st_size)
            os.truncate(path, keep)
            cut += at.st_size - keep
            kept.append(f"{at.st_dev} {at.st_ino} {keep}\n")
        # From here on, what is left is what the disk holds.
        self.log.write_text("".join(kept), encoding="ascii")
        return cut

    def repair(self) -> None:
        """What the operator of a redis 7.0 types after a power loss, before it is started."""
        [manifest] = (self.folder / "appendonlydir").glob("*.manifest")
        subprocess.run(
            ["redis-check-aof", "--fix", str(manifest)],
            input=b"y\n", check=True, capture_output=True,
        )  # fmt: skip


server = Recorded


def run(rig: Rig, result: Result, goal: int) -> None:
    """``goal`` losses with the shipped settings, then some with everysec, which must lose.

    Redis 7.0 is repaired each time, and struck again without that, for the page.
    """
    chance = random.Random(result.seed)
    torn = result.server == "redis7"
    # The disk is what slows them: the lag that redis 7.0 tells is wrong for good once it was torn.
    producers = [rig.producer(backlog=0) for _ in range(2)]
    workers = [rig.worker(number) for number in range(2)]
    took: list[float] = []
    seen: Counter[str] = Counter()
    for number in range(goal):
        cut = lose(rig, chance, seen, number)
        seen["with bytes cut off"] += cut > 0
        seen["bytes cut off"] += cut
        if torn:
            rig.server.repair()
        took.append(rig.start_again())
    for pid in producers:
        rig.end(pid)
    rig.settle()
    for pid in workers:
        state = rig.end(pid)
        result.expect(f"a worker {state}", holds=state == "exited 0")
    result.faults = {"power loss": goal}
    result.fenced = rig.fenced()
    result.recovery_s = (percentile(took, 0.5), percentile(took, 0.99))
    result.recovery_n = len(took)
    result.clean(rig.verdict())
    result.figures |= seen
    lost = control(rig, result, chance)
    result.figures["control: acknowledged events that everysec lost"] = lost
    result.expect("everysec lost nothing: the recorder is blind", holds=lost > 0)
    if torn:
        told = f"events doubled in {goal} power losses without the repair"
        result.figures[told] = unrepaired(rig, chance, goal)


def lose(rig: Rig, chance: random.Random, seen: Counter[str], number: int) -> int:
    """The loss of that ``number``, amid work; gives the bytes that were cut."""
    begin = rig.acked()
    wait_until(lambda: rig.acked() > begin + 10, 30, "events are acknowledged")
    if number % 5 == 4:
        # A rewrite changes files while it runs.
        rig.db.bgrewriteaof()
        seen["during or after a rewrite"] += 1
    time.sleep(chance.uniform(0.0, 0.05))
    cut: int = rig.server.lose_power(chance)
    return cut


def unrepaired(rig: Rig, chance: random.Random, goal: int) -> int:
    """``goal`` losses of a redis 7.0 that nobody repairs; gives how many events it doubled."""
    bare = Recorded("redis7", *OPTIONS)
    other = Rig(bare, rig.farm)
    try:
        others = [other.producer(backlog=0) for _ in range(2)] + [other.worker(n) for n in range(2)]
        for number in range(goal):
            lose(other, chance, Counter(), number)
            other.start_again()
        for pid in others[:2]:
            other.end(pid)
        other.settle()
        for pid in others[2:]:
            other.end(pid)
        return int(other.verdict()["doubled"])
    finally:
        other.close()
        bare.close()


def control(rig: Rig, result: Result, chance: random.Random) -> int:
    """The same with everysec, which must lose; gives how many acknowledged events it lost."""
    lost = 0
    for _ in range(max(1, CONTROLS * result.goal // GOAL)):
        weak = Recorded(result.server, "--appendonly", "yes", "--appendfsync", "everysec")
        other = Rig(weak, rig.farm)
        try:
            producer = other.producer(backlog=0)
            wait_until(lambda: other.acked() > 50, 30, "events are acknowledged")
            other.end(producer)
            weak.lose_power(chance)
            weak.start()
            lost += other.verdict()["lost"]
        finally:
            other.close()
            weak.close()
    return lost
