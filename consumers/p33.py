"""P3.3, the position gate: writes a permit or a denial for every plan that asks for one.

How it decides stands in quantum_ops/p33 and docs/p33.md; here is what it reads and writes. It makes
no HTTP call: a slow exchange never delays a permit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import hiredis
import msgspec

from quantum_ops import client, codec, permits, streams
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.effects import Effects
from quantum_ops.errors import DecodeError, Reject
from quantum_ops.events import ApplyPlan, AuditFinding, PermitDecided
from quantum_ops.p33 import snapshot
from quantum_ops.p33.allowlist import Allowlist
from quantum_ops.p33.amounts import ZERO
from quantum_ops.p33.decision import EVALUATED, MAX_AGE_S, Decision, decide
from quantum_ops.p33.subject import MAX_SYMBOL, Subject, of_malformed, of_plan
from quantum_ops.p33.watch import Watch
from quantum_ops.settings import P33Settings

GATE = "p33"
BLOCK_MS = 200
"""Longest wait for plans between two looks at the universe while nothing is to be decided."""
_NOTHING_KNOWN = snapshot.Snapshot()


class Gate:
    """What one process holds: who signs, and what is kept between batches."""

    def __init__(self, context: Context) -> None:
        settings: P33Settings = context.settings
        self.watch = Watch(settings)
        self.commands = snapshot.Commands()
        self.signer = (
            permits.Signer.from_file(settings.signing_key) if settings.signing_key else None
        )
        if self.signer is None:
            context.log.warning(
                "permits_unsigned", cure="name an Ed25519 key in P33_SIGNING_KEY (docs/permits.md)"
            )


@dataclass(slots=True)
class State:
    """What one batch is decided on, read in one round trip."""

    allowlist: Allowlist
    snapshots: Mapping[str, snapshot.Snapshot]
    now_s: float
    moment: datetime
    decided: Any
    """On a repeated delivery: what stands under the plan's decided key (None: nothing)."""


def fetch(plans: Sequence[ApplyPlan], context: Context) -> State:
    """The universe's epoch and flags, and each symbol's state, in one round trip for the batch."""
    gate: Gate = context.held
    symbols = list(
        {p.symbol for p in plans if p.decision in EVALUATED and len(p.symbol) <= MAX_SYMBOL}
    )
    packed = [gate.watch.packed(), *map(gate.commands.packed, symbols)]
    count = gate.watch.COMMANDS + snapshot.COMMANDS * len(symbols)
    if context.attempt > 1:
        packed.append(_ask_decided(plans[0].plan_id))
        count += 1
    replies = client.ask(context.db, b"".join(packed), count)
    decided = replies.pop() if context.attempt > 1 else None
    now_s = context.clock.now_s()
    allowlist = gate.watch.judge(context, replies[: gate.watch.COMMANDS])
    parts = range(gate.watch.COMMANDS, len(replies), snapshot.COMMANDS)
    known = [snapshot.read(replies[at : at + snapshot.COMMANDS]) for at in parts]
    return State(allowlist, dict(zip(symbols, known, strict=True)), now_s, _moment(now_s), decided)


def look(context: Context) -> None:
    """Follow the universe while no plan comes."""
    gate: Gate = context.held
    gate.watch.look(context)


def deny_buried(flat: Sequence[bytes], error: Exception, context: Context) -> None:
    """A denial beside the dead letter, if the entry says without doubt which plan it means."""
    gate: Gate = context.held
    # Read here once more, whatever the error says: an entry that was delivered too often may be
    # malformed as well, if a process died before it could say so.
    try:
        plan = codec.decoder(ApplyPlan)(flat)
    except DecodeError as malformed:
        subject, reason, problem = of_malformed(flat), "malformed_plan", str(malformed)
    else:
        subject, reason, problem = of_plan(plan), "gate_failed", str(error)
    if subject is None:
        return
    plan_id = subject.plan_id
    decided = None
    if context.attempt > 1:
        [decided] = client.ask(context.db, _ask_decided(plan_id), 1)
    now_s = context.clock.now_s()
    allowlist = gate.watch.last or gate.watch.look(context)
    context.state = State(allowlist, {}, now_s, _moment(now_s), decided)
    denial = Decision(allow=False, reason=reason, detail={"problem": problem[:500]})
    _settle(context, subject, denial)


@consumer(
    streams.APPLY_PLAN,
    settings=P33Settings,
    setup=Gate,
    prepare=fetch,
    idle=look,
    last_words=deny_buried,
    block_ms=BLOCK_MS,
    # A permit says that a plan may be executed now.
    replay_safe=False,
)
def p33(plan: ApplyPlan, context: Context) -> None:
    """Permits or denies each plan by the exchange's position, the ledger and the universe."""
    if plan.decision not in EVALUATED:
        return
    state: State = context.state
    known = state.snapshots.get(plan.symbol, _NOTHING_KNOWN)
    made = decide(
        plan, known, state.allowlist, context.settings, now_s=state.now_s, age_s=context.age_s
    )
    _settle(context, Subject(plan.plan_id, plan.symbol, permits.plan_sha256(plan)), made, known)
    if made.reason == "malformed_plan":
        raise Reject(f"malformed_plan: {made.detail['problem']}", keep_effects=True)


def _settle(
    context: Context,
    subject: Subject,
    made: Decision,
    known: snapshot.Snapshot = _NOTHING_KNOWN,
) -> None:
    """Declare the permit, its event and the mark that this plan id is decided, all in one step."""
    decided = context.state.decided
    if decided is not None and decided != subject.sha256.encode():
        _contradict(context, subject, decided)
        return
    context.first(streams.decided(GATE, subject.plan_id), subject.sha256, ttl_s=MAX_AGE_S)
    _write(context, subject, made, known)


def _contradict(context: Context, subject: Subject, decided: Any) -> None:
    """Another plan under a known id: the denial replaces whatever was permitted under it."""
    # A bytes value is the earlier plan's hash; anything else is a key that somebody spoilt.
    earlier = decided.decode("utf-8", "replace") if isinstance(decided, bytes) else str(decided)
    detail = {"decided_plan_sha256": earlier[:80], "plan_sha256": subject.sha256}
    key = streams.conflict(GATE, subject.plan_id, subject.sha256)
    context.once(key, context.entry_id, ttl_s=MAX_AGE_S)
    if client.replicas(context.db).count:
        # What waits for the replicas would replace the denial when it is let out.
        context.delete(streams.unreplicated(streams.permit(GATE, subject.plan_id)))
    _write(context, subject, Decision(allow=False, reason="plan_id_conflict", detail=detail))
    context.publish(
        AuditFinding(
            auditor=GATE,
            finding="plan_id_conflict",
            # Not critical: nothing goes out on it. An order executed on it all the same is.
            severity="warning",
            subject=subject.plan_id,
            detail=f"a different plan came under a plan_id that was decided; {detail}",
            evidence=(context.entry_id, streams.decided(GATE, subject.plan_id)),
        )
    )


def _write(
    context: Context,
    subject: Subject,
    made: Decision,
    known: snapshot.Snapshot = _NOTHING_KNOWN,
) -> None:
    state: State = context.state
    settings: P33Settings = context.settings
    document = _document(subject, made, known, state, settings.permit_ttl_s)
    key, ttl_s = streams.permit(GATE, subject.plan_id), settings.permit_ttl_s
    permit = permits.encode(document, context.held.signer)
    if made.allow and client.replicas(context.db).count:
        # An executor acts on it outside Redis, where no failover takes anything back.
        context.set_replicated(key, permit, ttl_s=ttl_s, otherwise=_withdrawn(context, subject))
    else:
        context.set(key, permit, ttl_s=ttl_s)
    context.publish(_told(context, subject, made))


def _withdrawn(context: Context, subject: Subject) -> Effects:
    """What takes the place of a permit that the replicas did not have in time."""
    state: State = context.state
    ttl_s = context.settings.permit_ttl_s
    denial = Decision(allow=False, reason="not_replicated")
    document = _document(subject, denial, _NOTHING_KNOWN, state, ttl_s)
    effects = Effects()
    permit = permits.encode(document, context.held.signer)
    effects.set(streams.permit(GATE, subject.plan_id), permit, ttl_s=ttl_s)
    effects.publish(_told(context, subject, denial, "/withdrawn"))
    return effects


def _told(context: Context, subject: Subject, made: Decision, suffix: str = "") -> PermitDecided:
    state: State = context.state
    return PermitDecided(
        # The entry's own id: a decision that is made again is the same event.
        event_id=f"{GATE}/{context.entry_id}{suffix}",
        occurred_at=state.moment,
        gate=GATE,
        plan_id=subject.plan_id,
        symbol=subject.symbol,
        allow=made.allow,
        reason=made.reason,
        safe_qty=made.safe_qty,
        universe_epoch=state.allowlist.epoch,
    )


def _document(
    subject: Subject, made: Decision, known: snapshot.Snapshot, state: State, ttl_s: int
) -> permits.Permit:
    created_at = round(state.now_s, 3)
    absent = msgspec.UNSET
    return permits.Permit(
        allow=made.allow,
        context=absent if made.allow else made.detail,
        created_at=created_at,
        exchange_position_amt=(known.position or ZERO) if made.allow else absent,
        expires_at=round(created_at + ttl_s, 3),
        gate=GATE,
        ledger_amt=known.ledger if made.allow else absent,
        plan_id=subject.plan_id,
        plan_sha256=subject.sha256,
        reason=made.reason,
        safe_close_qty=made.safe_qty if made.allow else absent,
        safe_qty=made.safe_qty if made.allow else absent,
        symbol=subject.symbol,
        universe_epoch=state.allowlist.epoch,
    )


def _ask_decided(plan_id: str) -> bytes:
    packed: bytes = hiredis.pack_command(("GET", streams.decided(GATE, plan_id)))
    return packed


def _moment(now_s: float) -> datetime:
    return datetime.fromtimestamp(int(now_s * 1000) / 1000, UTC)
