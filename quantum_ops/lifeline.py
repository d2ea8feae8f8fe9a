"""The only place that ties a process to its parent: it ends when supervisord is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(number: int = signal.SIGTERM) -> None:
    """Have the kernel send ``number`` when the parent dies (Linux; nothing elsewhere).

    kill -9 of supervisord orphans its children; a restart would then run two of each under one
    consumer name. Survives ``execv``.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        # The parent died before the request was in force: nobody would tell us any more.
        os.kill(os.getpid(), number)
