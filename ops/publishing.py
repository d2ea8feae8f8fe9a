"""The only place that makes an event of what an operator typed. Pure; sends nothing.

Judged as strictly as at the edge of a consumer, and before it is sent: what would be buried there
is refused here. A name that the event does not have is refused, too, where a consumer ignores it.
"""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from quantum_ops import codec, events, streams
from quantum_ops.errors import DecodeError
from quantum_ops.events import Event
from quantum_ops.ledger import redaction
from quantum_ops.streams import Stream

DEPLOY = "deploy"
"""What deploy.completed is called for short."""
WITH_KEYS = (
    streams.UNIVERSE_CHANGED,
    streams.UNIVERSE_CHECKED,
    streams.PERMIT_DECIDED,
    streams.LEDGER_RECORDED,
    streams.DEAD_LETTER,
)
"""Streams whose entries tell what their program did in the same step: typed, they tell a lie."""
Pairs = list[tuple[str, str]]


def stream_of(name: str, *, by_hand: bool) -> Stream:
    """The stream to publish to; ``KeyError`` if there is none, ``ValueError`` if nobody may."""
    stream = streams.find(streams.DEPLOY_COMPLETED.name if name == DEPLOY else name)
    if not stream.ours:
        raise ValueError(f"{stream.name} is of the trading side: nothing here ever writes to it")
    if stream in WITH_KEYS and not by_hand:
        raise ValueError(
            f"{stream.name} says what {stream.written_by} did, and readers act on it; if you do "
            "mean to write it yourself, add --by-hand"
        )
    return stream


def pairs(words: Iterable[str]) -> Pairs:
    """``name=value`` words; ``ValueError`` for one that is none."""
    found = []
    for word in words:
        name, sign, value = word.partition("=")
        if not (name and sign):
            raise ValueError(f"{word!r} is no field; write name=value")
        found.append((name, value))
    return found


def line(text: str) -> Pairs:
    """The fields of a line: a JSON object, or ``name=value`` words quoted as in a shell."""
    if not text.lstrip().startswith("{"):
        return pairs(shlex.split(text))
    found: dict[str, Any] = json.loads(text, object_pairs_hook=_once)
    # Numbers as they stand there: 0.10 is not 0.1 to whoever compares texts.
    exact: dict[str, Any] = json.loads(text, parse_float=str, parse_int=str)
    return [(name, _text(name, value, exact[name])) for name, value in found.items()]


def event(stream: Stream, given: Sequence[tuple[str, str]]) -> Event:
    """The event with these fields; what the envelope lacks is filled in.

    Raises ``ValueError`` that names the field and what would be right.
    """
    known = [field.encode_name for field in msgspec.structs.fields(stream.event)]
    names = [name for name, _ in given]
    for name in names:
        if name not in known and name != "schema":
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise ValueError(f"{stream.name}: no field {name!r}{hint}")
    whole = [*given, *((name, value) for name, value in _envelope(stream) if name not in names)]
    flat = [part.encode("utf-8", "surrogateescape") for pair in whole for part in pair]
    try:
        made: Event = codec.decoder(stream.event)(flat)
        codec.encode(made)
    except DecodeError as error:
        raise ValueError(f"{stream.name}: {error}") from None
    return made


def redacted(made: Event) -> Event:
    """A deploy's event with ``[redacted]`` for each secret in it: streams are kept for ever."""
    if not isinstance(made, events.DeployCompleted):
        return made
    kept = {"event_id", "operation_id", "rollback_of", "occurred_at", "git_commit", "strict"}
    told = {
        field.name: redaction.redact_all(getattr(made, field.name))
        for field in msgspec.structs.fields(type(made))
        if field.name not in kept
    }
    lists = {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
    return msgspec.structs.replace(made, **{**told, **lists})


def _envelope(stream: Stream) -> Pairs:
    own = [("schema", stream.event.schema), ("event_id", events.new_id())]
    if issubclass(stream.event, events.OwnEvent):
        own.append(("occurred_at", codec.rfc3339(events.now())))
    return own


def _once(found: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(found)
    if len(made) < len(found):
        raise ValueError("a name stands twice")
    return made


def _text(name: str, value: Any, exact: Any) -> str:
    if value is None:
        raise ValueError(f"{name}: null is no value; leave the field out")
    return exact if isinstance(exact, str) else json.dumps(value)
