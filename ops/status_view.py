"""The only place that words a look at the system: as a table, as JSON."""

from __future__ import annotations

import dataclasses
import json
import time
from datetime import timedelta
from typing import Any

from ops import system
from ops.output import Paint, plain
from ops.readiness import Verdict
from ops.system import Sight
from ops.terminal import safe
from quantum_ops.client import shown

_COLUMNS = ("PROCESS", "STATE", "READY", "PID", "UP", "DETAIL")


def as_text(sight: Sight) -> str:
    """:func:`as_lines` without colour."""
    return "\n".join(as_lines(sight))


def as_lines(sight: Sight, paint: Paint = plain) -> list[str]:
    """A table of processes, the server and the universe in a line each."""
    if not sight.state:
        return ["not running; ./run starts it"]
    rows = [_COLUMNS, *(_row(verdict) for verdict in sight.verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]
    whose = "ours" if sight.running.owned else "yours"
    server = sight.server.problem or sight.server.flavour
    lines += ["", f"server    {server}, {whose}: {shown(sight.running.url)}"]
    if sight.universe:
        lines.append(f"universe  {_universe(sight)}")
    lines += [
        f"held      {name}: since {hold.since} by {hold.by}{': ' if hold.why else ''}{hold.why}"
        for name, hold in sorted(sight.held.items())
    ]
    if sight.running.page_port:
        lines.append(f"page      {system.page_url(sight.running)}")
    if sight.state != "RUNNING":
        lines.append(f"supervisord is in state {sight.state}")
    good = "all ready" if sight.is_ready else "NOT READY"
    lines.append(f"{sight.running.profile}      {good}")
    return [paint(safe(line, 1000), _meaning(line)) for line in lines]


def rows(sight: Sight) -> list[dict[str, Any]]:
    """Each process, as :func:`as_json` has it."""
    return [_object(verdict) for verdict in sight.verdicts]


def as_json(sight: Sight) -> str:
    """One object: running, ready, profile, server, processes, and so on; keys in stable order."""
    whole: dict[str, Any] = {
        "running": bool(sight.state),
        "ready": sight.is_ready,
        "profile": sight.running.profile,
        "supervisor": sight.state or None,
        "server": {
            "url": shown(sight.running.url),
            "owned": sight.running.owned,
            "reachable": not sight.server.problem,
            "version": sight.server.flavour or None,
            "problem": sight.server.problem or None,
        },
        "processes": rows(sight),
        "universe": dict(sight.universe) or None,
        "page": system.page_url(sight.running) if sight.running.page_port else None,
        "host": sight.running.host or None,
        "held": {name: dataclasses.asdict(hold) for name, hold in sight.held.items()},
    }
    return json.dumps(whole)


def _meaning(line: str) -> str:
    """What a line of the table tells whoever looks for trouble."""
    if line.endswith("all ready"):
        return "good"
    words = line.split()
    trouble = {"NOT", "STALE", "FATAL", "BACKOFF", "STALE,", "UNKNOWN"} & set(words[:3])
    return "bad" if trouble or line.startswith("supervisord is in state") else ""


def _row(verdict: Verdict) -> tuple[str, ...]:
    process = verdict.process
    up = str(timedelta(seconds=max(0, process.now - process.started_at))) if process.pid else "-"
    pid = str(process.pid or "-")
    return (process.name, process.state, verdict.ready, pid, up, verdict.detail)


def _object(verdict: Verdict) -> dict[str, Any]:
    process = verdict.process
    fields = dataclasses.asdict(process)
    kept = {key: fields[key] for key in ("name", "group", "state", "pid", "exit_status")}
    return {
        **kept,
        "program": process.program,
        "role": process.role or None,
        "ready": verdict.ready,
        "detail": verdict.detail,
        "up_s": max(0, process.now - process.started_at) if process.pid else None,
        "heartbeat": dict(verdict.beat) or None,
    }


def _universe(sight: Sight) -> str:
    """By flag and by age: a producer that died leaves its last flag behind."""
    meta = sight.universe
    asof = meta.get("checked_epoch") or meta.get("asof_epoch", "")
    refresh = meta.get("refresh_sec", "")
    age_s = time.time() - _number(asof, 0.0)
    limit_s = 3 * _number(refresh, 60.0)
    fresh = meta.get("stale") == "0" and age_s <= limit_s
    words = [
        "fresh" if fresh else "STALE",
        meta.get("mode", ""),
        f"{meta.get('count', '?')} symbols",
        f"checked {age_s:.0f} s ago" if asof else "never checked",
        f"epoch {meta['epoch']}" if "epoch" in meta else "",
        meta.get("error", ""),
    ]
    return ", ".join(word for word in words if word)


def _number(text: str, otherwise: float) -> float:
    try:
        return float(text)
    except ValueError:
        return otherwise
