"""The only place that reads what a process takes of the machine: memory and processor time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_STAT_UTIME, _STAT_STIME = 11, 12  # fields of /proc/PID/stat, counted after the name


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process takes: ``resident`` bytes of memory, ``cpu_s`` seconds so far."""

    resident: int = 0
    cpu_s: float = 0.0


def of(pid: int, proc: Path = Path("/proc")) -> Usage:
    """The usage of ``pid``; zeros for one that is gone, and where there is no /proc."""
    try:
        pages = int((proc / str(pid) / "statm").read_bytes().split()[1])
        # The name may hold blanks and brackets, so everything is counted from its last bracket.
        fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        ticks = int(fields[_STAT_UTIME]) + int(fields[_STAT_STIME])
    except (OSError, ValueError, IndexError):
        return Usage()
    return Usage(pages * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK"))
