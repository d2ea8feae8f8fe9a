"""The only place that judges whether a process is doing its work: RUNNING is not consuming."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ops.daemon import Process
from quantum_ops.heartbeat import TTL_S
from quantum_ops.lifeline import EX_CONFIG

BEATING_ROLES = frozenset({"consumers", "producers"})
"""Packages of programs that can be deployed, scaled and drained one by one."""
HEARD_ROLES = BEATING_ROLES | {"ops.warden"}
"""Packages whose processes write heartbeats; of any other, RUNNING is all there is to know."""
GRACE_S = float(TTL_S)
"""Seconds a fresh process may take to its first heartbeat before its silence counts as STALE."""
STATES = {
    "ready": "READY", "standby": "STANDBY", "waiting": "WAITING", "draining": "DRAINING",
}  # fmt: skip
Beat = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Server:
    """The server as it answered: ``problem`` is empty if it did."""

    owned: bool
    flavour: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One process: READY, STANDBY, WAITING, DRAINING, STALE, DOWN or SPARE; ``detail`` says why."""

    process: Process
    ready: str
    detail: str = ""
    beat: Beat = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether waiting changes nothing: given up, refused its settings, or stopped by hand."""
        refused = self.process.state == "EXITED" and self.process.exit_status == EX_CONFIG
        return refused or self.process.state in {"FATAL", "STOPPED"}

    @property
    def is_fine(self) -> bool:
        """Whether this one holds nothing up. A spare waits to be started by hand, on purpose."""
        return self.ready in {"READY", "STANDBY", "SPARE"}


def judge(
    process: Process,
    beat: Beat | None,
    server: Server,
    *,
    host: str,
    now_ms: int,
    wanted: bool = True,
) -> Verdict:
    """What ``process`` is doing, by its state, its heartbeat and the server's answer.

    ``beat`` is the heartbeat hash of its program and number, None if there is none or if it could
    not be read; ``host`` is this machine's name and ``now_ms`` the time, epoch milliseconds;
    ``wanted`` is False for a spare that nobody asked for.
    """
    if process.state == "STOPPING":
        return Verdict(process, "DRAINING", "asked to stop")
    if process.state != "RUNNING":
        return _down(process, wanted=wanted)
    if process.role not in HEARD_ROLES:
        if process.program == "redis" and server.owned:
            ready = "WAITING" if server.problem else "READY"
            return Verdict(process, ready, server.problem or server.flavour)
        return Verdict(process, "READY")
    if server.problem:
        return Verdict(process, "WAITING", "for the server")
    return _beating(process, beat, host, now_ms)


def _down(process: Process, *, wanted: bool) -> Verdict:
    if process.state == "STOPPED" and not process.autostart and not wanted:
        return Verdict(process, "SPARE", f"start it: ./run scale {process.program} N")
    detail = process.said or process.state.lower()
    if process.state == "EXITED":
        detail = f"exit {process.exit_status}"
        if process.exit_status == EX_CONFIG:
            detail += ": refused its settings"
    elif process.state == "STOPPED":
        detail = f"start it: ./run start {process.name}"
    return Verdict(process, "DOWN", detail)


def _beating(process: Process, beat: Beat | None, host: str, now_ms: int) -> Verdict:
    age_s = process.now - process.started_at
    silent = "WAITING" if age_s <= GRACE_S else "STALE"
    if not beat:
        return Verdict(process, silent, f"no heartbeat, up {age_s} s")
    if beat.get("pid") != str(process.pid) or beat.get("host") != host:
        # The hash of an earlier life stays for its TTL; it tells nothing of this one.
        whose = f"pid {beat.get('pid', '?')} on {beat.get('host', '?')}"
        detail = f"no heartbeat of its own yet, last of {whose}"
        if beat.get("host") != host:
            detail += "; two hosts on one server need a QUANTUM_HOST each"
        return Verdict(process, silent, detail)
    written = beat.get("updated_ms", "")
    beat_age_s = (now_ms - int(written)) / 1000 if written.isdecimal() else TTL_S + 1.0
    if beat_age_s > TTL_S:
        return Verdict(process, "STALE", f"last heartbeat {beat_age_s:.0f} s ago", beat)
    state = beat.get("state", "")
    ready = STATES.get(state)
    if ready is None:
        return Verdict(process, "STALE", f"heartbeat with unknown state {state!r}", beat)
    handled = beat.get("handled", "")
    detail = beat.get("detail") or (f"handled {handled}" if handled else "")
    return Verdict(process, ready, detail, beat)
