"""The only place that asks git which commit the checkout is on."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantum_ops.ledger.evidence import programs
from quantum_ops.ledger.evidence.finding import Finding, failed, one_line
from quantum_ops.ledger.evidence.jobs import Deadline
from quantum_ops.ledger.folder import Folder

SAME_FOR_S = 0.25
"""Seconds for which an answer is given again while HEAD stands where it stood: a batch of events is
about the same checkout. The commit is never an old one; whether it is dirty may be that old."""

_HARMLESS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
"""A status must run no program that the checkout's configuration names."""

_Key = tuple[object, ...]
_known: dict[_Key, tuple[float, Finding]] = {}
_lock = threading.Lock()


def look(root: Path, environ: Mapping[str, str], deadline: Deadline) -> Finding:
    """``git_commit`` (40 hex digits), ``git_branch`` and ``git_dirty`` of the checkout ``root``.

    Not of the current folder. Outside of a checkout there is nothing to see, and no problem.
    Untracked files count as dirty, what the ledger itself writes does not.
    """
    key = _state(root, environ)
    with _lock:
        at, finding = _known.get(key, (0.0, None)) if key else (0.0, None)
        if finding and time.monotonic() - at < SAME_FOR_S:
            return finding
    finding = _look(root, environ, deadline)
    with _lock:
        _known.clear()
        if key and not finding.problems:
            _known[key] = (time.monotonic(), finding)
    return finding


def _state(root: Path, environ: Mapping[str, str]) -> _Key | None:
    """Where HEAD and the index stand, without git; None where that is not plain to see."""
    try:
        head = (root / ".git" / "HEAD").read_text(encoding="utf-8").strip()
        ref = (root / ".git" / head[5:]).read_text(encoding="utf-8") if head[:5] == "ref: " else ""
        index = (root / ".git" / "index").stat()
    except (OSError, ValueError):
        return None
    search = environ.get("PATH", "")
    return (root, environ.get("LEDGER_DIR", ""), search, head, ref, index.st_mtime_ns, index.st_ino)


def _look(root: Path, environ: Mapping[str, str], deadline: Deadline) -> Finding:
    top = _top(root)
    if top is None:
        return Finding()
    command = ["git", *_HARMLESS, "-C", str(root), "status", "--porcelain=v2", "--branch", "-z"]
    ran = programs.run(
        [*command, "--untracked-files=normal", "--", ".", *_ours(root, top, environ)],
        deadline,
        environ,
    )
    if ran.problem:
        return failed(f"git: {ran.problem}")
    if ran.code:
        return failed(f"git: {_why(ran.err, root)}")
    fields = _fields(ran.out.split("\0"))
    if top != root and not _is_tracked(root, environ, deadline):
        # A folder that merely lies inside of somebody's repository.
        return Finding()
    if "git_commit" not in fields:
        return Finding(fields, [f"git: {root} has no commit yet"])
    return Finding(fields)


def _fields(lines: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in lines:
        if line.startswith("# branch.oid ") and "(" not in line:
            found["git_commit"] = line.split(" ", 2)[2]
        elif line.startswith("# branch.head "):
            found["git_branch"] = line.split(" ", 2)[2]
    found["git_dirty"] = any(line and not line.startswith("# ") for line in lines)
    return found


def _is_tracked(root: Path, environ: Mapping[str, str], deadline: Deadline) -> bool:
    ran = programs.run(
        ["git", *_HARMLESS, "-C", str(root), "ls-tree", "HEAD", "--", "."], deadline, environ
    )
    return bool(not ran.problem and ran.code == 0 and ran.out)


def _ours(root: Path, top: Path, environ: Mapping[str, str]) -> list[str]:
    """Pathspecs that leave out what the ledger writes into the checkout with each entry."""
    folder = Folder.find(environ, root)
    return [
        f":(top,exclude,literal){path.relative_to(top)}"
        for path in (folder.changelog, folder.changelog.with_suffix(""), folder.base)
        if path != root and path.is_relative_to(root)
    ]


def _top(root: Path) -> Path | None:
    return next((one for one in (root, *root.parents) if (one / ".git").exists()), None)


def _why(err: str, root: Path) -> str:
    if "safe.directory" in err or "dubious ownership" in err:
        return (
            f"{root} belongs to another user; if you trust it: "
            f"git config --global --add safe.directory {root}"
        )
    return one_line(err) or "it failed and said nothing"
