"""The only place that makes git tags of operations: ``ops-2026-01-27-001``, the block as message.

A tag is a publication, not the truth: it can be moved and deleted by whoever may push.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantum_ops.ledger import emitter, fields, render
from quantum_ops.ledger.errors import LedgerError

TIMEOUT_S = 20.0
"""A git that asks for the passphrase of a signing key would wait for ever."""


class TagError(LedgerError):
    """The tag could not be made; says why and what to do."""


def tag(root: Path, record: Mapping[str, Any]) -> tuple[str, bool]:
    """Make the annotated tag of a recorded operation; gives its name, and whether it is new.

    It stands on the commit that the operation names, else on HEAD. A tag with the same message that
    is there already is left as it is. Run it outside the journal's lock.

    Raises:
        TagError: if the record is no operation, the tag exists with another message, or git fails.
    """
    data = record["data"]
    operation_id = str(data.get("operation_id", ""))
    if record["type"] != "operation.recorded" or not render.ID.fullmatch(operation_id):
        raise TagError(f"record {record['seq']}: only a recorded operation has a tag")
    name = name_of(operation_id)
    message = emitter.block(fields.ordered(data))
    found = message_of(root, name)
    if found == message:
        return name, False
    if found is not None:
        raise TagError(
            f"tag {name}: it exists with another message; see 'git show {name}', "
            f"and delete it if it is wrong: git tag -d {name}"
        )
    commit = _commit(root, str(data.get("git_commit", "")))
    # Verbatim: git would take out empty lines, and lines that start with #.
    command = ["tag", "--annotate", "--cleanup=verbatim", "--file=-", name, commit]
    done = _git(root, *command, given=message)
    if done.returncode:
        raise TagError(
            f"tag {name}: git says {_said(done)!r}; "
            "it needs user.name and user.email, and a commit to stand on"
        )
    return name, True


def names(root: Path) -> frozenset[str]:
    """The tags that are there under names such as ours.

    Raises:
        TagError: if git fails.
    """
    done = _git(root, "tag", "--list", "ops-*")
    if done.returncode:
        raise TagError(f"git tag in {root}: git says {_said(done)!r}")
    return frozenset(done.stdout.split())


def name_of(operation_id: str) -> str:
    """The tag of an operation."""
    return operation_id.replace("OPS-", "ops-", 1)


def message_of(root: Path, name: str) -> str | None:
    """The message of an annotated tag; empty for one without, None if there is no such tag."""
    ref = f"refs/tags/{name}"
    if _git(root, "rev-parse", "--verify", "--quiet", ref).returncode:
        return None
    done = _git(root, "cat-file", "tag", ref)
    return done.stdout.partition("\n\n")[2] if not done.returncode else ""


def _commit(root: Path, named: str) -> str:
    """The commit that the operation names if it is known here, else HEAD."""
    wanted = f"{named}^{{commit}}"
    known = named and _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
    return known.stdout.strip() if known and not known.returncode else "HEAD"


def _git(root: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run git in ``root``, not in whatever repository a hook's environment names."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    for name in os.environ:
        if name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_CONFIG_")):
            environment[name] = os.environ[name]
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=root,
            env={**environment, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TagError(f"git {arguments[0]} in {root}: {error}") from error


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split())[:300]
