"""The only place that knows which Redis commands may be asked for evidence, and reads them.

They only read, they answer at once, and none shows what other clients do or how the server is
configured. No KEYS: it stops a server that holds millions of keys. No HVALS: without the names of
their fields, secrets would not be known as such.
"""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.ledger import emitter, secret_names

ALLOWED = frozenset({
    # strings, and keys as such
    "GET", "MGET", "STRLEN", "GETRANGE", "EXISTS", "TYPE", "TTL", "PTTL", "EXPIRETIME",
    "PEXPIRETIME", "GETBIT", "BITCOUNT",
    # hashes, lists, sets, sorted sets
    "HGET", "HMGET", "HGETALL", "HKEYS", "HLEN", "HEXISTS", "HSTRLEN",
    "LLEN", "LRANGE", "LINDEX", "LPOS",
    "SCARD", "SISMEMBER", "SMISMEMBER", "SMEMBERS", "SRANDMEMBER",
    "ZCARD", "ZCOUNT", "ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE", "ZSCORE",
    "ZMSCORE", "ZRANK", "ZREVRANK",
    # streams
    "XLEN", "XRANGE", "XREVRANGE", "XPENDING", "XINFO STREAM", "XINFO GROUPS", "XINFO CONSUMERS",
    # parts of what is large
    "SCAN", "HSCAN", "SSCAN", "ZSCAN",
    # the server
    "PING", "DBSIZE", "INFO", "TIME", "LASTSAVE", "ROLE", "MEMORY USAGE", "OBJECT ENCODING",
    "OBJECT FREQ", "OBJECT IDLETIME", "OBJECT REFCOUNT",
})  # fmt: skip
_CONTAINERS = frozenset(name.split()[0] for name in ALLOWED if " " in name)
_ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "b": b"\b", "a": b"\a"}
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HEX = frozenset("0123456789abcdefABCDEF")
_BLANK = " \t\n\r\v\f\0"


class CommandError(Exception):
    """What is asked is no command that may be asked; says why."""


@dataclass(frozen=True)
class Command:
    """A command that may be sent: ``name`` is that of ``ALLOWED``, ``shown`` is for people."""

    name: str
    arguments: tuple[bytes, ...]
    shown: str


def parse(text: str) -> Command:
    """The command of a line such as ``HGETALL "a key"``, split as redis-cli does.

    Raises:
        CommandError: if it is none, may not be sent, or asks for what looks like a secret.
    """
    arguments = split(text)
    if arguments and arguments[0].lower() == b"redis-cli":
        arguments = arguments[1:]
    if not arguments:
        raise CommandError("is empty")
    words = [one.decode("utf-8", "backslashreplace") for one in arguments]
    name = words[0].upper()
    if name in _CONTAINERS and len(words) > 1:
        name = f"{name} {words[1].upper()}"
    if name not in ALLOWED:
        raise CommandError(
            f"{_short(name)} is not taken: evidence only reads, see docs/ledger-evidence.md"
        )
    for word in words[1:]:
        if secret_names.names_secret(word):
            raise CommandError(f"{_short(word)} looks like a secret, which is not recorded")
    return Command(name, tuple(arguments), " ".join(shown(one) for one in arguments))


def split(text: str) -> list[bytes]:
    r"""The arguments of a line, quoted as redis-cli takes them: ``"a b"``, ``'a b'``, ``"\x00"``.

    Raises:
        CommandError: if a quote is not closed, or does not end its argument.
    """
    found: list[bytes] = []
    at, end = 0, len(text)
    while True:
        while at < end and text[at] in _BLANK:
            at += 1
        if at == end:
            return found
        made = bytearray()
        while at < end and text[at] not in _BLANK:
            if text[at] in "\"'":
                at = _quoted(text, at, made)
                if at < end and text[at] not in _BLANK:
                    raise CommandError("has text right behind a closing quote; put a blank there")
            else:
                made += _bytes(text[at])
                at += 1
        found.append(bytes(made))


def shown(argument: bytes) -> str:
    """An argument as it is typed: plain, or quoted so that ``split`` gives it back."""
    try:
        text = argument.decode("utf-8")
    except UnicodeDecodeError:
        return quoted(argument)
    plain = text and not emitter.UNSEEN.search(text) and not set(text) & set(" \"'\\")
    return text if plain else quoted(argument)


def quoted(value: bytes) -> str:
    """Bytes in double quotes, with an escape for all that is not plainly visible."""
    return f'"{"".join(map(_escaped, value.decode("utf-8", "surrogateescape")))}"'


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if not emitter.UNSEEN.match(char):
        return char
    return "".join(f"\\x{one:02x}" for one in _bytes(char))


def acl_rules(pattern: str = "quantum:*") -> str:
    """The rules of an ACL user who may do just this, on keys of ``pattern``."""
    commands = (f"+{one.lower().replace(' ', '|')}" for one in sorted(ALLOWED | {"SELECT"}))
    return f"resetkeys resetchannels %R~{pattern} -@all {' '.join(commands)}"


def _quoted(text: str, at: int, made: bytearray) -> int:
    """Read the quoted part that begins ``at``; gives where it ends."""
    quote, at = text[at], at + 1
    while at < len(text):
        char, after = text[at], text[at + 1 : at + 2]
        if char == quote:
            return at + 1
        if quote == '"' and char == "\\" and after:
            if after == "x" and len(text) >= at + 4 and set(text[at + 2 : at + 4]) <= _HEX:
                made.append(int(text[at + 2 : at + 4], 16))
                at += 4
                continue
            made += _ESCAPES.get(after) or _bytes(after)
            at += 2
        elif quote == "'" and char == "\\" and after == "'":
            made += b"'"
            at += 2
        else:
            made += _bytes(char)
            at += 1
    raise CommandError(f"has a quote ({quote}) that is not closed")


def _bytes(char: str) -> bytes:
    return char.encode("utf-8", "surrogateescape")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")  # noqa: PLR2004 - for one line
