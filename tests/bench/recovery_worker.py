"""The only place of the peers as recovering workers: ``-m tests.bench.recovery_worker NAME JOB``.

Each is set up as its own documentation shows. What a worker handled it notes in a file, which the
one who kills it reads: ``+7`` says that entry 7 was handled, ``!13`` that entry 13 was refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import walrus
from faststream.redis import RedisBroker, StreamSub
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from quantum_ops import logs, program
from quantum_ops.clock import Clock
from quantum_ops.consumer import Consumer
from quantum_ops.context import Context
from quantum_ops.measures import Registry
from quantum_ops.metrics import MetricsObserver
from quantum_ops.settings import RedisSettings, RuntimeSettings
from tests.bench import workload
from tests.bench.workload import Tick

ME = "worker-1"
BATCH = 100
CLAIM_MS = 1000
"""Idle milliseconds after which those that can take over an entry are told to."""
CLAIM_BATCH = 10
TASK = "recovery:count"


class PoisonError(Exception):
    """What the handler raises on the poison entry, each time."""


@dataclass(frozen=True, slots=True)
class Job:
    """Read ``key`` as ``group``; note in ``notes``; take ``delay_ms`` each; refuse ``poison``."""

    url: str
    key: str
    group: str
    notes: str
    delay_ms: float = 0.0
    poison: int = -1

    def handle(self, number: int) -> None:
        """The handler that every peer calls."""
        time.sleep(self.delay_ms / 1000)
        if number == self.poison:
            self._note(f"!{number}\n")
            raise PoisonError(f"entry {number} can never be handled")
        self._note(f"+{number}\n")

    def _note(self, line: str) -> None:
        fd = os.open(self.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line.encode())
        os.close(fd)


def ours(job: Job) -> None:
    """This runtime, as ``python -m consumers NAME`` builds it, with the settings it has unset."""

    def handle(tick: Tick, _context: Context) -> None:
        job.handle(int(tick.event_id, 16))

    logs.configure("recovery", "error", sys.stderr)
    consumer = Consumer(job.group, (workload.stream(workload.LONG),), handle, "recovery")
    metrics = MetricsObserver(Registry())
    runner, _ = program.build(
        consumer, RedisSettings(url=job.url), RuntimeSettings(), Clock(), metrics
    )
    runner.run()


def walrus_loop(job: Job) -> None:
    """walrus's ConsumerGroup: read, handle, acknowledge."""
    db = walrus.Database.from_url(job.url)
    group = db.consumer_group(job.group, [job.key]).consumer(ME)
    group.create()
    while True:
        for _, entries in group.read(count=BATCH, block=1000):
            for id_, fields in entries:
                job.handle(int(fields[b"event_id"], 16))
                group.streams[job.key].ack(id_)


def faststream(job: Job) -> None:
    """FastStream, one subscriber on a group."""
    asyncio.run(_faststream(job, claims=False))


def faststream_claiming(job: Job) -> None:
    """FastStream with a second subscriber that claims (``min_idle_time``)."""
    asyncio.run(_faststream(job, claims=True))


async def _faststream(job: Job, *, claims: bool) -> None:
    broker = RedisBroker(job.url, logger=None)  # type: ignore[arg-type]  # None is documented

    async def handle(message: dict[str, Any]) -> None:
        job.handle(int(message["event_id"], 16))

    fresh = StreamSub(job.key, group=job.group, consumer=ME, max_records=BATCH, last_id=">")
    broker.subscriber(stream=fresh)(handle)
    if claims:
        idle = StreamSub(
            job.key, group=job.group, consumer=f"{ME}-claims", min_idle_time=CLAIM_MS,
            max_records=CLAIM_BATCH,
        )  # fmt: skip
        broker.subscriber(stream=idle)(handle)
    await broker.start()
    await asyncio.Event().wait()


def taskiq(job: Job) -> None:
    """taskiq with taskiq-redis's RedisStreamBroker."""
    asyncio.run(_taskiq(job))


def taskiq_claiming(job: Job) -> None:
    """The same, told to take entries over that lay idle for a second (its default: 10 minutes)."""
    asyncio.run(_taskiq(job, idle_timeout=CLAIM_MS))


def taskiq_broker(job: Job, **options: Any) -> Any:
    """The broker with its one task, for the worker and for whoever sends."""
    broker = RedisStreamBroker(
        job.url, queue_name=job.key, consumer_group_name=job.group, consumer_id="0", **options
    )

    @broker.task(task_name=TASK)
    async def count(number: int) -> None:
        job.handle(number)

    return broker, count


async def _taskiq(job: Job, **options: Any) -> None:
    broker, _ = taskiq_broker(job, **options)
    broker.is_worker_process = True
    await run_receiver_task(broker, run_startup=True)


PEERS: dict[str, Callable[[Job], None]] = {
    "ours": ours,
    "walrus": walrus_loop,
    "faststream": faststream,
    "faststream_claiming": faststream_claiming,
    "taskiq": taskiq,
    "taskiq_claiming": taskiq_claiming,
}


if __name__ == "__main__":
    PEERS[sys.argv[1]](Job(**json.loads(sys.argv[2])))
