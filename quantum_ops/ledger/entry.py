"""What an operation's record holds, and the rules it has to keep; the only place of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from quantum_ops.ledger import canonical, ids, moment, redaction
from quantum_ops.ledger.errors import InvalidEntryError

RISK_CLASSES = ("READ_ONLY", "LOW_RISK_CONFIG", "SERVICE_RESTART", "FILESYSTEM_WRITE")
OUTCOMES = ("SUCCESS", "PARTIAL", "ROLLBACK")
REQUIRED = ("operation", "objective", "risk_class", "blast_radius", "changes_summary")

EVIDENCE = frozenset({
    "approval_timestamp", "execution_timestamp", "git_commit", "git_branch", "git_dirty",
    "hostname", "services_status", "services_logs", "proof_file", "metrics_snapshot",
    "redis_snapshot", "evidence", "evidence_problems", "validation_problems", "signed_by",
})  # fmt: skip
"""Fields that differ from run to run; the content digest leaves them out, so that a second run of
the same deploy is recognised."""

_LEFT = frozenset({"occurred_at", "stream", "stream_id", "strict"})
_KINDS = {"allowed_paths": list, "allowed_services": list, "evidence": dict, "strict": bool}
_SHED = (
    "redis_snapshot", "metrics_snapshot", "evidence_problems", "services_logs", "services_status",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """One operation that should be recorded.

    ``occurred_at`` is when it was done, now if None. ``stream`` and ``stream_id`` name where the
    request came from, once for all: a second one from there is a repeat. ``evidence`` holds the
    fields of ``EVIDENCE``. With ``strict`` a rule that is broken refuses it; without, it is
    recorded together with what is wrong with it.
    """

    operation: str
    objective: str
    risk_class: str
    blast_radius: str
    changes_summary: str
    operation_id: str = ""
    requested_by: str = "SELF"
    approved_by: str = "SELF"
    allowed_paths: Sequence[str] = ()
    allowed_services: Sequence[str] = ()
    outcome: str = "SUCCESS"
    rollback_of: str = ""
    notes: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    occurred_at: datetime | None = None
    stream: str = ""
    stream_id: str = ""
    strict: bool = False


def with_evidence(request: Request, found: Mapping[str, Any]) -> Request:
    """``request`` with these fields as its evidence."""
    return replace(request, evidence=found)


def redacted(request: Request, known: Sequence[str] = ()) -> Request:
    """``request`` without the secrets in its texts and its evidence; see ``redaction``.

    Where it came from is left as it is: by that it is recognised.
    """
    texts = {
        one.name: redaction.redact_all(getattr(request, one.name), known)
        for one in fields(request)
        if one.name not in _LEFT
    }
    return replace(request, **texts)


def check(request: Request) -> list[str]:
    """What is wrong with a request that may be recorded all the same, told as in the specification.

    Raises:
        InvalidEntryError: on a field without which, or with which, it is no record at all.
    """
    for name in REQUIRED:
        if not getattr(request, name).strip():
            raise InvalidEntryError(f"{name}: is empty; say it with --{name}")
    _one_of("risk_class", request.risk_class, RISK_CLASSES)
    _one_of("outcome", request.outcome, OUTCOMES)
    problems = []
    if request.outcome == "ROLLBACK" and not request.rollback_of:
        problems.append("outcome=ROLLBACK requires --rollback_of parameter")
    if request.rollback_of and not ids.is_valid(request.rollback_of):
        problems.append(
            f"rollback_of '{request.rollback_of}' does not match expected format {ids.FORMAT}"
        )
    if request.rollback_of and request.outcome != "ROLLBACK":
        problems.append(f"rollback_of is for outcome=ROLLBACK, not for {request.outcome}")
    if request.rollback_of and request.rollback_of == request.operation_id:
        problems.append(f"rollback_of '{request.rollback_of}' is the operation itself")
    return problems


def data(request: Request, operation_id: str, occurred_at: datetime) -> dict[str, Any]:
    """The data of the record: the specification's fields, the empty ones left out."""
    at = moment.text(occurred_at)
    found = {
        **request.evidence,
        "operation_id": operation_id,
        "operation_name": request.operation,
        "requested_by": request.requested_by,
        "approved_by": request.approved_by,
        "approval_timestamp": request.evidence.get("approval_timestamp", at),
        "execution_timestamp": request.evidence.get("execution_timestamp", at),
        "risk_class": request.risk_class,
        "blast_radius": request.blast_radius,
        "changes_summary": request.changes_summary,
        "objective": request.objective,
        "outcome": request.outcome,
        "rollback_of": request.rollback_of,
        "allowed_paths": list(request.allowed_paths),
        "allowed_services": list(request.allowed_services),
        "notes": request.notes,
    }
    return {name: value for name, value in found.items() if value not in ("", [], {}, None)}


def content_digest(found: Mapping[str, Any]) -> str:
    """The digest of a record's data without its evidence."""
    return canonical.digest({name: one for name, one in found.items() if name not in EVIDENCE})


def record(
    kind: str,
    found: Mapping[str, Any],
    *,
    operation_id: str,
    source: Mapping[str, str],
    occurred_at: datetime,
    recorded_at: datetime,
) -> dict[str, Any]:
    """The record of type ``kind`` around ``found``, still without its ``seq``.

    Evidence that would make the line too long is left out, and the record says so: what was done
    must be recorded even if what was seen is too much.

    Raises:
        InvalidEntryError: if it is too long all the same, or holds what cannot be written.
    """
    kept = dict(found)
    whole: dict[str, Any] = {
        "v": 1,
        "type": kind,
        "id": operation_id,
        "source": dict(source),
        "occurred_at": moment.text(occurred_at),
        "recorded_at": moment.text(recorded_at),
        "digest": content_digest(found),
        "data": kept,
    }
    shed: list[str] = []
    for name in _SHED:
        try:
            canonical.dump({**whole, "seq": canonical.MAX_INT})
        except InvalidEntryError:
            if name in kept:
                del kept[name]
                shed.append(f"{name}: left out, the record would be over 64 KiB")
                kept |= {"evidence": "incomplete", "evidence_problems": shed}
        else:
            return whole
    canonical.dump({**whole, "seq": canonical.MAX_INT})
    return whole


def to_json(request: Request) -> dict[str, Any]:
    """A request as values of JSON; ``from_json`` is the way back."""
    found = asdict(request)
    if request.occurred_at:
        found["occurred_at"] = moment.text(request.occurred_at)
    return found


def from_json(found: Mapping[str, Any]) -> Request:
    """A request from what ``to_json`` gave.

    Raises:
        InvalidEntryError: if it is something else.
    """
    kinds = {one.name: _KINDS.get(one.name, str) for one in fields(Request)}
    values = {name: found[name] for name in kinds if found.get(name) is not None}
    missing = [name for name in REQUIRED if name not in values]
    wrong = [name for name, value in values.items() if not isinstance(value, kinds[name])]
    wrong += [
        name
        for name, value in values.items()
        if kinds[name] is list and isinstance(value, list) and not _are_texts(value)
    ]
    if missing or wrong:
        named = ", ".join(missing + wrong)
        raise InvalidEntryError(f"{named}: missing or of a wrong type, this is no spooled request")
    if "occurred_at" in values:
        try:
            values["occurred_at"] = moment.parse(values["occurred_at"])
        except ValueError as error:
            raise InvalidEntryError(f"occurred_at: {error}") from None
    return Request(**values)


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(one, str) for one in values)


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InvalidEntryError(f"{name}: {value!r} is none of {', '.join(allowed)}")
