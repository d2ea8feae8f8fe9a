"""The only place where the benchmark runs our runtime: the whole of it, as a live process does.

The runner, its inbox, metrics, log lines and heartbeat come from :func:`quantum_ops.program.build`,
which is what ``python -m consumers NAME`` runs. Nothing is left out and nothing is faked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from quantum_ops import logs, program
from quantum_ops.clock import Clock
from quantum_ops.consumer import Consumer
from quantum_ops.context import Context
from quantum_ops.events import Event
from quantum_ops.measures import Registry
from quantum_ops.metrics import MetricsObserver
from quantum_ops.settings import RedisSettings, RuntimeSettings
from tests.bench import workload
from tests.bench.job import Job
from tests.bench.workload import ExactTick, Tick

Handle = Callable[[Any, Context], None]
Prepare = Callable[[Sequence[Any], Context], Any]


def typed(job: Job) -> Callable[[], None]:
    """A typed handler, no effects."""
    return _runner(job, Tick, lambda _tick, _context: None)


def typed_decimal(job: Job) -> Callable[[], None]:
    """A typed handler whose price and quantity are exact decimals, no effects."""
    return _runner(job, ExactTick, lambda _tick, _context: None)


def effects(job: Job) -> Callable[[], None]:
    """A typed handler that declares one HSET of one field for each event."""

    def declare(tick: Tick, context: Context) -> None:
        context.hset(workload.state_key(tick.symbol), {"event_id": tick.event_id})

    return _runner(job, Tick, declare)


def effects_wide(job: Job) -> Callable[[], None]:
    """The same with three fields, two of them numbers."""

    def declare(tick: Tick, context: Context) -> None:
        context.hset(
            workload.state_key(tick.symbol),
            {"price": tick.price, "qty": tick.qty, "event_id": tick.event_id},
        )

    return _runner(job, Tick, declare)


def prepared(job: Job) -> Callable[[], None]:
    """A typed handler whose batch's state is fetched by one MGET in ``prepare``, no effects."""

    def prepare(ticks: Sequence[Tick], context: Context) -> dict[str, Any]:
        symbols = sorted({tick.symbol for tick in ticks})
        values = context.db.mget([f"quantum:bench:gate:{symbol}" for symbol in symbols])
        return dict(zip(symbols, values, strict=True))

    return _runner(job, Tick, lambda _tick, _context: None, prepare)


def _runner(
    job: Job, event: type[Event], act: Handle, prepare: Prepare | None = None
) -> Callable[[], None]:
    clock = Clock()
    count = job.handler(lambda tick: tick.sent_ns)

    def handle(tick: Any, context: Context) -> None:
        act(tick, context)
        count(tick)
        if job.seen == job.count:
            clock.stop()

    logs.configure("bench", "info", sys.stderr)
    stream = workload.stream(job.stream_name, event)
    consumer = Consumer(job.group, (stream,), handle, "bench", prepare=prepare)
    metrics = MetricsObserver(Registry())
    runner, _ = program.build(
        consumer, RedisSettings(url=job.url), RuntimeSettings(), clock, metrics
    )
    program.settle_in()
    return runner.run
