"""The only place that judges the case of one plan: which permits came, and what was done. Pure.

A case is a hash of facts, each written once. Whoever judges it twice comes to the same Findings,
and the script that writes them lets each through once: judging again after a kill doubles nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from quantum_ops.audit.sight import GATES, P33, Sight
from quantum_ops.events import Severity

FINDINGS: dict[str, tuple[Severity, str]] = {
    "permits_complete": ("info", "all three permits appeared and granted the plan"),
    "permit_missing": ("warning", "a permit did not appear within PERMIT_AUDIT_WINDOW_SEC"),
    "permit_denied": ("info", "a gate denied the plan"),
    "permit_malformed": (
        "critical",
        "a permit key of another type, of another symbol, not a permit, or with a life above 60 s",
    ),
    "permit_signature_invalid": ("critical", "P3.3's permit is not signed by a trusted key"),
    "executed_without_permits": (
        "critical",
        "an order was executed though a permit never appeared, denied, or was no permit",
    ),
}
GRACE_MS = 2000
"""Milliseconds after an execution in which its permits may still be heard of: three streams and the
keys are read one after the other."""
AGAIN_MS = 1000
"""Milliseconds until the next look at a case that waits for what is not read yet."""
BEFORE_MS = 60_000
"""Longest life of a permit: nobody who looked at an execution so late can have missed it."""
RECONCILE = "RECONCILE_CLOSE"


class Ruling(msgspec.Struct, frozen=True):
    """What follows: ``facts`` to keep, Findings by what they are told under (name or name:gate).

    ``look_at_ms`` is when to judge again at the latest, None to close the case. ``unseen`` are the
    gates whose keys are worth looking at until then.
    """

    facts: dict[str, str]
    findings: dict[str, str]
    look_at_ms: int | None
    unseen: frozenset[str]


class Blind(msgspec.Struct, frozen=True):
    """The last time, in epoch ms, in which no auditor looked at keys."""

    from_ms: int
    to_ms: int


def judge(
    case: Mapping[str, str], sights: Mapping[str, Sight], now_ms: int, window_ms: int,
    *, settled_ms: float = math.inf, blind: Blind | None = None,
) -> Ruling:  # fmt: skip
    """The ruling on a case: its facts so far, and what stands under its permit keys now.

    What is missing counts as missing only once all plans and decisions from before are settled
    (``settled_ms``, see :mod:`quantum_ops.audit.frontier`).
    """
    facts = _new_facts(case, sights, now_ms)
    known = {**facts, **case}
    needed = (P33,) if known.get("decision") == RECONCILE else GATES
    state = {gate: _state(known, gate) for gate in GATES}
    absent = [gate for gate in needed if state[gate] == "absent"]
    findings = _about_keys(sights)
    findings |= {
        f"permit_denied:{gate}": f"{gate}: {known.get(f'{gate}_denied_reason', 'denied')}"
        for gate in GATES
        if state[gate] == "denied"
    }
    planned = "plan" in known
    if planned and all(state[gate] == "granted" for gate in needed):
        findings["permits_complete"] = _told(known, needed)
    due_ms = int(known.get("opened_ms", known.get("executed_ms", now_ms))) + window_ms
    looks = [due_ms]
    if "executed" in known:
        ripe_ms = int(known["executed_ms"]) + GRACE_MS
        looks.append(ripe_ms)
        why = [f"{gate} {problem}" for gate in needed if (problem := _lacked(known, gate))]
        why += _unseen_while(known, blind) if absent else []
        if now_ms >= ripe_ms and why and settled_ms <= int(known["executed_ms"]):
            looks.append(now_ms + AGAIN_MS)
        elif now_ms >= ripe_ms and why:
            findings["executed_without_permits"] = (
                f"{known.get('symbol', '')} executed in {known['executed']}: {', '.join(why)}"
            )
    if now_ms >= due_ms and planned and absent and settled_ms <= due_ms:
        looks.append(now_ms + AGAIN_MS)
    elif now_ms >= due_ms and planned and absent:
        findings["permit_missing"] = (
            f"{', '.join(absent)} not within {window_ms / 1000:g} s; {_told(known, needed)}"
        )
    later = [at for at in looks if at > now_ms]
    unseen = frozenset(gate for gate in GATES if state[gate] == "absent")
    fresh = {name: text for name, text in findings.items() if f"told:{name}" not in case}
    return Ruling(facts, fresh, min(later) if later else None, unseen)


def _about_keys(sights: Mapping[str, Sight]) -> dict[str, str]:
    found: dict[str, str] = {}
    for gate, sight in sights.items():
        if sight.problem:
            found[f"permit_malformed:{gate}"] = f"{gate}: {sight.problem}"
        if sight.signature:
            found[f"permit_signature_invalid:{gate}"] = f"{gate}: {sight.signature}"
    return found


def _new_facts(case: Mapping[str, str], sights: Mapping[str, Sight], now_ms: int) -> dict[str, str]:
    facts: dict[str, str] = {}
    for gate, sight in sights.items():
        if sight.state != "absent" and f"{gate}_{sight.state}_ms" not in case:
            facts[f"{gate}_{sight.state}_ms"] = str(now_ms)
            facts[f"{gate}_ttl_ms"] = str(sight.ttl_ms)
    return facts


def _state(known: Mapping[str, str], gate: str) -> str:
    """``denied``, ``granted``, ``unreadable`` or ``absent``, by all that was ever seen of it."""
    for state in ("denied", "granted", "unreadable"):
        if f"{gate}_{state}_ms" in known or f"{gate}_{state}_event_ms" in known:
            return state
    # Only its appearance was noticed: it was consumed before anybody could read it.
    return "granted" if f"{gate}_appeared_ms" in known else "absent"


def _lacked(known: Mapping[str, str], gate: str) -> str:
    """What was wrong with this gate's permit when the order was executed; empty if nothing was.

    Events tell their moment exactly. A look at a key comes up to a second late, so that a permit
    seen after the execution may have been there before it.
    """
    executed_ms = int(known["executed_ms"])
    denied = known.get(f"{gate}_denied_event_ms", known.get(f"{gate}_denied_ms"))
    if denied is not None and int(denied) <= executed_ms:
        return f"denied ({known.get(f'{gate}_denied_reason', 'its key says so')})"
    granted = known.get(f"{gate}_granted_event_ms")
    if granted is not None and int(granted) > executed_ms:
        return "decided only after the execution"
    if granted or f"{gate}_granted_ms" in known or f"{gate}_appeared_ms" in known:
        return ""
    if denied is not None:
        return "denied"
    return "was no permit" if f"{gate}_unreadable_ms" in known else "never appeared"


def _unseen_while(known: Mapping[str, str], blind: Blind | None) -> list[str]:
    """Says that a permit may have come and gone while no auditor looked."""
    executed_ms = int(known["executed_ms"])
    begun_ms = int(known.get("opened_ms", executed_ms - BEFORE_MS))
    if blind is None or blind.from_ms > executed_ms or blind.to_ms < begun_ms:
        return []
    ended = datetime.fromtimestamp(blind.to_ms / 1000, UTC)
    if not blind.from_ms:
        return [f"nobody looked before {ended:%Y-%m-%d %H:%M:%S}"]
    begun = datetime.fromtimestamp(blind.from_ms / 1000, UTC)
    return [f"nobody looked from {begun:%Y-%m-%d %H:%M:%S} to {ended:%H:%M:%S} UTC"]


def _told(known: Mapping[str, str], gates: tuple[str, ...]) -> str:
    """How each permit was seen first, and how long it had to live then."""
    parts = []
    for gate in gates:
        ttl = known.get(f"{gate}_ttl_ms")
        if ttl is not None:
            parts.append(f"{gate} seen with {int(ttl) / 1000:.0f} s to live")
        elif f"{gate}_granted_event_ms" in known or f"{gate}_appeared_ms" in known:
            parts.append(f"{gate} heard of")
    return ", ".join(parts) or "none seen"
