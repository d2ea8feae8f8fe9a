"""Checks that the universe which gates use is the exchange's: each change, and by a second fetch.

A check that fails is a Finding, not an error of this consumer. What is judged stands in
quantum_ops/audit; the page docs/universe.md tells what an operator does about each Finding.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from quantum_ops import streams
from quantum_ops.audit import churn, exchange_check, history, readers
from quantum_ops.audit.telling import tell
from quantum_ops.audit.universe_change import Last, Published, judge
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.events import AuditFinding, Severity, UniverseChanged, UniverseChecked
from quantum_ops.heartbeat import everywhere
from quantum_ops.host import process_name
from quantum_ops.settings import UniverseAuditSettings
from quantum_ops.universe import load_universe

CHECKS: dict[str, tuple[Severity, str]] = {
    "universe_consistent": ("info", "every check passed"),
    "universe_event_wrong": ("critical", "count, order or hash of the event's own symbols is off"),
    "universe_symbol_invalid": ("critical", "a symbol does not match UNIVERSE_SYMBOL_REGEX"),
    "universe_epoch_gap": ("critical", "epochs do not follow each other: an event is missing"),
    "universe_difference_wrong": ("critical", "added and removed do not lead from set to set"),
    "universe_keys_differ": ("critical", "the keys of this epoch do not say what the event says"),
    "universe_keys_behind": ("critical", "the keys are older than an event that was published"),
    "universe_late": ("warning", "the event was audited long after it occurred"),
    "universe_differs_from_exchange": (
        "critical",
        "second fetches before and after a refresh show symbols otherwise than published",
    ),
    "universe_agrees_with_exchange": (
        "info",
        "a second fetch shows what is published; told for each epoch, after trouble, once an hour",
    ),
    "universe_check_failed": (
        "warning",
        "the second fetch fails twice or is not heard of; told once until it works again",
    ),
    "universe_reader_behind": (
        "warning",
        "a P3.3 process uses another universe; critical after six graces",
    ),
    "universe_churn": (
        "info",
        "what changed in a day; a warning above UNIVERSE_AUDIT_CHURN_MAX",
    ),
}
AUDITOR = "universe_audit"
NO_FETCH = "by the producer's word alone: UNIVERSE_AUDIT_FETCH is off"
LOOK_EVERY_S = 5.0
MAX_DAYS = 7
"""Days that are reported after a time in which no auditor ran."""
MIDNIGHT_MS = 60_000
"""A day is over for good so long after its end: clocks differ."""


@dataclass(slots=True)
class State:
    """What one batch is judged against; all but ``published`` moves on with each event of it."""

    last: Last
    published: Published
    checks: exchange_check.Memory


def fetch(_events: Sequence[UniverseChanged | UniverseChecked], context: Context) -> State:
    """The keys and what was audited before, in one transaction for the whole batch."""
    with context.db.pipeline(transaction=True) as pipe:
        pipe.hgetall(streams.UNIVERSE_AUDITED)
        pipe.hgetall(streams.UNIVERSE_META)
        pipe.get(streams.UNIVERSE_ACTIVE)
        pipe.hgetall(streams.UNIVERSE_SYMBOLS)
        pipe.get(streams.UNIVERSE_AUDIT_CHECKS)
        audited, meta, active, rows, checks = pipe.execute(raise_on_error=False)
    return State(_last(audited), _published(meta, active, rows), exchange_check.read(checks))


def look(context: Context) -> None:
    """What no event tells: readers that do not follow, a second fetch that is silent, a new day."""
    now_ms = int(context.clock.now_s() * 1000)
    hindrances = [_look_at_checks(context, now_ms), _look_at_readers(context, now_ms)]
    _report_churn(context, now_ms)
    # ./run audit calls nothing proven while one of them stands.
    context.vitals["hindrance"] = "; ".join(filter(None, hindrances))
    context.vitals["caveat"] = "" if context.settings.fetch else NO_FETCH


@consumer(
    streams.UNIVERSE_CHANGED,
    streams.UNIVERSE_CHECKED,
    prepare=fetch,
    settings=UniverseAuditSettings,
    tick=look,
    tick_s=LOOK_EVERY_S,
    # Only the last one is known to have been judged; an older one would look like a gap.
    replay_safe=False,
)
def universe_audit(event: UniverseChanged | UniverseChecked, context: Context) -> None:
    """Checks each change of the universe, and the universe against a second fetch."""
    if isinstance(event, UniverseChecked):
        _checked(event, context)
    else:
        _changed(event, context)


def _changed(event: UniverseChanged, context: Context) -> None:
    state: State = context.state
    if event.epoch == state.last.epoch and event.sha256 == state.last.sha256:
        return  # a redelivery or a replay: it was judged, and its Findings stand
    found = judge(event, state.last, state.published, context.settings, context.age_s)
    for name, detail in (found or {"universe_consistent": f"{event.count} symbols"}).items():
        context.publish(
            _finding(
                f"{context.entry_id}/{name}", name, f"epoch {event.epoch}", detail,
                context.entry_id, event.event_id,
            )
        )  # fmt: skip
    state.last = Last(event.epoch, event.sha256, frozenset(event.symbols))
    symbols = json.dumps(event.symbols)
    # Whatever stands there: a key of another type would bury each change from now on.
    context.delete(streams.UNIVERSE_AUDITED)
    context.hset(
        streams.UNIVERSE_AUDITED,
        {"epoch": event.epoch, "sha256": event.sha256, "symbols": symbols},
    )
    touched = (*event.added, *event.removed, *event.close_only, *event.changed)
    checks = exchange_check.published(state.checks, touched)
    if checks is not state.checks:
        _remember(context, checks)


def _checked(event: UniverseChecked, context: Context) -> None:
    state: State = context.state
    told, checks = exchange_check.judge(event, context.entry_id, state.checks)
    for one in told:
        context.publish(
            _finding(
                f"{context.entry_id}/{one.name}", one.name, f"epoch {event.epoch}", one.detail,
                context.entry_id, event.event_id, *one.evidence,
            )
        )  # fmt: skip
    _remember(context, checks)


def _remember(context: Context, checks: exchange_check.Memory) -> None:
    context.state.checks = checks
    context.set(streams.UNIVERSE_AUDIT_CHECKS, msgspec.json.encode(checks))


def _look_at_checks(context: Context, now_ms: int) -> str:
    settings: UniverseAuditSettings = context.settings
    if not settings.fetch:
        return ""
    reply = _held(context, streams.UNIVERSE_AUDIT_CHECKS)
    before = exchange_check.read(reply)
    told, after = exchange_check.overdue(before, now_ms, settings.fetch_every_s)
    if after != before:
        findings = [
            _finding(
                f"overdue/{after.heard_ms}", one.name, "universe_check", one.detail, after.last
            )
            for one in told
        ]
        key = streams.UNIVERSE_AUDIT_CHECKS
        tell(context.db, key, reply, msgspec.json.encode(after).decode(), findings)
    return exchange_check.hindrance(after)


def _look_at_readers(context: Context, now_ms: int) -> str:
    settings: UniverseAuditSettings = context.settings
    heard = everywhere(context.db, "p33", readers.MAX_PROCESSES)
    tokens = {process_name("p33", token): token for token, (_, beat) in heard.items() if beat}
    alive = {name: heard[token][1] for name, token in tokens.items()}
    reply = _held(context, streams.UNIVERSE_AUDIT_READERS)
    known = readers.read(reply)
    if not alive and not known:
        return ""
    universe = load_universe(context.db, now_s=context.clock.now_s())
    lags = readers.lagging(alive, universe, now_ms)
    memory, due = readers.follow(known, lags, now_ms, settings.reader_grace_s)
    findings = []
    for name, severity in due.items():
        one = memory[name]
        seconds = one.late_s(lags[name], now_ms)
        detail = f"{one.cause}, the universe is at epoch {universe.epoch}, for {seconds:.0f} s"
        finding = _finding(
            f"reader/{tokens[name]}/{one.since_ms}/{severity}", "universe_reader_behind",
            name, detail, streams.heartbeat("p33", tokens[name]), severity=severity,
        )  # fmt: skip
        findings.append(finding)
    if memory != known:
        key, after = streams.UNIVERSE_AUDIT_READERS, msgspec.json.encode(memory).decode()
        tell(context.db, key, reply, after, findings)
    return readers.hindrance(memory)


def _report_churn(context: Context, now_ms: int) -> None:
    settings: UniverseAuditSettings = context.settings
    reply = _held(context, streams.UNIVERSE_AUDIT_CHURN)
    last = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else ""
    for start_ms in churn.days_due(last, now_ms - MIDNIGHT_MS, MAX_DAYS):
        day = history.day(context.db, start_ms)
        findings = []
        if day.size:
            severity: Severity = "warning" if day.pct > settings.churn_max_pct else "info"
            finding = _finding(
                f"churn/{day.date}", "universe_churn", day.date, day.told(),
                streams.UNIVERSE_CHANGED.key, severity=severity,
            )  # fmt: skip
            findings.append(finding)
        if not tell(context.db, streams.UNIVERSE_AUDIT_CHURN, reply, day.date, findings):
            return
        reply = day.date.encode()


def _held(context: Context, key: str) -> Any:
    """The reply to GET; a key of another type is an error value, to be replaced."""
    with context.db.pipeline(transaction=False) as pipe:
        pipe.get(key)
        [reply] = pipe.execute(raise_on_error=False)
    return reply


def _finding(
    id_: str, name: str, subject: str, detail: str, *evidence: str,
    severity: Severity | None = None,
) -> AuditFinding:  # fmt: skip
    return AuditFinding(
        # Told twice, it would be the same event.
        event_id=f"{AUDITOR}/{id_}",
        auditor=AUDITOR,
        finding=name,
        severity=severity or CHECKS[name][0],
        subject=subject,
        detail=detail[:500],
        evidence=evidence,
    )


def _last(audited: Any) -> Last:
    """What was audited last; damage is forgotten, and the next change is judged without it."""
    try:
        symbols = frozenset(map(str, json.loads(audited[b"symbols"])))
        return Last(int(audited[b"epoch"]), audited[b"sha256"].decode(), symbols)
    except (TypeError, KeyError, ValueError, RecursionError):
        return Last()


def _published(meta: Any, active: Any, rows: Any) -> Published:
    try:
        return Published(
            int(meta[b"epoch"]),
            meta[b"sha256"].decode(),
            tuple(json.loads(active)["symbols"]),
            {symbol.decode(): row.decode() for symbol, row in rows.items()},
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        return Published(unreadable=f"{type(error).__name__}: {error}")
