"""The only place of what a forked process does: consumers of the product's, a producer."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import redis
from redis.exceptions import BusyLoadingError

from consumers.archive import archive
from consumers.p33 import p33
from quantum_ops import client, codec, metrics_socket, pace, program, streams
from quantum_ops.consumer import consumer
from quantum_ops.errors import PublishUnknownError
from quantum_ops.events import PermitDecided
from quantum_ops.publisher import Publisher
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.settings import RedisSettings
from tests.reliability import protocols
from tests.reliability.names import BY, EFFECTS, STREAM
from tests.reliability.points import IN_HANDLER, Trap, TrappedInbox

assert streams.PERMIT_DECIDED.key == STREAM
_trap = Trap()


@consumer(streams.PERMIT_DECIDED)
def counting(decided, context):
    """Count each plan once, and say who did."""
    _trap.reach(IN_HANDLER)
    if _trap.slow_s:
        time.sleep(_trap.slow_s)
    context.hincr(EFFECTS, decided.plan_id)
    context.hset(BY, {decided.plan_id: os.getpid()})


# Looks ten times as often as it does in use: the story waits for what it sees.
PROGRAMS = {"counting": counting, "p33": p33, "archive": replace(archive, tick_s=0.1)}


def run(name: str, point: str, after: int, signal_: int, patience_s: float) -> int:
    """A program of the product, as supervisord runs it, with a trap at ``point``.

    ``patience_s`` above 0 shortens what it waits for a silent line, and between attempts.
    """
    global _trap  # noqa: PLW0603 - one worker, one process
    _trap = Trap(point, after, signal_)
    if point:
        program.RedisInbox = functools.partial(_trapped, _trap)  # type: ignore[misc,assignment]
    if patience_s:
        client.MARGIN_S = patience_s
        pace.BACKOFF_BASE_S = pace.BACKOFF_CAP_S = patience_s / 20
    # A thread that serves metrics to nobody, made anew for each of thousands of processes.
    metrics_socket.serve = lambda *_: None  # type: ignore[assignment]
    return program.run(PROGRAMS[name])


def _trapped(trap: Trap, *given: Any) -> Any:
    return TrappedInbox(RedisInbox(*given), trap)


def produce(
    *, url: str, journal: str, prefix: str, how: str, backlog: int, limit: int, timeout_s: float,
    pause_s: float,
) -> int:  # fmt: skip
    """Send events until told to stop, each one noted before it is sent and classified after.

    ``how`` is ``plain`` (one XADD), ``many`` (fifty in one round trip) or ``publisher``. It never
    gets more than ``backlog`` ahead of whoever reads, and rests ``pause_s`` after each trip.
    """
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    to = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    db = client.connect(RedisSettings(url=url, timeout_s=timeout_s))
    # Without its pauses: what is tried is whether it doubles, not how patient it is.
    careful = Publisher(db, patience_s=10.0, sleep=lambda s: time.sleep(s / 50))
    sent = 0
    for ids in _batches(prefix, 50 if how == "many" else 1, limit):
        while not stopping and backlog and _ahead(db, sent, backlog):
            time.sleep(0.002)
        if stopping:
            break
        os.write(to, "".join(f"sent {id_}\n" for id_ in ids).encode())
        outcome = _publish(careful, ids[0]) if how == "publisher" else _send(db, ids)
        os.write(to, "".join(f"{outcome} {id_}\n" for id_ in ids).encode())
        sent += len(ids)
        if outcome != "acked":
            db.connection_pool.disconnect()
            time.sleep(0.005)
        time.sleep(pause_s)
    return 0


def _batches(prefix: str, size: int, limit: int) -> Iterator[list[str]]:
    number = 0
    while not limit or number < limit:
        yield [f"{prefix}{n}" for n in range(number, number + size)]
        number += size


def _ahead(db: Any, sent: int, backlog: int) -> bool:
    if sent % 50:
        return False
    try:
        # None while the server cannot tell: it is not waited for then.
        return any((group["lag"] or 0) > backlog for group in db.xinfo_groups(STREAM))
    except redis.RedisError:
        return False


def event(id_: str) -> PermitDecided:
    """An event of the workload."""
    return PermitDecided(gate="t", plan_id=id_, symbol="X", allow=False, reason="story")


def _send(db: Any, ids: list[str]) -> str:
    try:
        with db.pipeline(transaction=False) as pipe:
            for id_ in ids:
                pipe.execute_command("XADD", STREAM, "*", *codec.encode(event(id_)))
            pipe.execute()
    except client.TRANSPORT_ERRORS as error:
        # Where there was no line at all, or a server that is still loading, nothing was done, and
        # nothing may stand there.
        refused = isinstance(error, BusyLoadingError) or "connecting to" in str(error)
        return "failed" if refused else "unknown"
    except redis.RedisError:
        return "failed"
    return "acked"


def _publish(careful: Publisher, id_: str) -> str:
    try:
        careful.publish(event(id_))
    except PublishUnknownError:
        return "unknown"
    except redis.RedisError:
        return "failed"
    return "acked"


TASKS = {"run": run, "produce": produce, "bad": protocols.work}
