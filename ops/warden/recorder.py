"""The only place where the warden writes to Redis: process events, Findings, counts, heartbeat."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import walrus

from ops.daemon import program_of
from ops.warden.listener import Notice
from ops.warden.spool import Spool
from quantum_ops import client, codec, events, streams
from quantum_ops.heartbeat import Heartbeat
from quantum_ops.publisher import REMEMBER_S, run_script
from quantum_ops.scripts import PUBLISH_COUNTED

PREFIX = "PROCESS_STATE_"
_AWAY = (*client.TRANSPORT_ERRORS, *client.SERVER_ERRORS, OSError)
_FELL = frozenset({"EXITED", "BACKOFF", "FATAL"})
"""States from which a new start is a restart that nobody asked for."""
_RETRY_S = 1.0


def event_of(told: Notice, boot: str) -> events.OpsProcess | None:
    """The event that supervisord ``told``; None for what is no change of a process.

    The same event told twice (to us and to our successor) has the same ``event_id``: ``boot``
    names the life of supervisord that ``serial`` counts in.
    """
    name = told.fields.get("processname", "")
    if not told.name.startswith(PREFIX) or not name:
        return None
    pid = told.fields.get("pid", "")
    return events.OpsProcess(
        event_id=identity(boot, str(told.serial)),
        program=program_of(name)[:256],
        process=name[:256],
        from_state=told.fields.get("from_state", ""),
        to_state=told.name.removeprefix(PREFIX),
        pid=int(pid) if pid.isascii() and pid.isdigit() else 0,
    )


def identity(*parts: str) -> str:
    """An ``event_id`` that the same parts always give."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


class Recorder:
    """Writes to a Redis that may be away: nothing here waits for it or ends for it.

    ``is_away`` is whether the last attempt failed.
    """

    def __init__(
        self,
        db: walrus.Database,
        spool: Spool,
        log: Any,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._spool = spool
        self._log = log
        self._now_s = now_s
        self._heartbeat = Heartbeat(db, "warden")
        self._not_before = 0.0
        self.is_away = False

    def drain(self) -> int:
        """Publish what waits, oldest first, until all is there or Redis is not; gives how many."""
        count = 0
        while (event := self._spool.first()) is not None and self._now_s() >= self._not_before:
            restarted = event.to_state == "STARTING" and event.from_state in _FELL
            field = event.program if restarted else ""
            try:
                self._publish(event, streams.WARDEN_RESTARTS, field)
            except _AWAY as error:
                self._away(error)
                break
            self._here()
            self._spool.done()
            count += 1
        return count

    def find(self, finding: events.AuditFinding, heal: str = "") -> bool:
        """Publish ``finding`` and count ``heal`` (``PROGRAM:trouble``); False if Redis was away.

        The log has it in any case, and what the warden does never waits for this.
        """
        say = self._log.error if finding.severity == "critical" else self._log.warning
        say(finding.finding, subject=finding.subject, detail=finding.detail)
        if self._now_s() < self._not_before:
            return False
        try:
            self._publish(finding, streams.WARDEN_HEALS, heal)
        except _AWAY as error:
            self._away(error)
            return False
        return True

    def beat(self, **fields: str | int) -> bool:
        """Say that the warden lives; True if the server took it, so that it takes others' too."""
        try:
            self._heartbeat.beat("ready", force=True, **fields)
        except _AWAY as error:
            self._away(error)
            return False
        self._here()
        return True

    def leave(self) -> None:
        """Take the heartbeat away."""
        try:
            self._heartbeat.stop()
        except _AWAY as error:
            self._log.debug("no_heartbeat", error=str(error))

    def _publish(self, event: events.OwnEvent, counts: str, field: str) -> None:
        stream = streams.of(event)
        keys = [stream.key, streams.idempotency(stream.key, event.event_id), counts]
        run_script(self._db, PUBLISH_COUNTED, keys, [REMEMBER_S, field, *codec.encode(event)])

    def _away(self, error: Exception) -> None:
        self._not_before = self._now_s() + _RETRY_S
        if not self.is_away:
            self._log.warning("redis_away", error=str(error), waiting=len(self._spool))
        self.is_away = True

    def _here(self) -> None:
        if self.is_away:
            self._log.info("redis_back", waiting=len(self._spool))
        self.is_away = False
