"""The only place that decides whether a restarted process has proven itself. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ops.daemon import Process
from ops.readiness import Verdict

Answer = Literal["ready", "wait", "failed"]
WORKING = frozenset({"READY", "STANDBY"})
"""What a heartbeat may say of a process that does its work, or its turn will come."""
_DIED = frozenset({"BACKOFF", "EXITED", "FATAL", "UNKNOWN"})


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a look at one process tells; ``pid`` is the life it is about, 0 if it has none yet."""

    answer: Answer
    why: str
    pid: int = 0


def started(old_pid: int, first_pid: int, verdict: Verdict) -> Judgement:
    """Whether the process started anew works. ``first_pid`` is the pid seen since, 0 if none was.

    A death is final: supervisord would try for 84 minutes, but a release that dies at its start
    is not one to wait for. RUNNING is not enough: the heartbeat must be of the new pid.
    """
    process = verdict.process
    if process.state in _DIED:
        return Judgement("failed", f"died: {process.state}, {verdict.detail}", first_pid)
    if process.state in {"STOPPED", "STOPPING"}:
        return Judgement("wait", process.state.lower())
    if process.pid in (0, old_pid):
        return Judgement("wait", "not started yet")
    if first_pid not in (0, process.pid):
        return Judgement("failed", f"died: pid {first_pid} was followed by {process.pid}")
    if process.state == "RUNNING" and verdict.ready in WORKING:
        return Judgement("ready", f"{verdict.ready} {verdict.detail}".rstrip(), process.pid)
    return Judgement("wait", f"{verdict.ready} {verdict.detail}".rstrip(), process.pid)


def stays(pid: int, verdict: Verdict) -> Judgement:
    """Whether the process that was ready under ``pid`` still works."""
    process = verdict.process
    if process.pid != pid or process.state != "RUNNING":
        now = f"pid {process.pid}" if process.pid else process.state
        return Judgement("failed", f"was ready under pid {pid} and died: now {now}", pid)
    if verdict.ready in WORKING:
        return Judgement("ready", f"{verdict.ready} {verdict.detail}".rstrip(), pid)
    return Judgement("wait", f"{verdict.ready} {verdict.detail}".rstrip(), pid)


def mine(processes: list[Process], program: str) -> list[Process]:
    """The processes of ``program`` by number, spares included."""
    return sorted((p for p in processes if p.program == program), key=lambda p: p.number)
