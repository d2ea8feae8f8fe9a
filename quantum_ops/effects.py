"""The only place where the Redis writes of a handler are declared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from quantum_ops import codec, streams
from quantum_ops.events import Event

Skeleton = tuple[str, int, tuple[Any, ...]]
"""(name, number of values, constants): what many commands share, so that it travels once.

The constants follow the values, as EX and seconds do in SET. Those of XADD are the number of
leading arguments, these arguments, and the names between which the values go.
"""
Command = tuple[Skeleton, str, Sequence[Any]]
"""(skeleton, key, values): one Redis command with its single key."""

ONCE = "ONCE"
FIRST = "FIRST"
BURY = "BURY"
REPLICATED = "REPLICATED"
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
        self.commands.append(((ONCE, 1, (ttl_s,)), key, (value,)))

    def first(self, key: str, value: str, *, ttl_s: int) -> None:
        """Claim ``key`` for ``value``; MUST be the first effect declared.

        The effects after it are applied only if ``key`` does not exist yet. If it holds the same
        value, the entry is acknowledged and nothing else happens. If it holds another value, the
        entry is not acknowledged but delivered again at once (``attempt`` above 1), so that the
        handler can look at ``key`` and say what follows: no race can hide a contradiction.
        """
        if self.commands:
            raise ValueError("first() comes after other effects; declare it before them")
        self.commands.append(((FIRST, 1, (ttl_s,)), key, (value,)))

    def set(self, key: str, value: str | bytes, *, ttl_s: int | None = None) -> None:
        """SET, with an expiry if ``ttl_s``."""
        tail = ("EX", ttl_s) if ttl_s is not None else ()
        self.commands.append((("SET", 1, tail), key, (value,)))

    def set_replicated(
        self, key: str, value: str | bytes, *, ttl_s: int, otherwise: Effects
    ) -> None:
        """SET with an expiry, which readers see only once enough replicas have it.

        Enough are ``QUANTUM_WAIT_REPLICAS``; with none it is a plain SET. Without their word in
        time, or if the process dies meanwhile, the key is never set: the effects of ``otherwise``
        take its place, or, with nobody left to make them, nothing does.
        """
        tail = (ttl_s, tuple(otherwise.commands))
        self.commands.append(((REPLICATED, 1, tail), key, (value,)))

    def hset(self, key: str, mapping: dict[str, Any]) -> None:
        """HSET of all of ``mapping``."""
        if len(mapping) > MAX_ARGUMENTS // 2:
            raise ValueError(f"{key}: {len(mapping)} fields; split into several effects")
        if len(mapping) == 1:
            [flat] = mapping.items()
        else:
            flat = tuple(chain.from_iterable(mapping.items()))
        self.commands.append((("HSET", len(flat), ()), key, flat))

    def hsetnx(self, key: str, field: str, value: Any) -> None:
        """HSETNX: the first value stays."""
        self.commands.append((("HSETNX", 2, ()), key, (field, value)))

    def hdel(self, key: str, *fields: str) -> None:
        """HDEL."""
        self.commands.append((("HDEL", len(fields), ()), key, fields))

    def incr(self, key: str, by: int = 1) -> None:
        """INCRBY."""
        self.commands.append((("INCRBY", 1, ()), key, (by,)))

    def hincr(self, key: str, field: str, by: int = 1) -> None:
        """HINCRBY."""
        self.commands.append((("HINCRBY", 2, ()), key, (field, by)))

    def zadd(self, key: str, member: str, score: float) -> None:
        """ZADD of one member."""
        self.commands.append((("ZADD", 2, ()), key, (score, member)))

    def zrem(self, key: str, *members: str) -> None:
        """ZREM."""
        self.commands.append((("ZREM", len(members), ()), key, members))

    def zprune(self, key: str, below: float) -> None:
        """ZREMRANGEBYSCORE of all members with a score below ``below``."""
        self.commands.append((("ZREMRANGEBYSCORE", 2, ()), key, ("-inf", f"({below}")))

    def expire(self, key: str, ttl_s: int) -> None:
        """EXPIRE in seconds."""
        self.commands.append((("EXPIRE", 1, ()), key, (ttl_s,)))

    def delete(self, key: str) -> None:
        """DEL."""
        self.commands.append((("DEL", 0, ()), key, ()))

    def publish(self, event: Event) -> None:
        """Append ``event`` to the stream of its type.

        Raises ``PermissionError`` for streams of the trading side: this project never writes them.
        """
        stream = streams.of(event)
        if not stream.ours:
            raise PermissionError(f"{stream.key} belongs to the trading side and is never written")
        names, values = codec.split(event)
        self.commands.append((_adding(event.schema, names), stream.key, values))


def bury(reason: str, error: str) -> Command:
    """The effect that puts the entry itself into the dead letter, whatever becomes of others."""
    return (BURY, 2, ()), streams.DEAD_LETTER.key, (reason, error)


def spelt(command: Command) -> list[Any]:
    """Name, key and all arguments, as Redis takes them."""
    (name, _, constants), key, values = command
    if name != "XADD":
        return [name, key, *values, *constants]
    lead, names = constants[1 : 1 + constants[0]], constants[1 + constants[0] :]
    return [name, key, *lead, *chain.from_iterable(zip(names, values, strict=True))]


@lru_cache(256)
def _adding(schema: str, names: tuple[bytes, ...]) -> Skeleton:
    lead = ("*", "schema", schema) if schema else ("*",)
    return "XADD", len(names), (len(lead), *lead, *names)
