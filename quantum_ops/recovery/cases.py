"""The only place that makes the cases of permit_audit again, from what was archived of each plan.

What the auditor saw of the Governor's and P2.6's permits stood in Redis only. Where its Findings
tell of them (all granted, or denied), that is taken from there. A case that was still open and of
whose permits nobody told cannot be judged any more: it is named, and it is marked so that no false
Finding comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from quantum_ops import streams
from quantum_ops.audit.case import GRACE_MS, RECONCILE
from quantum_ops.audit.sight import GATES, P33
from quantum_ops.events import ApplyPlan, ApplyResult, AuditFinding, PermitDecided
from quantum_ops.history.entry import Entry
from quantum_ops.history.reader import Archive
from quantum_ops.recovery import facts
from quantum_ops.recovery.keyspace import Keyspace
from quantum_ops.settings import PermitAuditSettings

AUDITOR = "permit_audit"
FOLLOWED = frozenset({"EXECUTE", RECONCILE})
TOLD, UNTOLD = "1", "lost"
"""Of a Finding that stands in the archive, and of one that must not be made: it would rest on
permits never having been seen, which after a loss proves nothing."""
Case = dict[str, str]


class Rebuilt(NamedTuple):
    """``interrupted`` are the plan ids of cases that cannot be judged any more."""

    keys: Keyspace
    interrupted: list[str]


def rebuild(
    archive: Archive, settings: PermitAuditSettings, newest_ms: int, now_ms: int
) -> Rebuilt:
    """The cases as they would stand at ``now_ms``; ``newest_ms`` is when the archive ends."""
    keep_ms, window_ms = settings.keep_s * 1000, int(settings.window_s * 1000)
    found: dict[str, Case] = {}
    four = [
        streams.APPLY_PLAN,
        streams.PERMIT_DECIDED,
        streams.APPLY_RESULT,
        streams.AUDIT_FINDING,
    ]
    for entry, event in facts.told(archive, four, now_ms - keep_ms - window_ms):
        _take_in(found, entry, event)
    keys, interrupted = Keyspace(), []
    for plan_id, case in found.items():
        opened_ms = _opened(case)
        if opened_ms is None:
            continue  # only a Finding of an older case is left
        due_ms = max(opened_ms + window_ms, int(case.get("executed_ms", 0)) + GRACE_MS)
        if not _is_complete(case):
            case.setdefault("told:permit_missing", UNTOLD)
        if not _is_settled(case):
            interrupted.append(plan_id)
            case.setdefault("told:executed_without_permits", UNTOLD)
        key = streams.audited_case(plan_id)
        if due_ms <= newest_ms:
            keys.hset(key, case, due_ms + keep_ms, shared=True)
        else:
            keys.hset(key, case, shared=True)
            keys.zadd(streams.PERMIT_AUDIT_OPEN, plan_id, opened_ms)
    keys.expire(now_ms)
    return Rebuilt(keys, interrupted)


def known_there(
    keys: Keyspace, interrupted: Iterable[str], there: Callable[[str], Case]
) -> list[str]:
    """Which of the ``interrupted`` stay so, given what ``there(key)`` a server has of their cases.

    A server that was written to after the loss may have seen all permits of a case; then it judges.
    """
    left = []
    for plan_id in interrupted:
        key = streams.audited_case(plan_id)
        if not _is_complete(there(key)):
            left.append(plan_id)
            continue
        members = keys.keys[key].value
        for name in [name for name, value in members.items() if value == UNTOLD.encode()]:
            del members[name]
    return left


def _take_in(found: dict[str, Case], entry: Entry, event: object) -> None:
    """Add what one event says to the case of its plan, as consumers/permit_audit.py does."""
    at_ms = str(entry.ms)
    if isinstance(event, ApplyPlan):
        if event.decision in FOLLOWED:
            found.setdefault(event.plan_id, {}).update(
                plan=entry.id, opened_ms=at_ms, symbol=event.symbol, decision=event.decision
            )
    elif isinstance(event, PermitDecided):
        if event.gate == P33:
            state = "granted" if event.allow else "denied"
            case = found.setdefault(event.plan_id, {})
            case.setdefault(f"{P33}_{state}_event_ms", at_ms)
            case.setdefault(f"{P33}_{state}_reason", event.reason)
    elif isinstance(event, ApplyResult):
        if event.executed:
            case = found.setdefault(event.plan_id, {})
            case.setdefault("executed", entry.id)
            case.setdefault("executed_ms", at_ms)
    elif isinstance(event, AuditFinding) and event.auditor == AUDITOR:
        _remember(found.setdefault(event.subject, {}), event, at_ms)


def _remember(case: Case, finding: AuditFinding, at_ms: str) -> None:
    """That this was told, and which permits it proves to have been there."""
    name = finding.event_id.removeprefix(f"{AUDITOR}/{finding.subject[:180]}/")
    case.setdefault(f"told:{name}", TOLD)
    if finding.finding == "permits_complete":
        needed = (P33,) if case.get("decision") == RECONCILE else GATES
        for gate in needed:
            case.setdefault(f"{gate}_granted_ms", at_ms)
    elif finding.finding == "permit_denied":
        gate = name.partition(":")[2]
        if gate in GATES:
            case.setdefault(f"{gate}_denied_ms", at_ms)


def _opened(case: Case) -> int | None:
    told = case.get("opened_ms") or case.get("executed_ms") or case.get(f"{P33}_granted_event_ms")
    told = told or case.get(f"{P33}_denied_event_ms")
    return int(told) if told else None


def _is_complete(case: Case) -> bool:
    """Whether every permit that was needed is known to have been granted."""
    needed = (P33,) if case.get("decision") == RECONCILE else GATES
    return all(
        f"{gate}_granted_ms" in case or f"{gate}_granted_event_ms" in case for gate in needed
    )


def _is_settled(case: Case) -> bool:
    """Whether what is known suffices to judge an execution of it, now or later."""
    denied = any(f"{gate}_denied_ms" in case or f"{gate}_denied_event_ms" in case for gate in GATES)
    absent = case.get("told:permit_missing") == TOLD or "told:executed_without_permits" in case
    return denied or absent or _is_complete(case)
