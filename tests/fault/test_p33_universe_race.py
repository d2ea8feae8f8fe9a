"""A universe that changes while plans flow: by the server's own order nothing counts too late."""

from __future__ import annotations

import threading
from bisect import bisect_left

import pytest

from quantum_ops import client, codec, entry_id, streams
from quantum_ops.events import PermitDecided, UniverseChanged
from tests.exchange import SIX, answer, body
from tests.p33_rig import hold, send
from tests.p33_stories import opening
from tests.programs import FULL, Program
from tests.universe_rig import Rig
from tests.waiting import wait_until

FLIPPED, STAYS = "AAAUSDT", "BTCUSDT"
FLIPS = 300 if FULL else 40
PLANS = streams.APPLY_PLAN.key


class Sender:
    """Sends plans without a pause, by turns on the symbol that flips and on one that stays."""

    def __init__(self, server) -> None:
        self._db = server.connect()
        self._done = threading.Event()
        self.sent: dict[str, bytes] = {}
        """Entry id by plan id."""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._done.is_set():
            number = len(self.sent)
            if number % 100 == 0:
                # P3.3 denies on positions that are older than ten seconds.
                for symbol in (FLIPPED, STAYS):
                    hold(self._db, "0", symbol)
            plan_id = f"{number:016x}"
            symbol = STAYS if number % 2 else FLIPPED
            self.sent[plan_id] = send(self._db, opening(plan_id=plan_id, symbol=symbol)).encode()

    def end(self) -> None:
        self._done.set()
        self._thread.join(10)


def read(db, stream) -> list[tuple[bytes, object]]:
    decode = codec.decoder(stream.event)
    return [(row[0], decode(row[1])) for row in client.raw(db, "XRANGE", stream.key, "-", "+")]


def millisecond(id_: bytes) -> int:
    """The server's clock when the entry was added; only this can be compared between streams."""
    return entry_id.parse(id_)[0]


@pytest.fixture
def running(server):
    started: list = []
    yield started
    for one in reversed(started):
        one.end()


def test_no_plan_is_decided_by_a_universe_older_than_the_plan(server, db, exchange, running):
    # Given three processes of P3.3 that keep a list for an hour, and plans without a pause
    producer = Rig(server, exchange)
    producer.turn()
    running += [Program(server.url, "p33", n, UNIVERSE_CACHE_SECONDS="3600") for n in range(3)]
    wait_until(lambda: db.exists(streams.heartbeat("p33", 2)), 20, "all are up")
    sender = Sender(server)
    running.append(sender)
    # When a symbol is delisted and listed again, each time in one step with its change event
    for number in range(FLIPS):
        exchange.respond = answer(body(*(SIX if number % 2 else SIX[1:])))
        producer.turn()
        told = db.xlen(streams.PERMIT_DECIDED.key)
        wait_until(lambda n=told: db.xlen(streams.PERMIT_DECIDED.key) > n + 6, 20, "plans flow")
    sender.end()
    wait_until(lambda: db.xlen(streams.PERMIT_DECIDED.key) >= len(sender.sent), 60, "all decided")
    changes: list[tuple[bytes, UniverseChanged]] = read(db, streams.UNIVERSE_CHANGED)
    assert len(changes) == FLIPS + 1
    moments = [millisecond(id_) for id_, _ in changes]
    listed = {change.epoch: change.symbols for _, change in changes}
    decisions: list[PermitDecided] = [made for _, made in read(db, streams.PERMIT_DECIDED)]
    assert sorted(made.plan_id for made in decisions) == sorted(sender.sent)
    for made in decisions:
        # Then a plan that was added after a change is decided by that change or a later one
        before = bisect_left(moments, millisecond(sender.sent[made.plan_id]))
        assert made.universe_epoch >= changes[before - 1][1].epoch
        # And by exactly the symbols of the epoch that it names
        wanted = "sanity_checks_passed" if made.symbol in listed[made.universe_epoch] else None
        assert made.reason == (wanted or "symbol_not_allowed")
    # And the race was one: nearly every epoch had decisions of its own, on both ends of it
    assert len({made.universe_epoch for made in decisions}) > FLIPS * 3 // 4
    assert {made.allow for made in decisions if made.symbol == FLIPPED} == {True, False}
    assert db.xpending(PLANS, "p33")["pending"] == 0
