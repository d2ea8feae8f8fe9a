"""The only place where a process says that it is alive, and where others hear of it."""

from __future__ import annotations

import os
import time
from typing import Any

import walrus

import quantum_ops
from quantum_ops import host, streams

TTL_S = 15
"""Seconds after which a silent process counts as dead; three missed beats."""
EVERY_S = 5.0
GONE_MS = 86_400_000
"""Milliseconds for which a process of a named host that fell silent is still spoken of."""


class Heartbeat:
    """Writes the hash ``quantum:ops:heartbeat:PROGRAM:NUM`` every few seconds.

    ``state`` is ``waiting`` (for Redis, or for what ``detail`` says), ``standby`` (another process
    does the work), ``ready`` or ``draining``. The process number comes from supervisord's process
    name (``p33-02`` is number 2). On a host that has a name, NUM is ``HOST.NUM``, and a hash beside
    it remembers who was there.
    """

    def __init__(self, db: walrus.Database, program: str) -> None:
        self._db = db
        self.process_num = process_num()
        self._token = host.token(self.process_num)
        self._key = streams.heartbeat(program, self._token)
        self._index = streams.heartbeat_hosts(program) if host.named() else ""
        self._fixed = {
            "pid": os.getpid(),
            "host": host.name(),
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
            if self._index:
                pipe.hset(self._index, self._token, values["updated_ms"])
            pipe.execute()
        self._due = now + EVERY_S

    def stop(self) -> None:
        """Take the heartbeat away: the process leaves on purpose."""
        self._db.delete(self._key)
        if self._index:
            # Not removed: a name that was there on purpose and left on purpose is no loss.
            self._db.hset(self._index, self._token, 0)


def everywhere(
    db: walrus.Database, program: str, count: int
) -> dict[str, tuple[int, dict[str, str]]]:
    """Token -> (when it was heard of last in epoch ms, heartbeat), of ``program`` on all hosts.

    ``count`` numbers are looked for on a host without a name. One that fell silent within a day has
    an empty heartbeat; one that left on purpose is not named. Raises what the client raises.
    """
    index = texts(db.hgetall(streams.heartbeat_hosts(program)))
    since_ms = int(time.time() * 1000) - GONE_MS
    heard = {token: int(ms) for token, ms in index.items() if ms.isdigit() and int(ms) > since_ms}
    tokens = [*map(str, range(count)), *sorted(heard)]
    with db.pipeline(transaction=False) as pipe:
        for token in tokens:
            pipe.hgetall(streams.heartbeat(program, token))
        replies = pipe.execute(raise_on_error=False)
    beats = {token: texts(reply) for token, reply in zip(tokens, replies, strict=True)}
    return {
        token: (heard.get(token, 0), beat)
        for token, beat in beats.items()
        if beat or token in heard
    }


def texts(reply: Any) -> dict[str, str]:
    """A hash as text; a key of another type counts as empty."""
    if not isinstance(reply, dict):
        return {}
    return {
        name.decode("utf-8", "backslashreplace"): value.decode("utf-8", "backslashreplace")
        for name, value in reply.items()
    }


def process_num() -> int:
    """This process's number among its program's: stable over restarts, 0 outside supervisord."""
    tail = os.environ.get("SUPERVISOR_PROCESS_NAME", "").rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0
