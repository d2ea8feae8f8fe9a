"""The only place that reads and writes the universe's keys, each cycle in one atomic step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import walrus

from producers.churn_guard import Held
from producers.cycle import Published, Write, turned
from producers.lease import Lease, LostLeaseError
from quantum_ops import codec, streams
from quantum_ops.errors import DecodeError
from quantum_ops.events import UniverseChanged
from quantum_ops.publisher import run_script
from quantum_ops.scripts import Script
from quantum_ops.universe import Active, content_sha256

_COMMIT = Script(
    """
-- KEYS: lease, meta, active, last_ok, symbols, held, accept, change stream, finding stream.
-- ARGV: lease value, its milliseconds, expected epoch, plan (JSON). Gives the new entry id, '' if
-- no event was due, or an error word. Guarded twice: a producer that lost its lease while it was
-- fetching, and one that planned on an older epoch, change nothing.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'FENCED' end
if (redis.call('HGET', KEYS[2], 'epoch') or '0') ~= ARGV[3] then return 'MOVED' end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local plan = cjson.decode(ARGV[4])
redis.call('HSET', KEYS[2], unpack(plan.meta))
if plan.active then
  redis.call('SET', KEYS[3], plan.active)
  if plan.good then redis.call('SET', KEYS[4], plan.active) end
end
if plan.symbols then
  redis.call('DEL', KEYS[5])
  for at = 1, #plan.symbols, 1000 do
    redis.call('HSET', KEYS[5], unpack(plan.symbols, at, math.min(at + 999, #plan.symbols)))
  end
end
if plan.held then
  if plan.held == '' then redis.call('DEL', KEYS[6], KEYS[7])
  else redis.call('SET', KEYS[6], plan.held) end
end
local id = ''
if plan.event then id = redis.call('XADD', KEYS[8], '*', unpack(plan.event)) end
if plan.finding then redis.call('XADD', KEYS[9], '*', unpack(plan.finding)) end
return id
"""
)
_BOOTSTRAP = Script(
    """
-- KEYS: active, last_ok, meta, lease, finding stream. ARGV: lease value, reason, the finding.
-- On boot the last good document serves, flagged stale, until the first fetch succeeds.
if redis.call('GET', KEYS[4]) ~= ARGV[1] then return 0 end
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local good = redis.call('GET', KEYS[2])
if not good then return 0 end
redis.call('SET', KEYS[1], good)
if redis.call('HGET', KEYS[3], 'stale') ~= '1' then
  redis.call('XADD', KEYS[5], '*', unpack(ARGV, 3))
end
redis.call('HSET', KEYS[3], 'stale', '1', 'error', ARGV[2])
return 1
"""
)
_KEYS = [
    streams.UNIVERSE_LEASE,
    streams.UNIVERSE_META,
    streams.UNIVERSE_ACTIVE,
    streams.UNIVERSE_LAST_OK,
    streams.UNIVERSE_SYMBOLS,
    streams.UNIVERSE_HELD,
    streams.UNIVERSE_ACCEPT,
    streams.UNIVERSE_CHANGED.key,
    streams.AUDIT_FINDING.key,
]


MAX_DIGITS = 15
"""Longest epoch that is believed: more digits are damage, and Lua would round them."""


class Store:
    """The universe's keys as one producer holds them; its :attr:`lease` lasts ``lease_ms``."""

    def __init__(self, db: walrus.Database, lease_ms: int, owner: str = "") -> None:
        self.db = db
        self.lease = Lease(db, streams.UNIVERSE_LEASE, streams.UNIVERSE_FENCE, lease_ms, owner)

    def bootstrap(self) -> bool:
        """Serve last_ok (flagged stale) if there is no active document; tells whether it did."""
        keys = [
            streams.UNIVERSE_ACTIVE,
            streams.UNIVERSE_LAST_OK,
            streams.UNIVERSE_META,
            streams.UNIVERSE_LEASE,
            streams.AUDIT_FINDING.key,
        ]
        reason = "bootstrap: last_ok until the first good fetch"
        told = codec.encode(turned(stale=True, reason=reason))
        return bool(run_script(self.db, _BOOTSTRAP, keys, [self.lease.value, reason, *told]))

    def read(self) -> Published:
        """What is published now; keys that cannot be read count as never published."""
        with self.db.pipeline(transaction=True) as pipe:
            pipe.hgetall(streams.UNIVERSE_META)
            pipe.get(streams.UNIVERSE_ACTIVE)
            pipe.hgetall(streams.UNIVERSE_SYMBOLS)
            pipe.get(streams.UNIVERSE_HELD)
            pipe.get(streams.UNIVERSE_ACCEPT)
            meta, active, rows, held, accepted = pipe.execute(raise_on_error=False)
        fields = _texts(meta)
        epoch = fields.get("epoch", "")
        epoch = epoch if epoch.isdecimal() and len(epoch) <= MAX_DIGITS else ""
        symbols, mode = _document(active)
        # Keys may be lost or damaged while the stream is not: its last event says what stood there.
        last = self._last() if not (epoch and symbols) else None
        if last is not None and not symbols:
            symbols, mode = last.symbols, last.mode
        attributes = _texts(rows)
        sha256 = fields.get("sha256", "")
        return Published(
            epoch=int(epoch) if epoch else last.epoch if last is not None else 0,
            guard=_guard(meta),
            sha256=sha256,
            intact=content_sha256(symbols, attributes) == sha256,
            mode=mode,
            stale=fields.get("stale") != "0",
            known=bool(fields),
            symbols=symbols,
            attributes=attributes,
            held=_held(held),
            accepted_sha256=_text(accepted),
        )

    def _last(self) -> UniverseChanged | None:
        """The last change event; None if there is none that can be read."""
        for _, fields in self.db.xrevrange(streams.UNIVERSE_CHANGED.key, count=1):
            flat = [part for pair in fields.items() for part in pair]
            try:
                event: UniverseChanged = codec.decoder(UniverseChanged)(flat)
            except DecodeError:
                return None
            return event
        return None

    def banned_until_s(self, host: str) -> float:
        """Until when (seconds since 1970) ``host`` wants to be left alone; 0 if it does not.

        Kept in meta, so that a producer that is restarted during a ban does not prolong it.
        """
        fields = self.db.hmget(streams.UNIVERSE_META, "banned_until_epoch", "banned_host")
        until, of = map(_text, fields)
        return float(until) if of == host and until.isdecimal() else 0.0

    def commit(self, published: Published, write: Write) -> str:
        """Make ``write`` true in one step; gives the change event's entry id or ''.

        Raises :class:`LostLeaseError` if the lease is no longer ours. A lost reply needs no repeat:
        the next cycle reads what stands there and finds its own content hash.
        """
        plan: dict[str, object] = {"meta": _flat({**write.meta, "fence": str(self.lease.fence)})}
        if write.active is not None:
            plan["active"] = write.active
            plan["good"] = write.meta["stale"] == "0"
        if write.attributes is not None:
            plan["symbols"] = _flat(write.attributes)
        if not write.keep_held:
            plan["held"] = write.held
        if write.event is not None:
            plan["event"] = [part.decode() for part in codec.encode(write.event)]
        if write.finding is not None:
            plan["finding"] = [part.decode() for part in codec.encode(write.finding)]
        # To the byte as it was read: a damaged epoch must not make every commit look moved.
        guard = published.guard.encode("utf-8", "surrogateescape")
        args = [self.lease.value, self.lease.ms, guard, json.dumps(plan, ensure_ascii=False)]
        reply = run_script(self.db, _COMMIT, _KEYS, args).decode()
        if reply in ("FENCED", "MOVED"):
            raise LostLeaseError(reply)
        return str(reply)

    def heal(self) -> list[str]:
        """Remove keys of a wrong type, which no cycle could ever write; gives their names."""
        wanted = {
            streams.UNIVERSE_META: b"hash",
            streams.UNIVERSE_SYMBOLS: b"hash",
            streams.UNIVERSE_ACTIVE: b"string",
            streams.UNIVERSE_LAST_OK: b"string",
            streams.UNIVERSE_HELD: b"string",
            streams.UNIVERSE_ACCEPT: b"string",
        }
        wrong = [key for key, kind in wanted.items() if self.db.type(key) not in (kind, b"none")]
        if wrong:
            self.db.delete(*wrong)
        return wrong


def _guard(meta: Any) -> str:
    raw = meta.get(b"epoch", b"0") if isinstance(meta, dict) else b"0"
    return bytes(raw).decode("utf-8", "surrogateescape")


def _held(raw: Any) -> Held | None:
    try:
        digest, removed, seen = json.loads(raw)
        return Held(str(digest), tuple(map(str, removed)), int(seen))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _document(raw: Any) -> tuple[tuple[str, ...], str]:
    try:
        document = msgspec.json.decode(raw, type=Active)
    except (TypeError, ValueError, RecursionError):
        return (), ""
    return tuple(sorted(document.symbols)), document.mode


def _text(raw: Any) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else ""


def _texts(raw: Any) -> dict[str, str]:
    """A hash reply as text; an error reply (a key of another type) counts as empty."""
    return {_text(k): _text(v) for k, v in raw.items()} if isinstance(raw, dict) else {}


def _flat(values: Mapping[str, str]) -> list[str]:
    return [part for pair in values.items() for part in pair]
