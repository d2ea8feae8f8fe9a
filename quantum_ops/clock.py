"""The only place where the runtime asks for time or waits, so that tests can steer both."""

from __future__ import annotations

import os
import select
import time
import weakref


class Clock:
    """The real clock, and the wish to stop, which ends every wait at once."""

    def __init__(self) -> None:
        self._stopping = False
        # A pipe and not a threading.Event: a signal handler that sets an Event can meet the
        # Event's own lock held by the very thread it interrupted, and hang for ever.
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        for descriptor in (self._read, self._write):
            weakref.finalize(self, os.close, descriptor)

    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stopping

    def now_s(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds on a clock that no one sets."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait ``seconds``, or less if the process is asked to stop."""
        if not self._stopping and seconds > 0:
            select.select([self._read], [], [], seconds)

    def stop(self) -> None:
        """Ask for a stop; safe inside a signal handler, any number of times."""
        self._stopping = True
        try:
            os.write(self._write, b"x")
        except BlockingIOError:  # the pipe is full of earlier wishes: one is enough
            return
