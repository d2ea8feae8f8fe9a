"""The only place where event types are declared: frozen, typed, versioned by ``schema``.

On the wire every value is a string; :mod:`quantum_ops.codec` turns entries into these types and
back. Events of the trading side carry no envelope; ours carry ``event_id``, ``occurred_at`` and
``schema``.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Names = tuple[str, ...]
Severity = Literal["info", "warning", "critical"]
RiskClass = Literal["READ_ONLY", "LOW_RISK_CONFIG", "SERVICE_RESTART", "FILESYSTEM_WRITE"]


def now() -> datetime:
    """The present moment in UTC, cut to the millisecond as it travels on the wire."""
    moment = datetime.fromtimestamp(_clock[-1](), UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


_clock: list[Callable[[], float]] = [lambda: time.time()]  # noqa: PLW0108 - looked up each time, for whoever freezes it


@contextlib.contextmanager
def told_by(now_s: Callable[[], float]) -> Iterator[None]:
    """Let :func:`now` follow another clock meanwhile: events of a replay occur in its time."""
    _clock.append(now_s)
    try:
        yield
    finally:
        _clock.pop()


def new_id() -> str:
    """A fresh ``event_id``: 32 hex characters."""
    return uuid.uuid4().hex


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events."""

    schema: ClassVar[str] = ""


class OwnEvent(Event, frozen=True, kw_only=True):
    """Base of the events that this project writes.

    ``event_id`` makes a repeated publish a no-op; ``occurred_at`` is RFC 3339 UTC with
    milliseconds on the wire.
    """

    event_id: Name = msgspec.field(default_factory=new_id)
    occurred_at: Moment = msgspec.field(default_factory=now)


class UniverseChanged(OwnEvent, frozen=True, kw_only=True):
    """The set of tradeable symbols, or an attribute of one, is not what it was.

    ``epoch`` counts content changes without a gap. ``symbols`` is the whole sorted set, so that
    one entry suffices to know what gates saw. ``changed`` is symbol -> attribute -> (old, new).
    ``close_only`` names the symbols that became so with this event. ``sha256`` covers symbols and
    attributes, ``symbols_sha256`` the sorted symbols joined by line feeds.
    """

    schema: ClassVar[str] = "universe.changed/1"
    epoch: Annotated[int, msgspec.Meta(ge=1)]
    prev_epoch: Annotated[int, msgspec.Meta(ge=0)]
    mode: Literal["testnet", "mainnet"]
    asof_epoch: Annotated[int, msgspec.Meta(ge=0)]
    count: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Name
    prev_sha256: str = ""
    symbols_sha256: Name
    symbols: Names
    added: Names = ()
    removed: Names = ()
    close_only: Names = ()
    changed: dict[str, dict[str, tuple[str, str]]] = {}
    quarantined: dict[str, str] = {}
    held: str = ""


class UniverseChecked(OwnEvent, frozen=True, kw_only=True):
    """A second, independent fetch of the exchange, beside what was published at that time.

    ``began_ms`` (epoch ms) is when the fetch began. ``failed`` has a ``reason`` and nothing more.
    ``count`` and ``symbols_sha256`` are of the symbols that the exchange shows, ``epoch`` is the
    published one, ``checked_s`` (epoch s) when that was fetched last, ``refresh_s`` how often it
    is. Unless ``fresh``, gates do not use it, ``reason`` says why, and nothing was compared.

    ``missing`` are tradeable there and not published, ``extra`` the other way round, ``changed``
    have other attributes; all bounded, ``differing`` counts what differs in all.
    """

    schema: ClassVar[str] = "universe.checked/1"
    outcome: Literal["compared", "failed"]
    began_ms: Annotated[int, msgspec.Meta(ge=0)]
    reason: str = ""
    fresh: bool = False
    epoch: Annotated[int, msgspec.Meta(ge=0)] = 0
    checked_s: Annotated[int, msgspec.Meta(ge=0)] = 0
    refresh_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    count: Annotated[int, msgspec.Meta(ge=0)] = 0
    symbols_sha256: str = ""
    differing: Annotated[int, msgspec.Meta(ge=0)] = 0
    missing: Names = ()
    extra: Names = ()
    changed: Names = ()


class DeployCompleted(Event, frozen=True, kw_only=True):
    """A deployment was done; field names are the arguments of ``ops_ledger_append.py``.

    ``event_id`` and ``occurred_at`` are optional: the entry id serves for scripts that send none.
    ``git_commit``, ``git_branch`` and ``hostname`` are the deploy's own, for a ledger that is kept
    on another host or in another checkout. ``producer``, ``seq`` and ``signature`` (base64) belong
    together; :mod:`quantum_ops.signoff.signed` makes and judges them.
    """

    schema: ClassVar[str] = "deploy.completed/1"
    operation: Text
    objective: Text
    risk_class: RiskClass
    blast_radius: Text
    changes_summary: Text
    event_id: str = ""
    occurred_at: Moment | None = None
    operation_id: str = ""
    allowed_paths: Names = ()
    allowed_services: Names = ()
    proof_path: str = ""
    metrics_urls: Names = ()
    metrics_grep: Names = ()
    redis_cmds: Names = ()
    outcome: Literal["SUCCESS", "PARTIAL", "ROLLBACK"] = "SUCCESS"
    rollback_of: str = ""
    notes: str = ""
    requested_by: str = ""
    approved_by: str = ""
    git_commit: str = ""
    git_branch: str = ""
    hostname: str = ""
    strict: bool = False
    producer: str | None = None
    seq: int | None = None
    signature: str | None = None


class ApplyPlan(Event, frozen=True, kw_only=True):
    """A plan of the trading side. Amounts stay text: each gate parses and judges them itself.

    ``type_`` to ``steps`` say how it would be executed; gates only bind their permit to them.
    """

    plan_id: Name
    decision: Name
    symbol: str = ""
    side: str = ""
    action: str = ""
    qty: str = ""
    source: str = ""
    timestamp: str = ""
    reduce_only: bool = msgspec.field(default=False, name="reduceOnly")
    signature: str = ""
    hmac: str = ""
    type_: str = msgspec.field(default="", name="type")
    close_qty: str = ""
    price: str = ""
    leverage: str = ""
    stop_loss: str = ""
    take_profit: str = ""
    steps: str = ""


class ApplyResult(Event, frozen=True, kw_only=True):
    """What became of a plan. ``executed`` is "true" or "True" on the wire.

    The order id stands at top level, inside ``details`` (a JSON object) or in the last of
    ``steps_results`` (a JSON array); all three are kept as text.
    """

    plan_id: Name
    executed: bool
    symbol: str = ""
    order_id: str = ""
    details: str = ""
    steps_results: str = ""
    source: str = ""
    timestamp: str = ""
    error: str = ""


class PermitDecided(OwnEvent, frozen=True, kw_only=True):
    """A gate permitted or denied a plan. ``safe_qty`` is in contracts."""

    schema: ClassVar[str] = "permit.decided/1"
    gate: Name
    plan_id: Name
    symbol: str
    allow: bool
    reason: Name
    safe_qty: Decimal = Decimal(0)
    universe_epoch: int = 0


class AuditFinding(OwnEvent, frozen=True, kw_only=True):
    """An auditor's verdict. A failed check is a Finding, not an error of the auditor.

    ``evidence`` lists the entry ids and keys that the verdict rests on.
    """

    schema: ClassVar[str] = "audit.finding/1"
    auditor: Name
    finding: Name
    severity: Severity
    subject: str = ""
    detail: str = ""
    evidence: Names = ()


class LedgerRecorded(OwnEvent, frozen=True, kw_only=True):
    """The signoff ledger took an entry in; the head makes a cut tail or rewrite evident.

    There is one for each record of the journal, in its order: ``seq`` has no gaps. ``entry_sha256``
    covers the record's line, ``tree_size`` and ``root_sha256`` are of a tree that holds it.
    ``operation_id`` is empty for a record that is of no operation. ``source`` and ``source_id``
    name where it came from: ``quantum:stream:deploy.completed`` and the entry's id (or the event's
    own ``event_id``), or ``cli``.
    """

    schema: ClassVar[str] = "ledger.recorded/1"
    seq: Annotated[int, msgspec.Meta(ge=1)]
    record_type: Name
    operation_id: str = ""
    entry_sha256: Name
    tree_size: Annotated[int, msgspec.Meta(ge=1)]
    root_sha256: Name
    source: str = ""
    source_id: str = ""


class OpsProcess(OwnEvent, frozen=True, kw_only=True):
    """supervisord moved a process from one state to another."""

    schema: ClassVar[str] = "ops.process/1"
    program: Name
    process: Name
    from_state: str
    to_state: Name
    pid: int = 0


class DeadLetter(OwnEvent, frozen=True, kw_only=True):
    """A delivery that could not be handled. The original fields follow as ``original.<name>``."""

    schema: ClassVar[str] = "dead_letter/1"
    stream: Name
    group: Name
    consumer: str
    entry_id: Name
    deliveries: int
    reason: Name
    error: str = ""
