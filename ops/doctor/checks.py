"""The only place that judges a snapshot of the system: pure checks, each with its cure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from ops.doctor import server_checks
from ops.doctor.finding import Finding, note, problem, warning
from ops.doctor.snapshot import Snapshot

Check = Callable[[Snapshot], Iterator[Finding]]
CURES = {0o077: "go=", 0o007: "o=", 0o002: "o-w"}
"""Bits that must not be set -> what takes them away."""
LAST_PORT = 65535
LOW_BYTES = 1 << 30
LOW_SHARE = 0.05
SKEW_MS = 1000.0
"""Milliseconds that two clocks may differ: P33_STALE_THRESHOLD_SEC and the exchange's window are
of this order."""


def settings(seen: Snapshot) -> Iterator[Finding]:
    """Settings that cannot be used."""
    for line in seen.settings:
        yield problem("config", line, "mend the line it names, then: ./run restart")


def ports(seen: Snapshot) -> Iterator[Finding]:
    """A port that somebody has while the program that is to have it does not run."""
    up = {one.process.program for one in seen.verdicts if one.process.state == "RUNNING"}
    for one in seen.ports:
        if not one.taken or one.program in up:
            continue
        theirs = f"use what is there: REDIS_URL=redis://127.0.0.1:{one.number} ./run; or "
        yield problem(
            "ports",
            f"port {one.number} on 127.0.0.1 is taken, and {one.program}, whose it is, is down",
            f"{theirs if one.program == 'redis' else ''}take another: {one.setting}="
            f"{one.number + 10 if one.number < LAST_PORT - 10 else 9790}",
        )


def disk(seen: Snapshot) -> Iterator[Finding]:
    """Room on each file system that is written to."""
    told: set[tuple[int, int]] = set()
    for one in seen.disks:
        least = min(LOW_BYTES, one.total * LOW_SHARE)
        if one.free < least and (one.free, one.total) not in told:
            told.add((one.free, one.total))
            yield problem(
                "disk",
                f"{one.name} ({one.path}): {_mib(one.free)} MiB free of {_mib(one.total)}",
                "make room: a full disk ends the server and holds the ledger and the archive; what "
                "may go: old logs, ./run archive trim, or move ARCHIVE_DIR",
            )
        elif one.inodes and one.inodes_free < one.inodes * LOW_SHARE / 5:
            yield problem(
                "disk",
                f"{one.name} ({one.path}): {one.inodes_free} inodes free of {one.inodes}",
                "remove small files there, or move QUANTUM_HOME",
            )


def clock(seen: Snapshot) -> Iterator[Finding]:
    """Our clock against the server's, and against the exchange's if it was asked."""
    skew, trip = seen.server.skew_ms, seen.server.trip_ms
    if skew is not None and abs(skew) - trip / 2 > SKEW_MS:
        yield problem(
            "clock",
            f"this clock is {skew:+.0f} ms off the server's (+-{trip / 2:.0f})",
            "run an NTP client (chrony, systemd-timesyncd) on both machines: ages, permits and "
            "stale positions are judged by these clocks",
        )
    if seen.exchange_problem:
        yield warning(
            "clock", f"the exchange told no time: {seen.exchange_problem}", "look at the network"
        )
    if seen.exchange_skew_ms is not None and abs(seen.exchange_skew_ms) > SKEW_MS:
        yield problem(
            "clock",
            f"this clock is {seen.exchange_skew_ms:+.0f} ms off the exchange's",
            "run an NTP client: beyond POSITIONS_RECV_WINDOW_MS signed requests are refused",
        )


def supervisor(seen: Snapshot) -> Iterator[Finding]:
    """Whether supervisord runs, and answers."""
    if seen.supervisor_problem:
        yield problem("processes", seen.supervisor_problem, "kill -9 that supervisord, then: ./run")
    elif not seen.supervisor:
        yield problem("processes", "nothing runs", "./run starts it")
    elif seen.supervisor != "RUNNING":
        yield warning("processes", f"supervisord is in state {seen.supervisor}", "wait, look again")


def processes(seen: Snapshot) -> Iterator[Finding]:
    """Processes that do not do their work, by state and heartbeat."""
    for verdict in seen.verdicts:
        process = verdict.process
        if verdict.is_fine or verdict.ready == "DRAINING":
            continue
        words = f"{process.name}: {process.state}, {verdict.ready}, {verdict.detail}"
        if verdict.ready == "WAITING":
            yield warning("processes", words, f"look what it waits for: ./run logs {process.name}")
        elif verdict.ready == "STALE":
            yield problem(
                "processes", words,
                f"the warden restarts it; or at once: ./run restart {process.name}",
            )  # fmt: skip
        else:
            yield problem(
                "processes", words,
                f"read its log, mend it, start it: ./run logs {process.name}; "
                f"./run start {process.name}",
            )  # fmt: skip
    if seen.supervisor and not any(v.process.program == "warden" for v in seen.verdicts):
        yield problem(
            "processes",
            "there is no warden: what falls stays down",
            "restart the system once: ./run stop, then ./run",
        )


def warden(seen: Snapshot) -> Iterator[Finding]:
    """What the warden says of itself, and what it was told to leave alone."""
    for name, hold in sorted(seen.held.items()):
        if name == "everything":
            yield problem("warden", hold.why, "mend the file, or remove it to hold nothing")
        elif not hold.until_started:
            yield note(
                "warden",
                f"{name} is on hold since {hold.since} by {hold.by}: {hold.why or 'no reason'}",
                f"when that is over: ./run release {name}",
            )
    for verdict in seen.verdicts:
        dropped = verdict.beat.get("dropped", "0")
        if verdict.process.program == "warden" and dropped not in {"", "0"}:
            yield warning(
                "warden", f"{dropped} process events found no room while Redis was away",
                "ops.process has a gap; the warden's log tells from when",
            )  # fmt: skip


def orphans(seen: Snapshot) -> Iterator[Finding]:
    """Programs of ours that no supervisord of ours looks after."""
    for one in seen.orphans:
        yield problem(
            "orphans",
            f"pid {one.pid} is left over: {one.command[:200]}",
            "./run stop ends it if nothing else runs; else look at it, then: kill " + str(one.pid),
        )


def files(seen: Snapshot) -> Iterator[Finding]:
    """Files that others could read or replace."""
    for one in seen.files:
        if not one.is_ours:
            yield problem(
                "permissions",
                f"{one.path} belongs to another user",
                f"find out who made it, then chown it to the user that runs this: ls -l {one.path}",
            )
        elif one.mode & one.wanted:
            yield problem(
                "permissions",
                f"{one.path} has mode {one.mode:04o}: others can get at it",
                f"chmod {CURES[one.wanted]} {one.path}",
            )


CHECKS: tuple[tuple[str, Check], ...] = (
    ("config", settings),
    ("ports", ports),
    ("disk", disk),
    ("clock", clock),
    ("processes", supervisor),
    ("processes", processes),
    ("warden", warden),
    ("orphans", orphans),
    ("permissions", files),
    *server_checks.CHECKS,
)
"""Every check: the subject it is of, and itself."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. ``checked`` are the subjects, in order."""

    findings: tuple[Finding, ...]
    checked: tuple[str, ...]

    @property
    def verdict(self) -> Literal["ok", "problems"]:
        """``problems`` if one of them is."""
        return "problems" if any(one.level == "problem" for one in self.findings) else "ok"


def examine(seen: Snapshot) -> Report:
    """Every check over ``seen``; the worst first, each subject's findings together."""
    found = [finding for _, check in CHECKS for finding in check(seen)]
    levels = ("problem", "warning", "note")
    found.sort(key=lambda one: levels.index(one.level))
    return Report(tuple(found), tuple(dict.fromkeys(subject for subject, _ in CHECKS)))


def _mib(size: int) -> int:
    return size // (1024 * 1024)
