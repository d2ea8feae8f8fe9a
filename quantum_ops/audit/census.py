"""The only place that counts the permits that stand in Redis, and shows some of each gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import hiredis
import msgspec
import walrus

from quantum_ops import client, streams
from quantum_ops.audit import sight

PAGE = 1000
DEEPEST = 4096
"""Bytes of a value that are read; a permit has a few hundred."""
READS = 3
_ROOT = streams.governor_permit("").encode()
_PREFIXES = {gate: sight.key(gate, "").encode() for gate in (sight.P26, sight.P33)}


class Sample(msgspec.Struct, frozen=True):
    """One permit: ``value`` holds the first ``DEEPEST`` of its ``size`` bytes."""

    gate: str
    plan_id: bytes
    key: bytes
    size: int
    value: bytes
    seen: sight.Sight


@dataclass(slots=True)
class Census:
    """Permits by gate; ``other`` keys have a permit's name and another type than STRING.

    A key that moves while the server resizes its table may be counted twice, never not at all.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(sight.GATES, 0))
    other: int = 0
    samples: list[Sample] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """Gates of which there is no permit."""
        return [gate for gate, count in self.counts.items() if not count]


def take(db: walrus.Database, wanted: int = 0) -> Census:
    """Count all permits, and keep up to ``wanted`` samples of each gate.

    By SCAN, a page at a time: the server serves others meanwhile, and no list of keys is kept.
    """
    census = Census()
    missing = dict.fromkeys(sight.GATES, wanted)
    cursor = b"0"
    while True:
        scan = ("SCAN", cursor, "MATCH", _ROOT + b"*", "COUNT", PAGE)
        packed = hiredis.pack_command((*scan, "TYPE", "string")) + hiredis.pack_command(scan)
        # The same page twice: a key that only the second one has is of another type.
        (_, strings), (cursor, keys) = _good(client.ask(db, packed, 2))
        named = _gates(strings)
        for gate, members in named.items():
            census.counts[gate] += len(members)
            if missing[gate] and members:
                found = _look(db, gate, members[: missing[gate]])
                missing[gate] -= len(found)
                census.samples += found
        if len(keys) != len(strings):
            census.other += _others(db, set(keys) - set(strings))
        if cursor == b"0":
            return census


def _gates(keys: list[bytes]) -> dict[str, list[bytes]]:
    """The keys by gate, by exact prefix."""
    p26, p33 = _PREFIXES[sight.P26], _PREFIXES[sight.P33]
    found = {
        sight.P26: [key for key in keys if key.startswith(p26)],
        sight.P33: [key for key in keys if key.startswith(p33)],
    }
    own = (p26, p33)
    return {sight.GOVERNOR: [key for key in keys if not key.startswith(own)], **found}


def _look(db: walrus.Database, gate: str, keys: list[bytes]) -> list[Sample]:
    """Those of the permits that are still there; value and time to live in one round trip."""
    packed = [
        hiredis.pack_command(command)
        for key in keys
        for command in (
            ("GETRANGE", key, 0, DEEPEST - 1), ("STRLEN", key), ("PTTL", key)
        )
    ]  # fmt: skip
    replies = client.ask(db, b"".join(packed), len(packed))
    found = []
    for number, key in enumerate(keys):
        value, size, ttl_ms = replies[number * READS : (number + 1) * READS]
        if isinstance(value, Exception) or ttl_ms == -2:  # noqa: PLR2004 - PTTL: it expired just now
            continue
        seen = sight.judge(gate, value, ttl_ms)
        if size > DEEPEST:
            seen = sight.Sight("unreadable", f"has {size} bytes", "", ttl_ms)
        plan_id = key.removeprefix(_PREFIXES.get(gate, _ROOT))
        found.append(Sample(gate, plan_id, key, size, value, seen))
    return found


def _others(db: walrus.Database, keys: set[bytes]) -> int:
    packed = [hiredis.pack_command(("TYPE", key)) for key in keys]
    replies = client.ask(db, b"".join(packed), len(packed))
    # One that expired, or was made a string, between the two looks is neither.
    return sum(reply not in (b"none", b"string") for reply in _good(replies))


def _good(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies
