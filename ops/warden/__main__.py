"""The warden's process: ``python -m ops.warden``, which supervisord runs as an event listener.

The main thread answers supervisord at once, whatever else happens; everything that may wait (Redis,
supervisord's own answers, the disk) is done by a second thread, which the first one wakes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from ops.daemon import AbsentError, HungError, RefusedByDaemonError
from ops.paths import Paths
from ops.warden import listener, recorder, rules
from ops.warden.known import Known
from ops.warden.listener import Notice, ProtocolError
from ops.warden.recorder import Recorder
from ops.warden.rounds import Rounds
from ops.warden.spool import Spool
from quantum_ops import client, knobs, lifeline, logs
from quantum_ops.errors import ConfigurationError, RefusedError
from quantum_ops.settings import RedisSettings, RuntimeSettings, WardenSettings

EVERY_S = 5.0
"""Seconds between rounds, as supervisord ticks; kept up without ticks as well."""

HUNG_S = 120.0
"""Seconds without a turn of the second thread after which the warden ends itself."""
SOON_S = 1.0
"""Seconds between rounds while something is wrong."""
LAST_S = 2.0
"""Seconds that the last events get to reach Redis at a stop; those that do not are kept."""


class Worker(threading.Thread):
    """Records and heals, woken by events; a fault of one turn does not end it."""

    def __init__(self, recorder_: Recorder, rounds: Rounds, log: Any) -> None:
        super().__init__(name="rounds", daemon=True)
        self._recorder, self._rounds, self._log = recorder_, rounds, log
        self._wake = threading.Event()
        self._due = threading.Event()
        self._turned_s = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since this thread last came round: above a few it is dead, or hangs."""
        return time.monotonic() - self._turned_s

    def wake(self, *, look: bool) -> None:
        """There is something to record, or, with ``look``, time for a round."""
        if look:
            self._due.set()
        self._wake.set()

    def run(self) -> None:
        """Work until the process ends."""
        last_s, every_s = time.monotonic(), EVERY_S
        while True:
            self._turned_s = time.monotonic()
            self._wake.wait(1.0)
            self._wake.clear()
            self._guarded(self._recorder.drain)
            if self._due.is_set() or time.monotonic() - last_s >= every_s:
                self._due.clear()
                last_s = time.monotonic()
                self._guarded(self._rounds.turn)
                every_s = SOON_S if self._rounds.is_busy else EVERY_S

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (AbsentError, HungError, RefusedByDaemonError) as error:
            # Starting, stopping, or hanging: the next round asks again.
            self._log.warning("supervisord_answers_nothing", error=str(error))
        except Exception:  # noqa: BLE001 - one broken round must not end all healing
            self._log.exception("round_failed")


def main() -> int:
    """Exit code: 0 when supervisord is gone or asks to stop, 1 protocol broken, 78 settings."""
    try:
        return _main()
    except (ConfigurationError, RefusedError) as error:
        lines = error.lines if isinstance(error, ConfigurationError) else (str(error),)
        return lifeline.refuse(*(f"{rules.NAME}: {line}" for line in lines))


def _main() -> int:
    lifeline.die_with_parent()
    settings = knobs.load(WardenSettings)
    runtime = knobs.load(RuntimeSettings)
    redis = knobs.load(RedisSettings)
    # Standard output is the line to supervisord: a stray print() must not reach it.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logs.configure(rules.NAME, runtime.log_level)
    log = logs.get()
    paths = Paths.find()
    spool = Spool(paths.warden / "process.jsonl")
    recorder_ = Recorder(client.connect(redis, name=rules.NAME, user=rules.NAME), spool, log)
    known = Known()
    worker = Worker(recorder_, Rounds(settings, recorder_, spool, known, log), log)
    worker.start()
    boot = _boot(paths)
    log.info(
        "started", waiting=len(spool), silence_s=settings.silence_s, memory_mb=settings.memory_mb
    )

    def take(told: Notice) -> None:
        if worker.idle_s > HUNG_S:
            # Nobody watches the watchman: supervisord starts another, and the spool is on disk.
            log.error("rounds_hang", seconds=round(worker.idle_s))
            os._exit(1)
        event = recorder.event_of(told, boot)
        if event is not None:
            spool.add(event)
            known.told(event.process, event.to_state)
        worker.wake(look=told.name.startswith("TICK") or told.name.endswith("_FATAL"))

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        listener.serve(sys.stdin.buffer, sink, take)
    except ProtocolError:
        log.exception("supervisord_speaks_otherwise")
        return 1
    except (_LeaveError, BrokenPipeError):
        log.info("stopping", waiting=len(spool))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # we are leaving: a second one says nothing new
    deadline = time.monotonic() + LAST_S
    while len(spool) and not recorder_.is_away and time.monotonic() < deadline:
        worker.wake(look=False)
        time.sleep(0.02)
    recorder_.leave()
    log.info("stopped", waiting=len(spool))
    return 0


class _LeaveError(Exception):
    """Asked to stop, out of a read that nothing else would end."""


def _leave(_number: int, _frame: object) -> NoReturn:
    raise _LeaveError


def _boot(paths: Paths) -> str:
    """What tells this life of supervisord from its others: its serials begin anew each time."""
    pid_file = paths.run_dir / "supervisord.pid"
    try:
        return f"{pid_file.read_text(encoding='ascii').strip()}@{pid_file.stat().st_mtime_ns}"
    except (OSError, ValueError):
        return f"{os.getppid()}@unknown"


if __name__ == "__main__":
    sys.exit(main())
