"""The only place that writes streams with ids of the past: beside the real ones, then in one step.

Promises (held by tests/fault/test_restore_kills.py):

- Until :meth:`Refill.commit`, nothing that any reader or writer uses MUST be touched.
- Killed anywhere before it, a restore goes on where it was; killed after it, it is done.
- A server that somebody wrote to meanwhile MUST be refused: an entry could be lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import hiredis
import redis
import walrus

from quantum_ops import client, codec, entry_id, streams
from quantum_ops.events import AuditFinding
from quantum_ops.history.blocks import FIRST, LAST, Key
from quantum_ops.history.groups import Held
from quantum_ops.publisher import run_script
from quantum_ops.recovery.errors import MovedError, RestoreError
from quantum_ops.recovery.positions import Position
from quantum_ops.recovery.sweep import Sum
from quantum_ops.recovery.timeline import Placed, read_back
from quantum_ops.scripts import Script

BATCH = 500
MARK = "plan"
COMMIT = Script(
    """
-- KEYS: marker, finding stream, then for each stream the filled and the real one, then checkpoints.
-- ARGV: number of streams, what each real one must look like, the value of each checkpoint, then
-- the fields of the finding. Everything changes hands here, or nothing.
local count = tonumber(ARGV[1])
local function state(key)
  local info = redis.pcall('XINFO', 'STREAM', key)
  if info.err then return '' end
  local row = {}
  for j = 1, #info, 2 do row[info[j]] = info[j + 1] end
  return row['last-generated-id'] .. '/' .. row['length']
end
for n = 1, count do
  if state(KEYS[2 + 2 * n]) ~= ARGV[1 + n] then return KEYS[2 + 2 * n] end
  if redis.call('EXISTS', KEYS[1 + 2 * n]) == 0 then return KEYS[1 + 2 * n] end
end
for n = 1, count do redis.call('RENAME', KEYS[1 + 2 * n], KEYS[2 + 2 * n]) end
local at = 1 + count
for k = 3 + 2 * count, #KEYS do
  at = at + 1
  redis.call('SET', KEYS[k], ARGV[at])
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, at + 1))
redis.call('DEL', KEYS[1])
return ''
"""
)


class Refill:
    """The streams ``keys`` of one server, filled anew.

    ``plan`` names what they are filled from: what an interrupted restore of another plan left is
    begun anew. A stream whose last id is above its bound takes honest ids again afterwards.
    """

    def __init__(
        self,
        db: walrus.Database,
        keys: Iterable[str],
        plan: str,
        bounds: Mapping[str, Key] = MappingProxyType({}),
    ) -> None:
        self._db = db
        self._bounds = bounds
        self._keys = sorted(keys)
        self._packed: list[bytes] = []
        known = db.hget(streams.RESTORE, MARK)
        if known != plan.encode():
            db.delete(*(streams.refilled(key) for key in self._keys))
            db.hset(streams.RESTORE, MARK, plan)
        self._done = {key: self._last(streams.refilled(key)) for key in self._keys}
        self.resumed = any(key > FIRST for key in self._done.values())
        self._states = {key: state(db, key) for key in self._keys}

    def add(self, one: Placed) -> None:
        """Write one entry under its own id; one that an earlier attempt wrote is passed over."""
        if one.key <= self._done[one.stream]:
            return
        id_ = b"%d-%d" % one.key
        command = ("XADD", streams.refilled(one.stream), id_, *one.flat)
        self._packed.append(hiredis.pack_command(command))
        if len(self._packed) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what was added."""
        packed, self._packed = self._packed, []
        for reply in client.ask(self._db, b"".join(packed), len(packed)) if packed else ():
            if isinstance(reply, Exception):
                raise RestoreError(f"the server did not take an entry: {reply}") from reply

    def finish(self, sums: Mapping[str, Sum], positions: Iterable[Position]) -> None:
        """Give the filled streams their counters and their groups."""
        self.flush()
        for key in self._keys:
            self._counters(key, sums[key])
        for position in positions:
            if position.stream not in self._keys:
                continue
            filled = streams.refilled(position.stream)
            id_ = "{}-{}".format(*position.key)
            read = sums[position.stream].read.get(position.group, 0)
            name = _raw(position.group)
            self._db.execute_command("XGROUP", "DESTROY", filled, name)
            self._db.execute_command("XGROUP", "CREATE", filled, name, id_, "ENTRIESREAD", read)

    def digests(self) -> dict[str, tuple[int, str]]:
        """What stands in the filled streams now, read back: entries and digest of each."""
        return {key: read_back(self._db, streams.refilled(key), key) for key in self._keys}

    def commit(self, positions: Iterable[Position], finding: AuditFinding) -> None:
        """Put the filled streams in the place of the real ones, in one step.

        Raises :class:`MovedError` if a real one is not what it was when this was made.
        """
        places = list(positions)
        keys: list[str | bytes] = [streams.RESTORE, streams.AUDIT_FINDING.key]
        for key in self._keys:
            keys += [streams.refilled(key), key]
        keys += [_raw(streams.checkpoint(one.stream, one.group)) for one in places]
        args: list[Any] = [len(self._keys), *(self._states[key] for key in self._keys)]
        args += ["{}-{}".format(*one.key) for one in places]
        moved = run_script(self._db, COMMIT, keys, [*args, *codec.encode(finding)])
        if moved:
            raise MovedError(
                f"{moved.decode()} was written to meanwhile: nothing was changed. Stop whoever "
                "writes there, then restore again; what was filled so far is used"
            )

    def _counters(self, key: str, total: Sum) -> None:
        filled = streams.refilled(key)
        if not self._db.exists(filled):
            # A stream without entries keeps groups and counters all the same.
            self._db.execute_command("XGROUP", "CREATE", filled, "restore", "0", "MKSTREAM")
            self._db.execute_command("XGROUP", "DESTROY", filled, "restore")
        there = self._last(key)
        there = there if there <= self._bounds.get(key, LAST) else FIRST
        last = max(total.high, total.older_high, there)
        self._db.execute_command(
            "XSETID", filled, "{}-{}".format(*last), "ENTRIESADDED", total.total,
            "MAXDELETEDID", "{}-{}".format(*total.older_high),
        )  # fmt: skip

    def _last(self, key: str) -> Key:
        return last_generated(self._db, key)


def state(db: walrus.Database, key: str) -> str:
    """What COMMIT compares: last id and length; empty for no stream."""
    info = _info(db, key)
    return f"{info[b'last-generated-id'].decode()}/{info[b'length']}" if info else ""


def last_generated(db: walrus.Database, key: str) -> Key:
    """The highest id that the stream ever had; 0-0 for no stream."""
    info = _info(db, key)
    return entry_id.parse(info[b"last-generated-id"]) if info else FIRST


def groups(db: walrus.Database, keys: Iterable[str]) -> dict[tuple[str, str], Held]:
    """The groups that a server has, by (stream, group)."""
    found = {}
    for key in keys:
        if not _info(db, key):
            continue
        for row in client.raw(db, "XINFO", "GROUPS", key):
            fields = dict(zip(row[::2], row[1::2], strict=True))
            name = fields[b"name"].decode("utf-8", "surrogateescape")
            pending = client.raw(db, "XPENDING", key, fields[b"name"])
            oldest = entry_id.parse(pending[1]) if pending[0] else None
            found[key, name] = Held(entry_id.parse(fields[b"last-delivered-id"]), oldest)
    return found


def _raw(name: str) -> bytes:
    """A name as the server has it: others may call their groups what they like."""
    return name.encode("utf-8", "surrogateescape")


def _info(db: walrus.Database, key: str) -> dict[bytes, Any] | None:
    try:
        rows = client.raw(db, "XINFO", "STREAM", key)
    except redis.ResponseError as error:
        if "no such key" in str(error):
            return None
        raise RestoreError(
            f"{key} is no stream ({error}); look at it, and remove it if it is rubbish"
        ) from error
    return dict(zip(rows[::2], rows[1::2], strict=True))
