"""The only place that sets a live group back, so that it is handed over entries once more."""

from __future__ import annotations

from typing import NamedTuple

import walrus

from quantum_ops import client, codec, entry_id, streams
from quantum_ops.consumer import Consumer
from quantum_ops.errors import QuantumError
from quantum_ops.events import AuditFinding
from quantum_ops.history.blocks import Key
from quantum_ops.history.groups import before
from quantum_ops.publisher import run_script
from quantum_ops.recovery import refill
from quantum_ops.scripts import Script

FINDING = "entries_redelivered"
PAGE = 10_000
SET_BACK = Script(
    """
-- KEYS: stream, finding stream. ARGV: group, where it must be now, where it goes, entries read by
-- then, the fields of the finding. The act and the word of it are one step.
local function at()
  local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
  if groups.err then return '' end
  for _, info in ipairs(groups) do
    local row = {}
    for j = 1, #info, 2 do row[info[j]] = info[j + 1] end
    if row['name'] == ARGV[1] then return row['last-delivered-id'] end
  end
  return ''
end
if at() ~= ARGV[2] then return at() end
redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[3], 'ENTRIESREAD', ARGV[4])
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 5))
return 'done'
"""
)


class RedeliverError(QuantumError):
    """It was refused; nothing was changed. The message names the cure."""


class Redelivery(NamedTuple):
    """``group`` of ``stream`` (key) would go from ``now`` back to ``to``: so many ``entries``.

    ``read`` is how many entries it has read by then, so that the server's lag stays right.
    """

    stream: str
    group: str
    now: Key
    to: Key
    entries: int
    read: int


def plan(
    db: walrus.Database, consumer: Consumer, first: dict[str, Key], only: list[str]
) -> list[Redelivery]:
    """What would be handed over again from ``first`` (stream key -> id) on; changes nothing.

    Raises :class:`RedeliverError` for a consumer that is not replay-safe, and for a group that
    does not exist or would go forward: that would skip entries.
    """
    if not consumer.replay_safe:
        raise RedeliverError(
            f"{consumer.name} is not replay-safe: handed over again, it would decide, record or "
            "tell a second time. Replay into a scratch server instead: ./run replay --consumer "
            f"{consumer.name}"
        )
    wanted = [stream.key for stream in consumer.streams if not only or stream.key in only]
    if not wanted:
        names = ", ".join(stream.name for stream in consumer.streams)
        raise RedeliverError(f"{consumer.name} reads none of these streams; it reads {names}")
    held = refill.groups(db, wanted)
    made = []
    for stream in wanted:
        there = held.get((stream, consumer.name))
        if there is None:
            raise RedeliverError(
                f"{streams.short(stream)} has no group {consumer.name} on this server; start the "
                "consumer, it makes its group"
            )
        to = before(first[stream])
        if to >= there.last:
            continue  # it has not come so far: what is asked for is delivered anyway
        made.append(_one(db, stream, consumer.name, there.last, to))
    return made


def carry_out(db: walrus.Database, one: Redelivery, by: str) -> None:
    """Set the group back and tell of it. Raises :class:`RedeliverError` if it moved meanwhile."""
    finding = AuditFinding(
        auditor="operator",
        finding=FINDING,
        severity="warning",
        subject=f"{one.group}@{one.stream}",
        detail=f"{one.entries} entries behind {_id(one.to)} are handed over again; by {by}",
        evidence=(_id(one.to), _id(one.now)),
    )
    keys = [one.stream, streams.AUDIT_FINDING.key]
    args = [one.group, _id(one.now), _id(one.to), one.read, *codec.encode(finding)]
    said = run_script(db, SET_BACK, keys, args).decode()
    if said != "done":
        raise RedeliverError(
            f"{one.group} has moved from {_id(one.now)} to {said or 'nowhere'} meanwhile; again"
        )


def _one(db: walrus.Database, stream: str, group: str, now: Key, to: Key) -> Redelivery:
    info = client.raw(db, "XINFO", "STREAM", stream)
    fields = dict(zip(info[::2], info[1::2], strict=True))
    again = _count(db, stream, to, now)
    behind = again + _count(db, stream, now, entry_id.parse(fields[b"last-generated-id"]))
    return Redelivery(stream, group, now, to, again, max(0, fields[b"entries-added"] - behind))


def _count(db: walrus.Database, stream: str, after: Key, until: Key) -> int:
    """Entries behind ``after`` up to ``until``."""
    count, low = 0, b"(%d-%d" % after
    while True:
        rows = client.raw(db, "XRANGE", stream, low, b"%d-%d" % until, "COUNT", PAGE)
        count += len(rows)
        if len(rows) < PAGE:
            return count
        low = b"(" + rows[-1][0]


def _id(key: Key) -> str:
    return "{}-{}".format(*key)
