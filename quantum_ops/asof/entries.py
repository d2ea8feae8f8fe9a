"""The only place that reads single entries for an answer, and names those that it rests on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from quantum_ops.events import Event
from quantum_ops.history.blocks import LAST, Key
from quantum_ops.history.reader import Archive
from quantum_ops.history.segment import Found
from quantum_ops.history.terms import decoded
from quantum_ops.streams import Stream

E = TypeVar("E", bound=Event)
Rest = tuple[str, str]
"""Stream key and id of an entry."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers. ``rests_on`` are the entries it follows from, each once, by id."""

    rests_on: list[Rest]


def rests(found: Iterable[Found | None]) -> list[Rest]:
    """The entries as an answer names them; None is passed over."""
    kept = {(one.entry.key, one.entry.stream): one.entry for one in found if one is not None}
    return [(kept[at].stream, kept[at].id) for at in sorted(kept)]


def newest(
    archive: Archive, stream: Stream, kind: type[E], until: Key = LAST
) -> tuple[Found, E] | None:
    """The newest entry up to ``until`` that is an event; what nobody could read is passed over."""
    while True:
        found = archive.newest(stream.key, until)
        if found is None:
            return None
        event = decoded(found.entry)
        if isinstance(event, kind):
            return found, event
        before = below(found.entry.key)
        if before is None:
            return None
        until = before


def events(found: Iterable[Found], kind: type[E]) -> list[tuple[Found, E]]:
    """Those that are events of that kind, by id."""
    kept = []
    for one in sorted(found, key=lambda one: (one.entry.key, one.at)):
        event = decoded(one.entry)
        if isinstance(event, kind):
            kept.append((one, event))
    return kept


def below(key: Key) -> Key | None:
    """The highest id below this one; None below all."""
    if key[1]:
        return key[0], key[1] - 1
    return (key[0] - 1, LAST[1]) if key[0] else None
