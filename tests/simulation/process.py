"""The only place of a simulated process: it runs until it waits, and is stopped or killed there.

Nothing that another process can see happens between two such steps, so faults at steps are faults
anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import greenlet

from quantum_ops.clock import Clock
from tests.simulation.scheduler import Scheduler

PAUSES_S = ((0.0, 0.01), (0.1, 4.0), (5.0, 15.0))
"""Shorter than a round trip, than a claim's idle time, and longer than it."""


class Killed(BaseException):
    """kill -9: nothing of the process runs any more. No ``except Exception`` sees it."""


class Dice:
    """How likely a process is killed or stopped at a step, and for how long."""

    def __init__(self, kill: float = 0.0, pause: float = 0.0) -> None:
        self.kill = kill
        self.pause = pause


class Process:
    """``main(process)`` under supervision: started again, under its name, after it ended."""

    def __init__(
        self, scheduler: Scheduler, name: str, dice: Dice, main: Callable[[Process], Any]
    ) -> None:
        self.scheduler = scheduler
        self.name = name
        self.dice = dice
        self.clock = SimulatedClock(self)
        self.waits_for: object = None
        self.kills = self.pauses = self.starts = 0
        self.broken: BaseException | None = None
        self.retired = False
        self._main = main
        self._greenlet: Any = None
        self._ticket = 0
        self._stopped_until_s = 0.0

    def start(self) -> None:
        """Start it, as a new process of the same name."""
        if self.retired:
            return
        self.starts += 1
        self._stopped_until_s = 0.0
        self.clock = SimulatedClock(self)
        self._greenlet = greenlet.greenlet(self._run, self.scheduler.hub)
        self.scheduler.told(self.name, "starts")
        self._greenlet.switch()

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        until_s = self.scheduler.now_s + seconds
        while self.scheduler.now_s < until_s:
            self.park(until_s)

    def park(self, until_s: float) -> None:
        """Wait until woken, ``until_s`` at the latest."""
        self._ticket += 1
        self.scheduler.at(until_s, self._resume, self._ticket)
        self.scheduler.hub.switch()

    def wake(self, _by: object = None) -> None:
        """Go on now, if it waits."""
        self.scheduler.at(self.scheduler.now_s, self._resume, self._ticket)

    def step(self, where: str) -> None:
        """A point at which faults happen: killed or stopped, as the dice say."""
        random = self.scheduler.random
        chance = random.random()
        if chance < self.dice.kill:
            self.scheduler.told(self.name, f"killed at {where}")
            raise Killed
        if chance > 1 - self.dice.pause:
            self.pauses += 1
            seconds = random.uniform(*random.choice(PAUSES_S))
            self._stopped_until_s = self.scheduler.now_s + seconds
            self.scheduler.told(self.name, f"stopped at {where} for {seconds:.2f} s")
            self.park(self._stopped_until_s)

    def stop(self) -> None:
        """SIGTERM."""
        self.scheduler.told(self.name, "asked to stop")
        self.clock.stop()
        self.wake()

    def end(self) -> None:
        """End it for good, whatever it does: the world is over."""
        self.retired = True
        if self._greenlet is not None and not self._greenlet.dead:
            self._greenlet.throw(Killed)

    @property
    def stopped(self) -> bool:
        """Whether it is stopped now (SIGSTOP)."""
        return self.scheduler.now_s < self._stopped_until_s

    @property
    def alive(self) -> bool:
        """Whether it runs, or waits."""
        return self._greenlet is not None and not self._greenlet.dead

    def _run(self) -> None:
        try:
            self._main(self)
        except Killed:
            self.kills += 1
        except Exception as error:  # noqa: BLE001 - the end of a process, whatever it raised
            self.broken = error
            self.scheduler.told(self.name, f"ended: {error!r}")
        # Nothing may be resumed that was asked for by the dead one.
        self._ticket += 1
        self.scheduler.after(self.scheduler.random.uniform(0.05, 2.0), self.start)

    def _resume(self, ticket: int) -> None:
        if ticket != self._ticket or self._greenlet is None or self._greenlet.dead:
            return
        if self.stopped:
            self.scheduler.at(self._stopped_until_s, self._resume, ticket)
            return
        self._ticket += 1
        self._greenlet.switch()


class SimulatedClock(Clock):
    """The product's clock on virtual time. Wall clocks of two processes differ by ``skew_s``."""

    def __init__(self, process: Process) -> None:
        # Without Clock's pipe: there are no signals here, and thousands of clocks.
        self._process = process
        self._stopping = False
        self.skew_s = process.scheduler.random.uniform(-5.0, 5.0)

    def now_s(self) -> float:
        """See :class:`~quantum_ops.clock.Clock`."""
        return max(0.0, self._process.scheduler.now_s + self.skew_s)

    def monotonic_s(self) -> float:
        """See :class:`~quantum_ops.clock.Clock`."""
        return self._process.scheduler.now_s

    def wait(self, seconds: float) -> None:
        """See :class:`~quantum_ops.clock.Clock`."""
        until_s = self._process.scheduler.now_s + seconds
        self._process.step("wait")
        while self._process.scheduler.now_s < until_s and not self._stopping:
            self._process.park(until_s)

    def stop(self) -> None:
        """See :class:`~quantum_ops.clock.Clock`."""
        self._stopping = True
