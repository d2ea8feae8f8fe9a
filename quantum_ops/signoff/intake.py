"""The only place that makes a ledger's request of a deploy event. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from quantum_ops import codec, entry_id, streams
from quantum_ops.errors import Reject
from quantum_ops.events import DeployCompleted
from quantum_ops.ledger import entry
from quantum_ops.ledger.index import CONFLICT

SOURCE = streams.DEPLOY_COMPLETED.key
AHEAD = timedelta(days=1)
"""How far a deploy's own moment may lie ahead of our clock; beyond, one of the two is wrong."""
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Entry ids below this are numbers that somebody gave by hand, and no moments."""
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def request(event: DeployCompleted, id_: str, now: datetime, *, strict: bool) -> entry.Request:
    """What is recorded of the event in entry ``id_``, still without evidence.

    Its source is the event's own ``event_id``, else the entry's id: a second delivery, or a second
    XADD of the same event, is a repeat.
    """
    bare = entry.Request(
        operation=event.operation,
        objective=event.objective,
        risk_class=event.risk_class,
        blast_radius=event.blast_radius,
        changes_summary=event.changes_summary,
        operation_id=event.operation_id,
        requested_by=event.requested_by or "SELF",
        approved_by=event.approved_by or "SELF",
        allowed_paths=event.allowed_paths,
        allowed_services=event.allowed_services,
        outcome=event.outcome,
        rollback_of=event.rollback_of,
        notes=event.notes,
        occurred_at=moment(event, id_, now),
        stream=SOURCE,
        stream_id=event.event_id or id_,
        strict=strict or event.strict,
    )
    # Here, since what was recorded of it holds no secret either, and the two are compared. Once
    # more when the ledger takes it in, then with its evidence: that door is the one for all who
    # record, asks nobody whether it was done before, and twice gives what once gives.
    return entry.redacted(bare)


def moment(event: DeployCompleted, id_: str, now: datetime) -> datetime:
    """When the deploy was done: as it says itself, else when its entry was added."""
    if event.occurred_at is not None:
        return event.occurred_at
    try:
        added = NEVER + timedelta(milliseconds=entry_id.parse(id_)[0])
    except OverflowError:
        return now
    return added if EPOCH < added <= now + AHEAD else now


def check(event: DeployCompleted, now: datetime) -> None:
    """Refuse what no ledger should hold. Raises :class:`Reject`."""
    at = event.occurred_at
    if at is not None and at > now + AHEAD:
        raise Reject(
            f"occurred_at: {codec.rfc3339(at)} lies ahead of the clock "
            f"({codec.rfc3339(now)}); send the moment of the deploy in UTC, or leave the field out"
        )


def tells_of(request_: entry.Request, recorded: Mapping[str, Any]) -> bool:
    """Whether the record that came from this source says what the request says.

    If not, it is no repeat: a stream was deleted and its ids came again, or a script gives all its
    events one ``event_id``.
    """
    at = request_.occurred_at or NEVER
    found = entry.data(request_, recorded["id"], at)
    if recorded["type"] == CONFLICT:
        rejected = recorded["data"]["rejected"]
        return entry.content_digest(found) == entry.content_digest(rejected)
    if request_.operation_id not in ("", recorded["id"]):
        found["operation_id_given"] = request_.operation_id
    return bool(entry.content_digest(found) == recorded["digest"])


def told_apart(request_: entry.Request) -> entry.Request:
    """The request under a source that its content is part of: the same again is a repeat of it."""
    found = entry.data(request_, request_.operation_id, request_.occurred_at or NEVER)
    digest = hashlib.sha256(entry.content_digest(found).encode()).hexdigest()
    return replace(request_, stream_id=f"{request_.stream_id}#{digest[:16]}")


def is_told_apart(recorded: Mapping[str, Any], asked: entry.Request) -> bool:
    """Whether what was asked for is recorded beside other content that came under its source."""
    return bool(recorded["source"]["stream_id"].startswith(f"{asked.stream_id}#"))


def refusal(problems: Sequence[str]) -> str:
    """Why nothing was recorded, for the author of the script that sent the event."""
    told = "; ".join(problems).replace(
        "requires --rollback_of parameter",
        "requires the field rollback_of, the operation_id of what was rolled back",
    )
    return told.replace("with --", "in the field ").replace("say it in the", "fill in the")
