"""The only place that asks the server how a stream stands, at one instant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import walrus

from quantum_ops import entry_id, streams
from quantum_ops.history.blocks import Key
from quantum_ops.history.gaps import Seen
from quantum_ops.publisher import run_scripts
from quantum_ops.scripts import Script

MOST = 1000
"""Entries counted one by one; with more than that unread, the count waits until we caught up."""

LOOK = Script(
    """
-- KEYS: stream, hash of what the trimmer removed. ARGV: group, most ids to name.
-- Gives entries-added, length, last id, how many the trimmer removed, how many ids wait (-1: more
-- than can be named), and these ids: pending ones, then unread ones.
local info = redis.pcall('XINFO', 'STREAM', KEYS[1])
local trimmed = tonumber(redis.call('HGET', KEYS[2], KEYS[1]) or '0')
if info.err then
  if string.find(tostring(info.err), 'no such key', 1, true) then
    return {0, 0, '0-0', trimmed, 0}
  end
  return info
end
local row = {}
for j = 1, #info, 2 do row[info[j]] = info[j + 1] end
local most = tonumber(ARGV[2])
local delivered
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local of = {}
  for j = 1, #group, 2 do of[group[j]] = group[j + 1] end
  if of['name'] == ARGV[1] then delivered = of['last-delivered-id'] end
end
local answer = {row['entries-added'], row['length'], row['last-generated-id'], trimmed, 0}
local ids = {}
if delivered then
  for _, held in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', most + 1)) do
    ids[#ids + 1] = held[1]
  end
end
local from = delivered and ('(' .. delivered) or '-'
if delivered ~= row['last-generated-id'] then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', most + 1)) do
    ids[#ids + 1] = entry[1]
  end
end
if #ids > most then
  answer[5] = -1
  return answer
end
answer[5] = #ids
for _, id in ipairs(ids) do answer[#answer + 1] = id end
return answer
"""
)


def look(
    db: walrus.Database,
    wanted: list[str],
    group: str,
    holds: Callable[[str, Key], bool],
    most: int = MOST,
) -> dict[str, Seen]:
    """Stream key -> how it stands. ``holds`` says of an id whether it is archived.

    Raises what the client raises, also for a key that is no stream.
    """
    calls = [([key, streams.ARCHIVE_TRIMMED], [group, most]) for key in wanted]
    found: dict[str, Seen] = {}
    for key, reply in zip(wanted, run_scripts(db, LOOK, calls), strict=True):
        if isinstance(reply, Exception):
            raise reply
        found[key] = _seen(key, reply, holds)
    return found


def _seen(key: str, reply: list[Any], holds: Callable[[str, Key], bool]) -> Seen:
    added, length, last_id, trimmed, named, *ids = reply
    waiting = None
    if named >= 0:
        # An entry that is archived and not acknowledged yet must not be counted twice.
        waiting = sum(not holds(key, entry_id.parse(id_)) for id_ in set(ids))
    return Seen(added, length, last_id.decode(), waiting, trimmed)
