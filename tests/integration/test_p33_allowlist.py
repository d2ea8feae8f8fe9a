"""Which symbols P3.3 allows, on whose word, and how soon a change counts."""

from __future__ import annotations

import json

import pytest

from quantum_ops import streams
from tests.exchange import SIX, answer, body, row
from tests.p33_rig import P33Rig, hold, mock_universe, publish_universe
from tests.p33_stories import opening, plan
from tests.universe_rig import Rig


def sources(log_lines) -> list[dict]:
    """The lines that tell of the allowlist, in order."""
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    return [line for line in lines if line["event"].startswith("Allowlist source=")]


class Asking:
    """Asks P3.3 for opening plans, each under an id of its own."""

    def __init__(self, rig: P33Rig) -> None:
        self.rig = rig
        self.asked = 0

    def about(self, *symbols: str, **fields) -> list[str]:
        plans = []
        for symbol in symbols:
            self.asked += 1
            hold(self.rig.db, fields.pop("position", "0"), symbol)
            plans.append(opening(plan_id=f"{self.asked:016x}", symbol=symbol, **fields))
        return [event.reason for event in self.rig.decide(*plans)]


ALLOWED, DENIED = "sanity_checks_passed", "symbol_not_allowed"


def test_change_of_the_universe_counts_from_the_next_plan_on(server, exchange, log_lines):
    # Given a producer that has published six symbols, and a P3.3 with a long cache period
    producer = Rig(server, exchange)
    producer.turn()
    rig = P33Rig(server, cache_s=3600.0)
    asking = Asking(rig)
    assert asking.about("AAAUSDT", "NEWUSDT") == [ALLOWED, DENIED]
    # When the exchange lists one and delists another
    exchange.respond = answer(body(*(set(SIX) - {"AAAUSDT"}), "NEWUSDT"))
    producer.turn()
    # Then the very next plan is judged by the new list
    assert asking.about("AAAUSDT", "NEWUSDT") == [DENIED, ALLOWED]
    told = sources(log_lines)
    assert [(line["source"], line["reason"], line["epoch"], line["count"]) for line in told] == [
        ("universe", "fresh", 1, 6), ("universe", "fresh", 2, 6),
    ]  # fmt: skip
    assert told[1]["event"] == "Allowlist source=universe"
    assert told[1]["news"] == [{"epoch": "2", "added": ["NEWUSDT"], "removed": ["AAAUSDT"]}]
    assert 0 <= told[1]["age_s"] < 60


def test_change_is_followed_while_no_plan_comes(server, exchange):
    producer = Rig(server, exchange)
    producer.turn()
    rig = P33Rig(server).settle()
    assert rig.runner._context.vitals["universe_epoch"] == 1
    exchange.respond = answer(body(*SIX, "NEWUSDT"))
    producer.turn()
    rig.runner.step(wait=False)
    assert rig.runner._context.vitals == {
        "allowlist_source": "universe", "allowlist_reason": "fresh", "allowlist_count": 7,
        "universe_epoch": 2,
    }  # fmt: skip


def test_symbol_that_leaves_trading_may_only_be_reduced(server, exchange):
    exchange.respond = answer(body(*SIX[1:], row("AAAUSDT", status="SETTLING")))
    producer = Rig(server, exchange)
    producer.turn()
    rig = P33Rig(server)
    asking = Asking(rig)
    assert asking.about("AAAUSDT") == ["symbol_close_only"]
    hold(rig.db, "0.25", "AAAUSDT")
    [event] = rig.decide(plan(symbol="AAAUSDT"))
    assert (event.allow, str(event.safe_qty)) == (True, "0.25")


def shifted(rig: P33Rig, shift_s: float) -> None:
    rig.clock.shift_s = shift_s


def test_dead_producer_is_noticed_by_age_alone(server, log_lines):
    # Given a universe that its own flag calls fresh, refreshed every 60 s
    db = server.connect()
    publish_universe(db, "ETHUSDT", age_s=170)
    rig = P33Rig(server, allowlist=("BTCUSDT",))
    asking = Asking(rig)
    assert asking.about("ETHUSDT", "BTCUSDT") == [ALLOWED, DENIED]
    # When three refreshes have been missed, without any event or change of the keys
    publish_universe(db, "ETHUSDT", age_s=181)
    assert asking.about("ETHUSDT", "BTCUSDT") == [DENIED, ALLOWED]
    assert [(line["source"], line["reason"]) for line in sources(log_lines)] == [
        ("universe", "fresh"), ("fallback", "too_old"),
    ]  # fmt: skip


def test_time_that_passes_turns_a_kept_universe_stale(server):
    db = server.connect()
    publish_universe(db, "ETHUSDT")
    rig = P33Rig(server).settle()
    assert rig.runner._context.vitals["allowlist_source"] == "universe"
    shifted(rig, 200)
    rig.runner.step(wait=False)
    assert rig.runner._context.vitals["allowlist_reason"] == "too_old"
    shifted(rig, -200)
    rig.runner.step(wait=False)
    assert rig.runner._context.vitals["allowlist_reason"] == "wrong_clock"
    shifted(rig, 0)
    rig.runner.step(wait=False)
    assert rig.runner._context.vitals["allowlist_source"] == "universe"


def damage_active(db):
    db.set(streams.UNIVERSE_ACTIVE, b"{not json")


def damage_type(db):
    db.delete(streams.UNIVERSE_META)
    db.lpush(streams.UNIVERSE_META, "odd")


def damage_bytes(db):
    db.hset(streams.UNIVERSE_META, "count", b"\xff")


def drop_active(db):
    db.delete(streams.UNIVERSE_ACTIVE)


def drop_meta(db):
    db.delete(streams.UNIVERSE_META)


def other_network(db):
    publish_universe(db, "ETHUSDT", mode="mainnet", epoch=2)


def flag(db):
    db.hset(streams.UNIVERSE_META, mapping={"stale": "1", "error": "http_5xx: HTTP 503"})


def strange_list(db):
    mock_universe(db, "ETHUSDT", "SOLUSDT")


TROUBLES = [
    (damage_active, "unreadable"),
    (damage_type, "unreadable"),
    (damage_bytes, "unreadable"),
    (drop_active, "missing"),
    (drop_meta, "unreadable"),
    (other_network, "wrong_mode"),
    (flag, "stale_flag"),
    (strange_list, "inconsistent"),
]


@pytest.mark.parametrize(("spoil", "reason"), TROUBLES, ids=[t[0].__name__ for t in TROUBLES])
def test_universe_that_cannot_be_believed_is_the_fallback_and_an_old_list_is_never_kept(
    server, spoil, reason
):
    db = server.connect()
    publish_universe(db, "ETHUSDT")
    # The cache period is the bound for what nothing tells of: a list changed behind meta's back
    with_fallback = Asking(P33Rig(server, allowlist=("BTCUSDT",), cache_s=0.05))
    assert with_fallback.about("ETHUSDT", "BTCUSDT") == [ALLOWED, DENIED]
    spoil(db)
    wait_out(0.06)
    assert with_fallback.about("ETHUSDT", "BTCUSDT") == [DENIED, ALLOWED]
    assert with_fallback.rig.runner._context.vitals["allowlist_reason"] == reason
    # And without a fallback everything is denied
    empty = Asking(P33Rig(server, name="two"))
    empty.asked = 100
    assert empty.about("ETHUSDT", "BTCUSDT") == [DENIED, DENIED]
    # When it is mended, the universe counts again at once
    db.delete(streams.UNIVERSE_META)
    publish_universe(db, "ETHUSDT", epoch=9)
    assert with_fallback.about("ETHUSDT", "BTCUSDT") == [ALLOWED, DENIED]


def wait_out(seconds: float) -> None:
    """Let real time pass: the cache period is what the story is about."""
    import time

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_universe_that_is_switched_off_is_never_used(server, log_lines):
    publish_universe(server.connect(), "ETHUSDT")
    asking = Asking(P33Rig(server, universe_enable=False, allowlist=("BTCUSDT",)))
    assert asking.about("ETHUSDT", "BTCUSDT") == [DENIED, ALLOWED]
    [line] = sources(log_lines)
    assert (line["source"], line["reason"], line["level"]) == ("fallback", "disabled", "warning")


def test_mode_of_its_own_overrules_the_producers(server):
    publish_universe(server.connect(), "ETHUSDT", mode="mainnet")
    asking = Asking(P33Rig(server, mode="mainnet"))
    assert asking.about("ETHUSDT") == [ALLOWED]


def test_parts_can_still_be_closed_while_the_universe_is_merely_old(server):
    db = server.connect()
    publish_universe(db, "BTCUSDT", stale="1", close_only=("ETHUSDT",))
    rig = P33Rig(server, allowlist=("BTCUSDT", "ETHUSDT"))
    hold(db, "0.005")
    [event] = rig.decide(plan(action="PARTIAL_50"))
    assert (event.allow, str(event.safe_qty)) == (True, "0.002")
    # And what was leaving trade is not opened on the fallback's word
    assert Asking(rig).about("ETHUSDT") == ["symbol_close_only"]


def test_steps_of_another_network_are_not_believed(server):
    db = server.connect()
    publish_universe(db, "BTCUSDT", mode="mainnet")
    rig = P33Rig(server, allowlist=("BTCUSDT",))
    hold(db, "0.005")
    assert rig.decide(plan(action="PARTIAL_50"))[0].reason == "step_size_unknown"


def test_news_stream_of_another_type_changes_nothing(server):
    db = server.connect()
    publish_universe(db, "ETHUSDT")
    db.set(streams.UNIVERSE_CHANGED.key, "odd")
    rig = P33Rig(server)
    assert Asking(rig).about("ETHUSDT") == [ALLOWED]
