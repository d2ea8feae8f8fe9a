"""The only place that shows a line of the journal without parsing it as a whole.

Canonical lines are all alike: their members stand sorted, each name once. So a line is split at the
names of its members, and what was shown for a member is remembered by its very text: an operation's
host, branch and services are those of the one before. Whatever is not exactly like that is left to
``render.entry``, which gives the same for every line, only later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from quantum_ops.ledger import emitter, fields

_START = '{"data":{'
_END = '},"digest":"'
_STRING = r'"[^"\\]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\]*)*"'
_ENVELOPE = re.compile(
    rf'\}},"digest":"[^"\\]*","id":{_STRING},"occurred_at":"([0-9]{{4}}-[0-9]{{2}})[^"\\]*"'
    r',"recorded_at":"[^"\\]*","seq":(0|[1-9][0-9]*)'
    rf',"source":\{{"host":{_STRING},"stream":{_STRING},"stream_id":{_STRING}\}}'
    r',"type":"operation\.recorded","v":1\}'
)
# Nothing inside a text looks like one: a quote in there has a backslash before it.
_NAME = re.compile(rf',"({"|".join(sorted(fields.ORDER, key=len, reverse=True))})":')
_CONTROL = bytes(range(32))
"""In JSON they stand escaped."""

_LONGEST_KEPT, _MOST_KEPT = 400, 4096


class Shown(NamedTuple):
    """What ``render`` needs of an operation; its id and what it rolls back as they were given."""

    seq: int
    month: str
    operation_id: str
    rollback_of: str
    block: str


def show(line: bytes) -> Shown | None:
    """A recorded operation as it is shown; None if the line must be parsed to know."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return None
    end = text.rfind(_END)
    envelope = _ENVELOPE.fullmatch(text, end) if end > 0 else None
    if not envelope or not text.startswith(_START) or line.translate(None, _CONTROL) != line:
        return None
    # From the brace on, with a comma in its place: so the first name is like any other.
    parts = _NAME.split(f",{text[len(_START) : end]}")
    layout = _layout(tuple(parts[1::2]))
    if parts[0] or not layout:
        return None
    values = parts[2::2]
    try:
        texts = [show[raw] for show, raw in zip(layout.members, layout.shown(values), strict=True)]
        operation_id = str(_value(values[layout.operation_id]))
        rollback_of = ""
        if layout.rollback_of >= 0 and _value(values[layout.outcome]) == "ROLLBACK":
            rollback_of = str(_value(values[layout.rollback_of]))
    except (ValueError, TypeError, RecursionError):
        return None
    block = "\n".join(["---", *texts, ""])
    return Shown(int(envelope[2]), envelope[1], operation_id, rollback_of, block)


class _Member(dict[str, str]):
    """How the values of one name were shown, by their text in the line."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __missing__(self, raw: str) -> str:
        value = _value(raw)
        if type(value) is str and "\n" not in value:
            shown = emitter.line(self._name, value)
        else:
            shown = emitter.block(fields.ordered({self._name: value}))[len("---\n") : -1]
        if len(raw) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[raw] = shown
        return shown


_MEMBERS = {name: _Member(name) for name in fields.ORDER}


class _Layout(NamedTuple):
    """Where the members of a line stand, and in which order they are shown."""

    shown: Callable[[Sequence[str]], tuple[str, ...]]
    members: tuple[_Member, ...]
    operation_id: int
    outcome: int
    rollback_of: int


@lru_cache(maxsize=1024)
def _layout(names: tuple[str, ...]) -> _Layout | None:
    """The layout of a line with these names; None if it is no plain operation."""
    if list(names) != sorted(set(names)) or not {"operation_id", "outcome"} <= set(names):
        return None
    order = list(fields.ordered(dict.fromkeys(names)))
    return _Layout(
        itemgetter(*map(names.index, order)),
        tuple(_MEMBERS[name] for name in order),
        names.index("operation_id"),
        names.index("outcome"),
        names.index("rollback_of") if "rollback_of" in names else -1,
    )


def _value(raw: str) -> Any:
    """The value of a member; raises ValueError if it is none, or if more stands behind it."""
    if raw[:1] == '"' and "\\" not in raw and raw.find('"', 1) == len(raw) - 1:
        return raw[1:-1]
    return json.loads(raw)
