"""The only place that starts, stops and restarts named programs of the running system."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable

from ops import naming, rolling, scale_plan, start, system
from ops.daemon import BUSY_STATES, AbsentError, HungError, Process, RefusedByDaemonError
from ops.telling import Teller
from ops.warden import holds
from ops.warden.holds import Hold, UnreadableHoldsError
from quantum_ops.codec import rfc3339
from quantum_ops.events import now


def start_named(names: list[str], wait_s: float, tell: Teller) -> int:
    """Start what ``names`` mean, one after the other, each ready before the next.

    Ends what ``./run stop NAME`` noted. Exit code: 0 ready, 3 one is not ready. Raises
    :class:`~ops.naming.UnknownNameError` and what the daemon raises.
    """
    paths, current = system.find()
    with start.alone(paths):
        processes = system.daemon(paths).processes()
        chosen = naming.meant(processes, names, scale_plan.read(paths))
        holds.started(paths, [*naming.programs(processes, names), *(p.name for p in chosen)])
        for process in chosen:
            if process.state in BUSY_STATES - {"STOPPING"}:
                tell.row(process.name, "runs", f"already, {process.state}", pid=process.pid)
                continue
            verdict = rolling.restart_one(paths, current, process, wait_s)
            tell.row(process.name, verdict.ready, verdict.detail, pid=verdict.process.pid)
            if not verdict.is_fine:
                tell.trouble(f"not ready; look: ./run logs {process.name}")
                return 3
        try:
            _remind(holds.read(paths), chosen, tell)
        except UnreadableHoldsError as error:
            tell.trouble(str(error))
    return 0


def stop_named(names: list[str], tell: Teller) -> int:
    """Drain what ``names`` mean, all at once, and keep the warden from starting it again.

    Exit code: 0 stopped, 1 one does not stop. Raises as :func:`start_named`.
    """
    paths, _ = system.find()
    with start.alone(paths):
        daemon = system.daemon(paths)
        processes = daemon.processes()
        chosen = naming.meant(processes, names, scale_plan.read(paths))
        # First: the warden must not find it down and unheld for a moment.
        try:
            hold = made("./run stop", until_started=True)
            holds.add(paths, naming.programs(processes, names), hold)
        except (UnreadableHoldsError, OSError) as error:
            # A full disk must not keep anybody from stopping a gate.
            tell.trouble(f"stopped all the same, but not put on hold: {error}")
        busy = [process for process in chosen if process.state in BUSY_STATES]
        for process in busy:
            daemon.stop(process)
        left = {process.name for process in daemon.wait_stopped(busy, lambda: None)}
        for process in chosen:
            was = "" if process in busy else f"was {process.state}"
            tell.row(process.name, "does not stop" if process.name in left else "stopped", was)
        return 1 if left else 0


def restart_named(names: list[str], wait_s: float, tell: Teller) -> int:
    """Restart what ``names`` mean and runs, one after the other, each ready before the next.

    Exit code: 0 ready, 3 one is not ready and those after it were left as they were. Raises as
    :func:`start_named`.
    """
    paths, current = system.find()
    processes = system.daemon(paths).processes()
    chosen = naming.meant(processes, names, scale_plan.read(paths))
    holds.started(paths, [*naming.programs(processes, names), *(p.name for p in chosen)])
    for process in chosen:
        verdict = rolling.restart_one(paths, current, process, wait_s)
        tell.row(process.name, verdict.ready, verdict.detail, pid=verdict.process.pid)
        if not verdict.is_fine:
            # The next one is still doing its work; a broken release must not take them all.
            tell.trouble("stopped here; the others were left as they are")
            return 3
    return 0


def made(why: str, *, until_started: bool = False) -> Hold:
    """A hold of this user and moment."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"  # a uid without a name, in a container
    return Hold(rfc3339(now()), f"{user}@{socket.gethostname()}", why, until_started)


def _remind(held: dict[str, Hold], chosen: list[Process], tell: Teller) -> None:
    for process in chosen:
        if holds.is_held(held, process.name, process.program):
            tell.trouble(
                f"{process.name} is on hold: it runs, and the warden leaves it alone; "
                f"./run release {process.program}"
            )


def guarded(work: Callable[[], int], tell: Teller) -> int:
    """The exit code of ``work``, with every expected error told in one line.

    1 supervisord hangs or refuses, or somebody else is starting; 3 nothing runs; 4 no such name.
    """
    try:
        return work()
    except naming.UnknownNameError as error:
        tell.trouble(str(error))
        return 4
    except AbsentError:
        tell.trouble("not running; ./run starts it")
        return 3
    except BrokenPipeError:
        raise  # the reader of our output has left, which is no trouble of supervisord
    except (
        start.StartError, HungError, RefusedByDaemonError, UnreadableHoldsError, OSError,
    ) as error:  # fmt: skip
        tell.trouble(str(error))
        return 1
