"""The only place of what an operator may ask of a deploy, and of what is said if he does not."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from ops.deploy.errors import USAGE, StopError
from ops.terminal import safe

_PROGRAM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
STRICT = {
    "": False, "0": False, "false": False, "no": False, "off": False,
    "1": True, "true": True, "yes": True, "on": True,
}  # fmt: skip
CHECKS = ("lag", "dead_letters", "findings")
"""Checks that are made of every release, unless one is skipped by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One deploy as it was asked for; empty texts are filled in from the commit."""

    program: str
    operation: str = ""
    objective: str = ""
    risk_class: str = "SERVICE_RESTART"
    blast_radius: str = ""
    changes_summary: str = ""
    requested_by: str = ""
    approved_by: str = ""
    notes: str = ""
    allowed_paths: tuple[str, ...] = ()
    allowed_services: tuple[str, ...] = ()
    metrics_urls: tuple[str, ...] = ()
    metrics_grep: tuple[str, ...] = ()
    redis_cmds: tuple[str, ...] = ()
    skipped: frozenset[str] = frozenset()
    strict: bool = False
    wait_s: float = 30.0
    settle_s: float = 5.0
    ledger_wait_s: float = 15.0


def check(order: Order) -> None:
    """Raise :class:`StopError` with everything that is wrong with ``order`` by itself."""
    problems = []
    if not _PROGRAM.fullmatch(order.program):
        problems.append(
            f"PROGRAM {safe(order.program)!r}: write the name of a program as ./run status shows "
            "it, without its number: letters, digits, _ . - and 64 characters at most"
        )
    for url in order.metrics_urls:
        problems += _wrong_url(url)
    for pattern in order.metrics_grep:
        try:
            re.compile(pattern)
        except re.error as error:
            problems.append(f"--metrics_grep {safe(pattern)!r}: no regular expression ({error})")
    if order.metrics_grep and not order.metrics_urls:
        problems.append("--metrics_grep: there is nothing to search; name --metrics_urls")
    texts = [*vars_of(order)]
    problems += [
        f"--{name}: bytes that are no UTF-8; write it anew" for name, text in texts if _bad(text)
    ]
    if problems:
        raise StopError(*problems, code=USAGE)


def vars_of(order: Order) -> list[tuple[str, str]]:
    """Every text of ``order`` with its name."""
    plain = ("operation", "objective", "blast_radius", "changes_summary", "requested_by",
             "approved_by", "notes")  # fmt: skip
    lists = ("allowed_paths", "allowed_services", "metrics_urls", "metrics_grep", "redis_cmds")
    found = [(name, getattr(order, name)) for name in plain]
    return found + [(name, text) for name in lists for text in getattr(order, name)]


def strict(text: str) -> bool:
    """``STRICT_LEDGER`` as a truth value; :class:`StopError` for anything that is neither."""
    try:
        return STRICT[text.strip().lower()]
    except KeyError:
        raise StopError(
            f"STRICT_LEDGER={safe(text)!r} (environment): neither true nor false", code=USAGE
        ) from None


def _bad(text: str) -> bool:
    # What argv held besides UTF-8 arrives as lone surrogates, which no stream and no file takes.
    return any("\ud800" <= char <= "\udfff" for char in text)


def _wrong_url(url: str) -> list[str]:
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return [f"--metrics_urls {safe(url)!r}: {error}"]
    if parts.scheme not in ("http", "https") or not host:
        return [f"--metrics_urls {safe(url)!r}: write http://HOST:PORT/PATH or https://..."]
    if "@" in parts.netloc:
        # It would stand in the stream, the proof and the ledger for ever.
        return ["--metrics_urls: one has a password in it; give a URL without"]
    return []
