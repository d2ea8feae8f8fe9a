"""The only place that says where each group goes on after a restore. Pure.

The rule: a consumer that is *replay-safe* may see an entry again, so in doubt it goes on earlier;
any other goes on behind everything that was archived, so in doubt an entry is not handled again.
Where the archive proves what a group had handled, that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from quantum_ops import streams
from quantum_ops.consumer import Consumer
from quantum_ops.events import DeadLetter, LedgerRecorded
from quantum_ops.history.blocks import FIRST, LAST, Key
from quantum_ops.history.groups import Held, Note, Seen, before
from quantum_ops.history.reader import Archive
from quantum_ops.recovery import facts

LEDGER, ARCHIVE = "ledger", "archive"
THERE = "where the server has it"


class Position(NamedTuple):
    """Group ``group`` of ``stream`` goes on behind entry ``key``; ``why`` in words.

    ``ours`` is False for a group that no consumer of this project has.
    """

    stream: str
    group: str
    key: Key
    why: str
    ours: bool = True


Proven = Mapping[tuple[str, str], tuple[Key, str]]
"""(stream, group) -> what the archive proves, and how."""


def of_groups(
    consumers: Iterable[Consumer],
    ends: Mapping[str, Key],
    proven: Proven,
    held: Mapping[tuple[str, str], Held],
    noted: Note = MappingProxyType({}),
) -> list[Position]:
    """The position of every group of ``consumers``, and of every other one that is known of.

    ``held`` are the groups that the server has, ``noted`` is where the archive saw them last.
    """
    seen = {(stream, name): (one, known.at_ms) for stream, known in noted.items()
            for name, one in known.groups.items()}  # fmt: skip
    made: dict[tuple[str, str], Position] = {}
    for consumer in consumers:
        for stream in consumer.streams:
            at = (stream.key, consumer.name)
            key, why = _one(consumer, ends.get(stream.key, FIRST), proven.get(at))
            there = held.get(at)
            if not consumer.replay_safe and at in seen and seen[at][0].last > key:
                key, why = seen[at][0].last, "read so far, as noted in the archive"
            if there and not consumer.replay_safe and there.last > key:
                key, why = there.last, THERE
            made[at] = Position(*at, key, why)
    for at in held.keys() | seen.keys():
        if at not in made:
            end = ends.get(at[0], FIRST)
            made[at] = _stranger(at, held.get(at), seen.get(at), end)
    return [made[at] for at in sorted(made)]


def _stranger(
    at: tuple[str, str], there: Held | None, seen: tuple[Held, int] | None, end: Key
) -> Position:
    """A group of which nobody says whether it may see an entry again: so it must not."""
    if there and (seen is None or there.last >= seen[0].last):
        return Position(*at, there.settled, THERE, ours=False)
    assert seen is not None  # noqa: S101 - it is known of by one of both
    one, at_ms = seen
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    told = "{}-{}".format(*one.settled)
    why = f"handles nothing again; up to {told} was settled at {moment:%Y-%m-%d %H:%M:%S}"
    return Position(*at, max(end, one.last), why, ours=False)


def _one(consumer: Consumer, end: Key, proven: tuple[Key, str] | None) -> tuple[Key, str]:
    if consumer.name == ARCHIVE:
        return end, "all of it is archived"
    if proven is not None:
        return proven
    if consumer.replay_safe:
        return FIRST, "sees all again, which changes nothing"
    return end, "handles nothing again"


def held_at(
    held: Mapping[tuple[str, str], Held], at: Mapping[str, Key], bounds: Mapping[str, Key]
) -> dict[tuple[str, str], Held]:
    """The groups, (stream, name) -> where; at the end of its stream (``at``) if above its bound.

    A group that read an entry there would be handed nothing any more.
    """
    return {
        one: _back(group, at.get(one[0], FIRST), bounds.get(one[0], LAST))
        for one, group in held.items()
    }


def noted_at(noted: Note, at: Mapping[str, Key], bounds: Mapping[str, Key]) -> dict[str, Seen]:
    """The note of groups in the same way."""
    return {
        stream: seen._replace(
            groups={
                name: _back(group, at.get(stream, FIRST), bounds.get(stream, LAST))
                for name, group in seen.groups.items()
            }
        )
        for stream, seen in noted.items()
    }


def of_ledger(archive: Archive) -> tuple[Key, str]:
    """Behind the deployments of which the archive tells that they are recorded or buried."""
    done: set[str] = set()
    both = [streams.LEDGER_RECORDED, streams.DEAD_LETTER]
    for _, event in facts.told(archive, both):
        if isinstance(event, LedgerRecorded):
            done.add(event.source_id)
        elif isinstance(event, DeadLetter) and event.group == LEDGER:
            done.add(event.entry_id)
    end = FIRST
    for entry in archive.read({streams.DEPLOY_COMPLETED.key}):
        if entry.id not in done and done.isdisjoint(_event_id(entry.flat)):
            return before(entry.key), f"first not recorded: {entry.id}"
        end = max(end, entry.key)
    return end, "all are recorded or buried"


def _event_id(flat: list[bytes]) -> set[str]:
    found = [flat[at + 1] for at in range(0, len(flat) - 1, 2) if flat[at] == b"event_id"]
    return {one.decode("utf-8", "replace") for one in found if one}


def _back(group: Held, end: Key, highest: Key) -> Held:
    if group.last <= highest:
        return group
    pending = group.pending
    return Held(end, None if pending and pending > highest else pending)
