"""P3.3 in the whole system, under a real supervisord: how it follows the universe."""

from __future__ import annotations

import json
import re
import statistics
import time

import pytest

from quantum_ops import streams
from tests.exchange import SIX, Exchange, answer, body
from tests.p33_rig import hold, send
from tests.p33_stories import opening
from tests.supervised import System
from tests.waiting import wait_until

REFRESH_S = 1.0


@pytest.fixture
def system():
    exchange = Exchange(answer(body(*SIX)))
    system = System()
    system.environ["UNIVERSE_URL"] = exchange.url
    system.environ["UNIVERSE_REFRESH_SEC"] = f"{REFRESH_S:g}"
    system.environ["P33_ALLOWLIST"] = "BTCUSDT"
    system.exchange = exchange
    yield system
    system.close()
    exchange.close()


class Asker:
    """Sends plans, each under an id of its own, and waits for what P3.3 says."""

    def __init__(self, db) -> None:
        self.db = db
        self.asked = 0

    def ask(self, symbol: str) -> str:
        """The reason of the decision on one plan to open ``symbol``."""
        self.asked += 1
        plan_id = f"{self.asked:016x}"
        hold(self.db, "0", symbol)
        send(self.db, opening(plan_id=plan_id, symbol=symbol))
        key = streams.permit("p33", plan_id)
        return json.loads(wait_until(lambda: self.db.get(key), 10, f"a decision on {symbol}"))[
            "reason"
        ]


def allowlists(system: System) -> list[dict]:
    """The lines of P3.3's log that tell of its allowlist."""
    log = (system.paths.log / "p33-00.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if "Allowlist source=" in line]
    assert all(re.fullmatch(r"Allowlist source=(universe|fallback)", one["event"]) for one in lines)
    return lines


def source(db) -> bytes:
    return db.hget(streams.heartbeat("p33", 0), "allowlist_source")


def test_delisted_symbol_is_denied_from_the_very_next_plan_on(system):
    # Given the whole system, and a symbol that may be traded
    system.start()
    db = system.connect()
    asker = Asker(db)
    assert asker.ask("AAAUSDT") == "sanity_checks_passed"
    # When the exchange delists it, and the very next plan follows the change event
    system.exchange.respond = answer(body(*SIX[1:]))
    epoch = db.hget(streams.UNIVERSE_META, "epoch")
    wait_until(lambda: db.hget(streams.UNIVERSE_META, "epoch") != epoch, 10, "the change")
    # Then it is denied, and the others are not
    assert asker.ask("AAAUSDT") == "symbol_not_allowed"
    assert asker.ask("CCCUSDT") == "sanity_checks_passed"
    told = allowlists(system)
    assert [line["source"] for line in told][-2:] == ["universe", "universe"]
    assert told[-1]["news"] == [{"epoch": "2", "added": [], "removed": ["AAAUSDT"]}]
    assert told[-1]["count"] == len(SIX) - 1


def test_stopped_producer_flips_the_source_to_the_fallback_within_three_refreshes(system):
    system.start()
    db = system.connect()
    asker = Asker(db)
    assert asker.ask("ETHUSDT") == "sanity_checks_passed"
    wait_until(lambda: source(db) == b"universe", 10, "on the universe")
    # When the producer of the universe is stopped
    stopped = system.verb("supervisorctl", "stop", "universe")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    checked_s = float(db.hget(streams.UNIVERSE_META, "checked_epoch"))
    wait_until(lambda: source(db) == b"fallback", 3 * REFRESH_S + 3, "on the fallback")
    # Then it took three refreshes, give or take the second that the epoch is cut to and a look
    assert time.time() - checked_s <= 3 * REFRESH_S + 2
    assert db.hget(streams.heartbeat("p33", 0), "allowlist_reason") == b"too_old"
    # And plans are judged by P33_ALLOWLIST, without a word from anybody
    assert asker.ask("ETHUSDT") == "symbol_not_allowed"
    assert asker.ask("BTCUSDT") == "sanity_checks_passed"
    assert allowlists(system)[-1]["source"] == "fallback"
    # And when it comes back, so does the universe
    assert system.verb("supervisorctl", "start", "universe").returncode == 0
    wait_until(lambda: source(db) == b"universe", 10, "on the universe again")
    assert asker.ask("ETHUSDT") == "sanity_checks_passed"


def test_exchange_that_hangs_delays_no_permit(system):
    system.start()
    asker = Asker(system.connect())

    def asked() -> float:
        begun = time.perf_counter()
        asker.ask("BTCUSDT")
        return time.perf_counter() - begun

    before = [asked() for _ in range(30)]
    # When the exchange accepts connections and says nothing any more
    hanging = []

    def hang(handler) -> None:
        hanging.append(1)
        time.sleep(3)  # the hanging itself

    system.exchange.respond = hang
    wait_until(lambda: hanging, 10, "somebody is waiting for the exchange")
    during = [asked() for _ in range(30)]
    # Then permits come as before: a busy machine is forgiven, a wait for an answer is not
    assert statistics.median(during) < 3 * statistics.median(before) + 0.05
