"""The only place where a process ties its life to the supervisord that started it.

``kill -9`` of supervisord leaves its children running; the next start would then put a second set
of consumers under the same names beside them, and a second server on the same files. So every
program calls :func:`die_with_parent` first. Stdlib only: the server's launcher needs it too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

EX_CONFIG = 78
"""Exit code that supervisord is told to leave alone (``exitcodes=78`` in every stanza)."""
STARTSECS_S = 1.0
"""``startsecs`` of every stanza: what exits sooner is retried by supervisord whatever its code."""
_PR_SET_PDEATHSIG = 1
_POLL_S = 1.0


def die_with_parent() -> None:
    """Ask for a SIGTERM when supervisord dies; does nothing outside supervisord.

    MUST be called before the process takes its first piece of work, and again by nobody: the
    wish survives ``exec`` but not ``fork``. Linux has the kernel do it; elsewhere a thread looks
    every second (and so cannot cover a program that execs into something else). Raises
    ``SystemExit`` if supervisord is gone already, because its signal would never come then.
    """
    if "SUPERVISOR_ENABLED" not in os.environ:
        return
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - nobody else needs it

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        threading.Thread(target=watch, args=(parent, _terminate), daemon=True).start()
    # The parent may have died between our fork and the line above, or between these two lines.
    if os.getppid() != parent or not _descends_from(_supervisord_pid()):
        raise SystemExit("the supervisord that started this process is gone; leaving")


def watch(parent: int, act: Callable[[], None], every_s: float = _POLL_S) -> None:
    """Call ``act`` once as soon as ``parent`` is no longer this process's parent."""
    while os.getppid() == parent:
        time.sleep(every_s)
    act()


def refuse(*lines: str) -> int:
    """Print ``lines`` to stderr and give exit code 78, late enough for supervisord to respect it.

    supervisord looks at ``exitcodes`` only for a process that lived longer than ``startsecs``; a
    quicker exit is retried. So, under supervisord, this waits that second before it returns.
    """
    for line in lines:
        print(line, file=sys.stderr, flush=True)
    if "SUPERVISOR_ENABLED" in os.environ:
        time.sleep(STARTSECS_S + 0.2)
    return EX_CONFIG


def _terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _supervisord_pid() -> int | None:
    """What supervisord wrote into its pid file before it spawned anything; None if unknown."""
    folder = os.environ.get("QUANTUM_RUN_DIR")
    if not folder:
        return None
    try:
        return int(Path(folder, "supervisord.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _descends_from(ancestor: int | None) -> bool:
    """Whether ``ancestor`` is above us; True where that cannot be known.

    Not "is our parent": a stanza may wrap its program in a shell.
    """
    pid = os.getppid()
    while ancestor is not None and pid != ancestor:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            # No /proc (macOS), or gone while we looked: being adopted by init is the sign left.
            return os.getppid() != 1
        pid = int(stat.rpartition(")")[2].split()[1])
        if pid == 0:
            return False
    return True
