"""The only place that makes HTML: what is not made here is escaped, controls and bidi included."""

from __future__ import annotations

import html
from typing import Any

from ops.terminal import safe

VOID = frozenset({"meta", "link"})
MAX_TEXT = 1000


class Markup(str):
    """Text that is HTML already. Only :func:`tag`, :func:`joined` and :func:`lines` make it."""

    __slots__ = ()


def text(value: Any, limit: int = MAX_TEXT) -> Markup:
    """``value`` as text that a browser shows as it is; a :class:`Markup` stays one.

    None is nothing. Control characters, bidi marks and bad UTF-8 are shown as escapes.
    """
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("")
    raw = value if isinstance(value, (str, bytes)) else str(value)
    return Markup(html.escape(safe(raw, limit), quote=True))


def breakable(value: str, limit: int = 256) -> Markup:
    """A name of ours or of a stranger, which may be broken behind ``_`` and ``.``."""
    return Markup(text(value, limit).replace("_", "_<wbr>").replace(".", ".<wbr>"))


def lines(value: str, limit: int) -> Markup:
    """Text of several lines, for ``pre``: each is made safe, their ends stay."""
    return Markup("\n".join(text(line, limit) for line in value.split("\n")))


def joined(*children: Any, by: str = "") -> Markup:
    """The children one after the other."""
    return Markup(by.join(text(child) for child in children))


def tag(name_: str, *children: Any, **attributes: Any) -> Markup:
    """An element. ``class_`` means ``class``, ``aria_label`` ``aria-label``; None leaves one out.

    True is an attribute without a value. Attribute values are escaped as text is.
    """
    shown = []
    for key, value in attributes.items():
        name = key.rstrip("_").replace("_", "-")
        if value is True:
            shown.append(f" {name}")
        elif value is not None and value is not False:
            shown.append(f' {name}="{text(value)}"')
    head = f"<{name_}{''.join(shown)}>"
    return Markup(head) if name_ in VOID else Markup(f"{head}{joined(*children)}</{name_}>")
