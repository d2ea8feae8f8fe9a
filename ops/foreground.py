"""The only place that keeps the system in the foreground: logs on screen, ^C drains and stops."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ops import leftovers
from ops.log_tail import Follower, Screen
from ops.paths import Paths
from ops.stop import stop

_POLL_S = 0.2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Asked:
    """Whether somebody asked us to end, by ^C, by SIGTERM or by closing the terminal."""

    def __init__(self) -> None:
        self.to_stop = False

    @contextmanager
    def listening(self) -> Iterator[Asked]:
        """Take the signals while the block runs, and give them back."""
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.to_stop = True


def stay(
    paths: Paths,
    child: subprocess.Popen[bytes],
    asked: Asked,
    follower: Follower,
    note: Callable[[str], None],
) -> int:
    """Show the logs until somebody asks to stop, then drain; gives the exit code.

    0 after a stop that was asked for, here or by ./run stop elsewhere; 1 if supervisord was
    killed, and then what it left behind has been ended.
    """
    screen = Screen([path.stem for path in paths.log.glob("*.log")])

    def show() -> None:
        child.poll()  # takes the exit code: an unreaped child would look alive for ever
        for name, line in follower.poll():
            screen.show(name, line)

    while child.poll() is None and not asked.to_stop:
        show()
        time.sleep(_POLL_S)
    if asked.to_stop:
        note("stopping: programs drain, then the server ends")
        done = stop(paths, note, show)
        show()
        note(done)
        return 0
    show()
    if child.returncode == 0:
        note("stopped from elsewhere")
        return 0
    note(f"supervisord ended by itself (code {child.returncode}); see {paths.log}/supervisord.log")
    leftovers.end(paths, show)
    paths.current_env.unlink(missing_ok=True)
    return 1
