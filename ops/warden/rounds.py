"""The only place of the warden's rounds: look at every process, decide, act, tell.

Rounds go by what supervisord answers when it is asked, not by the events that it sends: those are
only recorded, so that one that got lost heals nothing less.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ops import system
from ops.daemon import Daemon, Process, program_of
from ops.paths import Paths
from ops.readiness import Verdict
from ops.system import Sight
from ops.warden import holds, resident, rules
from ops.warden.known import Known
from ops.warden.recorder import Recorder, identity
from ops.warden.rules import Deed, Record, Trouble
from ops.warden.spool import Spool
from quantum_ops import events
from quantum_ops.settings import WardenSettings

FINDINGS = {
    "process_gave_up": (
        "critical",
        "supervisord had given a program up (FATAL); the warden starts it again",
    ),
    "process_refused_settings": (
        "critical",
        "a program ended with exit code 78; it stays down until somebody mends what it names",
    ),
    "process_silent": (
        "critical",
        "a program ran without a heartbeat for WARDEN_SILENCE_SEC; the warden restarts it",
    ),
    "process_over_memory": (
        "warning",
        "a program took more memory than WARDEN_MEMORY_MB or _LIMITS allow; it is restarted",
    ),
    "process_deaf": (
        "critical",
        "a program that was to be restarted did not end on SIGTERM; it is killed",
    ),
    "holds_unreadable": (
        "critical",
        "the hold list cannot be read, so the warden leaves every program alone",
    ),
    "process_events_lost": (
        "warning",
        "more process events came while Redis was away than are kept; the oldest stand",
    ),
}
"""Findings of the warden: severity, and when."""


class Rounds:
    """Looks at the system now and then and starts again what fell, unless it is held."""

    def __init__(
        self,
        settings: WardenSettings,
        recorder: Recorder,
        spool: Spool,
        known: Known,
        log: Any,
        *,
        find: Callable[[], tuple[Paths, Any]] = system.find,
        look: Callable[[Paths, Any], Sight] = system.look,
        daemon: Callable[[Paths], Daemon] = system.daemon,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._spool = spool
        self._known = known
        self._log = log
        self._find, self._look, self._daemon, self._now_s = find, look, daemon, now_s
        self._records: dict[str, Record] = {}
        self._told: set[str] = set()
        self._dropped = 0

    @property
    def is_busy(self) -> bool:
        """Whether a process is in trouble, or on its way out of it."""
        waits = {Trouble.FATAL, Trouble.SILENT, Trouble.MEMORY}
        return any(one.asked_pid or one.trouble in waits for one in self._records.values())

    def turn(self) -> None:
        """One round. Raises what :class:`Daemon` raises: supervisord is busy, hangs or is going."""
        paths, current = self._find()
        heard = self._recorder.beat(
            spooled=len(self._spool), dropped=self._spool.dropped, unsaved=self._spool.unsaved
        )
        sight = self._look(paths, current)
        self._record_missed(sight)
        self._tell_losses()
        held = self._holds(paths)
        if held is None or sight.state != "RUNNING":
            return
        with _nobody_starts_or_stops(paths.start_lock) as ours:
            if not ours:
                return  # ./run start, stop or scale is at it, and knows better what it wants
            for verdict in sight.verdicts:
                if verdict.process.program != rules.NAME:
                    self._judge(paths, verdict, held, heard=heard and not sight.server.problem)
        alive = {verdict.process.address for verdict in sight.verdicts}
        self._records = {name: kept for name, kept in self._records.items() if name in alive}

    def _judge(
        self, paths: Paths, verdict: Verdict, held: dict[str, holds.Hold], *, heard: bool
    ) -> None:
        process = verdict.process
        limit = rules.limit_bytes(process, self._settings)
        taken = resident.of(process.pid).resident if limit and process.pid else 0
        seen = rules.trouble(verdict, taken, limit, heard=heard)
        before = self._records.get(process.address, Record())
        # By program, not by supervisord's group: spares are in a group of their own.
        leaving = any(
            record.asked_pid and program_of(address.partition(":")[2]) == process.program
            for address, record in self._records.items()
            if address != process.address
        )
        after, deed = rules.decide(
            before, process, seen, self._now_s(), self._settings,
            held=holds.is_held(held, process.name, process.program), leaving=leaving,
        )  # fmt: skip
        self._act(paths, process, deed)
        # Remembered only now: what supervisord refused is tried again in the next round.
        self._records[process.address] = after
        self._tell(verdict, seen, deed, after.heals, f"{_mib(taken)} of {_mib(limit)} MiB")

    def _act(self, paths: Paths, process: Process, deed: Deed) -> None:
        if deed is Deed.START:
            self._daemon(paths).start(process)
        elif deed in {Deed.TERM, Deed.KILL}:
            # By signal and not by stop and start: a warden that is killed in between would leave
            # the program down, while after a signal supervisord itself starts it again.
            self._daemon(paths).signal(process, deed.value.upper())

    def _tell(self, verdict: Verdict, seen: Trouble, deed: Deed, heals: int, size: str) -> None:
        process, again = verdict.process, f"restart {heals} in a row"
        if deed is Deed.KILL:
            self._report(process, "process_deaf", "did not end on SIGTERM; killed")
        elif deed is Deed.START:
            said = process.said or "it ended too soon, too often"
            self._report(process, "process_gave_up", f"FATAL: {said}; {again}", seen)
        elif deed is Deed.TERM and seen is Trouble.SILENT:
            self._report(process, "process_silent", f"{verdict.detail}; {again}", seen)
        elif deed is Deed.TERM:
            self._report(process, "process_over_memory", f"{size}; {again}", seen)
        elif seen is Trouble.REFUSED:
            # Told once for each end, over every restart of the warden.
            ended = identity("refused", process.address, str(process.started_at))
            if ended not in self._told:
                detail = f"exit 78, see its log; mend it, then: ./run start {process.name}"
                if self._report(process, "process_refused_settings", detail, event_id=ended):
                    self._told.add(ended)

    def _report(
        self, process: Process, name: str, detail: str, seen: Trouble | None = None,
        event_id: str = "",
    ) -> bool:  # fmt: skip
        finding = _finding(name, process.name, detail, event_id)
        return self._recorder.find(finding, f"{process.program}:{seen}" if seen else "")

    def _holds(self, paths: Paths) -> dict[str, holds.Hold] | None:
        try:
            held = holds.read(paths)
        except holds.UnreadableHoldsError as error:
            if "holds" not in self._told and self._recorder.find(
                _finding("holds_unreadable", "warden", str(error))
            ):
                self._told.add("holds")
            return None
        self._told.discard("holds")
        return held

    def _record_missed(self, sight: Sight) -> None:
        for process, before in self._known.missed(v.process for v in sight.verdicts):
            self._log.warning("event_missed", process=process.name, state=process.state)
            self._spool.add(
                events.OpsProcess(
                    program=process.program, process=process.name, from_state=before,
                    to_state=process.state, pid=process.pid,
                )
            )  # fmt: skip

    def _tell_losses(self) -> None:
        lost = self._spool.dropped - self._dropped
        if lost and self._recorder.find(
            _finding("process_events_lost", "warden", f"{lost} events found no room")
        ):
            self._dropped += lost


def _finding(name: str, subject: str, detail: str, event_id: str = "") -> events.AuditFinding:
    made = events.AuditFinding(
        auditor=rules.NAME,
        finding=name,
        severity=FINDINGS[name][0],  # type: ignore[arg-type]  # the table's severities are such
        subject=subject,
        detail=detail[:1000],
    )
    return msgspec.structs.replace(made, event_id=event_id) if event_id else made


def _mib(size: int) -> int:
    return size // (1024 * 1024)


@contextlib.contextmanager
def _nobody_starts_or_stops(path: Path) -> Iterator[bool]:
    """Hold the lock of start and stop for a moment; False if somebody else has it."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
