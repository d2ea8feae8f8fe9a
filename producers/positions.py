"""The only place where the producer of positions runs: lease, fetch, write, wait."""

from __future__ import annotations

from producers import backoff, credentials, off, position_risk, process
from producers.binance import MAX_RETRY_AFTER_S, RATE_LIMITED, REFUSED, Failure, host, shown
from producers.leader import Leader
from producers.lease import Lease
from producers.position_store import PositionStore
from producers.signed_exchange import (
    REFUSED_CODES,
    WRONG_TIME,
    Answer,
    SignedExchange,
    base,
)
from quantum_ops import knobs, logs, streams
from quantum_ops.clock import Clock
from quantum_ops.heartbeat import Heartbeat
from quantum_ops.settings import PositionsSettings

NAME = "positions"
LEASE_IN_REFRESHES = 1.5
LEASE_IN_FETCHES = 1.25
MIN_LEASE_S = 2.0
ODD_CAP_S = 60.0
"""Longest wait after an answer that only a person can cure; it is doubled up to here."""
OFF = (
    "off: no credentials; set BINANCE_API_KEY and BINANCE_API_SECRET (or their _FILE), "
    "then ./run restart positions"
)
_BANNING = tuple(f"http_{status}" for status in RATE_LIMITED)
_REFUSING = tuple(f"http_{status}" for status in REFUSED)


class PositionsProducer(Leader):
    """Writes the positions while it holds the lease, stands by while another one does."""

    def __init__(
        self, settings: PositionsSettings, store: PositionStore, exchange: SignedExchange,
        clock: Clock, heartbeat: Heartbeat,
    ) -> None:  # fmt: skip
        super().__init__(store.lease, clock, heartbeat)
        self._settings = settings
        self._store = store
        self._exchange = exchange
        self._fetched_s: float | None = None  # on the monotonic clock
        self._failures = 0
        self._trouble = ""
        self._symbols = 0
        self._told: object = None
        self._skipped: dict[str, str] = {}

    def turn(self) -> float:
        """One turn: a fetch if the lease is ours. Gives the seconds until the next one."""
        if not self._leads():
            self._beat()
            return self._standby_s()
        if not self._leading:
            self._leading = True
            self._log.info("lease_taken", lease_ms=self._lease.ms)
            banned_s = self._store.banned_until_s(host(self._exchange.base)) - self._clock.now_s()
            if 0 < banned_s <= MAX_RETRY_AFTER_S:
                self._log.warning("exchange_wants_a_pause", seconds=round(banned_s))
                self._trouble = f"the exchange wants to be left alone for {banned_s:.0f} s"
                return self._pause(banned_s)
        got: Answer | Failure | None = self._exchange.synchronise()
        if got is None:
            # Each of the two requests may take a whole lease.
            self._keep()
            got = self._exchange.fetch()
        if self._clock.stopping():
            return 0.0  # a fetch that our own stop cut off is no failure of the exchange
        # Before anything is written, which may fail: the exchange has been asked either way.
        self._pause(self._settings.refresh_s)
        return self._settle(got)

    def _settle(self, got: Answer | Failure) -> float:
        """Make true what follows from a fetch; gives the seconds until the next one."""
        failure = got if isinstance(got, Failure) else None
        if isinstance(got, Answer):
            try:
                self._take(got)
            except position_risk.Refusal as error:
                failure = Failure(error.code, str(error).partition(": ")[2])
        if failure is None:
            anew = bool(self._trouble) or self._fetched_s is None
            if anew:
                self._log.info("positions_fresh", symbols=self._symbols)
            self._failures, self._trouble, self._told = 0, "", None
            self._fetched_s = self._clock.monotonic_s()
            self._beat(force=anew)
            return self._settings.refresh_s
        self._failures += 1
        seconds = self._pause(self._wait_s(failure))
        self._complain(failure, seconds)
        if failure.kind in _BANNING:
            self._store.ban(host(self._exchange.base), seconds, self._clock.now_s() + seconds)
        self._beat(force=self._failures == 1)
        return seconds

    def _take(self, answer: Answer) -> None:
        positions = position_risk.read(answer.content, self._settings.symbol_regex)
        for key in self._store.write(positions, answer.asked_s):
            self._log.error("key_of_wrong_type_replaced", key=key)
        self._symbols = len(positions.rows)
        odd = {
            **positions.skipped,
            **dict.fromkeys(positions.hedged, "has a long and a short side (hedge mode)"),
        }
        if odd != self._skipped:
            named = {symbol[: position_risk.MAX_NAME]: odd[symbol] for symbol in list(odd)[:20]}
            self._log.warning("positions_not_written", count=len(odd), first=named)
            self._skipped = odd

    def _wait_s(self, failure: Failure) -> float:
        if failure.code in REFUSED_CODES:
            return backoff.REFUSED_S
        refresh_s = self._settings.refresh_s
        passing = failure.code == WRONG_TIME or not failure.kind.startswith("http_4")
        return backoff.wait_s(failure, self._failures, refresh_s if passing else ODD_CAP_S)

    def _complain(self, failure: Failure, seconds: float) -> None:
        """Once for each new kind of trouble, then ever more rarely: it may last for days."""
        refused = failure.code in REFUSED_CODES or failure.kind in _REFUSING
        self._trouble = str(failure)
        if refused:
            self._trouble = f"the exchange refuses us, check key, its rights and address: {failure}"
        kind = (failure.kind, failure.code)
        if kind != self._told or self._failures & (self._failures - 1) == 0:
            say = self._log.error if refused else self._log.warning
            say("positions_not_fetched", reason=self._trouble, code=failure.code,
                failures=self._failures, next_in_s=round(seconds, 1))  # fmt: skip
        self._told = kind

    def _standby_s(self) -> float:
        return min(1.0, self._lease.ms / 4000)

    def _beat(self, *, force: bool = False) -> None:
        """``last_fetch_age_s`` is -1 before the first good fetch."""
        now_s = self._clock.monotonic_s()
        age_s = -1.0 if self._fetched_s is None else now_s - self._fetched_s
        standing = {"role": "leader", "detail": self._trouble or f"{self._symbols} symbols"}
        if not self._leading:
            standing = {"role": "standby", "detail": "standby"}
        self._heartbeat.beat(
            "ready" if self._leading else "standby", force=force, symbols=self._symbols,
            last_fetch_age_s=f"{age_s:.1f}", failures=self._failures, **standing,
        )  # fmt: skip


def main() -> int:
    """Run the program; gives its exit code: 0 after a stop, 78 for wrong settings."""
    return process.run(NAME, _work)


def _work() -> None:
    settings = knobs.load(PositionsSettings)
    address = base(settings)
    owned = credentials.load(settings)
    clock = Clock()
    exchange = SignedExchange(settings, owned, clock) if owned else None
    db = process.connect(NAME, clock, exchange.interrupt if exchange else lambda: None)
    heartbeat = Heartbeat(db, NAME)
    if exchange is None:
        off.idle(clock, heartbeat, "positions_off", OFF)
        return
    logs.get().info("started", url=shown(address), refresh_s=settings.refresh_s)
    lease = Lease(db, streams.POSITIONS_LEASE, streams.POSITIONS_FENCE, lease_ms(settings))
    store = PositionStore(db, lease)
    PositionsProducer(settings, store, exchange, clock, heartbeat).run()
    exchange.close()


def lease_ms(settings: PositionsSettings) -> int:
    """Milliseconds of the lease: longer than one request may take, shorter than P3.3's patience."""
    refreshes_s = LEASE_IN_REFRESHES * settings.refresh_s
    fetch_s = LEASE_IN_FETCHES * settings.http_timeout_s
    return int(1000 * max(MIN_LEASE_S, refreshes_s, fetch_s))
