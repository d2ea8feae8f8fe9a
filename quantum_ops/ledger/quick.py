"""The only place that shows a line of the journal without parsing it as a whole.

Canonical lines are all alike: their members stand sorted, each name once. So a line is cut at the
few texts that differ from one operation to the next. What is left is remembered by its very bytes,
together with the block with gaps that it gave: host, branch, services and evidence are often those
of the operation before. Where they are not, each member is remembered on its own. Whatever is not
exactly like that is left to ``render.entry``, which gives the same for every line, only later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from quantum_ops.ledger import emitter, fields

_START = b'{"data":{'
_BARE = rb'[ !#-\[\]-~]*"'
_TEXT = rb'"[ !#-\[\]-~]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[ !#-\[\]-~]*)*"'
_ID = rb"OPS-[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{3,}"
_ENVELOPE = re.compile(
    rb'%(bare)b,"id":"(%(id)b)","occurred_at":"([0-9]{4}-[0-9]{2})%(bare)b'
    rb',"recorded_at":"%(bare)b,"seq":(0|[1-9][0-9]{0,17})'
    rb',"source":\{"host":%(text)b,"stream":%(text)b,"stream_id":%(text)b\}'
    rb',"type":"operation\.recorded","v":1\}' % {b"bare": _BARE, b"text": _TEXT, b"id": _ID}
)
# Nothing inside a text looks like one: a quote in there has a backslash before it.
_NAME = re.compile(b',"(%b)":' % "|".join(sorted(fields.ORDER, key=len, reverse=True)).encode())
_CONTROL = re.compile(rb"[\x00-\x1f]")

_CUT_OUT = {"operation_id", "operation_name", "approval_timestamp", "execution_timestamp"}
"""What differs from one operation to the next in every ledger."""

_GAP = b'"\0"'
"""Stands where a text was cut out: JSON has none such."""

_CUT = (
    b'%b"approval_timestamp":"\0"%b"execution_timestamp":"\0"%b"operation_id":"\0","operation_name'
    b'":"\0"%b'
)
_LONGEST_KEPT, _MOST_KEPT = 4000, 1024
_Key = TypeVar("_Key")
_Made = TypeVar("_Made")


class Entry(NamedTuple):
    """One record as it is shown. ``operation_id`` and ``rollback_of`` are empty for conflicts."""

    seq: int
    month: str
    operation_id: str
    rollback_of: str
    block: bytes


class _NotPlainError(ValueError):
    """The line must be parsed to know."""


def show(line: bytes) -> Entry | None:
    """A recorded operation as ``render.entry`` shows it; None if the line must be parsed to know.

    One that rolls another back always must.
    """
    data, _, envelope = line.rpartition(b'},"digest":"')
    first, _, rest = data.partition(b'"approval_timestamp":"')
    approved, _, rest = rest.partition(b'"')
    second, _, rest = rest.partition(b'"execution_timestamp":"')
    executed, _, rest = rest.partition(b'"')
    third, _, rest = rest.partition(b'"operation_id":"')
    operation_id, _, rest = rest.partition(b'","operation_name":"')
    # Had one of them not been there, nothing would be left.
    operation_name, quote, last = rest.partition(b'"')
    found = _ENVELOPE.fullmatch(envelope)
    if not quote or not found:
        return None
    named, month, seq = found.groups()
    if named != operation_id:
        return None
    try:
        block = _BLOCKS[first, second, third, last] % (
            operation_id, _text(operation_name), _TIMES[approved], _TIMES[executed],
        )  # fmt: skip
    except (ValueError, TypeError, RecursionError):
        return None
    return Entry(int(seq), month.decode(), operation_id.decode(), "", block)


def _block(left: tuple[bytes, bytes, bytes, bytes]) -> bytes:
    """What a line becomes, with gaps, of which this is left around the texts that were cut out."""
    data = _CUT % left
    nothing, *parts = _NAME.split(b"," + data[len(_START) :])
    names = tuple(name.decode() for name in parts[::2])
    values = parts[1::2]
    gaps = {name for name, value in zip(names, values, strict=True) if value == _GAP}
    if not data.startswith(_START) or nothing or gaps != _CUT_OUT or data.count(b"\0") != len(gaps):
        raise _NotPlainError
    shown = [
        b"%b: %%b" % name.encode() if name in gaps else _MEMBERS[name][value].replace(b"%", b"%%")
        for name, value in zip(names, values, strict=True)
    ]
    return b"\n".join((b"---", *_layout(names)(shown), b""))


@lru_cache(maxsize=1024)
def _layout(names: tuple[str, ...]) -> Callable[[Sequence[bytes]], Any]:
    """What puts the members of these names into the order in which they are shown."""
    if list(names) != sorted(set(names)) or "outcome" not in names or "rollback_of" in names:
        raise _NotPlainError
    return itemgetter(*map(names.index, fields.ordered(dict.fromkeys(names))))


def _member(name: str, raw: bytes) -> bytes:
    """How the value ``raw`` of a member is shown; raises ValueError if it is none, or more."""
    value = json.loads(raw.decode())
    if type(value) is str and "\n" not in value:
        return emitter.line(name, value).encode()
    return emitter.block(fields.ordered({name: value}))[len("---\n") : -1].encode()


def _text(raw: bytes) -> bytes:
    """How the text between these quotes is shown behind its name."""
    shown = emitter.text(raw.decode()).encode()
    # A control character is never shown as it is.
    if b"\\" in raw or (shown != raw and _CONTROL.search(raw)):
        raise _NotPlainError
    return shown


def _time(raw: bytes) -> bytes:
    shown = _text(raw)
    return raw if emitter.is_time(raw.decode()) else shown


class _Memo(dict[_Key, _Made]):
    """What was made of bytes of a line, for those that come again and again."""

    def __init__(self, make: Callable[[_Key], _Made], size: Callable[[_Key], int]) -> None:
        super().__init__()
        self._make, self._size = make, size

    def __missing__(self, key: _Key) -> _Made:
        made = self._make(key)
        if self._size(key) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[key] = made
        return made


_BLOCKS = _Memo(_block, lambda left: sum(map(len, left)))
_MEMBERS = {name: _Memo(partial(_member, name), len) for name in fields.ORDER}
_TIMES = _Memo(_time, len)
