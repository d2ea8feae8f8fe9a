"""The only place that says how many replicas must have a write before it counts.

A master that dies, or is cut off, takes with it what no replica has. What others act on outside
Redis (a permit) or will not send again (an event that was acknowledged) MUST NOT count before.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many replicas must have a write, and how many milliseconds they may take for it.

    WAIT counts what was written on its own connection, so it MUST be sent on that one.
    """

    count: int = 0
    wait_ms: int = 1000

    @property
    def command(self) -> tuple[str, int, int]:
        """The command that waits; its answer is the number of replicas that have the write."""
        return ("WAIT", self.count, self.wait_ms)


NONE = Replicas()
