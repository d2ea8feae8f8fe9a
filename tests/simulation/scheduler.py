"""The only place of virtual time: what happens next, and who runs. One thread, no real clock."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any

import greenlet


class Scheduler:
    """Calls in the order of their times; ``random`` decides whatever may fall out either way.

    ``trace`` keeps lines of what happened if asked for. The same seed gives the same lines.
    """

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.random = Random(seed)
        self.now_s = 0.0
        self.hub = greenlet.getcurrent()
        self.trace: list[str] | None = [] if traced else None
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def at(self, when_s: float, call: Callable[..., None], *args: Any) -> None:
        """Have ``call(*args)`` happen at ``when_s``, or now if that is past."""
        self._number += 1
        heapq.heappush(self._due, (max(when_s, self.now_s), self._number, call, args))

    def after(self, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Have ``call(*args)`` happen ``delay_s`` from now."""
        self.at(self.now_s + delay_s, call, *args)

    def run(self, over: Callable[[], bool], until_s: float) -> bool:
        """Go on until ``over()``; False if it was not before ``until_s``."""
        while self._due:
            if self._due[0][0] > until_s:
                self.now_s = until_s
                return over()
            self.now_s, _, call, args = heapq.heappop(self._due)
            call(*args)
            if over():
                return True
        return over()

    def told(self, who: str, what: str) -> None:
        """Keep a line of what happened."""
        if self.trace is not None:
            self.trace.append(f"{self.now_s:10.4f} {who:<10} {what}")
