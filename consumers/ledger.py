"""Records every deployment in the signoff ledger, once, with the evidence that it can collect.

What the author of a deploy script and the operator see of it stands in docs/ledger.md.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantum_ops import checkout, client
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.errors import ConfigurationError, Hold, QuantumError, Reject
from quantum_ops.events import AuditFinding, DeployCompleted, Severity
from quantum_ops.ledger import book, entry, index, outbox, spool, tags
from quantum_ops.ledger.errors import InvalidEntryError, LedgerError
from quantum_ops.publisher import Publisher
from quantum_ops.settings import LedgerSettings
from quantum_ops.signoff import intake, signed
from quantum_ops.signoff.evidence import Evidence
from quantum_ops.signoff.keeper import Keeper
from quantum_ops.signoff.telling import DIFFERS, Teller
from quantum_ops.streams import DEPLOY_COMPLETED, LEDGER_RECORDED, ledger_warned

FINDINGS: dict[str, tuple[Severity, str]] = {
    "ledger_conflict": ("warning", "an operation_id came again with other content; both are kept"),
    "ledger_rule_broken": ("warning", "recorded, together with the rule that it breaks"),
    "ledger_source_reused": ("warning", "another event came before under its event_id or entry id"),
    "ledger_tag_failed": ("warning", "recorded, but its git tag could not be made"),
    "ledger_spool_rejected": ("warning", "what waited in the spool can never be recorded as it is"),
    "ledger_forged": ("critical", "a deploy in a trusted producer's name that it did not sign"),
    "ledger_gap": ("warning", "a signed deploy came, and the one numbered before it never did"),
    DIFFERS: ("critical", "what was told of on ledger.recorded is not in the journal"),
}
TROUBLES = (LedgerError, OSError, sqlite3.Error)
"""What keeps the ledger from being written, whatever the event."""
LOCK_PATIENCE_S = 5.0
TICK_S = 0.5
"""Seconds until an entry of the command line tool is told of, and a spooled one recorded."""


@dataclass
class Desk:
    """What one process works with."""

    keeper: Keeper
    seal: book.Seal
    teller: Teller
    evidence: Evidence
    trusted: signed.Trusted
    report: Callable[[AuditFinding], None]
    rejected: set[str] = field(default_factory=set)

    @property
    def folder(self) -> book.Folder:
        """The ledger's files."""
        return self.keeper.folder


@dataclass
class Done:
    """What became of one event, and which Findings tell of it."""

    receipt: book.Receipt
    findings: dict[str, str] = field(default_factory=dict)


def open_desk(context: Context) -> Desk:
    """setup: find the ledger. Raises :class:`ConfigurationError` for a key or name that is none."""
    settings: LedgerSettings = context.settings
    # Not where this file lies: a deployed ledger would begin another one in its release.
    root = checkout.root()
    environ = {
        "LEDGER_DIR": settings.folder,
        "LEDGER_ORIGIN": settings.origin,
        "LEDGER_KEY": settings.key,
    }
    try:
        folder = book.Folder.find(environ, root)
        seal = book.Seal.find(environ, root)
        if seal.signer:
            seal.signer.verifier()
    except (LedgerError, OSError) as error:
        named = f"LEDGER_KEY={settings.key}: " if "LEDGER_" not in str(error) else ""
        raise ConfigurationError(f"{named}{error}") from error

    publisher = Publisher(context.db, patience_s=1.0, sleep=context.clock.wait)

    def report(finding: AuditFinding) -> None:
        context.log.error(finding.finding, told=finding.detail)
        publisher.publish(finding)

    return Desk(
        Keeper(folder, context.clock, _said(context)),
        seal,
        Teller(folder, report),
        Evidence(root, folder.logs, os.environ, stale_s=settings.stale_s),
        signed.Trusted.find(settings.producers, required=settings.require_signed),
        report,
    )


def take_turn(context: Context) -> None:
    """hold: keep the ledger, alone, and tell of what its journal holds before anything is read."""
    desk: Desk = context.held
    desk.keeper.take_turn(context.db)
    _tell(desk, context)


def record(events: Sequence[DeployCompleted], context: Context) -> dict[str, Done]:
    """prepare: record the batch durably and tell of it; by entry id, what became of each event."""
    desk: Desk = context.held
    now = datetime.fromtimestamp(context.clock.now_s(), UTC)
    done: dict[str, Done] = {}
    requests: dict[str, entry.Request] = {}
    for id_, event in zip(context.entry_ids, events, strict=True):
        try:
            requests[id_] = _request(desk, context, event, id_, now)
        except Reject as error:
            receipt = book.Receipt("refused", event.operation_id, problems=(error.reason,))
            done[id_] = Done(receipt)
    desk.evidence.forget()
    try:
        receipts = _record(desk, context, requests)
    except InvalidEntryError:
        raise  # not the ledger's trouble: one of these events is to blame, delivered singly now
    except TROUBLES as error:
        raise desk.keeper.trouble(error) from error
    gaps = _gaps(desk, events, context.entry_ids)
    for id_, receipt in receipts.items():
        done[id_] = Done(receipt, _findings(receipt, requests[id_]))
        if id_ in gaps and receipt.outcome != "refused":
            done[id_].findings["ledger_gap"] = gaps[id_]
    _tell(desk, context)
    for one in done.values():
        if context.settings.tags:
            _tag(one, context)
    return done


def tidy(context: Context) -> None:
    """tick: record what the command line tool had to leave in the spool; say how much there is."""
    desk: Desk = context.held
    if spool.waiting(desk.folder):
        _take_in(desk, context)
    _tell(desk, context, look=True)
    rejected = sorted((desk.folder.spool / spool.REJECTED).glob("*.json"))
    for path in rejected:
        if path.name not in desk.rejected:
            _tell_rejected(desk, path)
    context.vitals |= {
        "entries": desk.teller.head.size,
        "spooled": len(spool.waiting(desk.folder)),
        "rejected": len(rejected),
    }


@consumer(
    DEPLOY_COMPLETED,
    settings=LedgerSettings,
    setup=open_desk,
    hold=take_turn,
    prepare=record,
    tick=tidy,
    tick_s=TICK_S,
    batch=200,
    # Only the keeper of the ledger reads: what its forerunner left lying can be taken at once.
    claim_after_s=2.0,
    retry_base_s=0.25,
    retry_cap_s=1.0,
    # Recording again changes nothing, and a deploy must not be buried because a host went down.
    max_deliveries=20,
    # The journal recognises what it has, and what was told of it is remembered.
    replay_safe=True,
    effects_outside="the ledger's journal",
)
def ledger(event: DeployCompleted, context: Context) -> None:
    """Records each deploy.completed in the signoff ledger and tells of it on ledger.recorded."""
    done: Done = context.state[context.entry_id]
    receipt = done.receipt
    if receipt.outcome == "refused":
        raise Reject(intake.refusal(receipt.problems))
    context.log.info(
        "deploy_recorded", outcome=receipt.outcome, operation_id=receipt.operation_id,
        seq=receipt.seq, id=context.entry_id,
    )  # fmt: skip
    if done.findings:
        # Recording again changes nothing; neither must it warn again.
        record = outbox.sha256(receipt.line)[:32] if receipt.line else ""
        context.once(ledger_warned(context.entry_id, record), ttl_s=DEPLOY_COMPLETED.retention_s)
    for name, detail in done.findings.items():
        context.publish(_finding(name, event, context.entry_id, receipt.operation_id, detail))


def _finding(
    name: str, event: DeployCompleted, id_: str, subject: str, detail: str
) -> AuditFinding:
    """One of ``FINDINGS`` about an entry; the same one however often it is told."""
    return AuditFinding(
        event_id=f"ledger/{name}/{id_}",
        auditor="ledger",
        finding=name,
        severity=FINDINGS[name][0],
        subject=subject,
        detail=f"{event.operation[:100]}: {detail}"[:1000],
        evidence=(id_,),
    )


def _request(
    desk: Desk, context: Context, event: DeployCompleted, id_: str, now: datetime
) -> entry.Request:
    """The request of one event, with its evidence."""
    intake.check(event, now)
    whose = _whose(desk, event, id_)
    strict = context.settings.strict
    bare = intake.request(event, id_, now, strict=strict)
    if context.attempt > 1 and index.recorded(desk.folder, bare.stream, [bare.stream_id]):
        return bare
    age_s = max(0.0, (now - (bare.occurred_at or now)).total_seconds())
    found = desk.evidence.of(event, id_, age_s, now)
    if whose:
        found["signed_by"] = whose
    context.alive()
    return entry.with_evidence(bare, found)


def _whose(desk: Desk, event: DeployCompleted, id_: str) -> str:
    """Who signed it. Raises :class:`Reject` for what is not believed, after a forgery is told."""
    try:
        return desk.trusted.judge(event)
    except signed.UnsignedError as error:
        raise Reject(str(error)) from None
    except signed.ForgedError as error:
        detail = f"{error}; nothing of it is recorded"
        subject = event.event_id[:256] or id_
        # Told before it is buried: after a kill in between it is delivered, and told, again.
        desk.report(_finding("ledger_forged", event, id_, subject, detail))
        raise Reject(str(error)) from None


def _gaps(desk: Desk, events: Sequence[DeployCompleted], ids: Sequence[str]) -> dict[str, str]:
    """By entry id, what is missing before a signed event, now that the batch is recorded."""
    if not desk.trusted.keys:
        return {}
    wanted = {
        id_: signed.before(event)
        for id_, event in zip(ids, events, strict=True)
        if event.producer in desk.trusted.keys and signed.before(event)
    }
    known = index.recorded(desk.folder, intake.SOURCE, set(wanted.values())) if wanted else set()
    return {
        id_: f"{missing} was never recorded: an event of this producer was lost, or left out"
        for id_, missing in wanted.items()
        if missing not in known
    }


def _record(
    desk: Desk, context: Context, requests: dict[str, entry.Request]
) -> dict[str, book.Receipt]:
    """Receipts by entry id. What came under a source that other content had is told apart."""

    def kept(wanted: dict[str, entry.Request]) -> dict[str, book.Receipt]:
        receipts = book.record_many(
            desk.folder, list(wanted.values()), seal=desk.seal,
            tell=_said(context), patience_s=LOCK_PATIENCE_S,
        )  # fmt: skip
        return dict(zip(wanted, receipts, strict=True))

    receipts = kept(requests) if requests else {}
    others = {
        id_: intake.told_apart(requests[id_])
        for id_, receipt in receipts.items()
        if receipt.line
        and receipt.outcome != "recorded"
        and not intake.tells_of(requests[id_], json.loads(receipt.line))
    }
    return receipts | kept(others) if others else receipts


def _tell(desk: Desk, context: Context, *, look: bool = False) -> None:
    try:
        if look:
            desk.teller.look(context.db)
        desk.teller.tell(context.db)
    except TROUBLES as error:
        raise desk.keeper.trouble(error) from error
    except (QuantumError, *client.SERVER_ERRORS) as error:
        if client.is_passing(error) or client.is_refusal(error):
            raise
        raise Hold(f"records cannot be told of on {LEDGER_RECORDED.key}: {error}") from error


def _findings(receipt: book.Receipt, asked: entry.Request) -> dict[str, str]:
    """What a warning tells, read from the record itself: the same after a kill as before it."""
    if not receipt.line:
        return {}
    known = json.loads(receipt.line)
    found = {}
    if receipt.outcome == "conflict":
        found["ledger_conflict"] = (
            f"operation_id {receipt.operation_id} belongs to other content; "
            f"this one is kept as record {receipt.seq}, send it again with an id of its own"
        )
    problems: Any = known["data"].get("validation_problems")
    if problems:
        found["ledger_rule_broken"] = "; ".join(map(str, problems))
    if intake.is_told_apart(known, asked):
        found["ledger_source_reused"] = (
            f"event or entry id {asked.stream_id[:100]} came before with other content; "
            f"this one is recorded as {receipt.operation_id}"
        )
    return found


def _tag(done: Done, context: Context) -> None:
    if not done.receipt.line or done.receipt.outcome not in {"recorded", "already"}:
        return
    context.alive()
    try:
        tags.tag(checkout.root(), json.loads(done.receipt.line))
    except (LedgerError, OSError) as error:
        done.findings["ledger_tag_failed"] = f"{error}; the record stands"


def _take_in(desk: Desk, context: Context) -> None:
    try:
        receipts = book.take_in(
            desk.folder, seal=desk.seal, tell=_said(context), patience_s=LOCK_PATIENCE_S
        )
    except TROUBLES as error:
        raise desk.keeper.trouble(error) from error
    except Exception:
        context.log.exception("spool_not_taken_in")
        return
    for receipt in receipts:
        done = Done(receipt)
        if context.settings.tags:
            _tag(done, context)
        for name, detail in done.findings.items():
            context.log.error(name, told=detail)
        context.log.info(
            "spooled_entry", outcome=receipt.outcome, operation_id=receipt.operation_id,
            seq=receipt.seq,
        )  # fmt: skip


def _tell_rejected(desk: Desk, path: Path) -> None:
    reason = path.with_suffix(".reason.txt")
    told = reason.read_text("utf-8", "replace").strip() if reason.exists() else "no reason is kept"
    name = "ledger_spool_rejected"
    finding = AuditFinding(
        event_id=f"ledger/{name}/{path.name}",
        auditor="ledger",
        finding=name,
        severity=FINDINGS[name][0],
        subject=path.name[:256],
        detail=f"{path}: {told}"[:1000],
    )
    try:
        desk.report(finding)
    except QuantumError:
        return  # it lies there, and is told of with the next look
    desk.rejected.add(path.name)


def _said(context: Context) -> Callable[[str], None]:
    """Who hears of what does not keep a record from being made: the log."""
    return lambda what: context.log.warning("ledger_says", told=what)
