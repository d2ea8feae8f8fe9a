"""The only place that writes YAML: one entry of the ledger as a block of text.

What is written reads back as what was given, under YAML 1.1 and 1.2 alike. A text stands plain
only if both take it for that very text; else it is quoted with every harmful character escaped, so
no value can end its line, its block or the Markdown fence around it, nor look like another field.
The characters are listed here: Python's own tables change with its version, and two hosts must
render the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

TIMES = frozenset({"approval_timestamp", "execution_timestamp", "mtime_utc"})
"""Fields whose times stand plain, as in the specification; YAML 1.1 reads a timestamp there."""

LONGEST_SIMPLE_KEY = 1000
"""YAML allows 1024 characters for a key before its colon; a longer one is written with ``?``."""

# Latin, Greek, Cyrillic, typographic marks, arrows, boxes, symbols, CJK, kana, hangul, emoji: what
# people write. All else is escaped, above all what is invisible or turns the writing direction.
_LETTERS = (
    "\u00a1-\u00ac\u00ae-\u02af\u0370-\u0377\u037a-\u037f\u0384-\u038a\u038c\u038e-\u03a1"
    "\u03a3-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2100-\u218b"
    "\u2190-\u23ff\u2500-\u2b73\u3001-\u3029\u3041-\u3096\u30a0-\u30ff\u4e00-\u9fef"
    "\uac00-\ud7a3\U0001f300-\U0001f6d7\U0001f900-\U0001f9ff"
)
_FIRST = f"[A-Za-z0-9_/(${_LETTERS}]"
_SHOWN = f"[ -~{_LETTERS}]"
UNSEEN = re.compile(f"[^ -~{_LETTERS}]")
"""A character that is escaped wherever it stands."""

_INK = f"[!-~{_LETTERS}]"

_PLAIN = re.compile(f"{_FIRST}{_SHOWN}*")
_ANOTHER_TYPE = re.compile(
    r"[0-9][0-9_,.:]*(?:[eE][-+]?[0-9_]*)?"  # int, float, base 60
    r"|0[xXoObB][0-9a-fA-F_]*"
    r"|[0-9]{4}-[0-9].*"  # a date or a time
    r"|(?i:null|true|false|yes|no|on|off|y|n)"
)
_LONGEST_WORD = len("false")
_LITERAL_LINE = re.compile(rf"(?! *(?:```|~~~))(?:{_SHOWN}*{_INK})?")
_ESCAPED = re.compile(f'[^ -~{_LETTERS}]|["\\\\]')
_ONLY_TEXT = {str}
_LONGEST_KEPT, _MOST_KEPT = 100, 4096
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z")


def block(data: Mapping[str, Any]) -> str:
    """One YAML document: ``---``, then a line or more for each field, in the order given.

    Values are text, int, bool, None, and lists or maps of such. A text of several harmless lines
    stands as a literal block (``|``), any other on one line. Ends with a newline.

    Raises:
        TypeError: on a value of another type, above all a float; it names the field.
    """
    if not data:
        return "--- {}\n"
    lines = ["---"]
    # What most fields are, texts and lists and maps of texts, is written here; a ledger is rendered
    # again as a whole now and then, and a call for each value would take as long as all the rest.
    for name, value in data.items():
        kind = type(value)
        if kind is str and name not in TIMES:
            shown = _lines(value) if "\n" in value else _TEXTS[value]
            lines.append(f"{_KEYS[name]} {shown}")
        elif kind is list and name not in TIMES and {*map(type, value)} == _ONLY_TEXT:
            lines.append(_KEYS[name])
            lines += [f"  - {_TEXTS[one]}" for one in value]
        elif (
            kind is dict and {*map(type, value.values())} == _ONLY_TEXT and TIMES.isdisjoint(value)
        ):
            lines.append(_KEYS[name])
            lines += [f"  {_INNER_KEYS[inner]} {_TEXTS[one]}" for inner, one in value.items()]
        else:
            lines.extend(_field(name, value, ""))
    lines.append("")
    return "\n".join(lines)


def line(name: str, value: str) -> str:
    """What ``block`` writes for a text that has no end of line in it."""
    if name in TIMES and is_time(value):
        return f"{_KEYS[name]} {value}"
    return f"{_KEYS[name]} {_TEXTS[value]}"


def _field(name: str, value: Any, indent: str) -> Iterator[str]:
    key = _KEYS[name].replace("\n", f"\n{indent}")
    shown = _scalar(name, value)
    if shown is not None:
        yield f"{indent}{key} {shown}"
    else:
        yield f"{indent}{key}"
        yield from _nested(name, value, indent + "  ")


def _nested(name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _field(inner, one, indent)
        return
    for one in value:
        shown = _scalar(name, one)
        if shown is not None:
            yield f"{indent}- {shown}"
        else:
            yield f"{indent}-"
            yield from _nested(name, one, indent + "  ")


def _scalar(name: str, value: Any) -> str | None:
    """``value`` on one line, or None if it takes more."""
    if isinstance(value, str):
        return value if name in TIMES and is_time(value) else text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value is None:
        return "null"
    if isinstance(value, dict):
        return None if value else "{}"
    if isinstance(value, (list, tuple)):
        return None if value else "[]"
    raise TypeError(f"{name}: {type(value).__name__} cannot stand in the ledger: write it as text")


def text(value: str) -> str:
    """A text on one line: plain if it is read as that very text, else quoted."""
    plain = (
        _PLAIN.fullmatch(value)
        and ": " not in value
        and " #" not in value
        and value[-1] not in " :"
        and ((value[0] > "9" and len(value) > _LONGEST_WORD) or not _ANOTHER_TYPE.fullmatch(value))
    )
    return value if plain else f'"{_ESCAPED.sub(_escape, value)}"'


def _lines(value: str) -> str:
    """A text of several lines as a literal block where that is safe and readable, else quoted."""
    lines = value.split("\n")
    ends = lines[-1] == ""
    if ends:
        lines.pop()
    if lines[0][:1] in ("", " ") or not lines[-1] or not all(map(_LITERAL_LINE.fullmatch, lines)):
        return text(value)
    return "\n".join(["|" if ends else "|-", *(f"  {line}" if line else "" for line in lines)])


class _Memo(dict[str, str]):
    """How texts were shown, for those that come again and again: an operation's are much alike."""

    def __init__(self, show: Callable[[str], str]) -> None:
        super().__init__()
        self._show = show

    def __missing__(self, value: str) -> str:
        shown = self._show(value)
        if len(value) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[value] = shown
        return shown


def _key(name: str) -> str:
    shown = text(name)
    return f"{shown}:" if len(shown) <= LONGEST_SIMPLE_KEY else f"? {shown}\n:"


_TEXTS = _Memo(text)
_KEYS = _Memo(_key)
_INNER_KEYS = _Memo(lambda name: _key(name).replace("\n", "\n  "))


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    if char in _SHORT:
        return _SHORT[char]
    return f"\\u{ord(char):04x}" if char <= "\uffff" else f"\\U{ord(char):08x}"


@lru_cache(maxsize=64)
def is_time(value: str) -> bool:
    """Whether ``value`` is a moment that exists; YAML 1.1 readers stumble over any other."""
    found = _TIME.fullmatch(value)
    if not found:
        return False
    try:
        datetime(*map(int, found.groups()))  # type: ignore[arg-type] # noqa: DTZ001 - does it exist
    except ValueError:
        return False
    return True
