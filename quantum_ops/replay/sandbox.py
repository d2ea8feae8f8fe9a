"""The only place that runs a consumer on the past: a scratch server, virtual time, no way out.

The consumer gets the entries under their own ids and moments, and a client of the scratch server
only. What it declares happens there. Consumers with effects outside Redis are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import redis
import walrus

from quantum_ops import client, events, knobs, logs, streams
from quantum_ops.consumer import Consumer
from quantum_ops.context import Context
from quantum_ops.errors import QuantumError
from quantum_ops.history import entry as lines
from quantum_ops.history.entry import Entry
from quantum_ops.observe import BatchReport, Trouble
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.replay.virtual import VirtualClock
from quantum_ops.runner import Runner
from quantum_ops.settings import RuntimeSettings

TOGETHER = 500
"""Entries of one moment that are handed over at once."""
MAX_TICKED_S = 120.0
"""Of a longer silence, only so much is passed tick by tick."""
SETTLE_S = 90.0
"""Virtual time after the last entry, for what is due later: windows, retries."""


class SandboxError(QuantumError):
    """This cannot be replayed into a sandbox; the message says why."""


@dataclass(slots=True)
class Outcome:
    """What came of it. ``handled`` entries were acknowledged, ``troubles`` counts by kind.

    ``published`` are the entries that the consumer added to streams, dead letters included;
    ``refused`` ids could not be handed over (they went back). ``first_ms`` and ``last_ms`` are the
    virtual time it ran in.
    """

    entries: int = 0
    handled: int = 0
    first_ms: int = 0
    last_ms: int = 0
    refused: list[str] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    published: list[Entry] = field(default_factory=list)


class _Observer:
    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def settled(self, report: BatchReport) -> None:
        """See :class:`~quantum_ops.observe.Observer`."""
        del report

    def trouble(self, trouble: Trouble) -> None:
        """See :class:`~quantum_ops.observe.Observer`."""
        self._outcome.troubles[trouble.kind] += 1


def refuse_outside(consumer: Consumer) -> None:
    """Raise :class:`SandboxError` for a consumer whose effects a scratch server does not hold."""
    if consumer.effects_outside:
        raise SandboxError(
            f"{consumer.name} has effects outside Redis ({consumer.effects_outside}), which no "
            "scratch server holds; compare what it made with --rebuild instead"
        )


def run(
    consumer: Consumer,
    entries: Iterable[Entry],
    connect: Callable[[], walrus.Database],
    clock: VirtualClock,
    *,
    seed: Callable[[walrus.Database, float], None] = lambda _db, _now_s: None,
    settle_s: float = SETTLE_S,
) -> Outcome:
    """Hand ``entries`` over to ``consumer`` on the empty scratch server that ``connect`` gives.

    ``seed(db, now_s)`` keeps state there that is no consumer's business (the universe's keys);
    it is called as time goes on. Raises :class:`SandboxError` if the server is not empty.
    """
    refuse_outside(consumer)
    db = connect()
    if db.dbsize():
        raise SandboxError("the scratch server is not empty: it is not one")
    outcome = Outcome()
    with events.told_by(clock.now_s):
        blocking = connect()
        _run(
            consumer, _together(entries), db, blocking, clock,
            seed=seed, settle_s=settle_s, outcome=outcome,
        )  # fmt: skip
    outcome.published = list(_published(db, consumer))
    return outcome


def _run(
    consumer: Consumer,
    groups: Iterator[list[Entry]],
    db: walrus.Database,
    blocking: walrus.Database,
    clock: VirtualClock,
    *,
    seed: Callable[[walrus.Database, float], None],
    settle_s: float,
    outcome: Outcome,
) -> None:
    keys = tuple(stream.key for stream in consumer.streams)
    settings = knobs.load(consumer.settings) if consumer.settings else None
    context = Context(consumer.name, db, logs.get(), clock, settings)
    inbox = RedisInbox(blocking, keys, consumer.name, "replay")
    bounds = consumer.bound(knobs.load(RuntimeSettings))
    runner: Runner | None = None
    for group in groups:
        at_s = group[0].ms / 1000
        if runner is None:
            clock.begin(at_s)
            outcome.first_ms = group[0].ms
            seed(db, at_s)
            runner = Runner(consumer, inbox, context, bounds, _Observer(outcome), clock=clock)
            runner.open()
        else:
            _pass_time(runner, consumer, clock, at_s)
            seed(db, at_s)
        _add(db, group, keys, outcome)
        _settle(runner)
    if runner is not None:
        _pass_time(runner, consumer, clock, clock.now_s() + settle_s)
        runner.flush()
        outcome.handled = runner.handled
        outcome.last_ms = int(clock.now_s() * 1000)
    inbox.disconnect()


def _together(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Entries of the same millisecond, at most ``TOGETHER``."""
    group: list[Entry] = []
    for one in entries:
        if group and (one.ms != group[0].ms or len(group) >= TOGETHER):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _add(db: walrus.Database, group: list[Entry], keys: tuple[str, ...], outcome: Outcome) -> None:
    for one in group:
        if one.stream not in keys:
            continue
        try:
            db.execute_command("XADD", one.stream, one.id, *one.flat)
        except redis.ResponseError:
            outcome.refused.append(one.id)
        else:
            outcome.entries += 1


def _pass_time(runner: Runner, consumer: Consumer, clock: VirtualClock, until_s: float) -> None:
    """Let time pass, with every tick and retry that falls into it."""
    ticked_until_s = min(until_s, clock.now_s() + MAX_TICKED_S)
    while clock.now_s() < ticked_until_s and not clock.stopping():
        step_s = ticked_until_s - clock.now_s()
        due_s = runner.due_in_s()
        if due_s is not None:
            step_s = min(step_s, due_s + 0.001)
        if consumer.tick is not None:
            step_s = min(step_s, consumer.tick_s)
        clock.wait(step_s)
        _settle(runner)
    clock.reach(until_s)


def _settle(runner: Runner) -> None:
    while runner.step(wait=False):
        pass
    runner.flush()


def _published(db: walrus.Database, consumer: Consumer) -> Iterator[Entry]:
    """What stands in streams that were not fed."""
    fed = {stream.key for stream in consumer.streams}
    for stream in streams.CATALOGUE:
        if stream.key in fed or not db.exists(stream.key):
            continue
        for id_, flat in client.raw(db, "XRANGE", stream.key, "-", "+"):
            yield lines.decode(lines.encode(stream.key, id_, flat))
