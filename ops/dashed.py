"""The only place that lets times such as ``-1h`` be typed where argparse takes them for options."""

from __future__ import annotations

import re
from collections.abc import Iterable

_DASHED = re.compile(r"-[0-9]+[smhdw]?")
_MARK = "\0"


def mark(argv: Iterable[str]) -> list[str]:
    """``argv`` with every such word marked, so that argparse takes it as it is."""
    return [f"{_MARK}{word}" if _DASHED.fullmatch(word) else word for word in argv]


def unmark(word: str) -> str:
    """The word as it was typed."""
    return word.removeprefix(_MARK)
