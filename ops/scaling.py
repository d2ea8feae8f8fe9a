"""The only place that starts and drains processes of a program until as many run as wanted."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import redis

from ops import rolling, scale_plan, system
from ops.daemon import BUSY_STATES, AbsentError, Process
from ops.paths import Paths
from ops.readiness import Verdict
from ops.running import Running
from quantum_ops import client, streams
from quantum_ops.errors import QuantumError
from quantum_ops.publisher import run_script
from quantum_ops.scripts import DROP_CONSUMER

_POLL_S = 0.2
PATIENCE_S = 10.0
"""Seconds that a supervisord which has just been spawned may take to listen."""


class ScaleError(QuantumError):
    """Not so many processes can run; the message says how many are declared and where."""


def family(processes: list[Process], program: str) -> list[Process]:
    """The processes of ``program`` by number, spares included; ``KeyError`` names what there is."""
    found = sorted((p for p in processes if p.program == program), key=lambda p: p.number)
    if not found:
        known = ", ".join(sorted({p.program for p in processes}))
        raise KeyError(f"no program {program!r}; there are: {known}")
    return found


def check(found: list[Process], number: int) -> None:
    """Raise :class:`ScaleError` unless ``number`` of these can run."""
    program = found[0].program
    if number < 1:
        raise ScaleError(f"{program}: {number} is below 1; to stop it: ./run stop {program}")
    fixed = sum(process.autostart for process in found)
    if number < fixed:
        raise ScaleError(f"{program}: {fixed} start with the system; {number} is below that")
    if number > len(found):
        where = f"supervisor/conf.d/{program}_spare.conf"
        cure = f"raise numprocs in {where}" if len(found) > 1 else f"it has no {where}"
        raise ScaleError(
            f"{program}: {len(found)} {'is' if len(found) == 1 else 'are'} declared, "
            f"{number} cannot run; {cure} (docs/supervision.md)"
        )


def scale(
    paths: Paths,
    current: Running,
    program: str,
    number: int,
    *,
    wait_s: float,
    told: Callable[[str, str, str], None],
) -> Verdict | None:
    """Start or drain, one after the other, until the first ``number`` processes run.

    The number is remembered first: whoever is killed in the middle of this can say it again, and so
    can the next start. ``told`` gets a process, what became of it, and details. Gives the verdict
    of a process that did not become ready, None if all did.
    """
    found = family(system.daemon(paths).processes(), program)
    check(found, number)
    scale_plan.write(paths, program, number)
    for process in found[:number]:
        if process.state in BUSY_STATES:
            continue
        verdict = rolling.restart_one(paths, current, process, wait_s)
        told(process.name, verdict.ready, verdict.detail)
        if not verdict.is_fine:
            return verdict
    for process in reversed(found[number:]):
        if process.state not in BUSY_STATES:
            continue
        daemon = system.daemon(paths)
        daemon.stop(process)
        left = daemon.wait_stopped([process], lambda: None)
        told(process.name, "does not stop" if left else "drained", _forget(current, process))
    return None


def start_wanted(paths: Paths) -> None:
    """Start the spares that were asked for, and wait for none; for the start of the system."""
    wanted = scale_plan.read(paths)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            daemon = system.daemon(paths)
            for process in daemon.processes():
                down = process.state not in BUSY_STATES
                if down and not process.autostart and scale_plan.is_wanted(process, wanted):
                    daemon.start(process)
        except AbsentError:
            if time.monotonic() > deadline:
                return  # whoever waits for readiness says what is wrong
            time.sleep(_POLL_S)
        else:
            return


def _forget(current: Running, process: Process) -> str:
    """Take the drained process's name out of its groups; tells what it left behind."""
    name = f"{current.host or socket.gethostname()}:{process.program}:{process.number}"
    settings = current.redis(system.LOOK_S)
    left = 0
    try:
        db = client.connect(settings, name="scale")
        for stream in streams.CATALOGUE:
            left += max(0, run_script(db, DROP_CONSUMER, [stream.key], [process.program, name]))
        db.connection_pool.disconnect()
    except (redis.RedisError, OSError) as error:
        return f"its name stays in its groups ({error})"
    return f"{left} entries of it are claimed by the others" if left else ""
