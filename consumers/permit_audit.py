"""Follows every plan from its permits to its execution, and tells what is not as it must be.

Entries only add facts to the plan's case; a look each second judges the open ones. What is judged
stands in quantum_ops/audit; the page docs/audit.md tells what an operator does about each Finding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import hiredis
import msgspec

from quantum_ops import client, codec, entry_id, permits, streams
from quantum_ops.audit.case import FINDINGS, Blind, Ruling, judge
from quantum_ops.audit.frontier import settled_ms
from quantum_ops.audit.notices import Notices
from quantum_ops.audit.sight import GATES, P33, Sight, key
from quantum_ops.audit.sight import judge as judge_key
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.events import ApplyPlan, ApplyResult, AuditFinding, PermitDecided
from quantum_ops.publisher import run_scripts
from quantum_ops.scripts import RULE
from quantum_ops.settings import PermitAuditSettings

AUDITOR = "permit_audit"
FOLLOWED = frozenset({"EXECUTE", "RECONCILE_CLOSE"})
LOOK_EVERY_S = 1.0
CHUNK = 500
"""Cases that are read in one round trip."""
MISSED_MS = 5000
"""Longest time between two looks that is no absence of the auditors."""
MAX_DIGITS = 15
MAX_OPEN = 100_000
"""Open cases that are looked at; the rest comes when these are closed."""


class _Watched(msgspec.Struct):
    """What this process remembers of an open case: when to look at it, and at which keys."""

    look_at_ms: int
    unseen: frozenset[str]


class Desk:
    """What one process holds between looks. All of it can be had again from Redis."""

    def __init__(self, context: Context) -> None:
        settings: PermitAuditSettings = context.settings
        paths = [path.strip() for path in settings.trusted.split(",") if path.strip()]
        self.trusted = permits.trusted(paths) if paths else {}
        self.notices = Notices(context.db)
        self.watched: dict[str, _Watched] = {}
        self.touched: set[str] = set()
        self.blind: Blind | None = None
        self.settled_ms = math.inf
        self._looked_ms = 0

    def look(self, context: Context, now_ms: int) -> None:
        """Note that this process looks now, whether nobody did for a while, what is settled."""
        if now_ms - self._looked_ms > MISSED_MS:
            # Ours or another process's, of before; what any of them saw stands in the cases.
            with context.db.pipeline(transaction=False) as pipe:
                pipe.hgetall(streams.PERMIT_AUDIT_LOOKED)
                [reply] = pipe.execute(raise_on_error=False)
            found = reply if isinstance(reply, dict) else {}
            last_ms, *gap = (_whole(found.get(name)) for name in (b"at_ms", b"from_ms", b"to_ms"))
            self.blind = Blind(*gap) if gap[1] else None
            if now_ms - last_ms > MISSED_MS:
                self.blind = Blind(last_ms, now_ms)
        fields = {"at_ms": now_ms}
        if self.blind is not None:
            fields |= {"from_ms": self.blind.from_ms, "to_ms": self.blind.to_ms}
        with context.db.pipeline(transaction=True) as pipe:
            # Whatever stands there: a key of another type must not end all looking.
            pipe.delete(streams.PERMIT_AUDIT_LOOKED)
            pipe.hset(streams.PERMIT_AUDIT_LOOKED, mapping=fields)
            pipe.execute()
        self._looked_ms = now_ms
        keys = (streams.APPLY_PLAN.key, streams.PERMIT_DECIDED.key)
        self.settled_ms = settled_ms(context.db, AUDITOR, keys)

    def settled(self, plan_id: str, ruling: Ruling, now_ms: int, *, closed: bool) -> None:
        """Remember when to look at the case again; what was noticed of it is written down now."""
        for gate in GATES:
            self.notices.appeared.pop((gate, plan_id), None)
        if closed:
            self.watched.pop(plan_id, None)
            return
        at_ms = now_ms if ruling.look_at_ms is None else ruling.look_at_ms
        self.watched[plan_id] = _Watched(at_ms, ruling.unseen)


def look(context: Context) -> None:
    """Judge every open case that something may have happened to."""
    desk: Desk = context.held
    now_ms = int(context.clock.now_s() * 1000)
    desk.look(context, now_ms)
    rows: list[bytes] = client.raw(context.db, "ZRANGE", streams.PERMIT_AUDIT_OPEN, 0, MAX_OPEN - 1)
    open_ids = [row.decode() for row in rows]
    touched, desk.touched = desk.touched | desk.notices.drain(now_ms), set()
    desk.watched = {
        plan_id: desk.watched[plan_id] for plan_id in open_ids if plan_id in desk.watched
    }
    due = {
        plan_id
        for plan_id in open_ids
        if plan_id in touched
        or plan_id not in desk.watched
        or desk.watched[plan_id].look_at_ms <= now_ms
    }
    for part in _parts([plan_id for plan_id in open_ids if plan_id not in due]):
        due |= _appeared(context, desk, part)
    for part in _parts([plan_id for plan_id in open_ids if plan_id in due]):
        _rule(context, desk, part, now_ms)
    context.vitals.update(open_cases=len(open_ids))


@consumer(
    streams.APPLY_PLAN,
    streams.PERMIT_DECIDED,
    streams.APPLY_RESULT,
    settings=PermitAuditSettings,
    setup=Desk,
    tick=look,
    tick_s=LOOK_EVERY_S,
    # The permits of an old plan are gone: it would be told that they never came.
    replay_safe=False,
)
def permit_audit(event: ApplyPlan | PermitDecided | ApplyResult, context: Context) -> None:
    """Proves for each plan which permits came in time, and that nothing was executed without."""
    at_ms = entry_id.parse(context.raw_id)[0]
    case = streams.audited_case(event.plan_id)
    if isinstance(event, ApplyPlan):
        if event.decision not in FOLLOWED:
            return
        facts = {
            "plan": context.entry_id,
            "opened_ms": at_ms,
            "symbol": event.symbol,
            "decision": event.decision,
        }
        context.hset(case, facts)
    elif isinstance(event, PermitDecided):
        if event.gate != P33:
            return
        # Of several denials the first counts: what was executed after it was denied.
        state = "granted" if event.allow else "denied"
        context.hsetnx(case, f"{P33}_{state}_event_ms", at_ms)
        context.hsetnx(case, f"{P33}_{state}_reason", event.reason)
    else:
        if not event.executed:
            return
        # Of several executions the first counts here; order_proof tells of the others.
        context.hsetnx(case, "executed", context.entry_id)
        context.hsetnx(case, "executed_ms", at_ms)
    context.zadd(streams.PERMIT_AUDIT_OPEN, event.plan_id, at_ms)
    context.held.touched.add(event.plan_id)


def _appeared(context: Context, desk: Desk, plan_ids: list[str]) -> set[str]:
    """Which of these cases have a permit key now that was not seen before."""
    wanted = [(plan_id, gate) for plan_id in plan_ids for gate in desk.watched[plan_id].unseen]
    packed = [hiredis.pack_command(("EXISTS", key(gate, plan_id))) for plan_id, gate in wanted]
    replies = client.ask(context.db, b"".join(packed), len(packed)) if packed else []
    return {plan_id for (plan_id, _), reply in zip(wanted, replies, strict=True) if reply != 0}


def _rule(context: Context, desk: Desk, plan_ids: list[str], now_ms: int) -> None:
    settings: PermitAuditSettings = context.settings
    packed = []
    for plan_id in plan_ids:
        packed.append(hiredis.pack_command(("HGETALL", streams.audited_case(plan_id))))
        for gate in GATES:
            packed.append(hiredis.pack_command(("GET", key(gate, plan_id))))
            packed.append(hiredis.pack_command(("PTTL", key(gate, plan_id))))
    replies = client.ask(context.db, b"".join(packed), len(packed))
    size = 1 + 2 * len(GATES)
    ruled: list[tuple[str, Ruling]] = []
    calls = []
    for number, plan_id in enumerate(plan_ids):
        found = replies[number * size : (number + 1) * size]
        if isinstance(found[0], Exception):
            _give_up(context, plan_id, found[0])
            continue
        case = _texts(found[0])
        sights = _sights(found[1:], case.get("symbol", ""), desk)
        told = _told(desk, plan_id, case)
        ruling = judge(
            {**told, **case}, sights, now_ms, int(settings.window_s * 1000),
            settled_ms=desk.settled_ms, blind=desk.blind,
        )  # fmt: skip
        ruling.facts.update(told)
        ruled.append((plan_id, ruling))
        calls.append(_call(plan_id, case, ruling, settings.keep_s))
    outcomes = run_scripts(context.db, RULE, calls) if calls else []
    for (plan_id, ruling), outcome in zip(ruled, outcomes, strict=True):
        if isinstance(outcome, Exception):
            raise outcome
        desk.settled(plan_id, ruling, now_ms, closed=bool(outcome[1]))


def _sights(replies: list[Any], symbol: str, desk: Desk) -> dict[str, Sight]:
    pairs = zip(GATES, replies[::2], replies[1::2], strict=True)
    return {
        gate: judge_key(gate, value, ttl_ms, symbol, desk.trusted) for gate, value, ttl_ms in pairs
    }


def _told(desk: Desk, plan_id: str, case: dict[str, str]) -> dict[str, str]:
    """What notices add to the case: permits that came and may be gone already."""
    facts = {
        f"{gate}_appeared_ms": str(desk.notices.appeared[gate, plan_id])
        for gate in GATES
        if (gate, plan_id) in desk.notices.appeared
    }
    return {name: at_ms for name, at_ms in facts.items() if name not in case}


def _call(
    plan_id: str, case: dict[str, str], ruling: Ruling, keep_s: int
) -> tuple[list[str], list[Any]]:
    """Keys and arguments of RULE."""
    args: list[Any] = [plan_id, len(case), int(ruling.look_at_ms is None), keep_s]
    args.append(len(ruling.facts))
    for name, value in ruling.facts.items():
        args += (name, value)
    args.append(len(ruling.findings))
    for name, detail in ruling.findings.items():
        flat = codec.encode(_finding(plan_id, case, name, detail))
        args += (name, len(flat), *flat)
    keys = [streams.audited_case(plan_id), streams.PERMIT_AUDIT_OPEN, streams.AUDIT_FINDING.key]
    return keys, args


def _finding(plan_id: str, case: dict[str, str], name: str, detail: str) -> AuditFinding:
    finding = name.partition(":")[0]
    evidence = (case.get("plan", ""), case.get("executed", ""), streams.audited_case(plan_id))
    return AuditFinding(
        # Told twice, it would be the same event.
        event_id=f"{AUDITOR}/{plan_id[:180]}/{name}",
        auditor=AUDITOR,
        finding=finding,
        severity=FINDINGS[finding][0],
        subject=plan_id,
        detail=detail[:500],
        evidence=tuple(one for one in evidence if one),
    )


def _give_up(context: Context, plan_id: str, error: Exception) -> None:
    """A case that is no hash: somebody wrote there. It must not hold up the others."""
    context.log.error("case_unreadable", plan_id=plan_id, error=str(error))
    context.db.zrem(streams.PERMIT_AUDIT_OPEN, plan_id)


def _whole(text: bytes | None) -> int:
    return int(text) if text and text.isdigit() and len(text) <= MAX_DIGITS else 0


def _texts(reply: list[bytes]) -> dict[str, str]:
    texts = [part.decode("utf-8", "replace") for part in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _parts(plan_ids: list[str]) -> Iterable[list[str]]:
    for start in range(0, len(plan_ids), CHUNK):
        yield plan_ids[start : start + CHUNK]
