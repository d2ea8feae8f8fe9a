"""The only place that finds and ends processes that outlived their supervisord.

Programs ask the kernel to be told of supervisord's death (quantum_ops/lifeline.py), so normally
there is nothing here to find but processes that are just draining. What does not drain must still
not meet its successor.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ops import data_folder
from ops.paths import PROFILES, Paths

DRAIN_S = 35.0
"""Seconds for a graceful end, above every consumer's ``stopwaitsecs``; then SIGKILL."""
_KILL_S = 5.0


@dataclass(frozen=True, slots=True)
class Leftover:
    """One process: what it runs, and what makes us sure that it is ours."""

    pid: int
    command: str
    kind: str
    """``supervisord``, ``server`` or ``program``."""


def find(paths: Paths) -> list[Leftover]:
    """Processes of the system at ``paths`` that are alive; meant for when supervisord is not.

    On Linux all of them, recognised by the environment that supervisord gave them; elsewhere the
    server, by its lock on the data folder and by having lost its parent. A server that somebody
    started by hand is none: it keeps its lock, and the next start says so.
    """
    holders = {data_folder.holder(replace(paths, profile=profile).data) for profile in PROFILES}
    servers = {pid for pid in holders if pid is not None}
    if Path("/proc/self/environ").exists():
        return sorted(_from_proc(paths, servers), key=lambda leftover: leftover.pid)
    return [Leftover(pid, "server", "server") for pid in sorted(servers) if _is_adopted(pid)]


def end(paths: Paths, meanwhile: Callable[[], None] = lambda: None) -> list[Leftover]:
    """End all of them, the server last, and give those that were there.

    A supervisord that lost its socket is asked first and ends its own children. SIGKILL follows
    after ``DRAIN_S``.
    """
    were = find(paths)
    for kind in ("supervisord", "program", "server"):
        _end([leftover for leftover in find(paths) if leftover.kind == kind], paths, meanwhile)
    return were


def _end(targets: list[Leftover], paths: Paths, meanwhile: Callable[[], None]) -> None:
    for number, patience_s in ((signal.SIGTERM, DRAIN_S), (signal.SIGKILL, _KILL_S)):
        alive = _still(targets, paths)
        for leftover in alive:
            # Looked up again just above: a pid that was reused meanwhile is somebody else's.
            try:
                os.kill(leftover.pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + patience_s
        while alive and time.monotonic() < deadline:
            meanwhile()
            time.sleep(0.05)
            alive = _still(targets, paths)


def _still(targets: Iterable[Leftover], paths: Paths) -> list[Leftover]:
    alive = {leftover.pid for leftover in find(paths)}
    return [leftover for leftover in targets if leftover.pid in alive]


def _from_proc(paths: Paths, servers: set[int]) -> Iterable[Leftover]:
    marks = {f"QUANTUM_RUN_DIR={paths.run_dir}".encode(), f"QUANTUM_HOME={paths.home}".encode()}
    ourselves = _ancestry()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        if pid in ourselves:
            continue
        try:
            environ = set((folder / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue  # gone meanwhile, or another user's
        if not marks <= environ or _is_zombie(folder):
            continue
        command = _command(pid)
        if "SUPERVISOR_ENABLED=1" in {item.decode("utf-8", "replace") for item in environ}:
            yield Leftover(pid, command, "server" if pid in servers else "program")
        elif "supervisor.supervisord" in command:
            yield Leftover(pid, command, "supervisord")


def _ancestry() -> set[int]:
    """This process and all above it: somebody may type ./run stop inside a supervised shell."""
    pids, pid = set(), os.getpid()
    while pid > 0:
        pids.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
    return pids


def _is_adopted(pid: int) -> bool:
    asked = subprocess.run(
        ["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() == "1"


def _is_zombie(folder: Path) -> bool:
    try:
        stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode("utf-8", "backslashreplace").strip()
