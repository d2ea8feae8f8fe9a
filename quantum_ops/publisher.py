"""The only place that appends events to streams from outside a handler."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import walrus
from redis.exceptions import NoScriptError

from quantum_ops import client, codec, streams
from quantum_ops.errors import PublishUnknownError
from quantum_ops.events import Event
from quantum_ops.scripts import PUBLISH, Script

REMEMBER_S = 86_400
"""Seconds a published ``event_id`` is remembered; a repeat after that adds a second entry."""


class Publisher:
    """Appends events; a repeat of the same ``event_id`` within a day is a no-op.

    When :meth:`publish` returns, the entry MUST stand in the stream (and, on a server with
    ``appendfsync always``, on its disk), and on ``QUANTUM_WAIT_REPLICAS`` replicas. When it raises
    :class:`PublishUnknownError` the entry may or may not stand there: publish the same event again.
    MAXLEN is never used: it silently drops entries that nobody has read.
    """

    def __init__(
        self,
        db: walrus.Database,
        *,
        patience_s: float = 10.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._db = db
        self._patience_s = patience_s
        self._sleep = sleep

    def publish(self, event: Event) -> str:
        """Append ``event`` to the stream of its type and give the entry id.

        A lost connection or a server that is not ready is tried again, with the same
        ``event_id``, for ``patience_s`` seconds. Raises :class:`PublishUnknownError` after that,
        :class:`RefusedError` if the server refuses us, ``KeyError`` for a type without a stream.
        """
        stream = streams.of(event)
        flat = codec.encode(event)
        event_id = getattr(event, "event_id", "")
        if not event_id:
            raise ValueError(f"{type(event).__name__} has no event_id; without it a repeat doubles")
        keys = [stream.key, streams.idempotency(stream.key, event_id)]
        deadline = time.monotonic() + self._patience_s
        attempt = 0
        while True:
            try:
                reply = run_replicated(self._db, PUBLISH, keys, [REMEMBER_S, *flat])
            except Exception as error:
                client.refuse_or_raise(error)
                if not client.is_passing(error):
                    raise
                if time.monotonic() > deadline:
                    raise PublishUnknownError(
                        f"{stream.name} event {event_id}: no answer from Redis for "
                        f"{self._patience_s} s ({error}); publish it again with the same event_id"
                    ) from error
                attempt += 1
                self._sleep(min(2.0, 0.05 * 2**attempt) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            else:
                return str(reply[0].decode())


def run_replicated(
    db: walrus.Database, script: Script, keys: Sequence[str | bytes], args: list[Any]
) -> Any:
    """:func:`run_script`, and back only once the replicas that ``db`` wants have what it wrote.

    Raises :class:`~quantum_ops.client.NotReplicatedError`, which passes, if they have not in time.
    A script that finds its work done MUST write all the same: WAIT answers for what its own
    connection wrote, and for a connection that wrote nothing at once.
    """
    wanted = client.replicas(db)
    if not wanted.count:
        return run_script(db, script, keys, args)
    with client.pinned(db) as say:
        try:
            reply = say("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:
            reply = say("EVAL", script.source, len(keys), *keys, *args)
        client.wait(say, wanted)
    return reply


def run_script(
    db: walrus.Database, script: Script, keys: Sequence[str | bytes], args: list[Any]
) -> Any:
    """EVALSHA, or EVAL where the server does not know the script (any more)."""
    try:
        return db.evalsha(script.sha, len(keys), *keys, *args)
    except NoScriptError:
        return db.eval(script.source, len(keys), *keys, *args)


def run_scripts(
    db: walrus.Database, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]
) -> list[Any]:
    """The replies to many calls of one script, (keys, arguments) each, in one round trip.

    Error replies are values, as :func:`quantum_ops.client.ask` has it.
    """

    def packed(word: str, which: str, wanted: Sequence[int]) -> bytes:
        return b"".join(
            hiredis.pack_command((word, which, len(calls[at][0]), *calls[at][0], *calls[at][1]))
            for at in wanted
        )

    everything = range(len(calls))
    replies = client.ask(db, packed("EVALSHA", script.sha, everything), len(calls))
    unknown = [at for at in everything if isinstance(replies[at], NoScriptError)]
    if unknown:
        # A restarted server or SCRIPT FLUSH: nothing ran, so sending the source is safe.
        again = client.ask(db, packed("EVAL", script.source, unknown), len(unknown))
        for at, reply in zip(unknown, again, strict=True):
            replies[at] = reply
    return replies
