"""The only place that brings the system down: who works stops first, the server last."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable

from ops import leftovers
from ops.daemon import BUSY_STATES, AbsentError, Daemon, Process
from ops.paths import Paths

_EXIT_S = 30.0
_POLL_S = 0.1


def stop(
    paths: Paths, note: Callable[[str], None], meanwhile: Callable[[], None] = lambda: None
) -> str:
    """Stop everything and give one line that says what was done. Twice is as good as once.

    ``meanwhile`` is called while waiting. ``supervisorctl stop all`` would take the server away
    from consumers that are still draining, and a shutdown alone drains one program after the
    other; here all programs of one priority drain at once, tier by tier, then supervisord goes.
    """
    daemon = Daemon(paths.supervisor_socket)
    began = time.monotonic()
    try:
        count = _drain(daemon, note, meanwhile)
    except AbsentError:
        done = _clear(paths, note, meanwhile)
    else:
        done = f"stopped in order: {count} processes, {time.monotonic() - began:.1f} s"
        # A program that lost its supervisord in the middle of all this would be found here.
        leftovers.end(paths, meanwhile)
    paths.current_env.unlink(missing_ok=True)
    return done


def tiers(processes: list[Process]) -> list[list[Process]]:
    """Busy processes by priority, the highest (which stops first) first."""
    busy = sorted(
        (process for process in processes if process.state in BUSY_STATES),
        key=lambda process: process.priority,
        reverse=True,
    )
    groups = itertools.groupby(busy, key=lambda process: process.priority)
    return [list(members) for _, members in groups]


def _drain(daemon: Daemon, note: Callable[[str], None], meanwhile: Callable[[], None]) -> int:
    pid = daemon.pid()
    count = 0
    for tier in tiers(daemon.processes()):
        for process in tier:
            daemon.stop(process)
        for process in daemon.wait_stopped(tier, meanwhile):
            note(f"{process.name} does not stop; supervisord is asked to end it")
        count += len(tier)
    if daemon.state() != "SHUTDOWN":
        daemon.shutdown()
    deadline = time.monotonic() + _EXIT_S
    while _is_alive(pid) and time.monotonic() < deadline:
        meanwhile()
        time.sleep(_POLL_S)
    return count


def _clear(paths: Paths, note: Callable[[str], None], meanwhile: Callable[[], None]) -> str:
    old = leftovers.find(paths)
    if not old:
        return "not running"
    names = ", ".join(f"{item.kind} {item.pid}" for item in old)
    note(f"supervisord was killed; ending what it left behind: {names}")
    leftovers.end(paths, meanwhile)
    left = leftovers.find(paths)
    if left:
        return "still there: " + ", ".join(f"{item.kind} {item.pid}" for item in left)
    return f"stopped: {len(old)} left-over processes ended"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
