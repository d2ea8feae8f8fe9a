"""The only place where the universe producer runs: lease, fetch, judge, commit, wait."""

from __future__ import annotations

import dataclasses
import random
import signal
import time
from collections.abc import Mapping
from typing import Any

from producers import backoff, cycle
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
from producers.universe_store import FencedError, Store
from quantum_ops import client, knobs, lifeline, logs
from quantum_ops.clock import Clock
from quantum_ops.errors import ConfigurationError, RefusedError
from quantum_ops.heartbeat import EVERY_S, Heartbeat
from quantum_ops.settings import RedisSettings, RuntimeSettings, UniverseSettings

LEASE_IN_REFRESHES = 1.5
MIN_LEASE_S = 1.0
FETCH_IN_LEASE = 0.8
"""Share of the lease that a fetch may take: one that outlives it could never be committed."""
PAUSE_S = 2.0
"""Least seconds between two fetches, whatever happens to Redis in between (or one refresh)."""
_BANNING = tuple(f"http_{status}" for status in RATE_LIMITED)


class UniverseProducer:
    """Publishes the universe while it holds the lease, stands by while another one does."""

    def __init__(
        self, settings: UniverseSettings, store: Store, exchange: ExchangeInfo, clock: Clock,
        heartbeat: Heartbeat,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._exchange = exchange
        self._clock = clock
        self._heartbeat = heartbeat
        self._log: Any = logs.get()
        self._failures = 0
        self._leading = False
        self._not_before_s = 0.0  # on the monotonic clock

    def run(self) -> None:
        """Work until asked to stop. Redis away: wait inside, with back-off."""
        attempt = 0
        while not self._clock.stopping():
            try:
                # Redis may break off a rest; what the exchange asked for holds all the same.
                left_s = self._not_before_s - self._clock.monotonic_s()
                self._rest(left_s if left_s > 0 else self.turn())
                attempt = 0
            except FencedError as error:
                self._leading = False
                self._log.warning("lease_lost", why=str(error))
                # Whoever moved the keys may do so for ever: never fetch in a tight loop.
                self._clock.wait(min(1.0, self._settings.refresh_s / 8))
            except client.TRANSPORT_ERRORS + client.SERVER_ERRORS as error:
                client.refuse_or_raise(error)
                attempt += 1
                self._log.warning("redis_away", error=str(error), attempt=attempt)
                if "WRONGTYPE" in str(error):
                    self._heal()
                pause = min(2.0, 0.05 * 2 ** min(attempt, 10))
                self._clock.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        self._leave()

    def turn(self) -> float:
        """One turn: a fetch if the lease is ours. Gives the seconds until the next one."""
        if not self._store.acquire():
            if self._leading:
                self._log.warning("lease_lost", why="another producer holds it")
            self._leading = False
            self._heartbeat.beat("waiting", role="standby")
            return min(1.0, self._settings.refresh_s / 8)
        if not self._leading:
            self._leading = True
            booted = self._store.bootstrap()
            self._log.info("lease_taken", fence=self._store.fence, bootstrapped=booted)
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

    def _pause(self, seconds: float) -> float:
        self._not_before_s = self._clock.monotonic_s() + seconds
        return seconds

    def _ban(self, failure: Failure, until_s: float) -> Mapping[str, str]:
        if failure.kind not in _BANNING:
            return {}
        return {
            "banned_until_epoch": str(int(until_s)),
            "banned_host": host(self._exchange.url),
        }

    def _rest(self, seconds: float) -> None:
        """Wait, and keep lease and heartbeat alive meanwhile."""
        until = self._clock.monotonic_s() + seconds
        slice_s = min(self._store.lease_ms / 1000 / 3, EVERY_S)
        while not self._clock.stopping():
            left = until - self._clock.monotonic_s()
            if left <= 0:
                return
            self._clock.wait(min(left, slice_s))
            if left <= slice_s:
                return
            if self._leading and not self._store.acquire():
                raise FencedError("another producer holds the lease")
            self._heartbeat.beat(
                "ready" if self._leading else "waiting",
                role="leader" if self._leading else "standby",
            )

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

    def _heal(self) -> None:
        for key in self._store.heal():
            self._log.error("key_of_wrong_type_removed", key=key)

    def _leave(self) -> None:
        try:
            if self._leading:
                self._store.release()
            self._heartbeat.stop()
        except client.TRANSPORT_ERRORS + client.SERVER_ERRORS as error:
            self._log.debug("left_without_goodbye", error=str(error))


def main() -> int:
    """Run the program; gives its exit code: 0 after a stop, 78 for wrong settings."""
    try:
        return _main()
    except (ConfigurationError, RefusedError) as error:
        lines = error.lines if isinstance(error, ConfigurationError) else (str(error),)
        return lifeline.refuse(*(f"universe: {line}" for line in lines))


def _main() -> int:
    lifeline.die_with_parent()
    settings = knobs.load(UniverseSettings)
    check_url(settings.url)
    lease_s = max(MIN_LEASE_S, LEASE_IN_REFRESHES * settings.refresh_s)
    timeout_s = min(settings.http_timeout_s, FETCH_IN_LEASE * lease_s)
    settings = dataclasses.replace(settings, http_timeout_s=timeout_s)
    runtime = knobs.load(RuntimeSettings)
    redis = knobs.load(RedisSettings)
    logs.configure("universe", runtime.log_level)
    clock = Clock()
    exchange = ExchangeInfo(settings)

    def stop(*_: object) -> None:
        clock.stop()
        exchange.interrupt()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    db = client.connect(redis, name="universe")
    logs.get().info(
        "started", url=shown(exchange.url), mode=settings.mode, fetch_timeout_s=timeout_s
    )
    store = Store(db, int(lease_s * 1000))
    UniverseProducer(settings, store, exchange, clock, Heartbeat(db, "universe")).run()
    exchange.close()
    logs.get().info("stopped")
    return 0
