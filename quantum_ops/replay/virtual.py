"""The only place of virtual time: it stands still until somebody waits, or the next entry comes."""

from __future__ import annotations

import time
from collections.abc import Callable

from quantum_ops.clock import Clock


class VirtualClock(Clock):
    """A clock at the time of what is replayed. ``speed`` 1 passes as it passed then; 0: at once."""

    def __init__(self, speed: float = 0.0, sleep: Callable[[float], None] = time.sleep) -> None:
        super().__init__()
        self._speed = speed
        self._sleep = sleep
        self._start_s = 0.0
        self._now_s = 0.0

    def begin(self, now_s: float) -> None:
        """Be at ``now_s`` (seconds since 1970) without any time passing."""
        self._start_s = self._now_s = now_s

    def now_s(self) -> float:
        """Seconds since 1970, as they were."""
        return self._now_s

    def monotonic_s(self) -> float:
        """Seconds since the replay began, in its own time."""
        return self._now_s - self._start_s

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        if seconds <= 0 or self.stopping():
            return
        if self._speed > 0:
            self._sleep(seconds / self._speed)
        self._now_s += seconds

    def reach(self, now_s: float) -> None:
        """Let time pass until ``now_s``; it never goes back."""
        self.wait(now_s - self._now_s)
