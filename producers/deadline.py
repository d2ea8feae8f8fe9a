"""The only place that ends a piece of work by the clock, whatever it is waiting for."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

REPEAT_S = 0.05
"""The alarm goes on ringing: one that is swallowed inside a destructor is followed by the next."""
_AT_ONCE_S = 0.001


class TimeUp(BaseException):
    """Not an Exception: no ``except Exception`` on the way up may swallow it."""


class Deadline:
    """Ends a block after some seconds, or at once when asked. Main thread only.

    A read timeout bounds one read; a server that drips a byte a second never trips it. An alarm
    interrupts whatever the block waits for, except a name look-up: that one runs in C and ends by
    the resolver's own timeouts.
    """

    def __init__(self) -> None:
        self._armed = False
        self._cut = False

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Raise :class:`TimeUp` inside the block after ``seconds``."""
        before = signal.signal(signal.SIGALRM, self._ring)
        self._armed = True
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_S)
            try:
                # Asked between the two lines above, cut() had its alarm overwritten.
                if self._cut:
                    raise TimeUp
                yield
            finally:
                self._armed = False
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def cut(self) -> None:
        """End the block that runs, and every later one, at once; safe inside a signal handler."""
        self._cut = True
        if self._armed:
            signal.setitimer(signal.ITIMER_REAL, _AT_ONCE_S, REPEAT_S)

    def _ring(self, *_: object) -> None:
        if self._armed:
            raise TimeUp
