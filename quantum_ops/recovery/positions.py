"""The only place that says where each group goes on after a restore. Pure.

The rule: a consumer that is *replay-safe* may see an entry again, so in doubt it goes on earlier;
any other goes on behind everything that was archived, so in doubt an entry is not handled again.
Where the archive proves what a group had handled, that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from quantum_ops import entry_id, streams
from quantum_ops.consumer import Consumer
from quantum_ops.events import DeadLetter, LedgerRecorded
from quantum_ops.history.blocks import FIRST, Key
from quantum_ops.history.reader import Archive
from quantum_ops.recovery import facts

LEDGER, ARCHIVE = "ledger", "archive"
THERE = "where the server has it"


class Position(NamedTuple):
    """Group ``group`` of ``stream`` goes on behind entry ``key``; ``why`` in words."""

    stream: str
    group: str
    key: Key
    why: str


class Held(NamedTuple):
    """A group that a server has: read up to ``last``; ``pending`` is its oldest pending entry."""

    last: Key
    pending: Key | None


Proven = Mapping[tuple[str, str], tuple[Key, str]]
"""(stream, group) -> what the archive proves, and how."""


def of_groups(
    consumers: Iterable[Consumer],
    ends: Mapping[str, Key],
    proven: Proven,
    held: Mapping[tuple[str, str], Held],
) -> list[Position]:
    """The position of every group of ``consumers``, and of every other group a server has."""
    made: dict[tuple[str, str], Position] = {}
    for consumer in consumers:
        for stream in consumer.streams:
            at = (stream.key, consumer.name)
            key, why = _one(consumer, ends.get(stream.key, FIRST), proven.get(at))
            there = held.get(at)
            if there and not consumer.replay_safe and there.last > key:
                key, why = there.last, THERE
            made[at] = Position(*at, key, why)
    for at, there in held.items():
        if at not in made:
            key = entry_before(there.pending) if there.pending else there.last
            made[at] = Position(*at, key, THERE)
    return [made[at] for at in sorted(made)]


def _one(consumer: Consumer, end: Key, proven: tuple[Key, str] | None) -> tuple[Key, str]:
    if consumer.name == ARCHIVE:
        return end, "all of it is archived"
    if proven is not None:
        return proven
    if consumer.replay_safe:
        return FIRST, "sees all again, which changes nothing"
    return end, "handles nothing again"


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
            return entry_before(entry.key), f"first not recorded: {entry.id}"
        end = max(end, entry.key)
    return end, "all are recorded or buried"


def _event_id(flat: list[bytes]) -> set[str]:
    found = [flat[at + 1] for at in range(0, len(flat) - 1, 2) if flat[at] == b"event_id"]
    return {one.decode("utf-8", "replace") for one in found if one}


def entry_before(key: Key) -> Key:
    """The highest id below ``key``."""
    return entry_id.parse(entry_id.before(b"%d-%d" % key))
