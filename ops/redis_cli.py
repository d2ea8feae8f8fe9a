"""The only place of the built-in Redis command line, for boxes that have no redis-cli."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import hiredis
import redis
import walrus

USAGE = """usage: ./run redis-cli [OPTIONS] [COMMAND [ARG ...]]

  -e           exit 1 if the server answers with an error
  -x           take the last argument from standard input
  -r N, -i S   repeat N times (-1: for ever), S seconds apart
  -n DB        database number
  --raw        plain values (what a pipe gets anyway)
  --no-raw     numbered, quoted values (what a terminal gets anyway)

Without a command, commands are read line by line until end of input.
"""


class ReplyError(Exception):
    """An error reply, word for word: redis-py would cut its first word off."""


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
    if flag == "-r":
        options.repeat = int(value)
    elif flag == "-i":
        options.interval_s = value
    else:
        options.database = int(value)


class Status(bytes):
    """A status reply (``+OK``): shown without quotes. hiredis gives it and a string alike."""


class Line:
    """One connection, spoken to word for word. Replies are what the server sent."""

    def __init__(self, db: walrus.Database) -> None:
        self._connection = db.connection_pool.get_connection()
        self._socket: Any = self._connection._sock  # noqa: SLF001 - see ReplyError
        self._reader = hiredis.Reader(replyError=ReplyError)

    def ask(self, command: list[bytes]) -> Any:
        """The reply: bytes, int, None, list, or :class:`ReplyError` as a value."""
        self._socket.sendall(hiredis.pack_command(tuple(command)))
        status = None
        while True:
            reply = self._reader.gets()
            if reply is not False:
                return Status(reply) if status else reply
            data = self._socket.recv(1 << 16)
            if not data:
                raise redis.ConnectionError("the server closed the connection")
            if status is None:
                status = data.startswith(b"+")
            self._reader.feed(data)


def run(
    db: walrus.Database, options: Options, stdin: BinaryIO, stdout: BinaryIO, *, tty: bool
) -> int:
    """Run the command, or the commands of ``stdin``; gives the exit code."""
    raw = options.raw if options.raw is not None else not tty
    line = Line(db)
    if options.database is not None:
        line.ask([b"SELECT", b"%d" % options.database])
    if not options.command:
        return _lines(line, stdin, stdout, raw=raw, fail=options.fail)
    if options.last_from_stdin:
        options.command.append(stdin.read())
    count = options.repeat
    while count:
        reply = line.ask(options.command)
        _print(reply, stdout, raw=raw)
        if isinstance(reply, ReplyError) and options.fail:
            return 1
        count -= 1
        if count:
            time.sleep(options.interval_s)
    return 0


def _lines(line: Line, stdin: BinaryIO, stdout: BinaryIO, *, raw: bool, fail: bool) -> int:
    for text in _prompted(stdin):
        try:
            words = shlex.split(text.decode("utf-8", "surrogateescape"))
        except ValueError:
            stdout.write(b"Invalid argument(s)\n")
            continue
        if not words:
            continue
        if words[0].lower() in ("quit", "exit"):
            return 0
        reply = line.ask([word.encode("utf-8", "surrogateescape") for word in words])
        _print(reply, stdout, raw=raw)
        if isinstance(reply, ReplyError) and fail:
            return 1
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


def plain(reply: Any) -> bytes:
    """What redis-cli writes into a pipe, without the line feed at its end."""
    if reply is None:
        return b""
    if isinstance(reply, ReplyError):
        return str(reply).encode() + b"\n"
    if isinstance(reply, list):
        return b"\n".join(plain(item) for item in reply)
    return reply if isinstance(reply, bytes) else b"%d" % reply


def formatted(reply: Any, indent: int = 0) -> bytes:
    """What redis-cli shows on a terminal, without the line feed at its end."""
    if not isinstance(reply, list):
        return _scalar(reply)
    if not reply:
        return b"(empty array)"
    width = len(str(len(reply)))
    rows = []
    for number, item in enumerate(reply, 1):
        head = b"%*d) " % (width, number)
        lead = b"" if number == 1 else b" " * indent
        rows.append(lead + head + formatted(item, indent + len(head)))
    return b"\n".join(rows)


def _scalar(reply: Any) -> bytes:
    if reply is None:
        return b"(nil)"
    if isinstance(reply, ReplyError):
        return b"(error) " + str(reply).encode()
    if isinstance(reply, int):
        return b"(integer) %d" % reply
    return reply if isinstance(reply, Status) else _quoted(reply)


def _quoted(value: bytes) -> bytes:
    escapes = {7: b"\\a", 8: b"\\b", 9: b"\\t", 10: b"\\n", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
    shown = (
        escapes.get(byte) or (bytes([byte]) if 32 <= byte < 127 else b"\\x%02x" % byte)  # noqa: PLR2004 - printable ASCII
        for byte in value
    )
    return b'"' + b"".join(shown) + b'"'
