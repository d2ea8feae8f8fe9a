"""The only place of the in-memory server: enough of Redis to keep the runtime's promises in tests.

It is a model, not a server: one process, no blocking, the commands of
:class:`~quantum_ops.effects.Effects` and nothing else. Ids and idle times follow ``time.time``, so
freezegun steers them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from quantum_ops import codec, entry_id, events, streams, vanished
from quantum_ops.effects import BURY, FIRST, Command, spelt
from quantum_ops.inbox import (
    Batch,
    Claimed,
    GroupGoneError,
    GroupMadeAnew,
    Pending,
    RawEntry,
    Receipt,
    Settlement,
)


@dataclass(slots=True)
class _Held:
    consumer: str
    since_s: float
    deliveries: int


@dataclass(slots=True)
class _Group:
    last: tuple[int, int]
    pending: dict[bytes, _Held] = field(default_factory=dict)


@dataclass(slots=True)
class _Stream:
    entries: dict[bytes, list[bytes]] = field(default_factory=dict)
    last: tuple[int, int] = (0, 0)
    groups: dict[str, _Group] = field(default_factory=dict)


class WrongTypeError(Exception):
    """A command met a key of another type, as Redis's WRONGTYPE."""


class MemoryRedis:
    """Streams, strings, hashes and sorted sets in dictionaries."""

    def __init__(self) -> None:
        self.streams: dict[str, _Stream] = {}
        self.keys: dict[str, Any] = {}
        self._expires_s: dict[str, float] = {}

    def add(self, key: str, flat: list[bytes]) -> bytes:
        """XADD with ``*``: the entry id."""
        stream = self.streams.setdefault(key, _Stream())
        now_ms = int(time.time() * 1000)
        last_ms, last_seq = stream.last
        stream.last = (now_ms, 0) if now_ms > last_ms else (last_ms, last_seq + 1)
        made = b"%d-%d" % stream.last
        stream.entries[made] = [_bytes(part) for part in flat]
        return made

    def get(self, key: str) -> Any:
        """The value of ``key``: bytes, a dict of bytes, or None; expired keys are gone."""
        if self._expires_s.get(key, float("inf")) <= time.time():
            self.keys.pop(key, None)
            self._expires_s.pop(key, None)
        return self.keys.get(key)

    def apply(self, command: Command) -> bool:
        """One effect; False when ``ONCE`` met its key. Raises :class:`WrongTypeError`."""
        name, key, *args = spelt(command)
        return _COMMANDS[name](self, key, *args) is not False

    def _set(self, key: str, value: Any, *tail: Any) -> None:
        self.keys[key] = _bytes(value)
        self._expires_s.pop(key, None)
        if tail:
            self._expires_s[key] = time.time() + tail[1]

    def _once(self, key: str, value: Any, ttl_s: int) -> bool:
        if self.get(key) is not None:
            return False
        self._set(key, value, "EX", ttl_s)
        return True

    def refuses_first(self, commands: list[Any]) -> bool:
        """Whether the key of a FIRST that leads ``commands`` holds another value than its own."""
        if not commands or commands[0][0][0] != FIRST:
            return False
        (_, key, values) = commands[0]
        known = self.get(key)
        return known is not None and known != _bytes(values[0])

    def _hash(self, key: str) -> dict[bytes, Any]:
        if self.get(key) is None:
            self.keys[key] = {}
        found = self.keys[key]
        if not isinstance(found, dict):
            raise WrongTypeError(
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            )
        return found

    def _hset(self, key: str, *flat: Any) -> None:
        target = self._hash(key)
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            target[_bytes(name)] = _bytes(value)

    def _hsetnx(self, key: str, name: str, value: Any) -> None:
        self._hash(key).setdefault(_bytes(name), _bytes(value))

    def _drop(self, key: str, *members: Any) -> None:
        target = self._hash(key)
        for member in members:
            target.pop(_bytes(member), None)

    def _incr(self, key: str, by: int) -> None:
        found = self.get(key) or b"0"
        if isinstance(found, dict):
            raise WrongTypeError(
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            )
        self.keys[key] = b"%d" % (int(found) + by)

    def _hincr(self, key: str, name: str, by: int) -> None:
        target = self._hash(key)
        target[_bytes(name)] = b"%d" % (int(target.get(_bytes(name), b"0")) + by)

    def _zadd(self, key: str, score: float, member: str) -> None:
        self._hash(key)[_bytes(member)] = float(score)

    def _zprune(self, key: str, _low: str, high: str) -> None:
        target = self._hash(key)
        for member in [one for one, score in target.items() if score < float(high[1:])]:
            del target[member]

    def _expire(self, key: str, ttl_s: int) -> None:
        if self.get(key) is not None:
            self._expires_s[key] = time.time() + ttl_s

    def _delete(self, key: str) -> None:
        self.keys.pop(key, None)
        self.streams.pop(key, None)

    def _xadd(self, key: str, _star: str, *flat: Any) -> None:
        if self.get(key) is not None:
            raise WrongTypeError(
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            )
        self.add(key, list(flat))


# ruff: noqa: SLF001 - the table below belongs to the class above
_COMMANDS: dict[str, Any] = {
    "SET": MemoryRedis._set,
    "ONCE": MemoryRedis._once,
    "FIRST": MemoryRedis._once,
    "HSET": MemoryRedis._hset,
    "HSETNX": MemoryRedis._hsetnx,
    "HDEL": MemoryRedis._drop,
    "INCRBY": MemoryRedis._incr,
    "HINCRBY": MemoryRedis._hincr,
    "ZADD": MemoryRedis._zadd,
    "ZREM": MemoryRedis._drop,
    "ZREMRANGEBYSCORE": MemoryRedis._zprune,
    "EXPIRE": MemoryRedis._expire,
    "DEL": MemoryRedis._delete,
    "XADD": MemoryRedis._xadd,
}


class MemoryInbox:
    """:class:`~quantum_ops.inbox.Inbox` on a :class:`MemoryRedis`; it never blocks."""

    def __init__(
        self, server: MemoryRedis, stream_keys: tuple[str, ...], group: str, consumer: str = "one"
    ) -> None:
        self._server = server
        self._keys = stream_keys
        self._group = group
        self._me = consumer
        self._had: set[str] = set()
        self._submitted = Receipt()
        self._ahead: list[Batch] | None = None

    def ensure_groups(self) -> list[GroupMadeAnew]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        made = []
        for key in self._keys:
            stream = self._server.streams.setdefault(key, _Stream())
            if self._group in stream.groups:
                continue
            known = self._server.get(streams.checkpoint(key, self._group))
            checkpoint = known.decode() if known else ""
            start = entry_id.parse(checkpoint or entry_id.ZERO)
            if start > stream.last:
                start = (0, 0)
            stream.groups[self._group] = _Group(start)
            began = "{}-{}".format(*start)
            gone = known is not None or key in self._had
            made.append(GroupMadeAnew(key, began, checkpoint, gone))
            if gone:
                told = vanished.detail(began, checkpoint).encode()
                fields = vanished.fields(self._group, key)
                self._server.add(streams.AUDIT_FINDING.key, [b"detail", told, *fields])
            else:
                self._server.keys[streams.checkpoint(key, self._group)] = began.encode()
        self._had.update(self._keys)
        return made

    def exchange(
        self, settlements: dict[str, Settlement], count: int, block_ms: int
    ) -> tuple[Receipt, list[Batch]]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        del block_ms  # whoever drives this inbox moves time itself
        receipt, self._submitted = self._submitted, Receipt()
        for key, settlement in settlements.items():
            self._settle(key, settlement, receipt)
        if not count:
            return receipt, []
        batches, self._ahead = self._ahead, None
        return receipt, self._read(count) if batches is None else batches

    def read_ahead(self, count: int) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        self._ahead = self._read(count)

    def renew(self, stream: str, entry_ids: list[bytes]) -> set[bytes]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        pending = self._get_group(stream).pending
        mine = {id_ for id_ in entry_ids if id_ in pending and pending[id_].consumer == self._me}
        for id_ in mine & self._server.streams[stream].entries.keys():
            pending[id_].since_s = time.time()
        return mine

    def _read(self, count: int) -> list[Batch]:
        batches = []
        for key in self._keys:
            group = self._get_group(key)
            entries: list[RawEntry] = []
            for id_, flat in self._server.streams[key].entries.items():
                if entry_id.parse(id_) > group.last and len(entries) < count:
                    entries.append([id_, flat])
            for id_, _ in entries:
                group.last = entry_id.parse(id_)
                group.pending[id_] = _Held(self._me, time.time(), 1)
            if entries:
                batches.append(Batch(key, entries))
        return batches

    def submit(self, settlements: dict[str, Settlement]) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        for key, settlement in settlements.items():
            self._settle(key, settlement, self._submitted)

    def pending(self, stream: str, after: bytes, count: int) -> list[Pending]:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        held = self._get_group(stream).pending
        mine = sorted((id_ for id_ in held if held[id_].consumer == self._me), key=entry_id.parse)
        later = [id_ for id_ in mine if entry_id.parse(id_) > entry_id.parse(after)]
        return [Pending(id_, held[id_].deliveries) for id_ in later[:count]]

    def reread(self, stream: str, entry_id_: bytes) -> RawEntry | None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        held = self._get_group(stream).pending.get(entry_id_)
        if held is None or held.consumer != self._me:
            return None
        held.deliveries += 1
        held.since_s = time.time()
        return [entry_id_, self._server.streams[stream].entries.get(entry_id_)]

    def claim(self, stream: str, idle_ms: int) -> Claimed:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        group = self._get_group(stream)
        claimed = Claimed([], [])
        for id_, held in list(group.pending.items()):
            if (time.time() - held.since_s) * 1000 < idle_ms:
                continue
            if id_ not in self._server.streams[stream].entries:
                del group.pending[id_]
                self._bury(stream, id_, 0, "payload_lost", "")
                claimed.lost.append(id_)
            else:
                held.consumer, held.since_s = self._me, time.time()
                claimed.entry_ids.append(id_)
        return claimed

    def checkpoint(self) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        for key in self._keys:
            self._check(key, self._get_group(key))

    def disconnect(self) -> None:
        """See :class:`~quantum_ops.inbox.Inbox`."""
        self._ahead = None

    def _check(self, key: str, group: _Group) -> None:
        upto = group.last
        if group.pending:
            first = min(group.pending, key=entry_id.parse)
            upto = entry_id.parse(entry_id.before(first))
        self._server.keys[streams.checkpoint(key, self._group)] = b"%d-%d" % upto

    def _get_group(self, key: str) -> _Group:
        stream = self._server.streams.get(key)
        if stream is None or self._group not in stream.groups:
            raise GroupGoneError(f"NOGROUP No such key '{key}' or consumer group '{self._group}'")
        return stream.groups[self._group]

    def _settle(self, key: str, settlement: Settlement, receipt: Receipt) -> None:
        for id_ in settlement.acks:
            receipt.acked += self._ack(key, id_, receipt)
        for id_, deliveries, commands in settlement.applied:
            if self._server.refuses_first(commands):
                receipt.again.append((key, id_))
            elif self._ack(key, id_, receipt):
                receipt.acked += 1
                self._effects(key, id_, deliveries, commands, receipt)
        for id_, deliveries, reason, error in settlement.letters:
            if self._ack(key, id_, receipt):
                receipt.buried += 1
                self._bury(key, id_, deliveries, reason, error)
        stream = self._server.streams.get(key)
        if stream and self._group in stream.groups and (settlement.applied or settlement.letters):
            self._check(key, stream.groups[self._group])

    def _ack(self, key: str, id_: bytes, receipt: Receipt) -> bool:
        stream = self._server.streams.get(key)
        group = stream.groups.get(self._group) if stream else None
        won = group is not None and group.pending.pop(id_, None) is not None
        receipt.fenced += not won
        return won

    def _effects(
        self, key: str, id_: bytes, deliveries: int, commands: list[Any], receipt: Receipt
    ) -> None:
        live = True
        for command in commands:
            if command[0][0] == BURY:
                self._bury(key, id_, deliveries, *command[2])
                receipt.buried += 1
                continue
            try:
                if live and not self._server.apply(command):
                    receipt.skipped += 1
                    live = False
            except WrongTypeError as error:
                receipt.failed.append((id_, str(error)))
                text = f"{command[0][0]} {command[1]}: {error}"
                self._bury(key, id_, deliveries, "effect_failed", text)
                live = False

    def _bury(self, key: str, id_: bytes, deliveries: int, reason: str, error: str) -> None:
        letter = events.DeadLetter(
            event_id=f"{self._group}/{key}/{id_.decode()}",
            stream=key,
            group=self._group,
            consumer=self._me,
            entry_id=id_.decode(),
            deliveries=deliveries,
            reason=reason,
            error=error,
        )
        flat = codec.encode(letter)
        original = self._server.streams[key].entries.get(id_, [])
        for name, value in zip(original[::2], original[1::2], strict=True):
            flat += [b"original." + name, value]
        self._server.add(streams.DEAD_LETTER.key, flat)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
