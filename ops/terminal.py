"""The only place that makes untrusted text fit for a terminal."""

from __future__ import annotations

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that move the cursor, turn text round (bidi) or do not show at all."""
MAX_SHOWN = 300


def safe(value: bytes | str, limit: int = MAX_SHOWN) -> str:
    r"""``value`` with controls, escapes, bidi marks and bad UTF-8 shown as ``\x1b``-like escapes.

    Stream values come from anyone who can XADD: printed raw, one could repaint the screen or hide
    half a line. Longer than ``limit`` characters it is cut, and the cut is told.
    """
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join(map(_shown, shown))
    return shown if len(text) <= limit else f"{shown}... ({len(text)} characters)"


def _shown(char: str) -> str:
    if unicodedata.category(char) in _HIDDEN:
        return char.encode("unicode_escape").decode("ascii")
    return char
