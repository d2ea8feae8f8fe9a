"""The only place that says what stands under a permit's key, whichever gate wrote it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from quantum_ops import streams
from quantum_ops.permits import signature_problem

GOVERNOR, P26, P33 = "governor", "p26", "p33"
GATES = (GOVERNOR, P26, P33)
"""The three permits that an order needs."""
MAX_TTL_MS = 60_000
"""Longest life that a permit may have; a longer one permits what nobody looked at."""
MAX_SHOWN = 120

State = Literal["absent", "granted", "denied", "unreadable"]


class Sight(msgspec.Struct, frozen=True):
    """One look at one permit key.

    ``problem`` says what is wrong with the key whatever it permits; ``signature`` the same of the
    signature alone. ``ttl_ms`` is -1 without an expiry, -2 for a key that is not there.
    """

    state: State = "absent"
    problem: str = ""
    signature: str = ""
    ttl_ms: int = -2


ABSENT = Sight()


def key(gate: str, plan_id: str) -> str:
    """The key of ``gate``'s permit for that plan."""
    return streams.governor_permit(plan_id) if gate == GOVERNOR else streams.permit(gate, plan_id)


def gate_of(permit_key: str) -> tuple[str, str] | None:
    """(gate, plan id) of a permit's key, by exact prefix; None for a key that is no permit's.

    A plan id may hold anything, "p26:" included: the prefix of a gate wins, so that the Governor's
    permit of a plan called "p26:x" would be counted as P2.6's of "x". No plan is called so.
    """
    root = streams.governor_permit("")
    if not permit_key.startswith(root):
        return None
    rest = permit_key.removeprefix(root)
    for gate in (P26, P33):
        if rest.startswith(f"{gate}:"):
            return gate, rest.removeprefix(f"{gate}:")
    return GOVERNOR, rest


def judge(
    gate: str, value: Any, ttl_ms: Any, symbol: str = "", trusted: Mapping[str, Any] | None = None
) -> Sight:
    """What the replies to GET and PTTL say; error replies are values.

    ``symbol`` is the plan's, if it is known. ``trusted`` holds public keys by key id: with it, a
    permit of P3.3 that is not signed by one of them has a ``signature`` problem.
    """
    if value is None:
        return ABSENT
    left_ms = ttl_ms if isinstance(ttl_ms, int) else -1
    if isinstance(value, Exception):
        return Sight("unreadable", "is of another type than STRING", "", left_ms)
    state, problem = _said(gate, value, symbol)
    problem = problem or _life(left_ms)
    signature = signature_problem(value, trusted) if gate == P33 and trusted else ""
    return Sight(state, problem, signature, left_ms)


def _said(gate: str, value: bytes, symbol: str) -> tuple[State, str]:
    if gate == P26:
        if value == b"1":
            return "granted", ""
        return "unreadable", f"is {value[:MAX_SHOWN]!r}, not 1"
    try:
        document = json.loads(value)
        granted = document["granted" if gate == GOVERNOR else "allow"]
        named = document.get("symbol", "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "unreadable", f"is no permit: {value[:MAX_SHOWN]!r}"
    if not isinstance(granted, bool):
        return "unreadable", f"allows {str(granted)[:MAX_SHOWN]!r}, neither true nor false"
    if symbol and named != symbol:
        return "unreadable", f"is for {str(named)[:MAX_SHOWN]!r}, the plan for {symbol!r}"
    return ("granted" if granted else "denied"), ""


def _life(left_ms: int) -> str:
    if left_ms == -1:
        return "never expires"
    if left_ms > MAX_TTL_MS:
        return f"lives {left_ms / 1000:.0f} s more, at most {MAX_TTL_MS // 1000} are right"
    return ""
