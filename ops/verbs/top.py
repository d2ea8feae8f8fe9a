"""What each process takes and does: processor, memory, uptime, restarts, entries handled."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ops import output, repeating

if TYPE_CHECKING:
    from ops.usage import Look

LETTERS = {"n": "name", "r": "ready", "p": "pid", "c": "cpu_percent", "m": "rss_bytes"}
SAMPLE_S = 1.0
"""Seconds between the two looks that one needs to tell how busy a process is."""


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("name", nargs="*", help="program, process, or: consumers, producers")
    repeating.add_watch(parser)
    output.add_format(parser, LETTERS)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0, 1 supervisord does not answer, 3 not running, 4 no such program."""
    import dataclasses
    import sys
    import time

    from ops import naming, single, usage
    from ops.telling import Teller

    paint = output.painter(args.color, sys.stdout)
    last = _look()

    def look() -> tuple[list[str], int]:
        nonlocal last
        # Watched, there was a wait already, but for the first time.
        time.sleep(max(0.0, SAMPLE_S - (time.monotonic() - last.at_s)))
        now = _look()
        found, last = usage.rows(last, now), now
        if args.name:
            processes = [verdict.process for verdict in now.verdicts]
            chosen = {one.name for one in naming.meant(processes, args.name, {})}
            found = [row for row in found if row.name in chosen]
        if not args.format.is_text:
            return [args.format.line(dataclasses.asdict(row)) for row in found], 0
        return output.table(usage.HEAD, [usage.cells(row) for row in found], paint), 0

    tell = Teller(args.format)
    if not last.verdicts:
        tell.trouble("not running; ./run starts it")
        return output.OVER
    return single.guarded(lambda: repeating.shown(look, args.watch), tell)


def _look() -> Look:
    import time

    from ops import counts, system, usage
    from ops.warden import resident

    paths, current = system.find()
    sight = system.look(paths, current)
    pids = [verdict.process.pid for verdict in sight.verdicts if verdict.process.pid]
    return usage.Look(
        time.monotonic(),
        sight.verdicts,
        {pid: resident.of(pid) for pid in pids},
        counts.restarts(current),
    )
