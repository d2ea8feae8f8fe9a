"""The only place that works out what each process takes and does, from two looks. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ops.output import duration
from ops.readiness import Verdict
from ops.warden.resident import Usage

HEAD = ("PROCESS", "READY", "CPU%>", "RSS MiB>", "UP>", "RESTARTS>", "HANDLED/S>")
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """One look: when (seconds on a clock that no one sets), and what was seen of each process."""

    at_s: float
    verdicts: Sequence[Verdict]
    usage: Mapping[int, Usage]
    """By pid."""
    restarts: Mapping[str, int] = field(default_factory=dict)
    """By program: starts that nobody asked for, as the warden has counted them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One process. What cannot be known is None, never 0."""

    name: str
    program: str
    pid: int
    ready: str
    cpu_percent: float | None
    """Of one processor, between the two looks."""
    rss_bytes: int | None
    up_s: int | None
    restarts: int
    """Of its program."""
    handled_per_s: float | None
    """Between its last two heartbeats that were seen; else since it started."""


def rows(before: Look, now: Look) -> list[Row]:
    """A row for each process of ``now``, spares left out; ``before`` is an earlier look."""
    earlier = {verdict.process.pid: verdict for verdict in before.verdicts}
    return [
        _row(verdict, earlier.get(verdict.process.pid), before, now)
        for verdict in now.verdicts
        if verdict.ready != "SPARE"
    ]


def cells(row: Row) -> tuple[str, ...]:
    """Cells of ``HEAD``, and what they mean."""
    fine = {"READY": "", "STANDBY": "", "WAITING": "warn", "DRAINING": "warn"}
    return (
        row.name,
        row.ready,
        "?" if row.cpu_percent is None else f"{row.cpu_percent:.1f}",
        "?" if row.rss_bytes is None else f"{row.rss_bytes / _MIB:.0f}",
        "-" if row.up_s is None else duration(row.up_s),
        str(row.restarts),
        "-" if row.handled_per_s is None else f"{row.handled_per_s:.1f}",
        fine.get(row.ready, "bad"),
    )


def _row(verdict: Verdict, earlier: Verdict | None, before: Look, now: Look) -> Row:
    process = verdict.process
    used, had = now.usage.get(process.pid), before.usage.get(process.pid)
    passed_s = now.at_s - before.at_s
    known = used is not None and used.resident > 0
    cpu = None
    if known and had is not None and had.resident and passed_s > 0 and used is not None:
        cpu = max(0.0, used.cpu_s - had.cpu_s) / passed_s * 100
    up_s = max(0, process.now - process.started_at) if process.pid else None
    return Row(
        process.name, process.program, process.pid, verdict.ready, cpu,
        used.resident if known and used is not None else None, up_s,
        now.restarts.get(process.program, 0), _rate(verdict, earlier, up_s),
    )  # fmt: skip


def _rate(verdict: Verdict, earlier: Verdict | None, up_s: int | None) -> float | None:
    handled, at_ms = _beat(verdict)
    if handled is None or at_ms is None:
        return None
    if earlier is not None:
        had, had_ms = _beat(earlier)
        if had is not None and had_ms is not None and at_ms > had_ms and handled >= had:
            return (handled - had) / (at_ms - had_ms) * 1000
    return handled / up_s if up_s else None


def _beat(verdict: Verdict) -> tuple[int | None, int | None]:
    if verdict.beat.get("pid") != str(verdict.process.pid):
        return None, None
    found = [verdict.beat.get(name, "") for name in ("handled", "updated_ms")]
    handled, at_ms = (int(one) if one.isascii() and one.isdigit() else None for one in found)
    return handled, at_ms
