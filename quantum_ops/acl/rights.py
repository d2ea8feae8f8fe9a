"""The only place that says what a right is: commands, and the keys that they may touch. Pure.

A server gives a user one root and any number of *selectors*, and allows a command if one of these
allows both the command and every key of it. So each :class:`Grant` here becomes a selector of its
own, and rights never add up across grants: whoever may acknowledge in a stream and append to
another one cannot append to the first. Each command inside a script is judged by the same rule
(tests/integration/test_acl.py), so that EVAL itself gives nothing away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from quantum_ops import streams
from quantum_ops.ledger.evidence.commands import ALLOWED


@dataclass(frozen=True, slots=True)
class Grant:
    """``commands`` on keys: to ``read`` them, to ``write`` them unseen, or ``both``; patterns.

    Commands are lower case, with their subcommand after a bar (``xgroup|create``).
    """

    commands: tuple[str, ...]
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    both: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User:
    """One user of the server. ``commands`` touch no key; ``all_rights`` makes an administrator.

    ``demo`` users stand for the trading side, and exist nowhere but in the demo.
    """

    name: str
    doc: str
    grants: tuple[Grant, ...] = ()
    commands: tuple[str, ...] = field(default=())
    all_rights: bool = False
    demo: bool = False


SESSION: Final = (
    "ping", "echo", "select", "time", "multi", "exec", "discard", "unwatch", "wait",
    # A client of Sentinel asks each server whether it is the master.
    "role",
    "client|setname", "client|getname", "client|id", "client|setinfo", "acl|whoami",
)  # fmt: skip
"""What any connection may do: nothing of it tells or changes a key."""
LOOKING: Final = ("info", "scan", "dbsize", "lastsave", "command")
"""What tells of the server and of the names of keys."""
READING: Final = tuple(
    sorted(
        {name.lower().replace(" ", "|") for name in ALLOWED} - set(SESSION) - set(LOOKING)
        | {"xread", "watch"}
    )
)
"""Commands that read keys: those of evidence, and what following and comparing need."""
GROUP: Final = (
    "xreadgroup", "xack", "xclaim", "xautoclaim", "xpending", "xgroup|create", "xgroup|setid",
    "xinfo|stream", "xinfo|groups", "xinfo|consumers",
)  # fmt: skip
"""What a consumer does in a stream. None of it appends an entry or removes one."""
WRITING: Final = (
    "set", "del", "incr", "incrby", "expire", "pexpire", "hset", "hsetnx", "hdel", "hincrby",
    "zadd", "zrem", "zremrangebyscore",
)  # fmt: skip
"""Commands on the keys that a program keeps: those of quantum_ops/effects.py, and of scripts."""


def reading(*patterns: str) -> Grant:
    """Read these keys."""
    return Grant(READING, read=patterns)


def appending(*wanted: streams.Stream) -> Grant:
    """Append to these streams. No ACL can refuse XADD's MAXLEN: the archive tells of it."""
    return Grant(("xadd",), write=tuple(stream.key for stream in wanted))


def keeping(*patterns: str) -> Grant:
    """Write these keys, whose only writer the user should be."""
    return Grant(WRITING, both=patterns)


SCRIPTS: Final = Grant(("eval", "evalsha", "eval_ro", "evalsha_ro"), both=(streams.EVERYTHING,))
"""Run a script with any of our keys declared; what it does is judged command by command."""
