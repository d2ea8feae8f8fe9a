"""The only place that says by what an archived entry can be found: its terms. Pure.

A lookup file (:mod:`quantum_ops.history.pages`) tells in which blocks a term is. Whoever changes
here what an entry is found by MUST raise ``VERSION``: files of another one are made anew.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from quantum_ops import order_id, streams
from quantum_ops.errors import DecodeError
from quantum_ops.events import ApplyResult, Event, UniverseChanged
from quantum_ops.history.entry import Entry

VERSION = 1
PLAN, ORDER, SYMBOL, EPOCH = "plan", "order", "symbol", "epoch"
RECORD, SOURCE, DEPLOY = "record", "source", "deploy"
ROLLBACK, FLAG, CHECKED, DOUBT = "rollback", "flag", "checked", "doubt"
FLAGS = frozenset({"universe_stale", "universe_fresh"})
"""Findings of the universe producer: its flag was turned."""
DOUBTS = frozenset({"archive_gap", "archive_stream_reset"})
"""Findings about ``universe.changed`` after which its keys may not be what was told of last."""
RESTORED = "redis_restored"
_TOLD = FLAGS | DOUBTS | {RESTORED}
_ESCAPED = b"\\\\"
"""What a line shows of an escape in JSON inside JSON: a value may then not stand there as it is."""


_Pair = tuple[str, str]
"""Kind and value of a term."""
_Get = Callable[[str], Sequence[str]]
"""From a name to the values of all fields of that name."""
_Make = Callable[[Entry, _Get], Iterable[_Pair]]


class Term(NamedTuple):
    """One thing to look for: ``Term(PLAN, "84c95a8537d51c1d")``."""

    kind: str
    value: str = ""

    @property
    def print(self) -> int:
        """32 bits of it. Others may have the same: an entry found by them is looked at itself."""
        return zlib.crc32(self.value.encode(), _SEEDS[self.kind])

    @property
    def streams(self) -> frozenset[str]:
        """Keys of the streams whose entries can have it."""
        return _STREAMS[self.kind]

    @property
    def needles(self) -> tuple[bytes, ...]:
        """Each line that has this term has one of these bytes; most others have none."""
        if self.kind in _NEEDLES:
            return _NEEDLES[self.kind]
        text = msgspec.json.encode(self.value)
        return (text[1:-1], _ESCAPED) if self.kind in (ORDER, SYMBOL) else (text,)


def of(entry: Entry) -> set[Term]:
    """The terms of ``entry``. Bytes that make no event have those of their plain fields only."""
    return {Term(kind, value) for kind, value in _pairs(entry)}


def prints(entry: Entry) -> set[int]:
    """The prints of its terms, at half the price."""
    crc, seeds = zlib.crc32, _SEEDS
    return {crc(value.encode(), seeds[kind]) for kind, value in _pairs(entry)}


def values(entry: Entry, name: str) -> list[str]:
    """The values of every field of that name; one that is no text is none."""
    fields, binary = entry.fields, entry.base64
    return [
        fields[at + 1]
        for at in range(0, len(fields) - 1, 2)
        if fields[at] == name and at not in binary and at + 1 not in binary
    ]


def decoded(entry: Entry) -> Event | None:
    """The event of an entry; None for bytes that no consumer could read either."""
    try:
        return entry.event()
    except (DecodeError, KeyError):
        return None


def _pairs(entry: Entry) -> Iterable[_Pair]:
    make = _MAKE.get(entry.stream)
    if make is None:
        return ()
    fields = entry.fields
    known = dict(zip(fields[::2], fields[1::2], strict=False))
    if not entry.base64 and 2 * len(known) == len(fields):
        return make(entry, lambda name: (known[name],) if name in known else ())
    return make(entry, lambda name: values(entry, name))


def _named(kind: str, name: str) -> _Make:
    return lambda _entry, get: [(kind, value) for value in get(name)]


def _result(entry: Entry, get: _Get) -> Iterator[_Pair]:
    yield from _plan(entry, get)
    told = {name: "".join(get(name)[:1]) for name in order_id.PLACES}
    if any(told.values()):
        # Of its fields alone: a result that is malformed otherwise may still name an order.
        found = order_id.find(ApplyResult(plan_id="-", executed=True, **told))
        if found:
            yield ORDER, found


def _changed(entry: Entry, _get: _Get) -> Iterator[_Pair]:
    event = decoded(entry)
    if isinstance(event, UniverseChanged):
        yield EPOCH, str(event.epoch)
        named = (event.added, event.removed, event.close_only, event.changed, event.quarantined)
        for symbols in named:
            yield from ((SYMBOL, symbol) for symbol in symbols)


def _finding(_entry: Entry, get: _Get) -> Iterator[_Pair]:
    subjects, findings = get("subject"), get("finding")
    for subject in subjects:
        yield PLAN, subject
    if _TOLD.isdisjoint(findings):  # nearly always
        return
    if not FLAGS.isdisjoint(findings) and "universe" in get("auditor"):
        yield FLAG, ""
    lost = not DOUBTS.isdisjoint(findings) and streams.UNIVERSE_CHANGED.key in subjects
    if lost or RESTORED in findings:
        yield DOUBT, ""


def _recorded(_entry: Entry, get: _Get) -> Iterator[_Pair]:
    yield from ((RECORD, value) for value in get("seq"))
    yield from ((SOURCE, value) for value in get("source_id") if value)


def _deployed(_entry: Entry, get: _Get) -> Iterator[_Pair]:
    yield from ((DEPLOY, value) for value in get("event_id") if value)
    yield from ((ROLLBACK, value) for value in get("rollback_of") if value)


def _checked(_entry: Entry, get: _Get) -> Iterator[_Pair]:
    if "compared" in get("outcome"):  # a fetch that failed saw nothing
        yield CHECKED, ""


_plan = _named(PLAN, "plan_id")
_MAKE: dict[str, _Make] = {
    streams.APPLY_PLAN.key: _plan,
    streams.APPLY_RESULT.key: _result,
    streams.PERMIT_DECIDED.key: _plan,
    streams.AUDIT_FINDING.key: _finding,
    streams.DEAD_LETTER.key: _named(PLAN, "original.plan_id"),
    streams.UNIVERSE_CHANGED.key: _changed,
    streams.UNIVERSE_CHECKED.key: _checked,
    streams.LEDGER_RECORDED.key: _recorded,
    streams.DEPLOY_COMPLETED.key: _deployed,
}
_STREAMS = {
    PLAN: frozenset({
        streams.APPLY_PLAN.key, streams.APPLY_RESULT.key, streams.PERMIT_DECIDED.key,
        streams.AUDIT_FINDING.key, streams.DEAD_LETTER.key,
    }),
    ORDER: frozenset({streams.APPLY_RESULT.key}),
    SYMBOL: frozenset({streams.UNIVERSE_CHANGED.key}),
    EPOCH: frozenset({streams.UNIVERSE_CHANGED.key}),
    RECORD: frozenset({streams.LEDGER_RECORDED.key}),
    SOURCE: frozenset({streams.LEDGER_RECORDED.key}),
    DEPLOY: frozenset({streams.DEPLOY_COMPLETED.key}),
    ROLLBACK: frozenset({streams.DEPLOY_COMPLETED.key}),
    CHECKED: frozenset({streams.UNIVERSE_CHECKED.key}),
    FLAG: frozenset({streams.AUDIT_FINDING.key}),
    DOUBT: frozenset({streams.AUDIT_FINDING.key}),
}  # fmt: skip
_SEEDS = {kind: zlib.crc32(kind.encode() + b"\0") for kind in _STREAMS}
_NEEDLES = {
    CHECKED: (b'"compared"',),
    FLAG: tuple(b'"%b"' % one.encode() for one in sorted(FLAGS)),
    DOUBT: tuple(b'"%b"' % one.encode() for one in sorted({RESTORED, *DOUBTS})),
}
