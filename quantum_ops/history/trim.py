"""The only place that removes entries from streams: by MINID, and only what nobody misses.

An entry may go once it is in a sealed segment of the archive byte for byte, acknowledged by every
group of its stream, and older than the stream's retention. Whatever cannot be known keeps it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import walrus

from quantum_ops import client, streams
from quantum_ops.entry_id import MAX_SEQUENCE, parse
from quantum_ops.history import entry
from quantum_ops.history.blocks import FIRST, Key
from quantum_ops.history.reader import Archive
from quantum_ops.publisher import run_script
from quantum_ops.scripts import Script
from quantum_ops.streams import Stream

PAGE = 1000
"""Most entries removed in one step, so that nobody waits for the server meanwhile."""
NEXT = "nothing; the next step goes on there"
SKEW_MS = 60_000
"""How far our clock and the server's may differ before age means nothing."""

_LIMIT = """
-- KEYS: stream, hash of what the trimmer removed. ARGV: names of groups that must be there.
-- Lowest id that somebody still needs, and who: the oldest pending entry, else the last delivered.
local function below(a, b)
  local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
  local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
  if ams ~= bms then
    if #ams ~= #bms then return #ams < #bms end
    return ams < bms
  end
  if #aseq ~= #bseq then return #aseq < #bseq end
  return aseq < bseq
end
local function limit(stream, wanted)
  local lowest, holder
  local there = {}
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local row = {}
    for j = 1, #info, 2 do row[info[j]] = info[j + 1] end
    there[row['name']] = true
    local needs, why = row['last-delivered-id'], 'has read up to it'
    if row['pending'] > 0 then
      local oldest = redis.call('XPENDING', stream, row['name'])[2]
      if below(oldest, needs) then needs, why = oldest, 'has it pending' end
    end
    if not lowest or below(needs, lowest) then
      lowest, holder = needs, 'group ' .. row['name'] .. ' ' .. why
    end
  end
  for _, name in ipairs(wanted) do
    if not there[name] then return '0-0', 'group ' .. name .. ' is not there' end
  end
  return lowest or '0-0', holder or 'no group reads it'
end
"""

LIMIT = Script(_LIMIT + "return {limit(KEYS[1], ARGV)}")

CUT = Script(
    _LIMIT
    + """
-- ARGV: the MINID, then the groups. Everything is judged anew: a group may have been set back.
local minid = table.remove(ARGV, 1)
local lowest, holder = limit(KEYS[1], ARGV)
if below(lowest, minid) then return {0, holder} end
local removed = redis.call('XTRIM', KEYS[1], 'MINID', minid)
redis.call('HINCRBY', KEYS[2], KEYS[1], removed)
return {removed, ''}
"""
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What of one stream may go: ``count`` entries below ``minid``.

    ``kept_by`` says what keeps the entry behind them.
    """

    stream: Stream
    count: int
    minid: str
    kept_by: str


def plan(
    db: walrus.Database,
    archive: Archive,
    stream: Stream,
    groups: Collection[str],
    now_ms: int,
    *,
    page: int = PAGE,
) -> Plan:
    """What of ``stream`` may go now, ``page`` entries at most. Removes nothing.

    ``groups`` MUST be there: one that was never made would read from the start. ``archive`` is
    taken as it was looked at; only its sealed segments count.
    """
    held = run_script(db, LIMIT, [stream.key, streams.ARCHIVE_TRIMMED], list(groups))
    lowest, needed = parse(held[0]), held[1].decode("utf-8", "replace")
    server_ms = _server_ms(db)
    if abs(server_ms - now_ms) > SKEW_MS:
        return Plan(stream, 0, "0-0", "our clock and the server's differ by more than a minute")
    old: Key = (min(now_ms, server_ms) - stream.retention_s * 1000, 0)
    kept_by = f"younger than {stream.retention_s // streams.DAY_S} days" if old < lowest else needed
    until = min(old, lowest)
    if until <= FIRST:
        return Plan(stream, 0, "0-0", needed)
    below = "({}-{}".format(*until)
    rows = client.raw(db, "XRANGE", stream.key, "-", below, "COUNT", page)
    return _archived(stream, archive, rows, kept_by if len(rows) < page else NEXT)


def cut(db: walrus.Database, made: Plan, groups: Collection[str]) -> int:
    """Do what ``made`` says, unless a group has come to need it; gives how many were removed."""
    if not made.count:
        return 0
    keys = [made.stream.key, streams.ARCHIVE_TRIMMED]
    removed: int = run_script(db, CUT, keys, [made.minid, *groups])[0]
    return removed


def _archived(stream: Stream, archive: Archive, rows: list[Any], kept_by: str) -> Plan:
    """The leading entries of ``rows`` that are archived, byte for byte."""
    if not rows:
        return Plan(stream, 0, "0-0", kept_by)
    first, last = parse(rows[0][0]), parse(rows[-1][0])
    lines = {found.line for found in archive.numbered({stream.key}, first, last)}
    good = 0
    for id_, flat in rows:
        if entry.encode(stream.key, id_, flat) not in lines:
            kept_by = f"{id_.decode()} is not in a sealed segment of the archive"
            break
        good += 1
    if not good:
        return Plan(stream, 0, "0-0", kept_by)
    ms, sequence = parse(rows[good - 1][0])
    behind = (ms, sequence + 1) if sequence < MAX_SEQUENCE else (ms + 1, 0)
    return Plan(stream, good, "{}-{}".format(*behind), kept_by)


def holder(db: walrus.Database, stream: Stream, groups: Collection[str]) -> str:
    """Who needs the oldest entries of ``stream``."""
    found: bytes = run_script(
        db, LIMIT, [stream.key, streams.ARCHIVE_TRIMMED], list(groups)
    )[1]  # fmt: skip
    return found.decode("utf-8", "replace")


def _server_ms(db: walrus.Database) -> int:
    seconds, micros = client.raw(db, "TIME")
    return int(seconds) * 1000 + int(micros) // 1000
