"""The only place of protocols that are known to be wrong, kept so that the checker is seen to see.

Each is what somebody writes who has not met the fault yet. ``POINTS`` says where it breaks: there
one kill, or one sleep, is enough.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import redis

from tests.reliability.names import BY, DONE, EFFECTS, STREAM
from tests.reliability.points import Trap

POINTS = {
    "naive": ("effect_done", signal.SIGKILL, {"doubled"}),
    "check_then_act": ("checked", signal.SIGSTOP, {"doubled", "late"}),
    "ack_first": ("acked", signal.SIGKILL, {"lost"}),
}
"""Protocol -> (where it breaks, by what, what the verdict must show)."""


def _effect(db: Any, id_: str) -> None:
    db.hincrby(EFFECTS, id_, 1)
    db.hset(BY, id_, os.getpid())


def _naive(db: Any, id_: str, ack: Callable[[], object], trap: Trap) -> None:
    _effect(db, id_)
    trap.reach("effect_done")
    ack()


def _check_then_act(db: Any, id_: str, ack: Callable[[], object], trap: Trap) -> None:
    if not db.sismember(DONE, id_):
        trap.reach("checked")
        _effect(db, id_)
        db.sadd(DONE, id_)
    ack()


def _ack_first(db: Any, id_: str, ack: Callable[[], object], trap: Trap) -> None:
    ack()
    trap.reach("acked")
    _effect(db, id_)


PROTOCOLS = {"naive": _naive, "check_then_act": _check_then_act, "ack_first": _ack_first}


def work(*, url: str, name: str, me: str, point: str, after: int, signal_: int) -> int:
    """A consumer of group ``counting`` by protocol ``name``, until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    trap = Trap(point, after, signal_)
    db = redis.Redis.from_url(url, decode_responses=True, protocol=2)
    group, protocol = "counting", PROTOCOLS[name]
    try:
        db.xgroup_create(STREAM, group, "0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
    while not stopping:
        found = db.xautoclaim(STREAM, group, me, 100, count=50)[1]
        for _, entries in db.xreadgroup(group, me, {STREAM: ">"}, count=20, block=20) or ():
            found += entries
        for entry_id, fields in found:
            protocol(
                db, fields["plan_id"], lambda: db.xack(STREAM, group, entry_id), trap
            )  # fmt: skip
    return 0
