"""The only place that says an entry in one line for people: a summary for each type of event.

Values come from anyone who can XADD: everything is escaped. An entry that is no event of its
stream's type is shown field by field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ops.terminal import safe
from quantum_ops import codec, events, streams
from quantum_ops.errors import DecodeError

MAX_VALUE = 120
Line = tuple[str, str]
"""The text, and what it means to :func:`ops.output.painter`."""


def summary(key: str, flat: Sequence[bytes]) -> Line:
    """What the entry of stream ``key`` says."""
    try:
        event = codec.decoder(streams.find(key).event)(flat)
    except (KeyError, DecodeError):
        return fields(flat), "warn"
    text, meaning = _SUMMARIES[type(event)](event)
    return safe(text, 1000), meaning


def fields(flat: Sequence[bytes]) -> str:
    """The entry as it stands there."""
    pairs = zip(flat[::2], flat[1::2], strict=False)
    return "  ".join(f"{safe(name, 60)}={safe(value, MAX_VALUE)}" for name, value in pairs)


def _universe_changed(one: events.UniverseChanged) -> Line:
    parts = [f"epoch {one.epoch}: {one.count} symbols", one.mode]
    for sign, names in (("+", one.added), ("-", one.removed), ("close only ", one.close_only)):
        parts += [f"{sign}{_some(names)}"] if names else []
    parts += [f"changed {_some(tuple(one.changed))}"] if one.changed else []
    parts += [f"quarantined {_some(tuple(one.quarantined))}"] if one.quarantined else []
    parts += [f"held: {one.held}"] if one.held else []
    return ", ".join(parts), "warn" if one.held or one.removed else "good"


def _universe_checked(one: events.UniverseChecked) -> Line:
    if one.outcome == "failed":
        return f"check failed: {one.reason}", "bad"
    if not one.fresh:
        return f"not compared, the universe is not fresh: {one.reason}", "warn"
    told = f"epoch {one.epoch}: {one.count} symbols at the exchange"
    if not one.differing:
        return f"{told}, the same", "good"
    parts = [told, f"{one.differing} differ"]
    parts += [f"missing {_some(one.missing)}"] if one.missing else []
    parts += [f"extra {_some(one.extra)}"] if one.extra else []
    parts += [f"changed {_some(one.changed)}"] if one.changed else []
    return ", ".join(parts), "bad"


def _deploy_completed(one: events.DeployCompleted) -> Line:
    parts = [f"{one.outcome} {one.operation!r}", one.risk_class]
    parts += [f"by {one.requested_by}"] if one.requested_by else []
    parts += [_some(one.allowed_services)] if one.allowed_services else []
    parts += [f"rolls back {one.rollback_of}"] if one.rollback_of else []
    parts += [one.git_commit[:12]] if one.git_commit else []
    return ", ".join(parts), "good" if one.outcome == "SUCCESS" else "warn"


def _apply_plan(one: events.ApplyPlan) -> Line:
    what = [one.decision, one.action, one.side, one.qty, one.symbol]
    told = " ".join(word for word in what if word)
    parts = [told, f"plan {one.plan_id}"]
    parts += ["reduce only"] if one.reduce_only else []
    parts += [f"from {one.source}"] if one.source else []
    return ", ".join(parts), ""


def _apply_result(one: events.ApplyResult) -> Line:
    parts = ["executed" if one.executed else "not executed", one.symbol, f"plan {one.plan_id}"]
    parts += [f"order {one.order_id}"] if one.order_id else []
    parts += [one.error] if one.error else []
    return ", ".join(part for part in parts if part), "" if one.executed else "warn"


def _permit_decided(one: events.PermitDecided) -> Line:
    told = f"{one.gate} {'ALLOW' if one.allow else 'deny'} {one.symbol}: {one.reason}"
    quantity = f", up to {one.safe_qty}" if one.allow and one.safe_qty else ""
    return (
        f"{told}{quantity}, plan {one.plan_id}, epoch {one.universe_epoch}",
        "good" if one.allow else "warn",
    )


def _audit_finding(one: events.AuditFinding) -> Line:
    meaning = {"critical": "bad", "warning": "warn", "info": ""}[one.severity]
    about = f" {one.subject}" if one.subject else ""
    detail = f": {one.detail}" if one.detail else ""
    return f"{one.severity.upper()} {one.auditor} {one.finding}{about}{detail}", meaning


def _ledger_recorded(one: events.LedgerRecorded) -> Line:
    parts = [f"record {one.seq}: {one.record_type} {one.operation_id}".rstrip()]
    parts += [f"from {streams.short(one.source)} {one.source_id}".rstrip()] if one.source else []
    return ", ".join([*parts, f"root {one.root_sha256[:12]}"]), "good"


def _ops_process(one: events.OpsProcess) -> Line:
    pid = f", pid {one.pid}" if one.pid else ""
    before = f"{one.from_state} -> " if one.from_state else ""
    meaning = {"RUNNING": "good", "FATAL": "bad", "BACKOFF": "warn", "EXITED": "warn"}
    return f"{one.process}: {before}{one.to_state}{pid}", meaning.get(one.to_state, "")


def _dead_letter(one: events.DeadLetter) -> Line:
    error = (one.error.strip().splitlines() or [""])[-1]
    told = f"{one.group} buried {streams.short(one.stream)} {one.entry_id}: {one.reason}"
    times = f" after {one.deliveries} deliveries" if one.deliveries > 1 else ""
    return f"{told}{times}{f': {error}' if error else ''}", "bad"


def _some(names: tuple[str, ...]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""  # noqa: PLR2004 - a line's room
    return " ".join(names[:5]) + more


_SUMMARIES: dict[type[events.Event], Callable[[Any], Line]] = {
    events.UniverseChanged: _universe_changed,
    events.UniverseChecked: _universe_checked,
    events.DeployCompleted: _deploy_completed,
    events.ApplyPlan: _apply_plan,
    events.ApplyResult: _apply_result,
    events.PermitDecided: _permit_decided,
    events.AuditFinding: _audit_finding,
    events.LedgerRecorded: _ledger_recorded,
    events.OpsProcess: _ops_process,
    events.DeadLetter: _dead_letter,
}
