"""The only place of the model's streams: entries, groups, pending lists, idle times, deliveries.

Ids are pairs of numbers. Semantics are those of Redis 7.0 and Valkey 9, as far as the runner and
its scripts can tell; tests/integration/test_model_server.py holds the model to both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from quantum_ops import entry_id

Id = tuple[int, int]
Flat = list[bytes]


@dataclass(slots=True)
class Held:
    """One entry of a pending list."""

    consumer: bytes
    at_ms: int
    deliveries: int


@dataclass(slots=True)
class Group:
    """How far a group was read, and what it has not acknowledged."""

    last: Id
    pending: dict[Id, Held] = field(default_factory=dict)

    def ordered(self, consumer: bytes | None = None) -> list[Id]:
        """Ids that are pending (with ``consumer``), ascending."""
        return sorted(
            one for one, held in self.pending.items() if consumer in (None, held.consumer)
        )


@dataclass(slots=True)
class Stream:
    """One stream."""

    entries: dict[Id, Flat] = field(default_factory=dict)
    last: Id = (0, 0)
    groups: dict[bytes, Group] = field(default_factory=dict)

    def add(self, now_ms: int, flat: Flat) -> Id:
        """XADD with ``*``: an id above all there ever were, whatever the clock says."""
        ms, seq = self.last
        self.last = (now_ms, 0) if now_ms > ms else (ms, seq + 1)
        self.entries[self.last] = flat
        return self.last

    def read(self, group: Group, consumer: bytes, count: int, now_ms: int) -> list[Id]:
        """XREADGROUP with ``>``: what nobody of the group has seen; now ``consumer`` has it."""
        if self.last <= group.last:
            return []
        fresh = [one for one in self.entries if one > group.last][:count]
        for one in fresh:
            group.pending[one] = Held(consumer, now_ms, 1)
            group.last = one
        return fresh

    def reread(self, group: Group, consumer: bytes, after: Id, count: int, now_ms: int) -> list[Id]:
        """XREADGROUP with an id: own pending entries above it. Each that exists is charged."""
        mine = [one for one in group.ordered(consumer) if one > after][:count]
        for one in mine:
            if one in self.entries:
                held = group.pending[one]
                held.at_ms, held.deliveries = now_ms, held.deliveries + 1
        return mine

    def autoclaim(
        self, group: Group, consumer: bytes, *, idle_ms: int, start: Id, count: int, now_ms: int
    ) -> tuple[Id, list[Id], list[Id]]:
        """XAUTOCLAIM with JUSTID: next cursor, ids moved, ids whose payload is gone.

        The last are dropped from the pending list whatever their idle time.
        """
        moved: list[Id] = []
        gone: list[Id] = []
        attempts = count * 10
        cursor = (0, 0)
        for one in group.ordered():
            if one < start:
                continue
            if not attempts or not count:
                cursor = one
                break
            attempts -= 1
            held = group.pending[one]
            if one not in self.entries:
                del group.pending[one]
                gone.append(one)
                count -= 1
            elif now_ms - held.at_ms >= idle_ms:
                held.consumer, held.at_ms = consumer, now_ms
                moved.append(one)
                count -= 1
        return cursor, moved, gone

    def claim(self, group: Group, one: Id, held: Held, idle_ms: int, now_ms: int) -> bool:
        """XCLAIM with FORCE and JUSTID of one entry, to be pending as ``held`` says."""
        known = group.pending.get(one)
        if one not in self.entries:
            group.pending.pop(one, None)
            return False
        if known is not None and idle_ms and now_ms - known.at_ms < idle_ms:
            return False
        group.pending[one] = held
        return True


def parse(raw: bytes, missing: int = 0) -> Id:
    """An id as it stands in a command; ``missing`` is its sequence if it names none."""
    ms, dash, seq = raw.partition(b"-")
    return int(ms), int(seq) if dash else missing


def bounds(low: bytes, high: bytes) -> tuple[Id, Id]:
    """The ends of a range, both included: ``-``, ``+``, ``(`` for exclusive."""
    if low == b"-":
        first: Id = (0, 0)
    elif low.startswith(b"("):
        ms, seq = parse(low[1:])
        first = (ms, seq + 1) if seq < entry_id.MAX_SEQUENCE else (ms + 1, 0)
    else:
        first = parse(low)
    last = (
        (entry_id.MAX_SEQUENCE, entry_id.MAX_SEQUENCE)
        if high == b"+"
        else parse(high, entry_id.MAX_SEQUENCE)
    )
    return first, last


def text(one: Id) -> bytes:
    """An id as Redis writes it."""
    return b"%d-%d" % one
