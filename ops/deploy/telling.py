"""The only place that makes the event of a deploy: the specification's names, filled in."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from typing import Any

from ops import signing
from ops.deploy import ledger
from ops.deploy.order import Order
from ops.deploy.state import Message
from quantum_ops import codec, events
from quantum_ops.ledger import redaction

MOST_PATHS = 100
"""Changed files that are named; a ledger line holds 64 KiB."""
_LONGEST = 500


def deployed(
    order: Order,
    outcome: str,
    *,
    commit: str,
    before: str,
    subjects: Sequence[str],
    paths: Sequence[str],
    proof_path: str,
    branch: str = "",
    why: str = "",
    rollback_of: str = "",
    after: str = "",
) -> Message:
    """The message of one outcome. ``subjects`` and ``paths`` are what the commit changed."""
    program, short = order.program, commit[:12]
    back = outcome == "ROLLBACK"
    verb = "Rollback" if back else "Deploy"
    what = "Take the program back to" if back else "Run the program from"
    notes = [
        ledger.NOTE.format(commit=commit, before=before or "none"),
        f"by {_user()}@{socket.gethostname()}",
        *([_cut(redaction.redact(why.splitlines()[0]))] if why else []),
        *([order.notes] if order.notes else []),
    ]
    event = events.DeployCompleted(
        operation=order.operation or f"{verb} {program} {short}",
        objective=order.objective or f"{what} commit {short}",
        risk_class=order.risk_class,  # type: ignore[arg-type]  # argparse has checked it
        blast_radius=order.blast_radius or f"{program} only",
        changes_summary=order.changes_summary or _summary(short, before, subjects, outcome),
        requested_by=order.requested_by,
        approved_by=order.approved_by,
        event_id=events.new_id(),
        occurred_at=events.now(),
        allowed_paths=order.allowed_paths or tuple(_named(paths)),
        allowed_services=tuple(dict.fromkeys((program, *order.allowed_services))),
        proof_path=proof_path,
        metrics_urls=order.metrics_urls,
        metrics_grep=order.metrics_grep,
        redis_cmds=order.redis_cmds,
        outcome=outcome,  # type: ignore[arg-type]  # one of three in this package
        rollback_of=rollback_of,
        notes="; ".join(notes),
        git_commit=commit,
        git_branch=branch,
        hostname=socket.gethostname(),
        strict=order.strict,
    )
    return Message(fields=_fields(signing.numbered(event)), after=after)


def event_of(message: Message, rollback_of: str = "") -> events.DeployCompleted:
    """The event of ``message``, as it is published; ``rollback_of`` if it had to be waited for."""
    fields = {**message.fields, **({"rollback_of": rollback_of} if rollback_of else {})}
    flat = [part.encode() for pair in fields.items() for part in pair]
    # Signed last: what it names as rolled back may be known only now.
    return signing.resigned(codec.decoder(events.DeployCompleted)(flat))


def _fields(event: events.DeployCompleted) -> dict[str, Any]:
    flat = [part.decode() for part in codec.encode(event)]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _summary(short: str, before: str, subjects: Sequence[str], outcome: str) -> str:
    if outcome == "ROLLBACK":
        return f"back to {short}"
    if not before:
        return f"first release, {short}"
    if not subjects:
        return f"{short} again" if short == before[:12] else f"{before[:12]}..{short}"
    more = f" and {len(subjects) - 1} more" if len(subjects) > 1 else ""
    return _cut(redaction.redact(f"{before[:12]}..{short}: {subjects[0]}{more}"))


def _named(paths: Sequence[str]) -> list[str]:
    more = len(paths) - MOST_PATHS
    return [*paths[:MOST_PATHS], *([f"({more} more)"] if more > 0 else [])]


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "..."


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a uid without a name, in a container
        return "?"
