"""The only place that makes a long past for the bench of as-of: plans, permits, universes, deploys.

Everything is a function of the entry's number, so that an answer is known without looking it up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from quantum_ops import codec, events, streams
from quantum_ops.history import blocks, lookup, resume, writer
from quantum_ops.history.folder import Folder
from quantum_ops.history.writer import Writer
from quantum_ops.ledger.seal import Seal

START_MS = 1_769_494_530_000
STEP_MS = 10
"""Between two plans. Each is five entries: ten million of them are five and a half hours."""
EACH = 5
UNIVERSE_EVERY, FLAG_EVERY, DEPLOY_EVERY, CHECK_EVERY = 1000, 7000, 2500, 500
"""Plans between two of these."""
SYMBOLS = tuple(f"C{number:03d}USDT" for number in range(600))
COMMIT = 2000
_MOMENT = events.now()


class Told(NamedTuple):
    """One entry to be archived."""

    stream: str
    id: bytes
    flat: list[bytes]


def plan_id(number: int) -> str:
    """Id of plan ``number``; no two have the same."""
    return f"{number * 11_400_714_819_323_198_485 % 2**64:016x}"


def order_id(number: int) -> str:
    """Order of plan ``number``."""
    return str(4_000_000_000 + number)


def ms(number: int) -> int:
    """When plan ``number`` was told of."""
    return START_MS + number * STEP_MS


def denied(number: int) -> bool:
    """Whether plan ``number`` was."""
    return number % 3 == 0


def epoch(number: int) -> int:
    """The universe's epoch when plan ``number`` was told of."""
    return number // UNIVERSE_EVERY + 1


def epoch_before(number: int) -> int:
    """The epoch ten changes before; 0 before the first."""
    return max(0, epoch(number) - 10)


def entries(plans: int) -> Iterator[Told]:
    """The past: about ``EACH`` entries for each of ``plans`` plans, in the order of their ids."""
    plan, permit, result, finding = (
        streams.APPLY_PLAN.key, streams.PERMIT_DECIDED.key, streams.APPLY_RESULT.key,
        streams.AUDIT_FINDING.key,
    )  # fmt: skip
    head = [b"schema", b"permit.decided/1"]
    audit = [b"schema", b"audit.finding/1"]
    at = codec.rfc3339(_MOMENT).encode()
    for number in range(plans):
        yield from _rare(number)
        id_, of, order = b"%d-" % ms(number), plan_id(number).encode(), order_id(number).encode()
        symbol = SYMBOLS[number % 600].encode()
        no = denied(number)
        yield Told(plan, id_ + b"0", [
            b"plan_id", of, b"decision", b"EXECUTE", b"symbol", symbol, b"side", b"BUY", b"qty",
            b"0.%03d" % (number % 997), b"action", b"ENTRY_PROPOSED", b"source", b"intent_bridge",
            b"timestamp", id_[:10],
        ])  # fmt: skip
        yield Told(permit, id_ + b"1", [
            *head, b"event_id", b"p33/" + id_ + b"0", b"occurred_at", at, b"gate", b"p33",
            b"plan_id", of, b"symbol", symbol, b"allow", b"false" if no else b"true", b"reason",
            b"cooldown_in_flight" if no else b"sanity_checks_passed", b"safe_qty", b"0",
            b"universe_epoch", b"%d" % epoch(number),
        ])  # fmt: skip
        told = b"permit_denied" if no else b"permits_complete"
        yield Told(finding, id_ + b"2", [
            *audit, b"event_id", b"permit_audit/" + of, b"occurred_at", at, b"auditor",
            b"permit_audit", b"finding", told, b"severity", b"info", b"subject", of, b"detail",
            b"p33: cooldown_in_flight" if no else b"governor heard of, p26 heard of, p33 heard of",
            b"evidence", b"[]",
        ])  # fmt: skip
        yield Told(result, id_ + b"3", [
            b"plan_id", of, b"executed", b"false" if no else b"true", b"symbol", symbol, b"details",
            b"{}" if no else b'{"order_id": %b, "avg": "1.%03d"}' % (order, number % 991),
            b"source", b"intent_executor", b"timestamp", id_[:10],
        ])  # fmt: skip
        yield Told(finding, id_ + b"4", [
            *audit, b"event_id", b"order_proof/" + id_, b"occurred_at", at, b"auditor",
            b"order_proof", b"finding", b"execution_proven", b"severity", b"info", b"subject", of,
            b"detail", symbol + b" order " + order, b"evidence", b"[]",
        ])  # fmt: skip


def _rare(number: int) -> Iterator[Told]:
    """What comes before plan ``number`` beside it."""
    id_ = b"%d-0" % ms(number)
    if number % UNIVERSE_EVERY == 0:
        yield Told(streams.UNIVERSE_CHANGED.key, id_, codec.encode(_universe(number)))
    if number % FLAG_EVERY == 1:
        stale = number % (2 * FLAG_EVERY) == 1
        name = "universe_stale" if stale else "universe_fresh"
        event = events.AuditFinding(
            event_id=f"u{number}", occurred_at=_MOMENT, auditor="universe", finding=name,
            severity="warning", detail="timeout",
        )  # fmt: skip
        yield Told(streams.AUDIT_FINDING.key, b"%d-0" % (ms(number) - 1), codec.encode(event))
    if number % CHECK_EVERY == 2:
        checked = events.UniverseChecked(
            event_id=f"c{number}", occurred_at=_MOMENT, outcome="failed", reason="timeout",
            began_ms=ms(number),
        )  # fmt: skip
        yield Told(streams.UNIVERSE_CHECKED.key, id_, codec.encode(checked))
    if number % DEPLOY_EVERY == 3:
        yield from _deploy(number // DEPLOY_EVERY + 1, id_)


def _universe(number: int) -> events.UniverseChanged:
    at = epoch(number)
    gone = SYMBOLS[at % 600]
    back = SYMBOLS[(at - 1) % 600]
    return events.UniverseChanged(
        event_id=f"e{at}", occurred_at=_MOMENT, epoch=at, prev_epoch=at - 1, mode="mainnet",
        asof_epoch=ms(number) // 1000, count=599, sha256=f"s{at}", symbols_sha256="x",
        symbols=tuple(one for one in SYMBOLS if one != gone),
        added=SYMBOLS if at == 1 else (back,), removed=() if at == 1 else (gone,),
    )  # fmt: skip


def _deploy(seq: int, id_: bytes) -> Iterator[Told]:
    """A deployment and the record that the ledger made of it; every tenth is taken back."""
    undo = seq % 10 == 0
    deployed = events.DeployCompleted(
        operation=f"Deploy {seq}", objective="o", risk_class="READ_ONLY", blast_radius="b",
        changes_summary="c", event_id=f"d{seq}", outcome="ROLLBACK" if undo else "SUCCESS",
        rollback_of=operation_id(seq - 1) if undo else "",
    )  # fmt: skip
    recorded = events.LedgerRecorded(
        event_id=f"ledger/{seq}", occurred_at=_MOMENT, seq=seq, record_type="operation.recorded",
        operation_id=operation_id(seq), entry_sha256=f"x{seq}", tree_size=seq, root_sha256="r",
        source=streams.DEPLOY_COMPLETED.key, source_id=f"d{seq}",
    )  # fmt: skip
    yield Told(streams.DEPLOY_COMPLETED.key, id_, codec.encode(deployed))
    yield Told(streams.LEDGER_RECORDED.key, id_, codec.encode(recorded))


def operation_id(seq: int) -> str:
    """Id of the operation in record ``seq``."""
    return f"OPS-2026-01-27-{seq:03d}"


def build(folder: Folder, plans: int) -> int:
    """Archive it as the archive itself would; gives how many entries that were."""
    with writer.lock(folder):
        made = Writer(folder, Seal("quantum-ops/bench"), now_s=lambda: START_MS / 1000)
        for number, one in enumerate(entries(plans), 1):
            made.add(one.stream, one.id, one.flat)
            if number % COMMIT == 0:
                made.commit()
        made.commit()
        made.checkpoint()
        for one_ in made.sealed.segments:
            lookup.make(folder, one_.name)
        follower, before = resume.Follower(folder), made.sealed.segments
        last = before[-1].frontier() if before else blocks.empty()
        for _ in range(made.growing()[1].size // resume.STEP_BYTES + 1):
            follower.follow(*made.growing(), last)
        count = made.head.size
        made.close()
    return count
