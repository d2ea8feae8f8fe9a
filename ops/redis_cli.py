"""The only place of the built-in Redis command line, for boxes that have no redis-cli."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import walrus

from ops.redis_line import Line, ReplyError
from ops.redis_text import formatted, plain, split

USAGE = """usage: ./run redis-cli [OPTIONS] [COMMAND [ARG ...]]

  -e           exit 1 if the server answers with an error
  -x           take the last argument from standard input
  -r N, -i S   repeat N times (-1: for ever), S seconds apart
  -n DB        database number
  --user NAME  connect as this user of QUANTUM_ACL_DIR (admin, audit, ...), not as operator
  --raw        plain values (what a pipe gets anyway)
  --no-raw     numbered, quoted values (what a terminal gets anyway)

Without a command, commands are read line by line until end of input.
"""


_ENDLESS = (b"subscribe", b"psubscribe", b"ssubscribe", b"monitor")
"""Commands whose one question is answered for ever."""


@dataclass(slots=True)
class Options:
    """What the command line asks for."""

    command: list[bytes] = field(default_factory=list)
    fail: bool = False
    last_from_stdin: bool = False
    repeat: int = 1
    interval_s: float = 0.0
    database: int | None = None
    raw: bool | None = None
    user: str = ""


class UsageError(Exception):
    """The command line cannot be read; the message says why."""


def parse(argv: list[str]) -> Options:
    """Options of ``argv``; raises :class:`UsageError`."""
    options = Options()
    rest = list(argv)
    while rest and rest[0].startswith("-"):
        flag = rest.pop(0)
        if flag == "-e":
            options.fail = True
        elif flag == "-x":
            options.last_from_stdin = True
        elif flag == "--raw":
            options.raw = True
        elif flag == "--no-raw":
            options.raw = False
        elif flag == "--user" and rest:
            options.user = rest.pop(0)
        elif flag in ("-r", "-i", "-n"):
            _take_number(options, flag, rest)
        else:
            raise UsageError(f"option {flag} is not known here; install redis-tools for the rest")
    options.command = [word.encode("utf-8", "surrogateescape") for word in rest]
    if options.last_from_stdin and not options.command:
        raise UsageError("-x needs a command whose last argument it completes")
    return options


def _take_number(options: Options, flag: str, rest: list[str]) -> None:
    try:
        value = float(rest.pop(0))
    except (IndexError, ValueError):
        raise UsageError(f"option {flag} needs a number") from None
    if not math.isfinite(value):
        raise UsageError(f"option {flag} needs a finite number, not {value}")
    if flag == "-r":
        options.repeat = int(value)
    elif flag == "-i":
        options.interval_s = value
    else:
        options.database = int(value)


def run(
    db: walrus.Database, options: Options, stdin: BinaryIO, stdout: BinaryIO, *, tty: bool
) -> int:
    """Run the command, or the commands of ``stdin``; gives the exit code."""
    raw = options.raw if options.raw is not None else not tty
    line = Line(db)
    if options.database is not None:
        refusal = line.ask([b"SELECT", b"%d" % options.database])
        # redis-cli goes on in database 0, and so writes where nobody asked it to.
        if isinstance(refusal, ReplyError):
            print(f"SELECT {options.database} failed: {refusal}", file=sys.stderr)
            return 1
    if not options.command:
        return _lines(line, stdin, stdout, raw=raw)
    if options.last_from_stdin:
        options.command.append(stdin.read())
    count = options.repeat
    while count:
        reply = line.ask(options.command)
        if isinstance(reply, ReplyError) and options.fail:
            print(reply, file=sys.stderr)
            return 1
        _print(reply, stdout, raw=raw)
        while options.command[0].lower() in _ENDLESS and not isinstance(reply, ReplyError):
            reply = line.reply()
            _print(reply, stdout, raw=raw)
        count -= 1
        if count:
            time.sleep(options.interval_s)
    return 0


def _lines(line: Line, stdin: BinaryIO, stdout: BinaryIO, *, raw: bool) -> int:
    for text in _prompted(stdin):
        words = split(text)
        if words is None:
            stdout.write(b"Invalid argument(s)\n")
            stdout.flush()
            continue
        if not words:
            continue
        if words[0].lower() in (b"quit", b"exit"):
            return 0
        _print(line.ask(words), stdout, raw=raw)
    return 0


def _prompted(stdin: BinaryIO) -> Iterator[bytes]:
    while True:
        if stdin.isatty():
            sys.stdout.write("redis> ")
            sys.stdout.flush()
        text = stdin.readline()
        if not text:
            return
        yield text


def _print(reply: Any, stdout: BinaryIO, *, raw: bool) -> None:
    stdout.write(plain(reply) + b"\n" if raw else formatted(reply) + b"\n")
    stdout.flush()
