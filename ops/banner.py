"""The only place that words what start says: what is up, and where to look."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from ops import system
from ops.readiness import Verdict
from ops.running import Running
from ops.system import Sight
from quantum_ops.client import shown


def started(sight: Sight, took_s: float) -> str:
    """The lines after a good start."""
    count = len(_counted(sight))
    title = f"quantum ops is up: {sight.running.profile}, {count} processes ready, {took_s:.1f} s"
    return "\n".join([title, *_where(sight)])


def already(sight: Sight, wanted: Running) -> str:
    """The lines when it was running before; other settings are named, not applied."""
    counted = _counted(sight)
    up = sum(verdict.is_fine for verdict in counted)
    lines = [f"already running: {sight.running.profile}, {up} of {len(counted)} processes ready"]
    if wanted.url != sight.running.url or (
        sight.running.owned and wanted.port != sight.running.port
    ):
        lines.append(
            f"it uses {shown(sight.running.url)}, port {sight.running.port}; other settings are "
            "taken by ./run restart"
        )
    return "\n".join([*lines, *_where(sight)])


def unready(sight: Sight) -> str:
    """The line after a start whose programs are not all up yet."""
    counted = _counted(sight)
    up = sum(verdict.is_fine for verdict in counted)
    return (
        f"started, but only {up} of {len(counted)} processes are ready; it goes on trying. "
        "Look: ./run status, ./run logs; end it: ./run stop"
    )


def _counted(sight: Sight) -> list[Verdict]:
    """The processes that are to run; spares that nobody asked for count neither way."""
    return [verdict for verdict in sight.verdicts if verdict.ready != "SPARE"]


def _where(sight: Sight) -> list[str]:
    running, paths = sight.running, sight.paths
    look = f"redis-cli -e -p {running.port}   or   ./run redis-cli"
    if not running.owned:
        look = "./run redis-cli"
    rows = [
        ("server", f"{sight.server.flavour or 'not answering'}, {_address(sight)}"),
        ("look inside", look),
        ("status", "./run status"),
        *([("status page", system.page_url(running))] if running.page_port else []),
        ("logs", f"./run logs -f   ({_short(paths.log)})"),
        ("stop", "./run stop"),
        ("read on", "docs/supervision.md"),
    ]
    if running.owned:
        socket = shlex.quote(str(paths.redis_socket))
        rows.insert(2, ("by socket", f"redis-cli -e -s {socket}"))
    return [f"  {name:<12} {text}" for name, text in rows]


def _address(sight: Sight) -> str:
    if not sight.running.owned:
        return f"yours at {shown(sight.running.url)}"
    return f"ours at 127.0.0.1:{sight.running.port}, data in {_short(sight.paths.data)}"


def _short(path: Path) -> str:
    """``path`` as one would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
