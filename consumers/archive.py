"""Copies every stream to files that outlive Redis, and notices what was lost before it could.

The entries are taken as bytes: what no type can decode is history, too. They are acknowledged once
they are durable; docs/archive.md says what the files look like and what is promised.
"""

from __future__ import annotations

from functools import partial

from quantum_ops import streams
from quantum_ops.consumer import consumer, readers
from quantum_ops.context import Context
from quantum_ops.history.keeper import Keeper
from quantum_ops.settings import ArchiveSettings

SCAN_EVERY_S = 1.0
FOREVER = 1_000_000_000
"""No entry is ever given up: a kill while a batch is written charges each of its entries."""


def make(context: Context) -> Keeper:
    """setup: refuses bad settings; the archive itself is opened by ``begin``."""
    return Keeper(context.settings, context.db, context.log, partial(readers, "consumers"))


def begin(context: Context) -> None:
    """hold: nothing is read before this process has the archive."""
    keeper: Keeper = context.held
    keeper.open(context.group)


def look(context: Context) -> None:
    """tick: what was lost, what is to be told, what is to be proven, what is to be looked up."""
    keeper: Keeper = context.held
    keeper.scan(context.group)
    keeper.settle(context.clock.monotonic_s())
    keeper.trim(context.clock.monotonic_s(), context.clock.now_s())
    keeper.note_groups(context.clock.monotonic_s(), context.clock.now_s())
    keeper.index()
    keeper.report(context.vitals)


def end(context: Context) -> None:
    """teardown: prove what there is, let the next process in."""
    keeper: Keeper = context.held
    keeper.close()


def write(context: Context) -> None:
    """commit: durable first, acknowledged after. idle: what a lost session had read, too."""
    keeper: Keeper = context.held
    keeper.commit()


@consumer(
    *streams.CATALOGUE,
    raw=True,
    settings=ArchiveSettings,
    setup=make,
    hold=begin,
    idle=write,
    tick=look,
    tick_s=SCAN_EVERY_S,
    commit=write,
    teardown=end,
    max_deliveries=FOREVER,
    # An entry that is there already is recognised.
    replay_safe=True,
    effects_outside="the archive's files",
)
def archive(flat: list[bytes], context: Context) -> None:
    """Copies every entry of every stream to append-only files, byte for byte."""
    keeper: Keeper = context.held
    keeper.take(context.stream, context.raw_id, flat, context.attempt)
