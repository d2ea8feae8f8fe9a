"""The only place that says which keys belong together on a Redis Cluster: the ``{tag}`` key map.

Each atomic unit (a Lua script, a MULTI) MUST touch keys of one group only, and each group lies on
one shard. Streams that every program writes beside its own (dead letters, Findings) exist once in
each group. Pure; tests/contract/test_key_map.py holds every unit of the project to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from quantum_ops import streams

PLAN, UNIVERSE, DEPLOY, OPS = "plan", "universe", "deploy", "ops"
GROUPS: Final = (PLAN, UNIVERSE, DEPLOY, OPS)

_SHARED: Final = frozenset(
    {
        streams.DEAD_LETTER.key,
        streams.DEAD_LETTER_RESOLVED,
        streams.AUDIT_FINDING.key,
        streams.FINDINGS_SETTLED,
        streams.ARCHIVE_TRIMMED,
    }
)
"""Once in each group: whoever reads them all reads one of each."""
_OF_STREAM: Final = {
    streams.UNIVERSE_CHANGED: UNIVERSE,
    streams.UNIVERSE_CHECKED: UNIVERSE,
    streams.DEPLOY_COMPLETED: DEPLOY,
    streams.LEDGER_RECORDED: DEPLOY,
    streams.APPLY_PLAN: PLAN,
    streams.APPLY_RESULT: PLAN,
    streams.PERMIT_DECIDED: PLAN,
    streams.OPS_PROCESS: OPS,
}
# Beginnings of names, behind what all of ours begin with; the longest that fits decides.
_ROOT: Final = streams.EVERYTHING.removesuffix("*")
_FAMILIES: Final = {
    "cfg:universe:": UNIVERSE,
    "ops:universe_audit:": UNIVERSE,
    "permit:": PLAN,
    "ops:p33:": PLAN,
    "ops:order_proof:": PLAN,
    "ops:permit_audit:": PLAN,
    "ops:positions:": PLAN,
    "state:positions:": PLAN,
    "position:ledger:": PLAN,
    "cooldown:": PLAN,
    "reconcile:": PLAN,
    "ops:ledger:": DEPLOY,
    "ops:": OPS,
}
_FOLLOWING: Final = tuple(
    _ROOT + start for start in ("ops:checkpoint:", "ops:published:", "ops:refilled:")
)
"""Keys that name a stream, whose group they follow: by name, as ``checkpoint:p33:apply.plan``."""
_PREFIXES: Final = {_ROOT + start: group for start, group in _FAMILIES.items()}
_UNREPLICATED: Final = streams.unreplicated("")


class CrossSlotError(ValueError):
    """A unit touches keys of several groups; next: move what it does into one, or share a key."""


def group_of(key: str) -> str:
    """The group of ``key``; empty for one that exists in each. ``KeyError`` for one of nobody."""
    if key in _SHARED:
        return ""
    if key.startswith(_UNREPLICATED):
        return group_of(key.removeprefix(_UNREPLICATED))
    for stream, group in _OF_STREAM.items():
        if key == stream.key:
            return group
    if key.startswith(_FOLLOWING):
        # ids may hold colons and whatever else: the name of the stream stands where it stands
        rest = key.split(":")[3:]
        name = rest[1] if key.startswith(_FOLLOWING[0]) else rest[0]
        return group_of(streams.find(name).key)
    found = [prefix for prefix in _PREFIXES if key.startswith(prefix)]
    if not found:
        raise KeyError(f"{key} belongs to no group; name its prefix in quantum_ops/key_map.py")
    return _PREFIXES[max(found, key=len)]


def unit(keys: Iterable[str]) -> str:
    """The one group that all of ``keys`` can lie in; empty if all of them exist in each.

    Raises :class:`CrossSlotError` that names a key of each group, if there are several.
    """
    seen: dict[str, str] = {}
    for key in keys:
        group = group_of(key)
        if group:
            seen.setdefault(group, key)
    if len(seen) > 1:
        told = ", ".join(f"{key} in {{{group}}}" for group, key in seen.items())
        raise CrossSlotError(f"one atomic unit in several groups: {told}")
    return next(iter(seen), "")


def mapped(key: str, group: str) -> str:
    """``key`` as it is called in ``group``: only what stands in braces decides where it lies.

    Raises :class:`CrossSlotError` for a key of another group.
    """
    if group_of(key) not in ("", group):
        raise CrossSlotError(f"{key} lies in {{{group_of(key)}}}, not in {{{group}}}")
    return f"{{{group}}}:{key}"


def plain(key: str) -> str:
    """The name that a mapped key has in the catalogue."""
    return key.partition("}:")[2] if key.startswith("{") else key


def command(words: tuple[Any, ...], group: str) -> tuple[Any, ...]:
    """One command of the consumer-group protocol with its keys as ``group`` calls them.

    Raises ``ValueError`` for a command whose keys are not known here.
    """
    name = words[0]
    if name in ("EVALSHA", "EVAL"):
        ends = 3 + int(words[2])
        return (*words[:3], *(mapped(key, group) for key in words[3:ends]), *words[ends:])
    if name == "XREADGROUP":
        at = words.index("STREAMS") + 1
        half = at + (len(words) - at) // 2
        return (*words[:at], *(mapped(key, group) for key in words[at:half]), *words[half:])
    if name in ("XACK", "XPENDING"):
        return (name, mapped(words[1], group), *words[2:])
    if name == "WAIT":
        return words
    raise ValueError(f"{name}: which of its words are keys is not known here")
