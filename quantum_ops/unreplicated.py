"""The only place that says what becomes of values that nobody may see until the replicas have them.

Each is set under a key of its own, together with the acknowledgement. Once the replicas have that,
it is let out to where it belongs; if they do not in time, other effects take its place. A process
that dies in between leaves it where nobody looks, until it expires there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from quantum_ops import streams
from quantum_ops.effects import REPLICATED, Command, spelt
from quantum_ops.scripts import Script

LET_OUT = Script(
    """
-- KEYS: for each value where it is held, then where it belongs. ARGV: the values.
-- Compared: it may be gone, or another process may hold another one there by now.
for i = 1, #ARGV do
  if redis.pcall('GET', KEYS[2 * i - 1]) == ARGV[i] then
    redis.call('RENAME', KEYS[2 * i - 1], KEYS[2 * i])
  end
end
"""
)

WITHDRAW = Script(
    """
-- KEYS: for each value where it is held, then one key for each of its commands. ARGV: for each the
-- value, the number of its commands, then each one's name, number of arguments, and these.
local i, k, out = 1, 1, 0
while i <= #ARGV do
  local place, value, commands = KEYS[k], ARGV[i], tonumber(ARGV[i + 1])
  local live = redis.pcall('GET', place) == value
  if live then
    redis.call('DEL', place)
    out = out + 1
  end
  i, k = i + 2, k + 1
  for _ = 1, commands do
    local size = tonumber(ARGV[i + 1])
    if live then redis.call(ARGV[i], KEYS[k], unpack(ARGV, i + 2, i + 1 + size)) end
    i, k = i + 2 + size, k + 1
  end
end
return out
"""
)


class Held(NamedTuple):
    """A value that nobody may see yet, and the effects that take its place if nobody ever may."""

    key: str
    value: Any
    otherwise: tuple[Command, ...]

    @property
    def place(self) -> str:
        """Where it stands until it is let out or withdrawn."""
        return streams.unreplicated(self.key)


def hold_back(commands: list[Command]) -> tuple[list[Command], list[Held]]:
    """``commands`` with each value that replicas must have first put aside, and those values."""
    made: list[Command] = []
    held: list[Held] = []
    for command in commands:
        (name, _, constants), key, values = command
        if name != REPLICATED:
            made.append(command)
            continue
        ttl_s, otherwise = constants
        held.append(Held(key, values[0], otherwise))
        made.append((("SET", 1, ("EX", ttl_s)), held[-1].place, values))
    return made, held


def letting_out(held: list[Held]) -> tuple[list[str], list[Any]]:
    """Keys and arguments of the script that lets them out."""
    keys = [key for one in held for key in (one.place, one.key)]
    return keys, [one.value for one in held]


def withdrawing(held: list[Held]) -> tuple[list[str], list[Any]]:
    """Keys and arguments of the script that puts their other effects in their place."""
    keys: list[str] = []
    args: list[Any] = []
    for one in held:
        keys.append(one.place)
        args += [one.value, len(one.otherwise)]
        for command in one.otherwise:
            name, key, *rest = spelt(command)
            keys.append(key)
            args += [name, len(rest), *rest]
    return keys, args
