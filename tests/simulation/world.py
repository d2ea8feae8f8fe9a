"""The only place that makes a world of a seed, lets its faults happen, and has it judged."""

from __future__ import annotations

import random as shared_random
from dataclasses import dataclass, field
from typing import Any

from quantum_ops.consumer import Bounds
from quantum_ops.context import Context
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.runner import Runner
from quantum_ops.testing import Recorder
from tests.simulation import workload
from tests.simulation.checker import Verdict, judge, pending, vanishings
from tests.simulation.process import Dice, Process
from tests.simulation.scheduler import Scheduler
from tests.simulation.server import Server
from tests.simulation.wire import Network, Pool

EPOCH_MS = 1_700_000_000_000
CLAIM_AFTER_S = 5.0
FAULTS_S = (2.0, 12.0)
"""Virtual seconds during which faults happen; after them the system has to come to rest."""
REST_S = 120.0
JUMPS_S = (-20.0, -1.0, 1.0, 20.0)


@dataclass
class Outcome:
    """One seed's run."""

    seed: int
    verdict: Verdict
    events: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)


class World:
    """Everything of one run; ``inbox`` is the protocol under test."""

    def __init__(self, seed: int, inbox: type[RedisInbox], *, traced: bool = False) -> None:
        # Jitter of the product comes from the shared generator.
        shared_random.seed(seed)
        self.scheduler = Scheduler(seed, traced=traced)
        self.random = self.scheduler.random
        self._inbox = inbox
        self._ahead_s = 0.0
        self.server = Server(self._server_ms)
        self.network = Network(self.scheduler, self.server)
        self.server.execute([b"SET", workload.WRONG, b"no hash"])
        events = workload.draw(self.random)
        self.given = {event.name: event for event in events}
        self._unpublished = len(events)
        self._prepares = self.random.random() < 0.3
        self._commits = self.random.random() < 0.3
        self.disk = workload.Disk()
        self.destroyed = self.vanished = self.jumps = self.stops = 0
        batch = self.random.choice((1, 2, 5, 50))
        self._bounds = Bounds(batch, 1000, CLAIM_AFTER_S, 6, 0.2, 2.0)
        self.dice = Dice(
            self.random.choice((0.0, 0.002, 0.01, 0.03)),
            self.random.choice((0.0, 0.005, 0.02, 0.05)),
        )
        self._fenced = 0
        self._looked = -1
        self.processes = [
            Process(self.scheduler, f"sim:{number}", self.dice, self._main)
            for number in range(self.random.choice((1, 2, 2, 3)))
        ]
        self._over_s = self.random.uniform(*FAULTS_S)
        self._plan(events)

    def run(self, seed: int) -> Outcome:
        """Let everything happen, and judge."""
        self.scheduler.run(lambda: False, self._over_s)
        self.dice.kill = self.dice.pause = self.network.fault_rate = 0.0
        self.scheduler.told("world", "faults are over")
        deadline_s = self._over_s + REST_S
        rested = self.scheduler.run(self._rested, deadline_s)
        # What a zombie or the network still holds comes now, when all is done.
        latest_s = max([self.scheduler.now_s + 0.1, self.network.late_until_s])
        self.scheduler.run(lambda: False, latest_s + 0.1)
        disk = self.disk if self._commits else None
        verdict = judge(self.server, self.given, disk, destroyed=bool(self.destroyed))
        told = vanishings(self.server)
        if told != self.vanished:
            verdict.wrong.append(f"{self.vanished} groups vanished, {told} Findings tell of it")
        if not rested and not verdict.wrong:
            verdict.wrong.append("did not come to rest")
        for process in self.processes:
            process.retired = True
            process.end()
            if process.broken is not None:
                verdict.wrong.append(f"{process.name} ended with {process.broken!r}")
        return Outcome(seed, verdict, len(self.given), self._counts(), self.scheduler.trace or [])

    def _server_ms(self) -> int:
        return EPOCH_MS + int((self.scheduler.now_s + self._ahead_s) * 1000)

    def _counts(self) -> dict[str, int]:
        return {
            "kills": sum(one.kills for one in self.processes),
            "zombies": sum(one.pauses for one in self.processes),
            "network faults": self.network.faults,
            "server restarts": self.network.restarts,
            "clock jumps": self.jumps,
            "orderly stops": self.stops,
            "groups destroyed": self.destroyed,
            "fenced": self._fenced,
        }

    def _plan(self, events: list[workload.Given]) -> None:
        """Say when what is to happen."""
        at, random, over_s = self.scheduler.at, self.random, self._over_s
        for event in events:
            at(random.choice((0.0, random.uniform(0.0, over_s))), self._publish, event)
        for process in self.processes:
            at(random.uniform(0.0, 0.5), process.start)
            while random.random() < 0.2:
                at(random.uniform(0.5, over_s), self._stop, process)
        if len(self.processes) > 1 and random.random() < 0.3:
            at(random.uniform(0.5, over_s), self._retire, self.processes[-1])
        while random.random() < 0.3:
            at(random.uniform(0.1, over_s), self._crash)
        if random.random() < 0.2:
            at(random.uniform(0.1, over_s), self._jump)
        if random.random() < 0.03:
            at(random.uniform(0.5, over_s), self.destroy)
        self.network.fault_rate = random.choice((0.0, 0.01, 0.05, 0.2))

    def _publish(self, event: workload.Given) -> None:
        command = [b"XADD", event.stream, b"*", *(_bytes(part) for part in event.flat())]
        # The twin of an event that is published twice stands under the same name.
        kept = self.given[event.name]
        kept.entry_ids.append(self.network.serve(command))
        self._unpublished -= 1
        self.scheduler.told("producer", f"{event.name} ({event.kind}) is {kept.entry_ids[-1]!r}")
        if event.kind == "deleted":
            delay_s = self.random.choice((0.0, 0.01, 1.0))
            entry_id = kept.entry_ids[-1]
            self.scheduler.after(delay_s, self.network.serve, [b"XDEL", event.stream, entry_id])

    def _stop(self, process: Process) -> None:
        self.stops += 1
        process.stop()

    def _retire(self, process: Process) -> None:
        self.scheduler.told(process.name, "is gone for good")
        process.end()

    def _crash(self) -> None:
        self.network.crash(self.random.uniform(0.05, 3.0))

    def _jump(self) -> None:
        self.jumps += 1
        self._ahead_s += self.random.choice(JUMPS_S)
        self.scheduler.told("server", f"clock is {self._ahead_s} s ahead")

    def destroy(self) -> None:
        """XGROUP DESTROY of one group, by an operator."""
        self.destroyed += 1
        key = self.random.choice(workload.KEYS)
        self.scheduler.told("operator", f"destroys the group of {key!r}")
        command = [b"XGROUP", b"DESTROY", key, workload.GROUP.encode()]
        # A stream that is not there yet is an error, and no group of it was.
        self.vanished += self.network.serve(command) == 1

    def _rested(self) -> bool:
        # Asked after everything that happens: what costs least first, and only of what changed.
        if self._looked == self.network.served:
            return False
        self._looked = self.network.served
        return (
            not self._unpublished
            and self.network.up
            and not any(one.stopped for one in self.processes)
            and not pending(self.server)
        )

    def _main(self, process: Process) -> None:
        """What one process does: the product's runner on the product's inbox."""
        pool: Any = Pool(self.network, process)
        made = workload.make(
            process, self.given, self.disk, prepares=self._prepares, commits=self._commits
        )
        keys = tuple(key.decode() for key in workload.KEYS)
        inbox = self._inbox(pool, keys, workload.GROUP, process.name)
        context = Context(workload.GROUP, None, None, process.clock)
        observer = Recorder()
        runner = Runner(made, inbox, context, self._bounds, observer, clock=process.clock)
        try:
            runner.run()
        finally:
            self._fenced += sum(report.fenced for report in observer.reports)
            pool.close()


def simulate(seed: int, inbox: type[RedisInbox] = RedisInbox, *, traced: bool = False) -> Outcome:
    """Run the world of ``seed``; the same seed gives the same outcome, to the letter."""
    return World(seed, inbox, traced=traced).run(seed)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
