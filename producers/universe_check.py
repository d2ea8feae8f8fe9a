"""The only place where the exchange is asked a second time, independently of the producer.

It shares the reading of a body with the producer and nothing else: another process, another
connection, another schedule. What it sees goes to universe.checked; universe_audit judges it.
"""

from __future__ import annotations

import random
import time
from typing import Any

import walrus

from producers import backoff, comparison, off, process
from producers.binance import (
    MAX_RETRY_AFTER_S,
    Body,
    ExchangeInfo,
    Failure,
    check_url,
    host,
    shown,
)
from producers.exchange_info import Refusal, read
from producers.universe_store import Store
from quantum_ops import client, knobs, logs, streams
from quantum_ops.clock import Clock
from quantum_ops.errors import PublishUnknownError
from quantum_ops.events import UniverseChecked
from quantum_ops.heartbeat import EVERY_S, Heartbeat
from quantum_ops.publisher import Publisher
from quantum_ops.settings import UniverseCheckSettings, UniverseSettings

NAME = comparison.NAME
OFF = "off: set UNIVERSE_AUDIT_FETCH=true, then ./run restart universe_check universe_audit"
JITTER = 0.2
"""Share of the period that is left to chance: the two fetches must not fall into step."""
_LOST = (*client.TRANSPORT_ERRORS, *client.SERVER_ERRORS)


class UniverseCheck:
    """Asks the exchange now and then, compares with the keys, publishes what it saw.

    ``rules`` are the producer's settings, so that both judge a body alike.
    """

    def __init__(
        self, settings: UniverseCheckSettings, rules: UniverseSettings, db: walrus.Database,
        exchange: ExchangeInfo, clock: Clock,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._rules = rules
        self._db = db
        self._exchange = exchange
        self._clock = clock
        self._heartbeat = Heartbeat(db, NAME)
        self._publisher = Publisher(db, patience_s=1.0, sleep=clock.wait)
        self._failures = 0
        self._detail = "no second fetch yet"
        self._log: Any = logs.get()

    def run(self) -> None:
        """Work until asked to stop. What Redis does not take is left out: the next check counts."""
        # Not at once: after a start of everything the producer has its own first fetch to do.
        wait_s = self._period_s() / 2
        while self._rest(wait_s):
            try:
                wait_s = self.turn()
            except (*_LOST, PublishUnknownError) as error:
                if not isinstance(error, PublishUnknownError):
                    client.refuse_or_raise(error)
                self._log.warning("redis_away", error=str(error))
                wait_s = self._period_s()
        off.leave(self._heartbeat)

    def turn(self) -> float:
        """One fetch, compared and published. Gives the seconds until the next one.

        Raises what Redis raises, and :class:`PublishUnknownError`.
        """
        banned_s = self._banned_s()
        if 0 < banned_s <= MAX_RETRY_AFTER_S:
            # The exchange bans addresses, not programs: asking would prolong it for the producer.
            self._detail = f"the exchange wants to be left alone for {banned_s:.0f} s"
            self._log.warning("exchange_wants_a_pause", seconds=round(banned_s))
            self._publisher.publish(comparison.failed(self._detail, int(time.time() * 1000)))
            return banned_s
        began_ms = int(time.time() * 1000)
        fetched = self._exchange.fetch()
        if self._clock.stopping():
            return 0.0  # a fetch that our own stop cut off is no failure of the exchange
        event, failure = self._seen(fetched, began_ms)
        self._failures = self._failures + 1 if failure else 0
        self._publisher.publish(event)
        self._detail = event.reason or f"{event.differing} of {event.count} symbols differ"
        say = self._log.warning if failure else self._log.info
        say(
            "universe_compared", outcome=event.outcome, reason=event.reason, epoch=event.epoch,
            missing=event.missing[:20], extra=event.extra[:20], changed=event.changed[:20],
        )  # fmt: skip
        self._heartbeat.beat("ready", force=True, role="checker", detail=self._detail)
        if failure:
            refused_s = backoff.wait_s(failure, self._failures, self._settings.every_s)
            return max(self._period_s(), refused_s)
        return self._period_s()

    def _banned_s(self) -> float:
        try:
            return Store(self._db, 1).banned_until_s(host(self._exchange.url)) - time.time()
        except client.SERVER_ERRORS as error:
            if client.is_passing(error) or client.is_refusal(error):
                raise
            return 0.0  # meta is no hash: nothing is known of a ban, and comparing tells the rest

    def _seen(
        self, fetched: Body | Failure, began_ms: int
    ) -> tuple[UniverseChecked, Failure | None]:
        failure = fetched if isinstance(fetched, Failure) else None
        if isinstance(fetched, Body):
            try:
                snapshot = read(fetched.content, self._rules, time.time())
            except Refusal as error:
                failure = Failure(error.code, str(error).partition(": ")[2])
            else:
                keys, mode = self._keys(), self._rules.mode
                return comparison.compared(snapshot, keys, began_ms, time.time(), mode), None
        return comparison.failed(str(failure), began_ms), failure

    def _keys(self) -> list[Any]:
        # After the fetch: what the producer published meanwhile must not look like a difference.
        with self._db.pipeline(transaction=True) as pipe:
            pipe.get(streams.UNIVERSE_ACTIVE)
            pipe.hgetall(streams.UNIVERSE_META)
            pipe.hgetall(streams.UNIVERSE_SYMBOLS)
            found: list[Any] = pipe.execute(raise_on_error=False)
        return found

    def _period_s(self) -> float:
        return self._settings.every_s * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - jitter

    def _rest(self, seconds: float) -> bool:
        """Wait and beat meanwhile; False if it is time to stop."""
        until = self._clock.monotonic_s() + seconds
        while not self._clock.stopping() and (left := until - self._clock.monotonic_s()) > 0:
            try:
                self._heartbeat.beat("ready", role="checker", detail=self._detail)
            except _LOST as error:
                client.refuse_or_raise(error)
                self._log.debug("no_heartbeat", error=str(error))
            self._clock.wait(min(left, EVERY_S))
        return not self._clock.stopping()


def main() -> int:
    """Run the program; gives its exit code: 0 after a stop, 78 for wrong settings."""
    return process.run(NAME, _work)


def _work() -> None:
    settings = knobs.load(UniverseCheckSettings)
    rules = knobs.load(UniverseSettings)
    check_url(rules.url)
    clock = Clock()
    exchange = ExchangeInfo(rules)
    db = process.connect(NAME, clock, exchange.interrupt)
    if settings.enabled:
        logs.get().info("started", url=shown(exchange.url), every_s=settings.every_s)
        UniverseCheck(settings, rules, db, exchange, clock).run()
    else:
        off.idle(clock, Heartbeat(db, NAME), "universe_check_off", OFF)
    exchange.close()
