"""The only place that fills a template of the governor, and knows its placeholders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ops.ops_scope import ScopeError
from quantum_ops.ledger import redaction

TEXTS = ("OPERATION_NAME", "OBJECTIVE", "RISK_CLASS", "BLAST_RADIUS", "ROLLBACK_STRATEGY")
LISTS = ("ALLOWED_PATHS", "ALLOWED_SERVICES")
BLOCK = "_BLOCK"
"""Behind the name of a list: one item on each line. Without it: all on one line."""

NOTHING = "none"
_PLACEHOLDER = re.compile(r"<([A-Z][A-Z0-9_]*)>")
_BLANK = re.compile(r"<[a-z][a-z0-9 _|/-]*>")


class TemplateError(ValueError):
    """A template that cannot be filled; the message names place, placeholder and cure."""


def fill(name: str, template: str, values: Mapping[str, str | Sequence[str]]) -> str:
    """``template`` with each placeholder replaced; what was put in is not looked at again.

    ``values`` holds a text for each of ``TEXTS`` and a list for each of ``LISTS``; an empty list
    says ``none``. Ends with one newline.

    Raises:
        TemplateError: if the template has a placeholder that is none, or misses one: a scope that
            nobody reads binds nobody. ``name`` is how the template is called.
    """
    known = {one: str(values[one]) for one in TEXTS}
    for one in LISTS:
        items = list(values[one]) or [NOTHING]
        known[one] = ", ".join(items)
        known[one + BLOCK] = "\n".join(f"- {item}" for item in items)
    found = set()
    for number, line in enumerate(template.splitlines(), 1):
        for placeholder in _PLACEHOLDER.findall(line):
            if placeholder not in known:
                raise TemplateError(
                    f"{name}, line {number}: nothing fills <{placeholder}>; "
                    f"known are {', '.join(known)}"
                )
            found.add(placeholder.removesuffix(BLOCK))
    if missing := [one for one in (*TEXTS, *LISTS) if one not in found]:
        raise TemplateError(f"{name}: has no <{'>, no <'.join(missing)}>; put it where it is read")
    return _PLACEHOLDER.sub(lambda place: known[place[1]], template).rstrip() + "\n"


def check_text(field: str, text: str, *, lines: bool = False, blanks: bool = False) -> None:
    """Whether ``text`` can stand in a prompt or a ledger entry for what ``field`` is.

    More than one line, which could add its own to the contract around it, only with ``lines``;
    ``<what is to be written later>`` only with ``blanks``.

    Raises:
        ScopeError: if it is empty, holds a secret (a prompt goes to others, an entry stays), what
            nobody sees, or a placeholder that was not filled.
    """
    harmless = redaction.redact(text)
    shown = f"{field}: {harmless[:200]!r}"
    if harmless != text:
        raise ScopeError(f"{shown} holds a secret: say where it lies, not what it is")
    if not text.strip():
        raise ScopeError(f"{shown} says nothing: write one line")
    if not (text.replace("\n", " ").replace("\t", " ") if lines else text).isprintable():
        cure = "write plain text" if lines else "write one line of plain text"
        raise ScopeError(f"{shown} holds a line break, or what nobody sees: {cure}")
    found = _PLACEHOLDER.search(text) or (None if blanks else _BLANK.search(text))
    if found:
        raise ScopeError(f"{shown} holds the placeholder {found[0]}: write what it stands for")


def blank(text: str) -> str:
    """The first ``<part like this>`` of ``text``, perhaps left to be written; empty if none."""
    found = _BLANK.search(text)
    return found[0] if found else ""
