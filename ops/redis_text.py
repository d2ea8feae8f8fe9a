"""The only place that knows how redis-cli writes replies and reads a line of words. No I/O."""

from __future__ import annotations

import re
from typing import Any

from ops.redis_line import ReplyError, Status

# A word is quoted, plain, or plain and then quoted; a quote must end where a word may end.
_WORD = re.compile(
    rb"""(?:[^\s"']++|"(?:[^"\\]|\\.)*"(?=\s|$)|'(?:[^'\\]|\\.)*'(?=\s|$))+(?=\s|$)""", re.DOTALL
)
_PART = re.compile(rb"""[^\s"']++|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def split(text: bytes) -> list[bytes] | None:
    """The words of a line, quoted as :func:`formatted` quotes; None if the quotes do not close."""
    words = []
    rest = text.strip()
    while rest:
        word = _WORD.match(rest)
        if word is None:
            return None
        words.append(b"".join(_unquoted(part) for part in _PART.findall(word[0])))
        rest = rest[word.end() :].lstrip()
    return words


def _unquoted(part: bytes) -> bytes:
    if part[:1] == b"'":
        return part[1:-1].replace(b"\\'", b"'")
    if part[:1] == b'"':
        return _ESCAPE.sub(_meant, part[1:-1])
    return part


def _meant(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return bytes([int(match[1], 16)])
    return _LETTERS.get(match[2], match[2])


def plain(reply: Any) -> bytes:
    """What redis-cli writes into a pipe, without the line feed at its end."""
    if reply is None:
        return b""
    if isinstance(reply, ReplyError):
        return reply.text + b"\n"
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
        return b"(error) " + reply.text
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
