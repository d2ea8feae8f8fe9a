"""The only place that restarts single processes: one at a time, each ready before the next."""

from __future__ import annotations

import time

from ops import system
from ops.daemon import BUSY_STATES, Process
from ops.paths import Paths
from ops.readiness import Verdict
from ops.running import Running

_POLL_S = 0.2


def restart_one(paths: Paths, current: Running, process: Process, wait_s: float) -> Verdict:
    """Drain ``process``, start it, wait until it is ready; the last verdict on it."""
    daemon = system.daemon(paths)
    if process.state in BUSY_STATES:
        daemon.stop(process)
        daemon.wait_stopped([process], lambda: None)
    daemon.start(process)
    deadline = time.monotonic() + wait_s
    while True:
        verdicts = system.look(paths, current).verdicts
        verdict = next(v for v in verdicts if v.process.address == process.address)
        if verdict.ready in {"READY", "STANDBY"} or time.monotonic() > deadline:
            return verdict
        time.sleep(_POLL_S)
