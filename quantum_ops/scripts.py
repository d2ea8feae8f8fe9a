"""The only place of the Lua of streams and groups: steps that happen as one or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Script:
    """Lua source with the hash that EVALSHA wants."""

    source: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        # Redis names scripts by SHA-1; nothing secret hangs on it.
        object.__setattr__(self, "sha", hashlib.sha1(self.source.encode()).hexdigest())  # noqa: S324 - see above


_CHECKPOINT = """
local function checkpoint(stream, group, key)
  local pending = redis.pcall('XPENDING', stream, group)
  if type(pending) ~= 'table' or pending.err then return end
  local upto
  if pending[1] > 0 then
    local ms, seq = string.match(pending[2], '^(%d+)-(%d+)$')
    if seq ~= '0' then
      upto = ms .. '-' .. string.format('%.0f', tonumber(seq) - 1)
    elseif ms ~= '0' then
      upto = string.format('%.0f', tonumber(ms) - 1) .. '-18446744073709551615'
    else
      upto = '0-0'
    end
  else
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local row = {}
      for j = 1, #info, 2 do row[info[j]] = info[j + 1] end
      if row['name'] == group then upto = row['last-delivered-id'] end
    end
  end
  if upto then redis.pcall('SET', key, upto) end
end
"""

_BURY = """
-- An id behind which a stream takes no other: then nothing may be acknowledged that could have to
-- be buried. A dead letter that is no stream raises here, before anything was changed, too.
local function must_take(letters)
  local highest = '18446744073709551615-18446744073709551615'
  if redis.call('XRANGE', letters, highest, highest)[1] then
    error({err = 'ERR ' .. letters .. ' takes no entry behind ' .. highest})
  end
end
local function bury(stream, letters, group, me, at, id, deliveries, reason, err)
  local kept = {}
  local found = redis.call('XRANGE', stream, id, id)
  if found[1] then
    local flat = found[1][2]
    for j = 1, #flat, 2 do
      kept[#kept + 1] = 'original.' .. flat[j]
      kept[#kept + 1] = flat[j + 1]
    end
  end
  local letter = {letters, '*', 'schema', 'dead_letter/1', 'event_id',
    group .. '/' .. stream .. '/' .. id, 'occurred_at', at, 'stream', stream, 'group', group,
    'consumer', me, 'entry_id', id, 'deliveries', deliveries, 'reason', reason, 'error', err}
  if #kept > 7000 then
    -- unpack() has room for 8000: too many fields to copy in one call, so keep the place of the
    -- original instead of losing the letter.
    letter[#letter + 1] = 'original_kept_in_stream'
    letter[#letter + 1] = 'true'
    kept = {}
  end
  for j = 1, #kept do letter[#letter + 1] = kept[j] end
  local made = redis.pcall('XADD', unpack(letter))
  if type(made) == 'table' and made.err then
    -- Pending again: an entry that is neither handled nor buried would be lost.
    redis.call('XCLAIM', stream, group, me, '0', id, 'RETRYCOUNT', deliveries, 'FORCE', 'JUSTID')
    error(made)
  end
end
"""

FINISH = Script(
    _CHECKPOINT
    + _BURY
    + """
-- KEYS: stream, dead letter stream, checkpoint, then one key for each effect in order.
-- ARGV: group, consumer, moment, number of shapes, the shapes, number of entries, the entries.
-- A shape is what many entries share: deliveries, n >= 0 and n commands (name, number of values,
-- number of constants, constants), or deliveries, -1 for a letter. An entry is id, number of its
-- shape, then the values of its commands in order, or reason and error for a letter. Shapes halve
-- what travels and is parsed. Each command of a shape keeps a row, its arguments, of which only
-- key and values are put in anew for each entry.
-- A shape that begins with FIRST claims its key before all else: an entry whose key holds another
-- value is put back among the pending and named in the answer, to be handled once more.
-- BURY puts the entry into the dead letter, whatever became of the effects around it.
-- XACK comes first: it answers 1 to exactly one caller, which is the fence that keeps a process
-- that slept through a claim from applying its effects a second time. As the first write it also
-- lets the effects pass when memory is full (checked on 7.0.15 and Valkey 9.1), so none is lost.
local call, pcall, argv, keys = redis.call, redis.pcall, ARGV, KEYS
local stream, letters = keys[1], keys[2]
local group, me, at = argv[1], argv[2], argv[3]
local i, k = 5, 4
local shapes = {}
for number = 1, tonumber(argv[4]) do
  local shape = {deliveries = argv[i], size = tonumber(argv[i + 1])}
  i = i + 2
  shape.argc = 0
  for c = 1, shape.size do
    local name, argc, constants = argv[i], tonumber(argv[i + 1]), tonumber(argv[i + 2])
    local row, places, n = {''}, {}, 1
    i = i + 3
    if name == 'XADD' then
      local lead = tonumber(argv[i])
      for j = 1, lead do row[1 + j] = argv[i + j] end
      n = 1 + lead
      for j = 1, argc do
        row[n + 1], row[n + 2], places[j] = argv[i + lead + j], '', n + 2
        n = n + 2
      end
    else
      for j = 1, argc do row[1 + j], places[j] = '', 1 + j end
      for j = 1, constants do row[1 + argc + j] = argv[i + j - 1] end
      n = 1 + argc + constants
    end
    i = i + constants
    shape[c] = {name, argc, row, places, n}
    shape.argc = shape.argc + argc
  end
  shape.first = shape.size > 0 and shape[1][1] == 'FIRST'
  shapes[tostring(number)] = shape
end
local acked, fenced, buried, skipped = 0, 0, 0, 0
local failed, again = {}, {}
must_take(letters)
local count = tonumber(argv[i])
i = i + 1
for _ = 1, count do
  local id, shape = argv[i], shapes[argv[i + 1]]
  i = i + 2
  local won = call('XACK', stream, group, id) == 1
  local known = false
  if won and shape.first then
    local key, ttl = keys[k], shape[1][3][3]
    known = pcall('SET', key, argv[i], 'NX', 'GET', 'EX', ttl)
    -- A key of another type holds another value, too.
    if known and known ~= argv[i] then
      -- Pending again, as it was: JUSTID charges nothing, the count is the one it had.
      call('XCLAIM', stream, group, me, '0', id, 'RETRYCOUNT', shape.deliveries, 'FORCE', 'JUSTID')
      again[#again + 1] = id
      won = nil
    end
  end
  if won == nil then
    k = k + shape.size
    i = i + shape.argc
  elseif shape.size < 0 then
    if won then
      bury(stream, letters, group, me, at, id, shape.deliveries, argv[i], argv[i + 1])
      buried = buried + 1
    else
      fenced = fenced + 1
    end
    i = i + 2
  else
    local live = won
    for c = 1, shape.size do
      local part = shape[c]
      local command, argc, row = part[1], part[2], part[3]
      if live then
        local key, reply = keys[k], nil
        if command == 'FIRST' then
          if known then
            live = false
            skipped = skipped + 1
          end
        elseif command == 'BURY' then
          bury(stream, key, group, me, at, id, shape.deliveries, argv[i], argv[i + 1])
          buried = buried + 1
        elseif command == 'ONCE' then
          if not call('SET', key, argv[i], 'NX', 'EX', row[3]) then
            live = false
            skipped = skipped + 1
          end
        elseif part[5] == 2 then
          reply = pcall(command, key, argv[i])
        else
          local places = part[4]
          row[1] = key
          for j = 1, argc do row[places[j]] = argv[i + j - 1] end
          reply = pcall(command, unpack(row, 1, part[5]))
        end
        if type(reply) == 'table' and reply.err then
          live = false
          local err = tostring(reply.err)
          failed[#failed + 1] = id
          failed[#failed + 1] = err
          bury(stream, letters, group, me, at, id, shape.deliveries, 'effect_failed',
            command .. ' ' .. key .. ': ' .. err)
        end
      elseif won and command == 'BURY' then
        bury(stream, keys[k], group, me, at, id, shape.deliveries, argv[i], argv[i + 1])
        buried = buried + 1
      end
      k = k + 1
      i = i + argc
    end
    if won then acked = acked + 1 else fenced = fenced + 1 end
  end
end
checkpoint(stream, group, keys[3])
return {acked, fenced, buried, skipped, failed, again}
"""
)

CHECKPOINT = Script(
    _CHECKPOINT
    + """
-- KEYS: stream, checkpoint. ARGV: group.
checkpoint(KEYS[1], ARGV[1], KEYS[2])
return redis.call('GET', KEYS[2])
"""
)

CLAIM = Script(
    _BURY
    + """
-- KEYS: stream, dead letter stream. ARGV: group, consumer, moment, idle ms, cursor, count.
-- JUSTID moves entries without charging them a delivery; they are then read one by one. The server
-- drops entries whose payload was trimmed away from the pending list in this very call, so their
-- lost-entry records must be written here: after it nobody would know of them.
must_take(KEYS[2])
local page = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[4], ARGV[5],
  'COUNT', ARGV[6], 'JUSTID')
local lost = page[3] or {}
for _, id in ipairs(lost) do
  bury(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], id, '0', 'payload_lost',
    'the entry was deleted or trimmed before it was handled')
end
return {page[1], page[2], lost}
"""
)

CREATE_GROUP = Script(
    """
-- KEYS: stream, checkpoint, finding stream. ARGV: group, '1' if the caller had it before, the
-- Finding's detail with and without a checkpoint, its other fields. Gives '' if it was there,
-- else where it starts, its checkpoint, '1' if it had vanished, and why that could not be told.
local at = redis.call('GET', KEYS[2])
local start = at or '0-0'
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], start, 'MKSTREAM')
if type(made) == 'table' and made.err then
  if string.find(tostring(made.err), 'BUSYGROUP', 1, true) then
    return {'', '', '', ''}
  end
  return made
end
if not at then
  -- From now on it is known to have existed, whoever asks.
  redis.pcall('SET', KEYS[2], start)
else
  -- A stream that was deleted and begun anew may have smaller ids: starting at the old
  -- checkpoint would skip every new entry, so start at its beginning.
  local info, last = redis.call('XINFO', 'STREAM', KEYS[1]), nil
  for j = 1, #info, 2 do if info[j] == 'last-generated-id' then last = info[j + 1] end end
  local function split(id) local a, b = string.match(id, '^(%d+)-(%d+)$')
    return tonumber(a), tonumber(b) end
  local a1, b1 = split(last)
  local a2, b2 = split(at)
  if a1 < a2 or (a1 == a2 and b1 < b2) then
    start = '0-0'
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], start)
  end
end
if not at and ARGV[2] ~= '1' then return {start, '', '', ''} end
-- Told in this very step: whoever hears of it first may be killed, or never hear of it.
local told = at and string.format(ARGV[3], start, at) or string.format(ARGV[4], start)
local reply = redis.pcall('XADD', KEYS[3], '*', 'detail', told, unpack(ARGV, 5))
return {start, at or '', '1', type(reply) == 'table' and tostring(reply.err) or ''}
"""
)

DROP_CONSUMER = Script(
    """
-- KEYS: stream. ARGV: group, consumer. Gives the entries pending with it, -1 if it is not there.
-- Deleting a consumer throws its pending entries away, so it goes only when it has none.
local found = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if type(found) ~= 'table' or found.err then return -1 end
for _, info in ipairs(found) do
  local row = {}
  for j = 1, #info, 2 do row[info[j]] = info[j + 1] end
  if row['name'] == ARGV[2] then
    if row['pending'] == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
    return row['pending']
  end
end
return -1
"""
)

RULE = Script(
    """
-- KEYS: case, open cases, finding stream. ARGV: plan id, size of the case when it was judged,
-- close or not, seconds that a closed case is kept, number of facts, the facts, number of findings,
-- each with its name, its number of fields, and these.
-- HSETNX lets each fact and each finding through once, whoever judges, and however often. A case
-- that grew since it was judged stays open, so that what came meanwhile is judged, too.
local case, argv, i = KEYS[1], ARGV, 6
local grown = redis.call('HLEN', case) ~= tonumber(argv[2])
local told = 0
for _ = 1, tonumber(argv[5]) do
  redis.call('HSETNX', case, argv[i], argv[i + 1])
  i = i + 2
end
local count = tonumber(argv[i])
i = i + 1
for _ = 1, count do
  local size = tonumber(argv[i + 1])
  if redis.call('HSETNX', case, 'told:' .. argv[i], '1') == 1 then
    redis.call('XADD', KEYS[3], '*', unpack(argv, i + 2, i + 1 + size))
    told = told + 1
  end
  i = i + 2 + size
end
if argv[3] == '1' and not grown then
  redis.call('ZREM', KEYS[2], argv[1])
  redis.call('EXPIRE', case, argv[4])
  return {told, 1}
end
return {told, 0}
"""
)

TELL = Script(
    """
-- KEYS: what an auditor remembers, finding stream. ARGV: what it remembered when it judged ('' for
-- nothing), what it remembers from now on, then each finding: its number of fields, and these.
-- Compared first: of two processes that judged on the same memory one tells.
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' then held = '' end
if held ~= ARGV[1] then return 0 end
local i = 3
while i <= #ARGV do
  local size = tonumber(ARGV[i])
  redis.call('XADD', KEYS[2], '*', unpack(ARGV, i + 1, i + size))
  i = i + 1 + size
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)

SETTLE = Script(
    """
-- KEYS: finding stream, settled findings. ARGV: entry id of the finding, note, then the fields of
-- the finding that tells of the act.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 'unknown' end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then return 'already' end
redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
return 'done'
"""
)

PUBLISH = Script(
    """
-- KEYS: stream, idempotency key. ARGV: seconds the key lives, name, value, ...
-- The key holds the entry id: a repeat after a lost reply gives the same id and adds nothing.
-- Remembered anew: WAIT answers for what its own connection wrote, so a repeat has to write, too.
local known = redis.call('GET', KEYS[2])
if known then
  redis.call('EXPIRE', KEYS[2], ARGV[1])
  return {known, 1}
end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
redis.call('SET', KEYS[2], id, 'EX', ARGV[1])
return {id, 0}
"""
)

PUBLISH_COUNTED = Script(
    """
-- KEYS: stream, idempotency key, hash of counts. ARGV: seconds the key lives, field or '' for no
-- count, name, value, ... In one step, so that a repeat counts no more than it appends.
local known = redis.call('GET', KEYS[2])
if known then return {known, 1} end
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 3))
redis.call('SET', KEYS[2], id, 'EX', ARGV[1])
if ARGV[2] ~= '' then redis.pcall('HINCRBY', KEYS[3], ARGV[2], 1) end
return {id, 0}
"""
)
