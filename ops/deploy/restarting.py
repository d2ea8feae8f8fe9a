"""The only place that brings the processes of one program to a release, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ops import log_tail, scale_plan, system
from ops.daemon import BUSY_STATES, Changes, Process
from ops.deploy import watch
from ops.deploy.errors import UnprovenError
from ops.deploy.releases import Releases, stanzas
from ops.paths import Paths
from ops.readiness import Verdict
from ops.running import Running
from ops.terminal import safe

_POLL_S = 0.2
_LOG_LINES = 5


@dataclass(slots=True)
class Restarts:
    """What was restarted so far: pids before and after, by address, and what is still untouched."""

    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)


class Restarting:
    """Brings ``program`` to releases; ``told`` hears each process that is ready.

    Everything raises what :class:`ops.daemon.Daemon` raises.
    """

    def __init__(
        self,
        paths: Paths,
        current: Running,
        releases: Releases,
        program: str,
        told: Callable[[str], None],
    ) -> None:
        self._paths, self._current = paths, current
        self._releases, self._program = releases, program
        self._told = told
        self.restarts = Restarts({p.address: p.pid for p in self.processes()})

    def processes(self) -> list[Process]:
        """The program's processes as supervisord has them."""
        return watch.mine(system.daemon(self._paths).processes(), self._program)

    def bring(self, commit: str, wait_s: float, *, only: set[str] | None = None) -> None:
        """Let the program run from ``commit``; ``only`` these processes, all of them if None.

        Raises :class:`UnprovenError` at the first process that does not become ready; the others
        are left as they are.
        """
        changes, groups = self.switch(commit)
        wanted = scale_plan.read(self._paths)
        some = False
        for group in groups:
            fresh = self._renew(group, changes)
            for process in self._members(group):
                busy = process.state in BUSY_STATES
                if not busy and not scale_plan.is_wanted(process, wanted):
                    continue
                some = True
                if fresh or only is None or process.address in only:
                    self._restart(process, wait_s, fresh=fresh)
        if not some:
            raise UnprovenError(f"supervisord has no process of {self._program} to start")

    def rest(self, commit: str) -> None:
        """Let the program start from ``commit`` when it is started, and stop it."""
        changes, groups = self.switch(commit)
        for group in groups:
            self._renew(group, changes)
        self.stop()

    def switch(self, commit: str) -> tuple[Changes, list[str]]:
        """Point to the release and have its stanzas read; nothing that runs is touched yet.

        Gives what differs from what is in force, and the groups of the program in the order of
        their processes. What else changed in the checkout's stanzas is none of this deploy's
        business and stays as it is.
        """
        if not stanzas(self._releases.path(commit), self._program):
            raise UnprovenError(f"commit {commit[:12]} has no stanza of {self._program}")
        self._releases.point(self._program, commit)
        declared = self._releases.configure(self._program, commit)
        changes = system.daemon(self._paths).reread()
        self._require_release(declared)
        groups = list(dict.fromkeys(process.group for process in self.processes()))
        groups += sorted(declared - set(groups))
        self._note_others(changes, set(groups))
        return changes, groups

    def _renew(self, group: str, changes: Changes) -> bool:
        """Put a group into force as it was read, if it differs; gives whether it was made anew.

        supervisord does this to a whole group: its processes stop together. Other groups of the
        program go on meanwhile.
        """
        daemon = system.daemon(self._paths)
        if group in changes.changed | changes.removed:
            members = self._members(group)
            self.restarts.touched |= {process.address for process in members}
            for process in members:
                daemon.stop(process)
            left = daemon.wait_stopped(members, lambda: None)
            if left:
                raise UnprovenError(f"{left[0].name} does not stop")
            daemon.remove_group(group)
        if group not in changes.changed | changes.added:
            return False
        daemon.add_group(group)
        self.restarts.touched |= {process.address for process in self._members(group)}
        return True

    def _members(self, group: str) -> list[Process]:
        return [process for process in self.processes() if process.group == group]

    def stop(self) -> None:
        """Stop all processes of the program."""
        daemon = system.daemon(self._paths)
        busy = [process for process in self.processes() if process.state in BUSY_STATES]
        for process in busy:
            daemon.stop(process)
        daemon.wait_stopped(busy, lambda: None)

    def stay_ready(self, settle_s: float, patience_s: float) -> None:
        """Watch for ``settle_s`` that what is ready stays so; raises :class:`UnprovenError`.

        A process that lives but waits (Redis was away for a moment) is given ``patience_s`` more.
        """
        began = time.monotonic()
        while True:
            found = [
                (verdict, watch.stays(self.restarts.after[verdict.process.address], verdict))
                for verdict in self.verdicts()
                if verdict.process.address in self.restarts.after
            ]
            for verdict, judgement in found:
                if judgement.answer == "failed":
                    raise UnprovenError(self._complaint(verdict, judgement.why))
            gone = set(self.restarts.after) - {v.process.address for v, _ in found}
            if gone:
                raise UnprovenError(f"{min(gone)} is no longer known to supervisord")
            age_s = time.monotonic() - began
            waiting = [(v, j) for v, j in found if j.answer == "wait"]
            if age_s >= settle_s and not waiting:
                return
            if waiting and age_s > settle_s + patience_s:
                verdict, judgement = waiting[0]
                raise UnprovenError(self._complaint(verdict, f"is not ready: {judgement.why}"))
            time.sleep(_POLL_S)

    def verdicts(self) -> list[Verdict]:
        """What each process of the program is doing now."""
        found = system.look(self._paths, self._current).verdicts
        return [verdict for verdict in found if verdict.process.program == self._program]

    def _restart(self, process: Process, wait_s: float, *, fresh: bool) -> None:
        daemon = system.daemon(self._paths)
        address = process.address
        # Before the stop: whoever is killed in between has touched it.
        self.restarts.touched.add(address)
        old_pid = 0 if fresh else process.pid
        if not fresh and process.state in BUSY_STATES:
            daemon.stop(process)
            if daemon.wait_stopped([process], lambda: None):
                raise UnprovenError(f"{process.name} does not stop")
        daemon.start(process)
        verdict, judgement = self._await(address, old_pid, wait_s)
        if judgement.answer != "ready":
            raise UnprovenError(self._complaint(verdict, judgement.why))
        self._require_code(process.name, judgement.pid)
        self.restarts.after[address] = judgement.pid
        was = self.restarts.before.get(address, 0)
        self._told(f"{process.name}: {judgement.why}, pid {was or '-'} -> {judgement.pid}")

    def _await(self, address: str, old_pid: int, wait_s: float) -> tuple[Verdict, watch.Judgement]:
        deadline, first_pid = time.monotonic() + wait_s, 0
        while True:
            found = [v for v in self.verdicts() if v.process.address == address]
            if not found:
                raise UnprovenError(f"{address} is not known to supervisord any more")
            judgement = watch.started(old_pid, first_pid, found[0])
            if judgement.answer != "wait":
                return found[0], judgement
            if time.monotonic() > deadline:
                why = f"not ready after {wait_s:g} s: {judgement.why}"
                return found[0], watch.Judgement("failed", why, judgement.pid)
            first_pid = judgement.pid or first_pid
            time.sleep(_POLL_S)

    def _complaint(self, verdict: Verdict, why: str) -> str:
        process = verdict.process
        lines = log_tail.last_lines(Path(process.log), _LOG_LINES) if process.log else []
        return "\n".join([f"{process.name} {safe(why)}", *(f"    {line}" for line in lines)])

    def _require_code(self, name: str, pid: int) -> None:
        """The proof that it is the release's code: the folder that the process stands in."""
        try:
            folder = Path(f"/proc/{pid}/cwd").resolve(strict=True)
        except OSError:
            return  # not Linux: that supervisord starts it there has to do
        wanted = self._releases.link(self._program).resolve()
        if folder != wanted:
            raise UnprovenError(f"{name} (pid {pid}) runs in {folder}, not in {wanted}")

    def _require_release(self, groups: set[str]) -> None:
        folder = str(self._releases.link(self._program))
        told = system.daemon(self._paths).directories()
        if any(told.get(group) != folder for group in groups):
            raise UnprovenError(
                f"supervisord does not read {self._paths.release_stanzas}: it was started by an "
                "older version; ./run stop && ./run, then deploy again"
            )

    def _note_others(self, changes: Changes, owned: set[str]) -> None:
        others = sorted((changes.added | changes.changed | changes.removed) - owned)
        if others:
            self._told(
                f"not touched, though their stanzas changed: {', '.join(others)} "
                "(deploy them, or ./run supervisorctl update)"
            )
