"""The only place where the universe producer runs: lease, fetch, judge, commit, wait."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

from producers import backoff, cycle, process
from producers.binance import (
    MAX_RETRY_AFTER_S,
    RATE_LIMITED,
    Body,
    ExchangeInfo,
    Failure,
    check_url,
    host,
    shown,
)
from producers.exchange_info import Refusal, read
from producers.leader import Leader
from producers.universe_store import Store
from quantum_ops import knobs, logs
from quantum_ops.clock import Clock
from quantum_ops.heartbeat import Heartbeat
from quantum_ops.settings import UniverseSettings

NAME = "universe"
LEASE_IN_REFRESHES = 1.5
MIN_LEASE_S = 1.0
FETCH_IN_LEASE = 0.8
"""Share of the lease that a fetch may take: one that outlives it could never be committed."""
PAUSE_S = 2.0
"""Least seconds between two fetches, whatever happens to Redis in between (or one refresh)."""
_BANNING = tuple(f"http_{status}" for status in RATE_LIMITED)


class UniverseProducer(Leader):
    """Publishes the universe while it holds the lease, stands by while another one does."""

    def __init__(
        self, settings: UniverseSettings, store: Store, exchange: ExchangeInfo, clock: Clock,
        heartbeat: Heartbeat,
    ) -> None:  # fmt: skip
        super().__init__(store.lease, clock, heartbeat)
        self._settings = settings
        self._store = store
        self._exchange = exchange
        self._failures = 0

    def turn(self) -> float:
        """One turn: a fetch if the lease is ours. Gives the seconds until the next one."""
        if not self._leads():
            self._beat()
            return self._standby_s()
        if not self._leading:
            self._leading = True
            booted = self._store.bootstrap()
            self._log.info("lease_taken", fence=self._lease.fence, bootstrapped=booted)
            banned_s = self._store.banned_until_s(host(self._exchange.url)) - time.time()
            if 0 < banned_s <= MAX_RETRY_AFTER_S:
                self._log.warning("exchange_wants_a_pause", seconds=round(banned_s))
                return self._pause(banned_s)
        fetched = self._exchange.fetch()
        if self._clock.stopping():
            return 0.0  # a fetch that our own stop cut off is no failure of the exchange
        return self._settle(fetched, time.time())

    def _settle(self, fetched: Body | Failure, now_s: float) -> float:
        """Make true what follows from a fetch; gives the seconds until the next one."""
        published = self._store.read()
        failure = fetched if isinstance(fetched, Failure) else None
        if isinstance(fetched, Body):
            try:
                snapshot = read(fetched.content, self._settings, now_s)
                write = cycle.after_body(published, snapshot, self._settings, now_s)
            except Refusal as error:
                failure = Failure(error.code, str(error).partition(": ")[2])
        # Before the commit, which may fail: the exchange has been asked either way.
        self._failures = self._failures + 1 if failure else 0
        refresh_s = self._settings.refresh_s
        if failure is None:
            pause_s = refresh_s
            self._pause(min(refresh_s, PAUSE_S))
        else:
            pause_s = self._pause(backoff.wait_s(failure, self._failures, refresh_s))
            ban = self._ban(failure, now_s + pause_s)
            write = cycle.after_refusal(published, str(failure), now_s, ban)
        entry_id = self._store.commit(published, write)
        self._tell(write, entry_id)
        self._heartbeat.beat("ready", force=True, role="leader", last_id=entry_id)
        return pause_s

    def _ban(self, failure: Failure, until_s: float) -> Mapping[str, str]:
        if failure.kind not in _BANNING:
            return {}
        return {
            "banned_until_epoch": str(int(until_s)),
            "banned_host": host(self._exchange.url),
        }

    def _beat(self) -> None:
        self._heartbeat.beat(
            "ready" if self._leading else "standby",
            role="leader" if self._leading else "standby",
        )

    def _standby_s(self) -> float:
        return min(1.0, self._settings.refresh_s / 8)

    def _tell(self, write: cycle.Write, entry_id: str) -> None:
        meta = write.meta
        if write.event is not None:
            event = write.event
            self._log.info(
                "universe_changed", entry_id=entry_id, epoch=event.epoch, count=event.count,
                added=list(event.added)[:50], removed=list(event.removed)[:50],
                close_only=list(event.close_only)[:50], changed=len(event.changed),
                quarantined=list(event.quarantined)[:50],
            )  # fmt: skip
        if meta["stale"] == "1":
            self._log.warning("universe_stale", reason=meta["error"])
        elif write.event is None:
            self._log.debug("universe_unchanged", count=meta.get("count"))

    def _heal(self, error: Exception) -> None:
        if "WRONGTYPE" not in str(error):
            return
        for key in self._store.heal():
            self._log.error("key_of_wrong_type_removed", key=key)


def main() -> int:
    """Run the program; gives its exit code: 0 after a stop, 78 for wrong settings."""
    return process.run(NAME, _work)


def _work() -> None:
    settings = knobs.load(UniverseSettings)
    check_url(settings.url)
    lease_s = max(MIN_LEASE_S, LEASE_IN_REFRESHES * settings.refresh_s)
    timeout_s = min(settings.http_timeout_s, FETCH_IN_LEASE * lease_s)
    settings = dataclasses.replace(settings, http_timeout_s=timeout_s)
    clock = Clock()
    exchange = ExchangeInfo(settings)
    db = process.connect(NAME, clock, exchange.interrupt)
    logs.get().info(
        "started", url=shown(exchange.url), mode=settings.mode, fetch_timeout_s=timeout_s
    )
    store = Store(db, int(lease_s * 1000))
    UniverseProducer(settings, store, exchange, clock, Heartbeat(db, NAME)).run()
    exchange.close()
