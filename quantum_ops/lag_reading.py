"""The only place that asks a server how far groups are behind. One look is one atomic step.

Reads only: XINFO, XPENDING, XRANGE, TIME and TYPE, the look itself as a script of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import redis
import walrus

from quantum_ops import client, entry_id, lag, streams
from quantum_ops.errors import RefusedError
from quantum_ops.lag import Exactness, GroupSight, Id, Lag, StreamSight
from quantum_ops.publisher import run_scripts
from quantum_ops.scripts import Script

LIMIT = 10_000
"""Entries counted at most for one group; more are shown as ``atleast`` that many."""
AHEAD = 10
"""Ids that one look takes of each group. Lua pays for whole entries while every client waits: where
four groups are behind, 100 take 12 times as long as 10 (``python -m tests.bench.lag``)."""
PAGE = 100
"""Entries of one page that is counted: an entry may have 256 KiB."""
RIGHTS = "the ACL user needs +@read +time +eval +evalsha"
_LACKS_RIGHT = ("ACL failure in script", "executing the script can't")
"""How Valkey and Redis say that a user may run the script and not what is in it."""

LOOK = Script("""
-- KEYS: stream. ARGV: ids wanted past each group's place.
local now = redis.call('TIME')
local kind = redis.call('TYPE', KEYS[1])['ok']
if kind ~= 'stream' then return {now, kind} end
local function named(flat)
  local row = {}
  for j = 1, #flat, 2 do row[flat[j]] = flat[j + 1] end
  return row
end
local function id(entry) return entry and entry[1] or '' end
-- Older servers forget in entries-read what was trimmed before it was read.
local valkey = rawget(redis, 'VALKEY_VERSION_NUM')
local counts = (valkey or 0) >= 0x080100
  or not valkey and (rawget(redis, 'REDIS_VERSION_NUM') or 0) >= 0x080200
local info = named(redis.call('XINFO', 'STREAM', KEYS[1]))
local groups = {}
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = named(flat)
  local place = group['last-delivered-id']
  local ahead = {}
  -- Past the greatest id there is nothing, and the server calls the question an error.
  local rows = redis.pcall('XRANGE', KEYS[1], '(' .. place, '+', 'COUNT', ARGV[1])
  if not rows.err then
    for j, row in ipairs(rows) do ahead[j] = row[1] end
  end
  local held = redis.call('XPENDING', KEYS[1], group['name'])
  groups[#groups + 1] = {group['name'], group['consumers'], held[1], place, held[2] or '',
    counts and group['entries-read'] or -1, ahead}
end
return {now, kind, info['length'], info['last-generated-id'], info['entries-added'],
  info['max-deleted-entry-id'], id(info['first-entry']), id(info['last-entry']), groups}
""")


def look(
    db: walrus.Database,
    keys: Iterable[str] = (),
    *,
    limit: int = LIMIT,
    expected: Iterable[tuple[str, str]] = (),
) -> list[Lag]:
    """The lag of every group of the streams ``keys`` (default: the catalogue), in that order.

    A stream that is not there has no groups. Of the ``expected`` ones (stream key, group) those
    that are missing are given, too, as unknown. More than ``limit`` entries are not counted.
    Raises what the client raises, :class:`RefusedError` for a user who lacks a right.
    """
    wanted = tuple(keys) or tuple(stream.key for stream in streams.CATALOGUE)
    missing = list(expected)
    found = []
    for key, reply in zip(wanted, looks(db, wanted), strict=True):
        for one in _stream(db, key, reply, limit):
            found.append(one)
            if (key, one.group) in missing:
                missing.remove((key, one.group))
        found += [Lag(key, group) for at, group in sorted(missing) if at == key]
    return found


def remembered(db: walrus.Database, groups: Iterable[str]) -> list[tuple[str, str]]:
    """Which of ``groups`` have read which stream (key) before: the ones to expect there.

    By their checkpoints, which outlive a group that is destroyed.
    """
    pairs = [(stream.key, group) for stream in streams.CATALOGUE for group in groups]
    found = db.mget([streams.checkpoint(*pair) for pair in pairs]) if pairs else []
    return [pair for pair, value in zip(pairs, found, strict=True) if value is not None]


def of_group(db: walrus.Database, group: str, *, limit: int = LIMIT) -> list[Lag]:
    """The lag of ``group`` in each stream of the catalogue that it reads."""
    return [one for one in look(db, limit=limit) if one.group == group]


def sights(db: walrus.Database, keys: Sequence[str]) -> list[StreamSight | None]:
    """What each of the streams ``keys`` is like now; None where there is no stream."""
    return [
        _sights(reply, b"")[0] if _is_stream(reply) else None for reply in looks(db, keys, ahead=1)
    ]


def newest(db: walrus.Database, stream: streams.Stream) -> Id:
    """The id of the newest entry that ``stream`` ever had; (0, 0) if there is no stream."""
    (found,) = sights(db, [stream.key])
    return found.newest if found else (0, 0)


def looks(db: walrus.Database, keys: Sequence[str], ahead: int = 0) -> list[Any]:
    """The replies to ``LOOK``, in one round trip. A key of another type is no stream, no error."""
    try:
        replies = run_scripts(db, LOOK, [((key,), (ahead or AHEAD,)) for key in keys])
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                raise reply
    except redis.ResponseError as error:
        if any(words in str(error) for words in _LACKS_RIGHT):
            raise RefusedError(f"Redis refuses to tell the lag ({error}); {RIGHTS}") from error
        raise
    return replies


def _is_stream(reply: Any) -> bool:
    return bool(reply[1] == b"stream")


def _stream(db: walrus.Database, key: str, reply: Any, limit: int) -> Iterator[Lag]:
    if not _is_stream(reply):
        return
    names = [row[0] for row in reply[8]]
    for name in sorted(names):
        found = _group(db, key, reply, name, limit)
        if found is not None:
            yield found


def _group(
    db: walrus.Database, key: str, reply: Any, name: bytes, limit: int, *, attempts: int = 3
) -> Lag | None:
    """The lag of one group of that look; None if the group is gone by now."""
    stream, group = _sights(reply, name) if _is_stream(reply) else (None, None)
    if stream is None or group is None:
        return None
    now_ms = int(reply[0][0]) * 1000 + int(reply[0][1]) // 1000
    entries = lag.seen(stream, group, AHEAD)
    if entries is not None:
        return lag.judged(key, stream, group, (entries, "exact"), now_ms)
    if not attempts:
        return lag.judged(key, stream, group, (None, None), now_ms)
    found = _count(db, key, group, stream.newest, limit)
    again = looks(db, [key])[0]
    after = _sights(again, name)[0] if _is_stream(again) else None
    if after is not None and lag.is_unharmed(stream, after, group.delivered):
        return lag.judged(key, stream, group, found, now_ms)
    # What was removed while we counted makes the sum true of no moment.
    return _group(db, key, again, name, limit, attempts=attempts - 1)


def _count(
    db: walrus.Database, key: str, group: GroupSight, top: Id, limit: int
) -> tuple[int, Exactness]:
    """Entries past the group's place, up to ``top``; the look has counted the first page."""
    count, last = len(group.ahead), group.ahead[-1]
    limit = max(limit, count)  # so many were seen already
    until = entry_id.text(top)
    while count <= limit:
        rows = client.raw(
            db,
            "XRANGE",
            key,
            f"({entry_id.text(last)}",
            until,
            "COUNT",
            min(PAGE, limit + 1 - count),
        )
        if not rows:
            return count, "counted"
        count += len(rows)
        last = entry_id.parse(rows[-1][0])
    return limit, "atleast"


def _sights(reply: Any, name: bytes) -> tuple[StreamSight, GroupSight | None]:
    _, _, length, newest_, added, max_deleted, first, last, groups = reply
    stream = StreamSight(
        length,
        entry_id.parse(newest_),
        added - length,
        entry_id.parse(max_deleted),
        _id(first),
        _id(last),
    )
    for row in groups:
        if row[0] == name:
            return stream, GroupSight(
                name.decode("utf-8", "backslashreplace"),
                row[1],
                row[2],
                entry_id.parse(row[3]),
                _id(row[4]),
                row[5] if row[5] >= 0 else None,
                tuple(map(entry_id.parse, row[6])),
            )
    return stream, None


def _id(text: bytes) -> Id | None:
    return entry_id.parse(text) if text else None
