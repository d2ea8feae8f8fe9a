"""The kit for testing consumers: one call that delivers events and tells what came of them.

    driven = drive(my_consumer, [event, event])
    assert driven.published(AuditFinding)[0].finding == "hash_wrong"

Time is the test's: under ``freezegun.freeze_time`` the frozen clock is moved forward to each retry.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from quantum_ops import codec, logs, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import Consumer
from quantum_ops.context import Context
from quantum_ops.events import DeadLetter, Event
from quantum_ops.memory import MemoryInbox, MemoryRedis
from quantum_ops.observe import BatchReport, Trouble
from quantum_ops.runner import Runner
from quantum_ops.settings import RuntimeSettings

E = TypeVar("E", bound=Event)
MAX_ROUNDS = 10_000


class FrozenClock(Clock):
    """A clock that moves only when somebody waits; it moves freezegun's time with it."""

    def __init__(self, tick: Callable[[float], Any] | None = None) -> None:
        super().__init__()
        self._tick = tick
        self._ahead_s = 0.0

    def now_s(self) -> float:
        """Seconds since 1970, waits included."""
        return time.time() + (0.0 if self._tick else self._ahead_s)

    def monotonic_s(self) -> float:
        """Seconds that passed in waits."""
        return self._ahead_s

    def wait(self, seconds: float) -> None:
        """Let ``seconds`` pass at once."""
        self._ahead_s += seconds
        if self._tick:
            self._tick(seconds)


@dataclass
class Recorder:
    """An observer that remembers."""

    reports: list[BatchReport] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)

    def settled(self, report: BatchReport) -> None:
        """See :class:`~quantum_ops.observe.Observer`."""
        self.reports.append(report)

    def trouble(self, trouble: Trouble) -> None:
        """See :class:`~quantum_ops.observe.Observer`."""
        self.troubles.append(trouble)

    def kinds(self) -> list[str]:
        """The troubles' kinds, in order."""
        return [trouble.kind for trouble in self.troubles]


@dataclass
class Driven:
    """What a consumer did: the server's state after everything was handled."""

    server: MemoryRedis
    group: str
    observer: Recorder

    def published(self, event: type[E]) -> list[E]:
        """Events of this type in their stream, in order."""
        for stream in streams.CATALOGUE:
            if stream.event is event:
                held = self.server.streams.get(stream.key)
                entries = held.entries.values() if held else ()
                return [codec.decoder(event)(flat) for flat in entries]
        raise KeyError(f"no stream carries {event.__name__}")

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """What went to the dead letter, in order."""
        return self.published(DeadLetter)

    @property
    def pending(self) -> int:
        """Entries neither acknowledged nor buried."""
        return sum(
            len(stream.groups[self.group].pending)
            for stream in self.server.streams.values()
            if self.group in stream.groups
        )

    def get(self, key: str) -> Any:
        """The value of ``key`` as effects left it."""
        return self.server.get(key)


def drive(
    consumer: Consumer,
    events: Iterable[Event | list[bytes]],
    *,
    server: MemoryRedis | None = None,
    settings: Any = None,
    tick: Callable[[float], Any] | None = None,
    db: Any = None,
    runtime: RuntimeSettings | None = None,
) -> Driven:
    """Deliver ``events`` to ``consumer`` and follow every retry to its end.

    An event may be given as raw bytes ``[name, value, ...]`` (for the consumer's first stream).
    Pass freezegun's ``frozen.tick`` as ``tick`` to move its time along with the retries.
    """
    server = server or MemoryRedis()
    for event in events:
        if isinstance(event, Event):
            server.add(streams.of(event).key, codec.encode(event))
        else:
            server.add(consumer.streams[0].key, event)
    if settings is None and consumer.settings is not None:
        settings = consumer.settings()
    clock = FrozenClock(tick)
    observer = Recorder()
    keys = tuple(stream.key for stream in consumer.streams)
    context = Context(consumer.name, db, logs.get(), clock, settings)
    inbox = MemoryInbox(server, keys, consumer.name)
    bounds = consumer.bound(runtime or RuntimeSettings())
    runner = Runner(consumer, inbox, context, bounds, observer, clock=clock)
    runner.open()
    for _ in range(MAX_ROUNDS):
        if runner.step(wait=False):
            continue
        due_in_s = runner.due_in_s()
        if due_in_s is None:
            runner.flush()
            return Driven(server, consumer.name, observer)
        clock.wait(due_in_s + 0.001)
    raise AssertionError(f"{consumer.name} did not come to rest in {MAX_ROUNDS} rounds")
