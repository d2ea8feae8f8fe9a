"""The only place that decides what the warden does about a process. Pure: time is handed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from ops.daemon import Process
from ops.readiness import Verdict
from quantum_ops.lifeline import EX_CONFIG
from quantum_ops.settings import WardenSettings

NAME = "warden"
SERVER = "redis"
KILL_AFTER_S = 5.0
"""Seconds beyond its ``stopwaitsecs`` that a process gets between SIGTERM and SIGKILL."""
_MIB = 1024 * 1024


class Trouble(StrEnum):
    """What is wrong with a process; the value is what its count is called."""

    NONE = ""
    FATAL = "fatal"
    SILENT = "silent"
    MEMORY = "memory"
    REFUSED = "refused"


class Deed(StrEnum):
    """What to do now."""

    NOTHING = ""
    START = "start"
    TERM = "term"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Record:
    """What the warden remembers of one process. Times are seconds of a clock that no one sets."""

    trouble: Trouble = Trouble.NONE
    pid: int = 0
    since_s: float = 0.0
    heals: int = 0
    """Restarts in a row; what the next wait is doubled by."""
    healed_s: float | None = None
    asked_pid: int = 0
    """Pid that was sent SIGTERM and has not ended yet; 0 if there is none."""
    asked_s: float = 0.0


def trouble(verdict: Verdict, resident: int, limit: int, *, heard: bool) -> Trouble:
    """What is wrong with the process of ``verdict``.

    ``resident`` and ``limit`` are bytes (0: unknown, none). ``heard`` says that the server took
    our own heartbeat a moment ago; if it did not, the silence of others tells nothing of them.
    """
    process = verdict.process
    if process.state in {"FATAL", "EXITED"} and process.exit_status == EX_CONFIG:
        return Trouble.REFUSED
    if process.state == "FATAL":
        return Trouble.FATAL
    if process.state != "RUNNING":
        return Trouble.NONE
    if heard and verdict.ready == "STALE":
        return Trouble.SILENT
    return Trouble.MEMORY if limit and resident > limit else Trouble.NONE


def limit_bytes(process: Process, settings: WardenSettings) -> int:
    """Resident bytes that ``process`` may have; 0 is no limit."""
    if process.program in {SERVER, NAME}:
        return 0
    return dict(settings.memory_limits).get(process.program, settings.memory_mb) * _MIB


def wait_s(heals: int, settings: WardenSettings) -> float:
    """Seconds between the last restart and the next, after ``heals`` in a row."""
    doubled = settings.backoff_base_s * 2.0 ** min(heals, 40)
    return min(max(settings.backoff_cap_s, settings.backoff_base_s), doubled)


def decide(  # noqa: PLR0911 - one return for each thing that ends the question
    record: Record,
    process: Process,
    seen: Trouble,
    now_s: float,
    settings: WardenSettings,
    *,
    held: bool = False,
    leaving: bool = False,
) -> tuple[Record, Deed]:
    """The record after this look, and what to do.

    ``held`` programs are left alone whatever they do. ``leaving`` says that a neighbour of the
    same program is being restarted: two of them at once would leave its work to nobody.
    """
    if held:
        return replace(record, trouble=Trouble.NONE, asked_pid=0), Deed.NOTHING
    if record.asked_pid and record.asked_pid == process.pid and process.state == "RUNNING":
        if now_s - record.asked_s < process.stop_wait_s + KILL_AFTER_S:
            return record, Deed.NOTHING
        return replace(record, asked_s=now_s), Deed.KILL
    record = replace(record, asked_pid=0)
    if seen in {Trouble.NONE, Trouble.REFUSED}:
        lasting = process.state == "RUNNING" and process.now - process.started_at
        heals = 0 if lasting and lasting >= settings.reset_s else record.heals
        return replace(record, trouble=seen, since_s=now_s, heals=heals), Deed.NOTHING
    if (record.trouble, record.pid) != (seen, process.pid):
        record = replace(record, trouble=seen, pid=process.pid, since_s=now_s)
    if now_s < _due_s(record, seen, settings) or (leaving and seen is not Trouble.FATAL):
        return record, Deed.NOTHING
    healed = replace(record, trouble=Trouble.NONE, heals=record.heals + 1, healed_s=now_s)
    if seen is Trouble.FATAL:
        return healed, Deed.START
    return replace(healed, asked_pid=process.pid, asked_s=now_s), Deed.TERM


def _due_s(record: Record, seen: Trouble, settings: WardenSettings) -> float:
    patience: Mapping[Trouble, float] = {
        Trouble.FATAL: wait_s(record.heals, settings),
        Trouble.SILENT: settings.silence_s or float("inf"),
        Trouble.MEMORY: settings.memory_grace_s,
    }
    due_s = record.since_s + patience[seen]
    if record.healed_s is None:
        return due_s
    return max(due_s, record.healed_s + wait_s(max(0, record.heals - 1), settings))
