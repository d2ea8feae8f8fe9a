"""The only place that waits out what is no event's fault: a full disk, another process's turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quantum_ops.clock import Clock
from quantum_ops.context import Context
from quantum_ops.errors import Hold

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
STANDBY_WAIT_S = 0.25
"""Seconds between looks of a process that stands by: what its forerunner's death costs at most."""
PATIENCE_S = 5.0
"""Seconds of being held up before somebody is called: a lock that is busy passes sooner."""


class Holding:
    """The waits of one process.

    ``show`` is told the heartbeat's state (``waiting``, ``standby``), ``tell(reason, lasted_s)``
    publishes that the consumer is held up, and with an empty reason that it goes on; it gives
    whether that was possible. ``trouble`` is the observer's.
    """

    def __init__(
        self,
        context: Context,
        clock: Clock,
        show: Callable[[str], None],
        tell: Callable[[str, float], bool],
        trouble: Callable[..., Any],
    ) -> None:
        self._context = context
        self._clock = clock
        self._show = show
        self._tell = tell
        self._trouble = trouble
        self._since_s: float | None = None
        self._wait_s = FIRST_WAIT_S
        self._reason = ""
        self._told = False

    def wait(self, held: Hold) -> bool:
        """Show why, and wait a while; False if the process is asked to stop."""
        now_s = self._clock.monotonic_s()
        if self._since_s is None:
            self._since_s = now_s
        if held.reason != self._reason:
            self._reason = held.reason
            kind = "standby" if held.standby else "held_up"
            self._trouble(kind, reason=kind, error=held.reason)
        self._context.vitals["detail"] = held.reason[:500]
        self._show("standby" if held.standby else "waiting")
        lasted_s = now_s - self._since_s
        if not held.standby and not self._told and lasted_s >= PATIENCE_S:
            self._told = self._tell(held.reason, lasted_s)
        self._clock.wait(STANDBY_WAIT_S if held.standby else self._wait_s)
        self._wait_s = min(LONGEST_WAIT_S, self._wait_s * 2)
        return not self._clock.stopping()

    def over(self) -> None:
        """It passed."""
        if self._since_s is None:
            return
        if self._told:
            self._tell("", self._clock.monotonic_s() - self._since_s)
        # Emptied, not left out: what a heartbeat does not name stays as it was.
        self._context.vitals["detail"] = ""
        self._since_s, self._wait_s, self._reason, self._told = None, FIRST_WAIT_S, "", False
