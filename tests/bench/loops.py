"""The only place of the loops written by hand: the baseline, walrus, and effects in MULTI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis
import walrus
from redis.connection import DefaultParser

from tests.bench import workload
from tests.bench.job import BATCH, BLOCK_MS, Job

ME = "bench-1"


def _client(job: Job) -> redis.Redis:
    if DefaultParser.__name__ != "_HiredisParser":
        raise RuntimeError("hiredis is not in use: the baseline would be five times too slow")
    return redis.Redis.from_url(job.url)


def bare(job: Job) -> Callable[[], None]:
    """The baseline: redis-py as it comes, hiredis, COUNT 500, one XACK for each batch."""
    db: Any = _client(job)
    handler = job.handler(lambda fields: fields[b"sent_ns"])

    def run() -> None:
        while job.seen < job.count:
            reply = db.xreadgroup(job.group, ME, {job.key: ">"}, count=BATCH, block=BLOCK_MS)
            for _, entries in reply:
                for _, fields in entries:
                    handler(fields)
                db.xack(job.key, job.group, *[id_ for id_, _ in entries])

    return run


def bare_effects(job: Job) -> Callable[[], None]:
    """The baseline with one HSET for each entry and the XACK in one MULTI for each batch."""
    db: Any = _client(job)
    handler = job.handler(lambda fields: fields[b"sent_ns"])

    def run() -> None:
        while job.seen < job.count:
            reply = db.xreadgroup(job.group, ME, {job.key: ">"}, count=BATCH, block=BLOCK_MS)
            for _, entries in reply:
                pipe = db.pipeline(transaction=True)
                for _, fields in entries:
                    handler(fields)
                    key = workload.state_key(fields[b"symbol"].decode())
                    pipe.hset(key, "event_id", fields[b"event_id"])
                pipe.xack(job.key, job.group, *[id_ for id_, _ in entries])
                pipe.execute()

    return run


def walrus_batch(job: Job) -> Callable[[], None]:
    """walrus's ConsumerGroup, COUNT 500, one ack call for each batch."""
    group, handler = _walrus(job)

    def run() -> None:
        while job.seen < job.count:
            for _, entries in group.read(count=BATCH, block=BLOCK_MS):
                for _, fields in entries:
                    handler(fields)
                group.streams[job.key].ack(*[id_ for id_, _ in entries])

    return run


def walrus_each(job: Job) -> Callable[[], None]:
    """walrus's ConsumerGroup as its documentation shows it: an ack call for each entry."""
    group, handler = _walrus(job)

    def run() -> None:
        while job.seen < job.count:
            for _, entries in group.read(count=BATCH, block=BLOCK_MS):
                for id_, fields in entries:
                    handler(fields)
                    group.streams[job.key].ack(id_)

    return run


def walrus_effects(job: Job) -> Callable[[], None]:
    """walrus's ConsumerGroup, one MULTI for each batch: an HSET for each entry and one ack."""
    return _walrus_effects(job, BATCH)


def walrus_each_effects(job: Job) -> Callable[[], None]:
    """walrus's ConsumerGroup, one MULTI for each entry: its HSET and its ack."""
    return _walrus_effects(job, 1)


def _walrus_effects(job: Job, most: int) -> Callable[[], None]:
    group, handler = _walrus(job)
    db = group.database

    def settle(part: list[Any]) -> None:
        pipe = db.pipeline(transaction=True)
        for _, fields in part:
            handler(fields)
            key = workload.state_key(fields[b"symbol"].decode())
            pipe.hset(key, "event_id", fields[b"event_id"])
        pipe.xack(job.key, job.group, *[id_ for id_, _ in part])
        pipe.execute()

    def run() -> None:
        while job.seen < job.count:
            for _, entries in group.read(count=BATCH, block=BLOCK_MS):
                for start in range(0, len(entries), most):
                    settle(entries[start : start + most])

    return run


def _walrus(job: Job) -> tuple[Any, Callable[[Any], None]]:
    db = walrus.Database.from_url(job.url)
    group = db.consumer_group(job.group, [job.key]).consumer(ME)
    return group, job.handler(lambda fields: fields[b"sent_ns"])
