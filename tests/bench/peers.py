"""The only place where the benchmark runs FastStream, set up as its documentation shows.

Its per-message log lines are switched off and its handlers take plain dictionaries: both are in its
favour (a line costs more than the message, and ours validates types).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import redis.asyncio
from faststream.redis import RedisBroker, StreamSub

from tests.bench import workload
from tests.bench.job import BATCH, Job

ME = "bench-1"
POLL_S = 0.01
"""At most this much is added to runs of a second and more."""


def default(job: Job) -> Callable[[], None]:
    """One handler call and one acknowledgement for each message."""
    broker = RedisBroker(job.url, logger=None)  # type: ignore[arg-type]  # None is documented
    handler = job.handler(lambda message: message["sent_ns"])

    @broker.subscriber(
        stream=StreamSub(job.key, group=job.group, consumer=ME, max_records=BATCH, last_id=">")
    )
    async def handle(message: dict[str, Any]) -> None:
        handler(message)

    return lambda: asyncio.run(_until_done(broker, job))


def batch(job: Job) -> Callable[[], None]:
    """One handler call and one acknowledgement for each batch."""
    broker = RedisBroker(job.url, logger=None)  # type: ignore[arg-type]  # None is documented
    handler = job.handler(lambda message: message["sent_ns"])

    @broker.subscriber(
        stream=StreamSub(
            job.key, group=job.group, consumer=ME, batch=True, max_records=BATCH, last_id=">"
        )
    )
    async def handle(messages: list[dict[str, Any]]) -> None:
        for message in messages:
            handler(message)

    return lambda: asyncio.run(_until_done(broker, job))


def default_effects(job: Job) -> Callable[[], None]:
    """One HSET for each message, made by the handler; then the acknowledgement."""
    broker = RedisBroker(job.url, logger=None)  # type: ignore[arg-type]  # None is documented
    state: Any = redis.asyncio.Redis.from_url(job.url)
    handler = job.handler(lambda message: message["sent_ns"])

    @broker.subscriber(
        stream=StreamSub(job.key, group=job.group, consumer=ME, max_records=BATCH, last_id=">")
    )
    async def handle(message: dict[str, Any]) -> None:
        await state.hset(workload.state_key(message["symbol"]), "event_id", message["event_id"])
        handler(message)

    return lambda: asyncio.run(_until_done(broker, job, state))


def batch_effects(job: Job) -> Callable[[], None]:
    """The HSETs of a batch in one MULTI, made by the handler; then the acknowledgement."""
    broker = RedisBroker(job.url, logger=None)  # type: ignore[arg-type]  # None is documented
    state: Any = redis.asyncio.Redis.from_url(job.url)
    handler = job.handler(lambda message: message["sent_ns"])

    @broker.subscriber(
        stream=StreamSub(
            job.key, group=job.group, consumer=ME, batch=True, max_records=BATCH, last_id=">"
        )
    )
    async def handle(messages: list[dict[str, Any]]) -> None:
        pipe = state.pipeline(transaction=True)
        for message in messages:
            pipe.hset(workload.state_key(message["symbol"]), "event_id", message["event_id"])
        await pipe.execute()
        for message in messages:
            handler(message)

    return lambda: asyncio.run(_until_done(broker, job, state))


async def _until_done(broker: RedisBroker, job: Job, state: Any = None) -> None:
    await broker.start()
    # Its stop waits for the last acknowledgement, so that counts here too.
    while job.seen < job.count:  # noqa: ASYNC110 - an Event set in the handler would slow it down
        await asyncio.sleep(POLL_S)
    await broker.stop()
    if state is not None:
        await state.aclose()
