"""The only place where the Redis writes of a handler are declared."""

from __future__ import annotations

from itertools import chain
from typing import Any

from quantum_ops import codec, streams
from quantum_ops.events import Event

Command = tuple[Any, ...]
"""(name, key, argument, ...): one Redis command with its single key in second place."""

ONCE = "ONCE"
FIRST = "FIRST"
BURY = "BURY"
MAX_ARGUMENTS = 5000
"""Arguments of one effect; Lua cannot pass on more than 8,000."""


class Effects:
    """Writes that happen together with the acknowledgement of the entry, or not at all.

    They are applied in order by one Lua call per batch, each entry's behind its own XACK: exactly
    once per entry and group, even when a process sleeps through a claim and wakes up later. An
    effect that Redis refuses (a key of another type, say) stops the entry's remaining effects and
    puts the entry into the dead letter; earlier effects of that entry stay applied.
    """

    __slots__ = ("commands",)

    def __init__(self) -> None:
        self.commands: list[Command] = []

    def once(self, key: str, value: str = "1", *, ttl_s: int) -> None:
        """Apply the effects declared after this only if ``key`` does not exist yet, and set it.

        For effects that must not happen twice even if the same event was published twice.
        """
        self.commands.append((ONCE, key, value, ttl_s))

    def first(self, key: str, value: str, *, ttl_s: int) -> None:
        """Claim ``key`` for ``value``; MUST be the first effect declared.

        The effects after it are applied only if ``key`` does not exist yet. If it holds the same
        value, the entry is acknowledged and nothing else happens. If it holds another value, the
        entry is not acknowledged but delivered again at once (``attempt`` above 1), so that the
        handler can look at ``key`` and say what follows: no race can hide a contradiction.
        """
        if self.commands:
            raise ValueError("first() comes after other effects; declare it before them")
        self.commands.append((FIRST, key, value, ttl_s))

    def set(self, key: str, value: str | bytes, *, ttl_s: int | None = None) -> None:
        """SET, with an expiry if ``ttl_s``."""
        tail = ("EX", ttl_s) if ttl_s is not None else ()
        self.commands.append(("SET", key, value, *tail))

    def hset(self, key: str, mapping: dict[str, Any]) -> None:
        """HSET of all of ``mapping``."""
        if len(mapping) > MAX_ARGUMENTS // 2:
            raise ValueError(f"{key}: {len(mapping)} fields; split into several effects")
        self.commands.append(("HSET", key, *chain.from_iterable(mapping.items())))

    def hdel(self, key: str, *fields: str) -> None:
        """HDEL."""
        self.commands.append(("HDEL", key, *fields))

    def incr(self, key: str, by: int = 1) -> None:
        """INCRBY."""
        self.commands.append(("INCRBY", key, by))

    def hincr(self, key: str, field: str, by: int = 1) -> None:
        """HINCRBY."""
        self.commands.append(("HINCRBY", key, field, by))

    def zadd(self, key: str, member: str, score: float) -> None:
        """ZADD of one member."""
        self.commands.append(("ZADD", key, score, member))

    def zrem(self, key: str, *members: str) -> None:
        """ZREM."""
        self.commands.append(("ZREM", key, *members))

    def expire(self, key: str, ttl_s: int) -> None:
        """EXPIRE in seconds."""
        self.commands.append(("EXPIRE", key, ttl_s))

    def delete(self, key: str) -> None:
        """DEL."""
        self.commands.append(("DEL", key))

    def publish(self, event: Event) -> None:
        """Append ``event`` to the stream of its type.

        Raises ``PermissionError`` for streams of the trading side: this project never writes them.
        """
        stream = streams.of(event)
        if not stream.ours:
            raise PermissionError(f"{stream.key} belongs to the trading side and is never written")
        self.commands.append(("XADD", stream.key, "*", *codec.encode(event)))
