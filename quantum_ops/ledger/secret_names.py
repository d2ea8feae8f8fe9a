"""The only place that knows by their names which values are secrets."""

from __future__ import annotations

import re
from functools import lru_cache

PATH = re.compile(r"~?/[\w.@/-]*\.(?:pem|key|pub|crt|txt|env|json|conf|ya?ml)")
"""A file by its name: where a secret lies may be told."""

_WORDS = frozenset({
    "secret", "secrets", "password", "passwords", "passwd", "passphrase", "pwd", "pw", "token",
    "apikey", "apikeys", "privkey", "credential", "credentials", "mnemonic", "seedphrase",
    "authorization", "cookie", "requirepass", "masterauth", "primaryauth",
})  # fmt: skip
_LINES = frozenset({"passphrase", "mnemonic", "seedphrase", "authorization", "cookie"})
"""Names whose values have blanks inside: they go to the end of the line."""

# What a name ends with that tells about a secret without giving it.
_ABOUT = frozenset({
    "file", "path", "count", "total", "ttl", "len", "length", "size", "bytes", "seconds", "sec",
    "ms", "type", "name", "age", "digest", "sha256", "fingerprint", "expires", "expiry", "used",
    "id", "service", "error", "errors", "url",
})  # fmt: skip
# A key of another kind: what looks something up, or is public.
_NO_SECRET_KEY = frozenset({
    "primary", "foreign", "public", "pub", "cache", "partition", "routing", "sort", "hash", "redis",
    "stream", "group", "idempotency", "index", "dict", "map", "unique", "lookup", "trusted",
    "state",
})  # fmt: skip
_BEFORE_KEY = frozenset({"api", "secret", "access", "private", "signing", "encryption", "license"})
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@lru_cache(maxsize=4096)
def mode(name: str, sign: str = "=", before: str = "") -> str:
    """Whether a value of this name is a secret: ``word``, ``line`` (up to its end), or empty.

    ``sign`` stands between name and value, ``before`` in front of the name.
    """
    # Of a very long name the end decides; splitting all of it would only cost time.
    words = [one.lower() for one in _PARTS.findall(name[-200:])]
    if not words or words[-1] in _ABOUT:
        return ""
    if not _LINES.isdisjoint(words) or _is_seed_phrase(words, before):
        return "line"
    if not _WORDS.isdisjoint(words) or _ends_as_secret(words, sign, before):
        return "word"
    return ""


def names_secret(text: str) -> bool:
    """Whether a key or field of this name holds a secret by the look of its name."""
    words = [one.lower() for one in _PARTS.findall(text[-1000:])]
    return not _WORDS.isdisjoint(words) or any(
        word in {"key", "keys"} and words[at - 1] in _BEFORE_KEY
        for at, word in enumerate(words[1:], 1)
    )


def _ends_as_secret(words: list[str], sign: str, before: str) -> bool:
    last = words[-1]
    if last in {"key", "keys"}:
        front = words[-2:-1] or before.lower().split()[-1:]
        if len(words) == 1:
            return bool(front) and front[0] in _BEFORE_KEY
        return front[0] not in _NO_SECRET_KEY
    if last in {"pass", "auth"}:
        return sign != ":" or len(words) > 1
    return False


def _is_seed_phrase(words: list[str], before: str) -> bool:
    return words[-1] == "phrase" and "seed" in (words[-2:-1] or before.lower().split()[-1:])
