"""The only place where a process says that it is alive: RUNNING is not consuming."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

import walrus

import quantum_ops
from quantum_ops import streams

TTL_S = 15
"""Seconds after which a silent process counts as dead; three missed beats."""
EVERY_S = 5.0


class Heartbeat:
    """Writes the hash ``quantum:ops:heartbeat:PROGRAM:NUM`` every few seconds.

    ``state`` is ``waiting`` (for Redis, or for what ``detail`` says), ``standby`` (another process
    does the work), ``ready`` or ``draining``. The process number comes from supervisord's process
    name (``p33-02`` is number 2).
    """

    def __init__(self, db: walrus.Database, program: str) -> None:
        self._db = db
        self.process_num = process_num()
        self._key = streams.heartbeat(program, self.process_num)
        self._fixed = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "program": program,
            "version": quantum_ops.__version__,
            "started_at": f"{time.time():.3f}",
        }
        self._due = 0.0

    def beat(self, state: str, *, force: bool = False, **fields: Any) -> None:
        """Say ``state`` and ``fields`` now if ``EVERY_S`` has passed or ``force``.

        Raises what the client raises: whoever beats decides whether that matters.
        """
        now = time.monotonic()
        if now < self._due and not force:
            return
        values = {**self._fixed, "state": state, "updated_ms": int(time.time() * 1000), **fields}
        with self._db.pipeline(transaction=True) as pipe:
            pipe.hset(self._key, mapping=values)
            pipe.expire(self._key, TTL_S)
            pipe.execute()
        self._due = now + EVERY_S

    def stop(self) -> None:
        """Take the heartbeat away: the process leaves on purpose."""
        self._db.delete(self._key)


def process_num() -> int:
    """This process's number among its program's: stable over restarts, 0 outside supervisord."""
    tail = os.environ.get("SUPERVISOR_PROCESS_NAME", "").rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0
