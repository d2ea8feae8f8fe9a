"""The only place that looks at the proof file: its digest, size and time."""

from __future__ import annotations

import hashlib
import os
import stat
from datetime import datetime, timezone
from pathlib import Path

from quantum_ops.ledger import moment
from quantum_ops.ledger.evidence.finding import Finding, failed
from quantum_ops.ledger.evidence.jobs import Deadline

_PART = 1024 * 1024
_KINDS = {
    stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip


def look(path: Path, deadline: Deadline) -> Finding:
    """``proof_file`` of a regular file; whatever else it is, and whatever it does, is a problem.

    The digest covers the bytes that the file had when it was opened. One that takes too long to
    read is shown by its size and time, without a digest.
    """
    name = f"proof_file: {path}"
    try:
        # First without opening: to open a device may do something.
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return failed(f"{name} is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}")
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        return failed(f"{name}: {getattr(error, 'strerror', None) or error}")
    with open(number, "rb", buffering=0) as file:  # noqa: PTH123 - it is open already
        before = os.fstat(number)
        if not stat.S_ISREG(before.st_mode):
            return failed(f"{name} is no regular file any more")
        digest = hashlib.sha256()
        left = before.st_size
        try:
            while left and not deadline.passed:
                part = file.read(min(left, _PART))
                if not part:
                    break
                digest.update(part)
                left -= len(part)
        except OSError as error:
            return failed(f"{name}: {error.strerror}")
        after = os.fstat(number)
    return _told(name, digest.hexdigest(), left, before, after)


def _told(
    name: str, digest: str, left: int, before: os.stat_result, after: os.stat_result
) -> Finding:
    size = before.st_size
    shown = {
        "sha256": digest[:16],
        "sha256_full": digest,
        "size_bytes": size,
        "mtime_utc": _time(before.st_mtime),
    }
    problems = []
    if (size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        problems.append(f"{name} changed while it was read; record it when it is complete")
    elif left:
        problems.append(f"{name}: its {size} bytes take too long to read; it has no digest")
    elif not size:
        problems.append(f"{name} is empty")
    if left:
        del shown["sha256"], shown["sha256_full"]
    return Finding({"proof_file": shown}, problems)


def _time(seconds: float) -> str:
    try:
        return moment.text(datetime.fromtimestamp(seconds, timezone.utc))
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} seconds since 1970"
