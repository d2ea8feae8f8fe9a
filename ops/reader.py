"""The only place that knows whether anybody still reads what we print."""

from __future__ import annotations

import select

LEFT = 141
"""Exit code when nobody does, as of a program that SIGPIPE ended."""


def has_left(*fds: int) -> bool:
    """Whether the reader of one of ``fds`` (default: stdout, stderr) has left (``| head``)."""
    poller = select.poll()
    for fd in fds or (1, 2):
        poller.register(fd, 0)
    return any(seen & (select.POLLERR | select.POLLHUP) for _, seen in poller.poll(0))


def raise_if_left(error: OSError) -> None:
    """Raise ``error`` again if it says only that nobody reads what we print."""
    if isinstance(error, BrokenPipeError) and has_left():
        raise error
