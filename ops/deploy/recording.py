"""The only place that sees a deploy's events into their stream and, if it can, into the ledger."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import redis
import walrus

from ops import ledger_wait
from ops.deploy.ledger import START, Records
from ops.deploy.state import Message, State, posted
from ops.deploy.telling import event_of
from ops.running import Running
from ops.terminal import safe
from quantum_ops import client, events, streams
from quantum_ops.errors import QuantumError
from quantum_ops.ledger.journal import Place
from quantum_ops.publisher import Publisher
from quantum_ops.settings import RedisSettings

_POLL_S = 0.1
_CLOCKS_MS = 3_600_000
"""How far this machine's clock and the server's may be apart when an event is looked for."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one message: ``problem`` is empty if the ledger has it."""

    entry_id: str = ""
    operation_id: str = ""
    problem: str = ""


class Recording:
    """Publishes what waits in a program's outbox, oldest first, each exactly once."""

    def __init__(
        self,
        db: walrus.Database,
        keep: Callable[[State], None],
        records: Records,
        told: Callable[[str], None],
        *,
        patience_s: float,
        publish_s: float = 10.0,
    ) -> None:
        self._db, self._keep, self._records = db, keep, records
        self._told, self._patience_s = told, patience_s
        self._publisher = Publisher(db, patience_s=publish_s)

    def flush(self, state: State) -> tuple[State, list[Recorded]]:
        """Publish the outbox and wait for the ledger; gives what is left and what became of each.

        A message whose entry stands in the stream leaves the outbox: the ledger's group reads it
        whenever it comes back. Only the record that a rollback has to name is waited for.
        """
        done: list[Recorded] = []
        for message in state.outbox:
            try:
                state, one = self._send(state, message)
            except (QuantumError, redis.RedisError, OSError, ValueError) as error:
                one = Recorded(problem=f"the event could not be published: {safe(str(error))}")
                done.append(one)
                break  # in order, or not at all: the next one may name this one's record
            done.append(one)
            if not one.entry_id:
                break
        kept = [m for m in state.outbox if not m.entry_id or self._is_waited_for(state, m)]
        state = replace(state, outbox=tuple(kept))
        self._keep(state)
        return state, done

    def _send(self, state: State, message: Message) -> tuple[State, Recorded]:
        undone = ""
        if message.after:
            undone = self._id_of(state, message.after)
            if not undone:
                return state, Recorded(
                    problem="waits until the ledger has recorded the deploy that it rolls back"
                )
        entry_id, since = message.entry_id, START
        if not entry_id:
            event = event_of(message, undone)
            entry_id = self._published(event)
            if not entry_id:
                with contextlib.suppress(OSError, ValueError):  # told when it is read below
                    since = self._records.end()
                entry_id = self._publisher.publish(event)
            message = replace(message, entry_id=entry_id)
            state = posted(state, message)
            accepted = state.accepted
            if accepted and not accepted.entry_id and accepted.event_id == event.event_id:
                state = replace(state, accepted=replace(accepted, entry_id=entry_id))
            # Before the wait: whoever is killed in it must not publish a second time.
            self._keep(state)
            self._told(f"published: {streams.DEPLOY_COMPLETED.name}/{entry_id}")
        operation_id, problem = self._wait(entry_id, message.fields["event_id"], since)
        if operation_id:
            state = posted(state, replace(message, operation_id=operation_id))
            accepted = state.accepted
            if accepted and accepted.entry_id == entry_id:
                state = replace(state, accepted=replace(accepted, operation_id=operation_id))
        return state, Recorded(entry_id, operation_id, problem)

    def _id_of(self, state: State, event_id: str) -> str:
        for one in state.outbox:
            if one.fields["event_id"] == event_id:
                return one.operation_id or (
                    self._records.recorded((event_id, one.entry_id)) if one.entry_id else ""
                )
        return ""

    def _is_waited_for(self, state: State, message: Message) -> bool:
        waiting = [one for one in state.outbox if not one.entry_id]
        return any(one.after == message.fields["event_id"] for one in waiting)

    def _published(self, event: events.DeployCompleted) -> str:
        """The entry of that event, if an earlier run put it there; "" if there is none.

        The server's own memory of event ids lasts a day, an outbox may wait for longer.
        """
        moment = event.occurred_at or events.now()
        start = max(0, int(moment.timestamp() * 1000) - _CLOCKS_MS)
        wanted, mark = event.event_id.encode(), f"{start}-0"
        while True:
            page = self._db.xrange(streams.DEPLOY_COMPLETED.key, mark, "+", count=1000)
            for entry_id, fields in page:
                if fields.get(b"event_id") == wanted:
                    return str(entry_id.decode())
                mark = f"({entry_id.decode()}"
            if len(page) < 1000:  # noqa: PLR2004 - the page's size
                return ""

    def _wait(self, entry_id: str, event_id: str, since: Place) -> tuple[str, str]:
        """The record's id, or why there is none yet."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                found = self._records.recorded((event_id, entry_id), since)
            except (OSError, ValueError) as error:
                return "", f"the ledger cannot be read: {safe(str(error))}"
            if found:
                return found, ""
            refused = ledger_wait.refusal(self._db, entry_id)
            if refused:
                return "", refused
            if time.monotonic() > deadline:
                name = f"{streams.DEPLOY_COMPLETED.name}/{entry_id}"
                return "", (
                    f"not in {self._records.folder.journal} after {self._patience_s:g} s; nothing "
                    f"is lost: the event waits as {name} for the program ledger"
                )
            time.sleep(_POLL_S)


def connect(current: Running) -> walrus.Database:
    """A client for a deploy's own commands."""
    return client.connect(current.redis(RedisSettings().timeout_s, writes=True), name="deploy")
