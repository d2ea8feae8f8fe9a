"""The only place of the model server: the commands that the runner and its scripts use.

No network and no time of its own: ``now_ms`` is asked for the server's clock, and a read that would
block gives :class:`Blocked`. What survives a restart are the data; scripts are forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.simulation.lua import Lua, ReplyError, Status
from tests.simulation.stream import Group, Held, Id, Stream, bounds, parse, text

OK = Status(b"OK")
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
SMALLER = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
NO_KEY = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use "
    "the MKSTREAM option to create an empty stream automatically."
)
NOT_AN_INTEGER = "ERR value is not an integer or out of range"
_LUA = Lua()


@dataclass(frozen=True, slots=True)
class Blocked:
    """A read that waits for entries of ``keys``, ``block_ms`` at most (0: for ever)."""

    keys: tuple[bytes, ...]
    block_ms: int


class Server:
    """Keys of three kinds: bytes, hashes (dict), streams, with expiry; groups; scripts.

    ``news`` goes up with whatever a blocked read may have waited for.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.keys: dict[bytes, Any] = {}
        self.expires_ms: dict[bytes, int] = {}
        self.scripts: dict[bytes, bytes] = {}
        self.delivered: set[tuple[bytes, bytes, Id]] = set()
        self.news = 0

    def execute(self, command: list[bytes]) -> Any:
        """The reply to one command; error replies are values of :class:`ReplyError`."""
        try:
            return _COMMANDS[command[0].upper()](self, command[1:])
        except ReplyError as error:
            return error

    def restart(self) -> None:
        """As if killed and started again with every write on its disk."""
        self.scripts.clear()

    def value(self, key: bytes) -> Any:
        """What ``key`` holds, or None."""
        due = self.expires_ms.get(key)
        if due is not None and due <= self.now_ms():
            del self.expires_ms[key]
            self.keys.pop(key, None)
        return self.keys.get(key)

    def typed(self, key: bytes, kind: type) -> Any:
        """What ``key`` holds, None if nothing; raises WRONGTYPE for another kind."""
        found = self.value(key)
        if found is not None and not isinstance(found, kind):
            raise ReplyError(WRONGTYPE)
        return found

    def group(self, key: bytes, name: bytes, where: str = "") -> tuple[Stream, Group]:
        """A stream and a group of it; raises NOGROUP."""
        stream = self.typed(key, Stream)
        if stream is None or name not in stream.groups:
            raise ReplyError(
                f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}'{where}"
            )
        return stream, stream.groups[name]

    # --- strings and hashes -----------------------------------------------------------------

    def _get(self, args: list[bytes]) -> Any:
        return self.typed(args[0], bytes)

    def _set(self, args: list[bytes]) -> Any:
        key, value, options = args[0], args[1], [one.upper() for one in args[2:]]
        known = self.typed(key, bytes) if b"GET" in options else self.value(key)
        gives = known if b"GET" in options else OK
        if b"NX" in options and known is not None:
            return gives if b"GET" in options else None
        self.keys[key] = value
        self.expires_ms.pop(key, None)
        if b"EX" in options:
            self.expires_ms[key] = self.now_ms() + 1000 * int(options[options.index(b"EX") + 1])
        return gives

    def _incrby(self, args: list[bytes]) -> Any:
        known = self.typed(args[0], bytes)
        self.keys[args[0]] = b"%d" % (_number(known or b"0") + int(args[1]))
        return int(self.keys[args[0]])

    def _hash(self, key: bytes) -> dict[bytes, bytes]:
        found = self.typed(key, dict)
        if found is None:
            found = self.keys[key] = {}
        return found  # type: ignore[no-any-return]  # typed() looked

    def _hset(self, args: list[bytes]) -> Any:
        target, before = self._hash(args[0]), len(self._hash(args[0]))
        target.update(zip(args[1::2], args[2::2], strict=True))
        return len(target) - before

    def _hsetnx(self, args: list[bytes]) -> Any:
        target = self._hash(args[0])
        fresh = args[1] not in target
        target.setdefault(args[1], args[2])
        return int(fresh)

    def _hincrby(self, args: list[bytes]) -> Any:
        target = self._hash(args[0])
        made = _number(target.get(args[1], b"0")) + int(args[2])
        target[args[1]] = b"%d" % made
        return made

    def _hexists(self, args: list[bytes]) -> Any:
        return int(args[1] in (self.typed(args[0], dict) or {}))

    def _hget(self, args: list[bytes]) -> Any:
        return (self.typed(args[0], dict) or {}).get(args[1])

    def _del(self, args: list[bytes]) -> Any:
        self.news += 1
        return sum(self.value(key) is not None and bool(self._drop(key)) for key in args)

    def _drop(self, key: bytes) -> bool:
        self.expires_ms.pop(key, None)
        return self.keys.pop(key, None) is not None

    def _exists(self, args: list[bytes]) -> Any:
        return sum(self.value(key) is not None for key in args)

    def _expire(self, args: list[bytes]) -> Any:
        if self.value(args[0]) is None:
            return 0
        self.expires_ms[args[0]] = self.now_ms() + 1000 * int(args[1])
        return 1

    def _flushall(self, _args: list[bytes]) -> Any:
        self.news += 1
        self.keys.clear()
        self.expires_ms.clear()
        return OK

    # --- streams ----------------------------------------------------------------------------

    def _xadd(self, args: list[bytes]) -> Any:
        self.news += 1
        stream = self.typed(args[0], Stream)
        if stream is None:
            stream = self.keys[args[0]] = Stream()
        if args[1] == b"*":
            return text(stream.add(self.now_ms(), args[2:]))
        wanted = parse(args[1])
        if wanted <= stream.last:
            raise ReplyError(SMALLER)
        stream.last = wanted
        stream.entries[wanted] = args[2:]
        return args[1]

    def _xlen(self, args: list[bytes]) -> Any:
        stream = self.typed(args[0], Stream)
        return len(stream.entries) if stream else 0

    def _xdel(self, args: list[bytes]) -> Any:
        stream = self.typed(args[0], Stream)
        wanted = [parse(one) for one in args[1:]] if stream else []
        return sum(stream.entries.pop(one, None) is not None for one in wanted)

    def _xtrim(self, args: list[bytes]) -> Any:
        stream = self.typed(args[0], Stream)
        extra = (
            list(stream.entries)[: max(0, len(stream.entries) - int(args[-1]))] if stream else []
        )
        for one in extra:
            del stream.entries[one]
        return len(extra)

    def _xrange(self, args: list[bytes]) -> Any:
        stream = self.typed(args[0], Stream)
        low, high = bounds(args[1], args[2])
        if stream is None:
            return []
        if low == high:
            flat = stream.entries.get(low)
            return [] if flat is None else [[text(low), flat]]
        return [[text(one), flat] for one, flat in stream.entries.items() if low <= one <= high]

    def _xgroup(self, args: list[bytes]) -> Any:
        self.news += 1
        verb, key, name = args[0].upper(), args[1], args[2]
        stream = self.typed(key, Stream)
        if verb == b"CREATE":
            if stream is None:
                if b"MKSTREAM" not in [one.upper() for one in args]:
                    raise ReplyError(NO_KEY)
                stream = self.keys[key] = Stream()
            if name in stream.groups:
                raise ReplyError("BUSYGROUP Consumer Group name already exists")
            stream.groups[name] = Group(stream.last if args[3] == b"$" else parse(args[3]))
            return OK
        if stream is None:
            raise ReplyError(NO_KEY)
        if verb == b"DESTROY":
            return int(stream.groups.pop(name, None) is not None)
        group = self.group(key, name)[1]
        if verb == b"SETID":
            group.last = parse(args[3])
            return OK
        lost = group.ordered(args[3])
        for one in lost:
            del group.pending[one]
        return len(lost)

    def _xinfo(self, args: list[bytes]) -> Any:
        stream = self.typed(args[1], Stream)
        if stream is None:
            raise ReplyError("ERR no such key")
        if args[0].upper() == b"STREAM":
            return [b"length", len(stream.entries), b"last-generated-id", text(stream.last)]
        return [
            [b"name", name, b"pending", len(group.pending), b"last-delivered-id", text(group.last)]
            for name, group in sorted(stream.groups.items())
        ]

    def _xreadgroup(self, args: list[bytes]) -> Any:
        at = args.index(b"STREAMS") + 1
        half = (len(args) - at) // 2
        keys, ids = args[at : at + half], args[at + half :]
        name, me = args[1], args[2]
        options = args[3 : at - 1]
        count = int(options[options.index(b"COUNT") + 1]) if b"COUNT" in options else 1 << 30
        groups = [self.group(key, name, " in XREADGROUP with GROUP option") for key in keys]
        now_ms = self.now_ms()
        found = []
        for key, wanted, (stream, group) in zip(keys, ids, groups, strict=True):
            if wanted == b">":
                ids_ = stream.read(group, me, count, now_ms)
                self.delivered.update((key, name, one) for one in ids_)
                if not ids_:
                    continue
            else:
                ids_ = stream.reread(group, me, parse(wanted), count, now_ms)
            found.append([key, [[text(one), stream.entries.get(one)] for one in ids_]])
        if found:
            return found
        if b"BLOCK" in options and b">" in ids:
            return Blocked(tuple(keys), int(options[options.index(b"BLOCK") + 1]))
        return None

    def _xack(self, args: list[bytes]) -> Any:
        stream = self.typed(args[0], Stream)
        group = stream.groups.get(args[1]) if stream else None
        if group is None:
            return 0
        return sum(group.pending.pop(parse(one), None) is not None for one in args[2:])

    def _xpending(self, args: list[bytes]) -> Any:
        _, group = self.group(args[0], args[1])
        rest = args[2:]
        if not rest:
            ids = group.ordered()
            if not ids:
                return [0, None, None, None]
            counts: dict[bytes, int] = {}
            for held in group.pending.values():
                counts[held.consumer] = counts.get(held.consumer, 0) + 1
            by = [[who, b"%d" % counts[who]] for who in sorted(counts)]
            return [len(ids), text(ids[0]), text(ids[-1]), by]
        idle_ms = 0
        if rest[0].upper() == b"IDLE":
            idle_ms, rest = int(rest[1]), rest[2:]
        low, high = bounds(rest[0], rest[1])
        now_ms = self.now_ms()
        rows = []
        for one in group.ordered(rest[3] if len(rest) > 3 else None):
            held = group.pending[one]
            if low <= one <= high and now_ms - held.at_ms >= idle_ms and len(rows) < int(rest[2]):
                rows.append([text(one), held.consumer, now_ms - held.at_ms, held.deliveries])
        return rows

    def _xautoclaim(self, args: list[bytes]) -> Any:
        stream, group = self.group(args[0], args[1])
        count = int(args[6]) if len(args) > 6 else 100
        cursor, moved, gone = stream.autoclaim(
            group,
            args[2],
            idle_ms=int(args[3]),
            start=parse(args[4]),
            count=count,
            now_ms=self.now_ms(),
        )
        return [text(cursor), [text(one) for one in moved], [text(one) for one in gone]]

    def _xclaim(self, args: list[bytes]) -> Any:
        stream, group = self.group(args[0], args[1])
        one, options, now_ms = parse(args[4]), [part.upper() for part in args[5:]], self.now_ms()
        known = group.pending.get(one)
        if known is None and b"FORCE" not in options:
            return []
        held = Held(args[2], now_ms, known.deliveries if known else 1)
        if b"IDLE" in options:
            held.at_ms = now_ms - int(options[options.index(b"IDLE") + 1])
        if b"RETRYCOUNT" in options:
            held.deliveries = int(options[options.index(b"RETRYCOUNT") + 1])
        return [text(one)] if stream.claim(group, one, held, int(args[3]), now_ms) else []

    def _script(self, _args: list[bytes]) -> Any:
        self.scripts.clear()
        return OK

    # --- scripts ----------------------------------------------------------------------------

    def _eval(self, args: list[bytes]) -> Any:
        self.scripts[hashlib.sha1(args[0]).hexdigest().encode()] = args[0]  # noqa: S324 - as Redis names them
        return self._run(args[0], args)

    def _evalsha(self, args: list[bytes]) -> Any:
        source = self.scripts.get(args[0])
        if source is None:
            raise ReplyError("NOSCRIPT No matching script. Please use EVAL.")
        return self._run(source, args)

    def _run(self, source: bytes, args: list[bytes]) -> Any:
        count = int(args[1])
        return _LUA.run(source, args[2 : 2 + count], args[2 + count :], self.execute)


def _number(raw: bytes) -> int:
    try:
        return int(raw)
    except ValueError:
        raise ReplyError(NOT_AN_INTEGER) from None


_COMMANDS: dict[bytes, Callable[[Server, list[bytes]], Any]] = {
    name.removeprefix("_").upper().encode(): getattr(Server, name)
    for name in (
        "_get", "_set", "_incrby", "_hset", "_hsetnx", "_hincrby", "_hexists", "_hget", "_del",
        "_exists", "_expire", "_flushall", "_xadd", "_xlen", "_xdel", "_xtrim", "_xrange",
        "_xgroup", "_xinfo", "_xreadgroup", "_xack", "_xpending", "_xautoclaim", "_xclaim",
        "_script", "_eval", "_evalsha",
    )
}  # fmt: skip
