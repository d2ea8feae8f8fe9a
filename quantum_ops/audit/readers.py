"""The only place that says which P3.3 processes do not use the published universe. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from quantum_ops.heartbeat import TTL_S
from quantum_ops.universe import Universe

MAX_PROCESSES = 16
"""Process numbers that are looked at on each host; p33 and its spares are four."""
STUCK_IN_GRACES = 6
"""After so many graces a reader that is behind is no delay any more."""
FORGET_MS = 60_000
"""Not looked at for so long, one that was behind may have followed meanwhile and fallen behind
again for the same reason."""
Level = Literal["warning", "critical"]


class Lag(msgspec.Struct, frozen=True):
    """Why a process is behind, by its own word of ``beat_ms`` (epoch ms, its clock)."""

    cause: str
    beat_ms: int


class Behind(msgspec.Struct, frozen=True):
    """A process that is behind since ``since_ms``, and still was at ``seen_ms`` (epoch ms, ours).

    ``first_beat_ms`` (its clock) is its first word of it; ``told`` are the Findings about it.
    """

    cause: str
    since_ms: int
    first_beat_ms: int
    seen_ms: int
    told: tuple[Level, ...] = ()

    def late_s(self, lag: Lag, now_ms: int) -> float:
        """Seconds for which it said the same, by both clocks: one that is frozen says nothing."""
        return min(now_ms - self.since_ms, lag.beat_ms - self.first_beat_ms) / 1000


def lagging(
    beats: Mapping[str, Mapping[str, str]], universe: Universe, now_ms: int
) -> dict[str, Lag]:
    """Process name -> why it is behind, of the processes that are alive and ready.

    ``universe`` MUST have been read after ``beats``. One that was told to do without it is not
    behind, and one that is not fresh is no measure for anybody.
    """
    found: dict[str, Lag] = {}
    if universe.status != "fresh":
        return found
    for name, beat in beats.items():
        updated = beat.get("updated_ms", "")
        if not (updated.isascii() and updated.isdecimal()) or now_ms - int(updated) > TTL_S * 1000:
            continue
        if beat.get("state") != "ready" or "allowlist_source" not in beat:
            continue
        reason = beat.get("allowlist_reason", "")
        epoch = beat.get("universe_epoch", "")
        if beat["allowlist_source"] != "universe":
            if reason != "disabled":
                found[name] = Lag(f"is on its fallback: {reason[:80]}", int(updated))
        elif epoch != str(universe.epoch):
            found[name] = Lag(f"is at epoch {epoch[:20]}", int(updated))
    return found


def follow(
    known: Mapping[str, Behind], found: Mapping[str, Lag], now_ms: int, grace_s: float
) -> tuple[dict[str, Behind], dict[str, Level]]:
    """What to remember, and of which process to tell (name -> how severe).

    Another cause begins anew: a process whose epoch moves is following, however late it is seen.
    """
    memory: dict[str, Behind] = {}
    due: dict[str, Level] = {}
    for name, lag in found.items():
        one = known.get(name)
        lost_sight = one is not None and not one.told and now_ms - one.seen_ms > FORGET_MS
        if one is None or one.cause != lag.cause or lost_sight:
            one = Behind(lag.cause, now_ms, lag.beat_ms, now_ms)
        late_s = one.late_s(lag, now_ms)
        told = one.told
        if late_s >= STUCK_IN_GRACES * grace_s and "critical" not in told:
            due[name], told = "critical", ("warning", "critical")
        elif late_s >= grace_s and not told:
            due[name], told = "warning", ("warning",)
        memory[name] = msgspec.structs.replace(one, seen_ms=now_ms, told=told)
    return memory, due


def read(reply: Any) -> dict[str, Behind]:
    """What was remembered; damage is forgotten."""
    try:
        return _decode(reply)
    except (TypeError, msgspec.DecodeError):
        return {}


def hindrance(memory: Mapping[str, Behind]) -> str:
    """Who keeps the universe from being what gates use; empty for nobody."""
    late = [f"{name} {one.cause}" for name, one in sorted(memory.items()) if one.told]
    return f"sees a reader behind: {', '.join(late)}"[:300] if late else ""


_decode = msgspec.json.Decoder(dict[str, Behind]).decode
