"""The only place where the benchmark runs taskiq-redis, set up as its documentation shows.

A task is a function call: its message is JSON with the fields that every entry has, and taskiq
checks them against the types of the function's parameters.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import redis.asyncio
from taskiq.api import run_receiver_task
from taskiq.formatters.json_formatter import JSONFormatter
from taskiq.message import TaskiqMessage
from taskiq_redis import RedisStreamBroker

from tests.bench import workload
from tests.bench.job import Job

TASK = "bench:handle"
_left: list[asyncio.Task[None]] = []
POLL_S = 0.01
"""At most this much is added to runs of a second and more."""


def task(job: Job) -> Callable[[], None]:
    """One task and one acknowledgement for each message."""
    return _worker(job, effects=False)


def task_effects(job: Job) -> Callable[[], None]:
    """The same with one HSET for each message, which the task makes itself."""
    return _worker(job, effects=True)


def message(fields: dict[str, str]) -> list[Any]:
    """Names and values of the entry that calls the task with ``fields``."""
    call = TaskiqMessage(
        task_id=fields["event_id"], task_name=TASK, labels={}, args=[], kwargs=fields
    )
    return ["data", JSONFormatter().dumps(call).message]


def _worker(job: Job, *, effects: bool) -> Callable[[], None]:
    broker = RedisStreamBroker(
        job.url, queue_name=job.key, consumer_group_name=job.group, consumer_id="0"
    )
    state = redis.asyncio.Redis.from_url(job.url)
    handler = job.handler(lambda sent_ns: sent_ns)

    @broker.task(task_name=TASK)
    async def handle(  # noqa: PLR0917 - the fields of the entry, each by its name
        event_id: str, symbol: str, source: str, note: str, price: float, qty: float,
        sent_ns: int, reduce_only: bool,  # noqa: FBT001 - one of them
    ) -> None:  # fmt: skip
        if effects:
            await state.hset(workload.state_key(symbol), "event_id", event_id)  # type: ignore[misc]  # typed for both clients
        handler(sent_ns)

    async def run() -> None:
        _left.append(asyncio.create_task(run_receiver_task(broker, run_startup=True)))
        while not await _settled(state, job):  # noqa: ASYNC110 - as in peers.py
            await asyncio.sleep(POLL_S)

    # Left as it stands when all is acknowledged: its receiver swallows a cancellation now and then,
    # and asyncio.run() would wait for it for ever.
    return lambda: asyncio.new_event_loop().run_until_complete(run())


async def _settled(state: Any, job: Job) -> bool:
    """Whether all is acknowledged: a task that failed is, too, and was not counted."""
    groups: list[dict[str, Any]] = await state.xinfo_groups(job.key)
    [mine] = [group for group in groups if group["name"].decode() == job.group]
    return bool(mine["entries-read"] == job.count and not mine["pending"])
