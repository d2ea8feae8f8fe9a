"""The only place that takes secrets out of texts before they are recorded, hashed or kept.

A pure function of the text: the same text loses the same parts on any host, and redacting it again
changes nothing. Where it errs it takes too much; digests of files and commits (hex) stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from quantum_ops.ledger import secret_names, secret_shapes

MARK = secret_shapes.MARK
PASSES = 8
"""What is taken out may bring other things together. A text that does not come to rest within so
many passes was made to; all of it is taken out."""

NO_PASSWORDS = frozenset({"PWD", "OLDPWD"})
"""Where somebody stands: taken for a secret, it would go from every path below it, and the same
operation would be another one in another folder."""

SHORTEST_KNOWN = 8
"""Characters of a secret that is looked for by its value; shorter ones are words of texts, too."""


def redact(text: str, known: Sequence[str] = ()) -> str:
    """``text`` with ``[redacted]`` for each secret in it: those ``known``, and what looks like one.

    Takes time in proportion to the text's length.
    """
    for _ in range(PASSES):
        after = _once(text, known)
        if after == text:
            return text
        text = after
    return MARK


def redact_all(value: Any, known: Sequence[str] = ()) -> Any:
    """``value`` with every text in it redacted, the names of maps included."""
    if isinstance(value, str):
        return redact(value, known)
    if isinstance(value, Mapping):
        return {redact_all(name, known): redact_all(one, known) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_all(one, known) for one in value]
    return value


def known(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets that these variables hold: by name, and the passwords in addresses."""
    found: set[str] = set()
    for name, value in environ.items():
        if name not in NO_PASSWORDS and secret_names.mode(name, "="):
            found.add(value)
        found.update(secret_shapes.passwords(value))
    return tuple(sorted(_long(found), key=lambda one: (-len(one), one)))


def _long(found: Iterable[str]) -> Iterable[str]:
    # A path is what a setting such as LEDGER_KEY holds: where the secret lies, not the secret.
    return (
        one
        for one in found
        if len(one) >= SHORTEST_KNOWN and one not in MARK and not secret_names.PATH.fullmatch(one)
    )


def _once(text: str, known: Sequence[str]) -> str:
    for one in known:
        text = text.replace(one, MARK)
    return _flags(_named(secret_shapes.redact(text)))


_NAME = re.compile(
    r"(?<![A-Za-z0-9_.-])-{0,2}([A-Za-z_][A-Za-z0-9_.-]*)(?:\\*[\"'])?[ \t]*(=>|:=|==?|:)[ \t]*"
)
_OPEN = re.compile(r"\\*[\"']")
_QUOTED = {quote: re.compile(rf"(?:[^{quote}\\\n]|\\.)*") for quote in "\"'"}
_WORD = re.compile(r"\S+")
_SCHEMED = re.compile(
    r"(?:bearer|basic|token|digest|negotiate|apikey)[ \t]+[^\s\"']+", re.IGNORECASE
)
# What closes what is around a value, and is not itself of the mark.
_CLOSING = "\"',;)"
_TO_END = re.compile(r"[^\n]+")


def _named(text: str) -> str:
    """``text`` without the values of what is called a password, a token, an API key ..."""
    if ":" not in text and "=" not in text:
        return text
    found: list[str] = []
    done = at = 0
    while match := _NAME.search(text, at):
        at = match.end()
        mode = secret_names.mode(
            match[1], match[2], text[max(0, match.start() - 12) : match.start()]
        )
        if not mode:
            continue
        start, end = _value(text, at, mode)
        if secret_names.PATH.fullmatch(text, start, end):
            continue
        if start < end:
            found += (text[done:start], MARK)
            done = at = end
    return "".join([*found, text[done:]])


def _value(text: str, at: int, mode: str) -> tuple[int, int]:
    """From where to where the value goes that begins ``at``."""
    opened = _OPEN.match(text, at)
    if opened and len(opened[0]) == 1:
        quoted = _QUOTED[opened[0]].match(text, opened.end())
        return opened.end(), quoted.end() if quoted else opened.end()
    if opened:
        line = text.find("\n", at)
        line = len(text) if line < 0 else line
        close = text.find(opened[0], opened.end(), line)
        return opened.end(), line if close < 0 else close
    pattern = _TO_END if mode == "line" else _WORD
    found = _SCHEMED.match(text, at) or pattern.match(text, at)
    return at, at + len(found[0].rstrip(_CLOSING)) if found else at


_SEGMENT = re.compile(r"[^\n;|]+")
_FLAG = re.compile(
    r"(?<!\S)(-{1,2})([A-Za-z][A-Za-z0-9_-]*)[ \t]+(?!--)(\"[^\"\n]*\"?|'[^'\n]*'?|[^\s\"']\S*)"
)
_CLIENT = re.compile(r"\b(?:redis|valkey|keydb)-cli\b")
# What follows their -a is no password.
_HARMLESS = re.compile(
    r"\b(?:git|ls|cp|rsync|ps|uname|du|df|grep|docker|podman|tar|who|lsof|netstat|ss|journalctl"
    r"|systemctl|tag|commit|useradd|usermod|declare|tee|ip)\b"
)
_AUTH = re.compile(r"\b(?i:auth)[ \t]+(\S+(?:[ \t]+\S+)?)")


def _flags(text: str) -> str:
    """``text`` without the passwords of command lines (``-a pw``, ``--pass pw``, ``AUTH pw``)."""
    return _SEGMENT.sub(_segment, text) if "-" in text else text


def _segment(found: re.Match[str]) -> str:
    segment = found[0]
    client = _CLIENT.search(segment)
    if client:
        segment = _AUTH.sub(lambda auth: _keep_start(auth, 1), segment)
    short = {"a"} if client or not _HARMLESS.search(segment) else set()
    short |= {"p"} if "sshpass" in segment else set()
    short |= {"u"} if "curl" in segment else set()

    def flag(match: re.Match[str]) -> str:
        dashes, name = match[1], match[2]
        secret = name in short if len(name) == 1 else secret_names.mode(name, "=")
        if not secret or (dashes == "-" and len(name) > 1 and not client):
            return match[0]
        return _keep_start(match, 3)

    return _FLAG.sub(flag, segment)


def _keep_start(match: re.Match[str], group: int) -> str:
    whole, value = match[0], match[group]
    if secret_names.PATH.fullmatch(value):
        return whole
    quote = value[0] if value[0] in "\"'" else ""
    return f"{whole[: match.start(group) - match.start()]}{quote}{MARK}{quote}"
