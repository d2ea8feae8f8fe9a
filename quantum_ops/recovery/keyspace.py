"""The only place of keys that were made again: held in memory, compared with a server, written.

Everything here is a pure function of what was declared, so that rebuilding twice gives the same
bytes (:meth:`Keyspace.lines`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import hiredis
import walrus

from quantum_ops import client

LONGEST_MS = 400 * 86_400_000
"""More than anything is remembered here."""
PAGE = 500
Kind = Literal["string", "hash", "zset"]


@dataclass(slots=True)
class Made:
    """One key. ``value`` has one member, named empty, for a string; scores are texts.

    ``expires_ms`` is epoch milliseconds, 0 for never. ``shared`` keys belong to many facts: of
    these, single members are added to what a server has; any other key is written whole or not.
    """

    kind: Kind
    value: dict[bytes, bytes] = field(default_factory=dict)
    expires_ms: int = 0
    shared: bool = False


class Difference(NamedTuple):
    """A key that does not stand on the server as it was made; ``what`` is how it differs."""

    key: str
    what: Literal["missing", "different", "unexpected"]
    detail: str


class Keyspace:
    """Keys by name; the order in which they were declared does not show."""

    def __init__(self) -> None:
        self.keys: dict[str, Made] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: str) -> bool:
        return key in self.keys

    def text(self, key: str) -> str:
        """The value of a string; empty if there is none."""
        made = self.keys.get(key)
        return made.value[b""].decode() if made else ""

    def set(self, key: str, value: str | bytes, expires_ms: int = 0) -> None:
        """A string."""
        self.keys[key] = Made("string", {b"": _bytes(value)}, expires_ms)

    def first(self, key: str, value: str, expires_ms: int) -> None:
        """A string, unless the key is there."""
        if key not in self.keys:
            self.set(key, value, expires_ms)

    def hset(
        self, key: str, fields: Mapping[str, Any], expires_ms: int = 0, *, shared: bool = False
    ) -> None:
        """Fields of a hash; others that it has stay."""
        made = self.keys.setdefault(key, Made("hash", shared=shared))
        made.value |= {_bytes(name): _bytes(value) for name, value in fields.items()}
        made.expires_ms = expires_ms

    def hfirst(self, key: str, name: str, value: Any) -> None:
        """A field of a hash, unless it is there."""
        self.keys.setdefault(key, Made("hash")).value.setdefault(_bytes(name), _bytes(value))

    def zadd(self, key: str, member: str, score: int, expires_ms: int = 0) -> None:
        """A member of a sorted set."""
        made = self.keys.setdefault(key, Made("zset", shared=True))
        made.value[_bytes(member)] = b"%d" % score
        made.expires_ms = max(made.expires_ms, expires_ms)

    def drop(self, key: str) -> None:
        """Not this key after all."""
        self.keys.pop(key, None)

    def merge(self, other: Keyspace) -> None:
        """Take in the keys of ``other``, which MUST be of other families."""
        self.keys |= other.keys

    def expire(self, now_ms: int) -> None:
        """Leave out what would have expired by now, and let nothing last for ever.

        Whoever may append may choose the id that a time is counted from.
        """
        gone = [key for key, made in self.keys.items() if 0 < made.expires_ms <= now_ms]
        for key in gone:
            del self.keys[key]
        for made in self.keys.values():
            made.expires_ms = min(made.expires_ms, now_ms + LONGEST_MS)

    def lines(self) -> Iterator[bytes]:
        """Canonical JSON, one key a line, sorted. Binary text is escaped as surrogates."""
        for key in sorted(self.keys):
            made = self.keys[key]
            value = {_text(name): _text(made.value[name]) for name in sorted(made.value)}
            row = {"expires_ms": made.expires_ms, "key": key, "kind": made.kind, "value": value}
            yield json.dumps(row, sort_keys=True, separators=(",", ":")).encode()

    def missing(self, db: walrus.Database) -> Keyspace:
        """What of this a server lacks: whole keys, and members of shared ones.

        What stands on the server is newer than anything that is made again, so it always wins.
        """
        lacking = Keyspace()
        for page in _pages(sorted(self.keys), PAGE):
            held = _held(db, [(key, self.keys[key].kind) for key in page])
            for key, there in zip(page, held, strict=True):
                made = self.keys[key]
                if there == {}:
                    lacking.keys[key] = made
                elif made.shared and isinstance(there, dict):
                    members = {
                        name: value for name, value in made.value.items() if name not in there
                    }
                    if members:
                        lacking.keys[key] = Made(made.kind, members, made.expires_ms, shared=True)
        return lacking

    def compare(
        self, db: walrus.Database, families: Iterable[str], newest: float = math.inf
    ) -> list[Difference]:
        """How a server differs from this, among keys that begin with one of ``families``.

        Expiry is not compared: it counts from when a key was written, not from what it tells.
        Members of sorted sets with a score above ``newest`` are younger than this.
        """
        found: list[Difference] = []
        for page in _pages(sorted(self.keys), PAGE):
            held = _held(db, [(key, self.keys[key].kind) for key in page])
            for key, there in zip(page, held, strict=True):
                made = self.keys[key]
                if made.kind == "zset" and isinstance(there, dict):
                    there = {one: score for one, score in there.items() if int(score) <= newest}  # noqa: PLW2901 - the part that counts
                found += _differs(key, made, there)
        for family in families:
            pattern = family.replace("[", "\\[").replace("?", "\\?") + "*"
            for raw in db.scan_iter(match=pattern, count=PAGE):
                key = raw.decode("utf-8", "surrogateescape")
                if key not in self.keys:
                    found.append(Difference(key, "unexpected", "stands on the server only"))
        return sorted(found)

    def write(self, db: walrus.Database) -> None:
        """Add all of this to a server without touching what is there; again changes nothing."""
        for page in _pages(sorted(self.keys), PAGE):
            packed = []
            for key in page:
                packed += [hiredis.pack_command(one) for one in _commands(key, self.keys[key])]
            for reply in client.ask(db, b"".join(packed), len(packed)):
                if isinstance(reply, Exception):
                    raise reply


def _commands(key: str, made: Made) -> Iterator[tuple[Any, ...]]:
    if made.kind == "string":
        tail = ("PXAT", made.expires_ms) if made.expires_ms else ()
        yield ("SET", key, made.value[b""], "NX", *tail)
        return
    for name, value in made.value.items():
        if made.kind == "hash":
            yield ("HSETNX", key, name, value)
        else:
            yield ("ZADD", key, "NX", value, name)
    if made.expires_ms:
        # Only where there is none: what the server has of a shared key lives on as it said.
        yield ("PEXPIREAT", key, made.expires_ms, "NX")


def _held(db: walrus.Database, wanted: Sequence[tuple[str, Kind]]) -> list[Any]:
    """What a server has of each: members, {} for nothing, an error for a key of another type."""
    asks: dict[Kind, Callable[[str], tuple[Any, ...]]] = {
        "string": lambda key: ("GET", key),
        "hash": lambda key: ("HGETALL", key),
        "zset": lambda key: ("ZRANGE", key, 0, -1, "WITHSCORES"),
    }
    packed = [hiredis.pack_command(asks[kind](key)) for key, kind in wanted]
    replies = client.ask(db, b"".join(packed), len(packed)) if packed else []
    return [_members(kind, reply) for (_, kind), reply in zip(wanted, replies, strict=True)]


def _members(kind: Kind, reply: Any) -> Any:
    if isinstance(reply, Exception):
        return reply
    if kind == "string":
        return {} if reply is None else {b"": reply}
    found = dict(zip(reply[::2], reply[1::2], strict=True))
    return (
        {name: b"%d" % float(score) for name, score in found.items()} if kind == "zset" else found
    )


def _differs(key: str, made: Made, there: Any) -> list[Difference]:
    if there == made.value:
        return []
    if isinstance(there, Exception):
        return [Difference(key, "different", str(there))]
    if not there:
        return [Difference(key, "missing", f"{made.kind} with {len(made.value)} members")]
    odd = sorted(
        name for name in made.value.keys() | there.keys() if made.value.get(name) != there.get(name)
    )
    first = odd[0]
    detail = f"{_text(first) or 'value'}: {_shown(there.get(first))} on the server, "
    return [Difference(key, "different", f"{detail}{_shown(made.value.get(first))} by the archive")]


def _shown(value: bytes | None) -> str:
    return "nothing" if value is None else repr(_text(value)[:80])


def _pages(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
