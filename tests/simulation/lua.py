"""The only place that runs the product's own Lua against the model: the real source, in Lua 5.1.

A script runs to its end before anybody else is served, as on a server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lupa.lua51 as lupa

Call = Callable[[list[bytes]], Any]
"""Executes one command for a script; see :meth:`tests.simulation.server.Server.execute`."""

_FRAME = b"""
local redis = {}
local raw = ...
redis.pcall = raw
redis.call = function(...)
  local reply = raw(...)
  if type(reply) == 'table' and reply.err then error(reply, 0) end
  return reply
end
return function(source)
  local made, problem = loadstring('local KEYS, ARGV, redis = ...\\n' .. source)
  if not made then error(problem, 0) end
  return function(keys, argv)
    local ran, reply = pcall(made, keys, argv, redis)
    if ran then return reply end
    if type(reply) == 'table' then return reply end
    return {err = 'ERR ' .. tostring(reply)}
  end
end
"""


class ReplyError(Exception):
    """An error reply, as a value: code word and text."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReplyError) and str(self) == str(other)

    __hash__ = Exception.__hash__


class Status(bytes):
    """A status reply (``+OK``), which Lua sees as a table."""

    __slots__ = ()


class Lua:
    """One interpreter for all servers of this process; scripts are compiled once."""

    def __init__(self) -> None:
        self._lua = lupa.LuaRuntime(encoding=None)
        self._table = self._lua.table_from
        self._call: Call = list
        self._compile = self._lua.execute(_FRAME, self._raw)
        self._made: dict[bytes, Any] = {}

    def run(self, source: bytes, keys: list[bytes], argv: list[bytes], call: Call) -> Any:
        """The reply of ``source``."""
        made = self._made.get(source)
        if made is None:
            made = self._made[source] = self._compile(source)
        self._call = call
        return self._reply(made(self._table(keys), self._table(argv)))

    def _raw(self, *args: Any) -> Any:
        return self._seen(self._call([_argument(one) for one in args]))

    def _seen(self, reply: Any) -> Any:
        """A reply as a script sees it."""
        if isinstance(reply, list):
            return self._table([self._seen(one) for one in reply])
        if reply is None:
            return False
        if isinstance(reply, Status):
            return self._table({b"ok": bytes(reply)})
        if isinstance(reply, ReplyError):
            return self._table({b"err": str(reply).encode()})
        return reply

    def _reply(self, value: Any) -> Any:
        """What a script gave, as a client gets it."""
        if value is None or value is False:
            return None
        if isinstance(value, (bool, int, float)):
            return int(value)
        if isinstance(value, bytes):
            return value
        if value[b"err"] is not None:
            return ReplyError(value[b"err"].decode())
        if value[b"ok"] is not None:
            return Status(value[b"ok"])
        found = []
        at = 1
        while value[at] is not None:
            found.append(self._reply(value[at]))
            at += 1
        return found


def _argument(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"%d" % value if isinstance(value, int) else b"%.17g" % value
