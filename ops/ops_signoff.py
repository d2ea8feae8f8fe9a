"""Whether a commit signs off what it changes under ops/; what ops/hooks/pre-commit asks.

A change is signed off by an entry of the ledger that the same commit adds to the journal, that
names the file, or a folder around it, in allowed_paths, and whose risk class allows changes.
Exit codes: 0 signed off, or nothing to sign; 1 not, or the journal was changed other than at its
end.
"""

from __future__ import annotations

import json
import os
import posixpath
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SCOPE, LEDGER, JOURNAL = "ops", "ops/ledger", "ops/ledger/journal"
MOST_SHOWN = 8
NEVER_SIGNS = "READ_ONLY"
STAGE = "git add -A -- ops/ledger 'docs/OPS_CHANGELOG*'"
WAY_OUT = "way out: git commit --no-verify, and sign off right after (docs/OPS_GOVERNOR.md, P5)"


def main(environ: Mapping[str, str]) -> int:
    """Judge what is staged in the work tree that is the current folder; gives the exit code."""
    try:
        parents = _parents()
        changed = set.intersection(*(_staged(parent, SCOPE) for parent in parents))
        signed, damaged = _signed(parents)
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", b"") or str(error).encode()
        _say(f"pre-commit: {_text(told).strip()}", WAY_OUT)
        return 1
    changes = sorted(_text(path) for path in changed if not _is_in(_text(path), LEDGER))
    unsigned = [path for path in changes if not any(_is_in(path, one) for one in signed)]
    if damaged:
        _say(
            "pre-commit: the journal only grows at its end, this commit changes or removes lines:",
            *(f"  {_shown(path)}" for path in damaged),
            "put it back: git checkout HEAD -- ops/ledger/journal",
            WAY_OUT,
        )
    elif unsigned:
        _refuse(unsigned, environ)
    return 1 if damaged or unsigned else 0


def _parents() -> list[str]:
    """What the commit follows: HEAD, merged commits; of the first commit the empty tree."""
    try:
        _git("rev-parse", "--quiet", "--verify", "HEAD")
    except subprocess.CalledProcessError:
        return [_text(_git("hash-object", "-t", "tree", os.devnull)).strip()]
    merged = Path(os.fsdecode(_git("rev-parse", "--git-path", "MERGE_HEAD").rstrip(b"\n")))
    return ["HEAD", *(merged.read_text(encoding="ascii").split() if merged.exists() else [])]


def _staged(parent: str, scope: str) -> set[bytes]:
    """The paths in ``scope`` that are not as in ``parent``, of a renamed file both."""
    listed = _git("diff-index", "--cached", "--name-only", "-z", parent, "--", scope)
    return {path for path in listed.split(b"\0") if path}


def _signed(parents: Sequence[str]) -> tuple[set[str], list[str]]:
    """The paths that new entries of the journal name, and the segments that lost lines."""
    signed: set[str] = set()
    damaged = []
    for path in set.intersection(*(_staged(parent, JOURNAL) for parent in parents)):
        now = _blob(b":" + path)
        before = [_blob(parent.encode() + b":" + path) for parent in parents]
        if not any(now.startswith(one) for one in before):
            damaged.append(_text(path))
        known = {line for one in before for line in one.split(b"\n")}
        for line in now.split(b"\n"):
            if line not in known:
                signed |= _named(line)
    return signed, sorted(damaged)


def _named(line: bytes) -> set[str]:
    """The paths, from the top of the work tree on, whose changes a line of the journal signs."""
    try:
        record = json.loads(line)
        data = record["data"]
        if record["type"] != "operation.recorded" or data["risk_class"] == NEVER_SIGNS:
            return set()
        named = [one for one in data.get("allowed_paths", []) if isinstance(one, str)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
    top = str(Path.cwd())
    paths = (posixpath.relpath(one, top) if one.startswith("/") else one for one in named if one)
    return {posixpath.normpath(path) for path in paths}


def _refuse(unsigned: Sequence[str], environ: Mapping[str, str]) -> None:
    more = len(unsigned) - MOST_SHOWN
    told = [
        "pre-commit: nothing in this commit signs off what it changes under ops/:",
        *(f"  {_shown(path)}" for path in unsigned[:MOST_SHOWN]),
        *([f"  and {more} more"] if more > 0 else []),
    ]
    if _git("ls-files", "--modified", "--others", "--", JOURNAL):
        told += [
            "the journal has entries that are not staged; if one of them does it:",
            f"  {STAGE}",
        ]
    told += [
        "from the top of the work tree, with your words for the capitals, record it and stage it:",
        "  python3 ops/ops_ledger_append.py --operation 'NAME' --objective 'WHY' \\",
        "    --risk_class FILESYSTEM_WRITE --blast_radius 'WHAT CAN BREAK' \\",
        f"    --changes_summary 'WHAT CHANGED' --allowed_paths {shlex.join(_scope(unsigned))}",
        f"  {STAGE}",
        f"an entry counts if it names the file or its folder, and is not {NEVER_SIGNS}",
    ]
    if environ.get("LEDGER_DIR"):
        told.append("LEDGER_DIR is set, so it would be recorded elsewhere: unset LEDGER_DIR before")
    _say(*told, WAY_OUT)


def _scope(paths: Sequence[str]) -> list[str]:
    """``paths`` as few and printable arguments, with folders where files are too many."""
    named = {_printable(path) for path in paths}
    if len(named) > MOST_SHOWN:
        named = {_printable(posixpath.dirname(path)) or SCOPE for path in paths}
    return sorted(named) if len(named) <= MOST_SHOWN else [SCOPE]


def _printable(path: str) -> str:
    # A name that a terminal cannot show, or that stands for bytes, is signed off by its folder.
    while not path.isprintable() or "\\" in path:
        path = posixpath.dirname(path)
    return path


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _blob(name: bytes) -> bytes:
    """A file of a commit or, with ``:`` before its name, of the index; empty if there is none."""
    try:
        return _git("cat-file", "blob", os.fsdecode(name))
    except subprocess.CalledProcessError:
        return b""


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], check=True, capture_output=True).stdout


def _text(path: bytes) -> str:
    """A name as the ledger's tool records it: bytes that are no UTF-8 are shown by number."""
    return path.decode("utf-8", "backslashreplace")


def _shown(path: str) -> str:
    return path if path.isprintable() else repr(path)


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(os.environ))
