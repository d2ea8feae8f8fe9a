"""The only place that looks at the processes of all hosts, by what they say in Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ops import output
from ops.readiness import HEARD_ROLES, STATES
from quantum_ops.heartbeat import TTL_S, everywhere
from quantum_ops.host import process_name

if TYPE_CHECKING:
    from pathlib import Path

    import walrus

    from ops.output import Paint

MAX_NUMBERS = 16
"""Process numbers that are looked for where hosts have no names."""
FINE = frozenset({"READY", "STANDBY"})
_COLUMNS = ("HOST", "PROCESS", "READY", "PID", "HEARD", "VERSION", "DETAIL")


@dataclass(frozen=True, slots=True)
class Heard:
    """One process on one host; ``ready`` is READY, STANDBY, WAITING, DRAINING, STALE or SILENT.

    ``heard_s`` is the age of its last word. SILENT: it was there within a day and did not say that
    it leaves. ``pid`` and ``version`` are empty of one that is silent.
    """

    host: str
    process: str
    program: str
    ready: str
    heard_s: float
    pid: str = ""
    version: str = ""
    detail: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether it does its work, or stands by for who does."""
        return self.ready in FINE


def programs(root: Path) -> list[str]:
    """Names of the programs of the checkout at ``root`` that say in Redis that they live."""
    stanzas = (root / "supervisor" / "conf.d").glob("*.conf")
    marks = [f" -m {role}" for role in HEARD_ROLES]
    return sorted(
        {
            path.stem.removesuffix("_spare")
            for path in stanzas
            if any(mark in path.read_text(encoding="utf-8") for mark in marks)
        }
    )


def look(db: walrus.Database, names: Sequence[str]) -> list[Heard]:
    """Every process of the programs ``names``, by host; raises what the client raises."""
    now_ms = int(time.time() * 1000)
    return sorted(
        (
            judge(program, token, heard_ms, beat, now_ms)
            for program in names
            for token, (heard_ms, beat) in everywhere(db, program, MAX_NUMBERS).items()
        ),
        key=lambda one: (one.host, one.process),
    )


def judge(program: str, token: str, heard_ms: int, beat: Mapping[str, str], now_ms: int) -> Heard:
    """One process by its heartbeat, empty if it has none any more. Pure."""
    name = process_name(program, token).partition("@")[0]
    host = token.rpartition(".")[0] or beat.get("host", "?")
    if not beat:
        silent_s = (now_ms - heard_ms) / 1000
        why = "silent: the process, its host or the line to it is gone"
        return Heard(host, name, program, "SILENT", silent_s, detail=why)
    written = beat.get("updated_ms", "")
    known = written.isascii() and written.isdecimal()
    age_s = (now_ms - int(written)) / 1000 if known else TTL_S + 1.0
    ready = STATES.get(beat.get("state", ""), "STALE") if age_s <= TTL_S else "STALE"
    handled = beat.get("handled", "")
    detail = beat.get("detail") or (f"handled {handled}" if handled else "")
    return Heard(
        host, name, program, ready, age_s, beat.get("pid", ""), beat.get("version", ""), detail
    )


def is_ready(found: Sequence[Heard]) -> bool:
    """Whether somebody is there, and all who are do their work."""
    return bool(found) and all(one.is_fine for one in found)


def rows(found: Sequence[Heard]) -> list[dict[str, Any]]:
    """Each process, as ``-F json`` has it."""
    return [{**asdict(one), "heard_s": round(one.heard_s, 1)} for one in found]


def as_lines(found: Sequence[Heard], paint: Paint) -> list[str]:
    """A table of all processes, and a line of what they come to."""
    if not found:
        return ["no process of any host was heard of within a day"]
    cells = [
        (
            one.host, one.process, one.ready, one.pid or "-", f"{max(0.0, one.heard_s):.0f} s ago",
            one.version or "-", one.detail[:200], "" if one.is_fine else "bad",
        )
        for one in found
    ]  # fmt: skip
    hosts = len({one.host for one in found})
    bad = sum(not one.is_fine for one in found)
    verdict = f"NOT READY: {bad} of {len(found)} processes" if bad else "all ready"
    told = f"{hosts} {'host' if hosts == 1 else 'hosts'}   {verdict}"
    return [*output.table(_COLUMNS, cells, paint), "", paint(told, "bad" if bad else "good")]


def as_json(found: Sequence[Heard]) -> str:
    """One object: ready, hosts, processes."""
    hosts = sorted({one.host for one in found})
    return json.dumps({"ready": is_ready(found), "hosts": hosts, "processes": rows(found)})
