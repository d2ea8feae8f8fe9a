"""The universe producer against an exchange over HTTP and a real server."""

from __future__ import annotations

import gzip
import json
import re
import socket
import time

import pytest

from producers.lease import LostLeaseError
from quantum_ops import streams
from quantum_ops.universe import content_sha256, load_universe, symbols_sha256
from tests.exchange import SIX, answer, body, drip, recorded, row
from tests.universe_rig import Rig

COUNTS = {
    "mainnet_2021-07-21": 116,
    "mainnet_2022-05-06": 143,
    "testnet_2025-01-09": 337,
    "testnet_2025-10-29_poll1": 472,
    "testnet_2025-10-29_poll2": 472,
    "testnet_2025-11-10": 472,
    "testnet_2025-11-14": 475,
}


@pytest.fixture
def rig_of(server, exchange):
    made = []

    def build(**settings) -> Rig:
        made.append(Rig(server, exchange, **settings))
        return made[-1]

    yield build
    for one in made:
        one.http.close()


@pytest.fixture
def rig(rig_of):
    return rig_of()


@pytest.mark.parametrize("name", COUNTS)
def test_recorded_body_publishes_exactly_its_symbols(name, rig_of, exchange):
    exchange.respond = answer(recorded(name))
    rig = rig_of(mode=name.partition("_")[0])
    rig.turn()
    meta, active = rig.meta(), rig.active()
    assert len(active["symbols"]) == COUNTS[name]
    assert active["symbols"] == sorted(active["symbols"])
    assert all(re.fullmatch(r"[A-Z0-9]{3,20}USDT", symbol) for symbol in active["symbols"])
    assert (meta["count"], meta["stale"], meta["epoch"]) == (str(COUNTS[name]), "0", "1")
    assert rig.db.get(streams.UNIVERSE_LAST_OK) == rig.db.get(streams.UNIVERSE_ACTIVE)
    [event] = rig.changes()
    assert list(event.symbols) == active["symbols"]


def test_a_server_time_that_runs_backwards_is_no_change(rig, exchange):
    exchange.respond = answer(recorded("testnet_2025-10-29_poll1"))
    rig.turn()
    before = rig.meta()
    exchange.respond = answer(recorded("testnet_2025-10-29_poll2"))
    rig.turn()
    assert len(rig.changes()) == 1
    assert rig.meta()["epoch"] == before["epoch"]
    assert rig.meta()["changed_epoch"] == before["changed_epoch"]


def test_twelve_real_days_make_exactly_one_event_that_tells_the_difference(rig, exchange):
    exchange.respond = answer(recorded("testnet_2025-10-29_poll1"))
    rig.turn()
    exchange.respond = answer(recorded("testnet_2025-11-10"))
    rig.turn()
    [_, event] = rig.changes()
    assert event.added == ("JCTUSDT", "STABLEUSDT")
    assert event.removed == ("AI16ZUSDT", "KDAUSDT")
    assert (event.epoch, event.prev_epoch) == (2, 1)
    ticks = [symbol for symbol, changed in event.changed.items() if "tick_size" in changed]
    # 54 rows of the two bodies differ in tick size (SOURCES.md); the rest are not published
    assert ticks == sorted(ticks)
    assert len(ticks) == published_tick_changes()
    # The two that left trading are still listed: they may be closed, not opened
    rows = rig.rows()
    assert {rows[symbol]["state"] for symbol in event.removed} == {"close_only"}
    assert {"AI16ZUSDT", "KDAUSDT"} <= set(event.close_only)


def published_tick_changes() -> int:
    """Counted straight from the bodies, by other means than the product's."""

    def ticks(name):
        found = {}
        for one in json.loads(recorded(name))["symbols"]:
            if one["contractType"] == "PERPETUAL" and one["status"] == "TRADING":
                [tick] = [
                    f["tickSize"] for f in one["filters"] if f["filterType"] == "PRICE_FILTER"
                ]
                if re.fullmatch(r"[A-Z0-9]{3,20}USDT", one["symbol"]):
                    found[one["symbol"]] = tick
        return found

    old, new = ticks("testnet_2025-10-29_poll1"), ticks("testnet_2025-11-10")
    return sum(old[symbol] != new[symbol] for symbol in old.keys() & new.keys())


def test_documents_are_as_existing_readers_know_them(rig):
    rig.turn()
    active = rig.db.get(streams.UNIVERSE_ACTIVE).decode()
    asof = json.loads(active)["asof_epoch"]
    assert abs(asof - time.time()) < 5
    assert active == (
        f'{{"asof_epoch": {asof}, "source": "binance_futures_exchangeInfo", "mode": "testnet", '
        f'"symbols": {json.dumps(SIX)}, '
        '"filters": {"contractType": "PERPETUAL", "status": "TRADING"}}'
    )
    meta = rig.meta()
    assert {"asof_epoch", "last_ok_epoch", "count", "stale", "error"} <= meta.keys()
    assert meta["sha256"] == content_sha256(
        SIX, {k.decode(): v.decode() for k, v in rig.db.hgetall(streams.UNIVERSE_SYMBOLS).items()}
    )
    assert meta["symbols_sha256"] == symbols_sha256(SIX)
    assert load_universe(rig.db, now_s=time.time(), mode="testnet").status == "fresh"


def test_unchanged_universe_is_a_heartbeat_only(rig):
    rig.turn()
    first = rig.meta()
    rig.db.hset(streams.UNIVERSE_META, "checked_epoch", "1")
    rig.turn()
    assert len(rig.changes()) == 1
    assert int(rig.meta()["checked_epoch"]) >= int(first["checked_epoch"])
    assert rig.findings() == []


FAILURES = {
    "http_429": answer(b"{}", 429),
    "http_418": answer(b"{}", 418),
    "http_403": answer(b"<html>WAF</html>", 403, Content_Type="text/html"),
    "http_451": answer(b"{}", 451),
    "http_5xx": answer(b"<html>502 Bad Gateway</html>", 502, Content_Type="text/html"),
    "http_404": answer(b"{}", 404),
    "redirect": answer(b"", 302, Location="http://elsewhere.example/"),
    "not_json": answer(b"<html>maintenance</html>", 200, Content_Type="text/html"),
    "not_exchange_info": answer(body(*SIX)[:-20]),
    "empty": answer(body()),
    "wrong_network": answer(body(*SIX, weight=2400)),
    "too_many": answer(body(*(f"S{number:04d}USDT" for number in range(900)))),
    "too_large": answer(b"{" + b" " * 3_000_000),
    "connection": lambda handler: handler.connection.shutdown(socket.SHUT_RDWR),
    "timeout": drip(body(*SIX), 0.05, headers=False),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_each_failure_is_flagged_with_its_reason_and_touches_nothing_else(kind, rig_of, exchange):
    # Given a universe that was published
    rig = rig_of(http_timeout_s=0.4, max_bytes=2_000_000)
    rig.turn()
    good = rig.db.get(streams.UNIVERSE_LAST_OK)
    before = rig.meta()
    # When the exchange fails
    exchange.respond = FAILURES[kind]
    rig.turn()
    # Then last_ok and the symbols stand as they were, flagged stale with the reason
    meta = rig.meta()
    assert meta["stale"] == "1"
    assert meta["error"].startswith(kind)
    assert rig.db.get(streams.UNIVERSE_LAST_OK) == good
    assert rig.active()["symbols"] == SIX
    assert {k: meta[k] for k in ("epoch", "sha256", "last_ok_epoch", "count")} == {
        k: before[k] for k in ("epoch", "sha256", "last_ok_epoch", "count")
    }
    universe = load_universe(rig.db, now_s=time.time())
    assert universe.status == "stale"
    assert kind in universe.reason
    # And once it answers again, it is fresh; the flips are on record, the universe has no new event
    exchange.respond = answer(body(*SIX))
    rig.turn()
    assert load_universe(rig.db, now_s=time.time()).status == "fresh"
    assert [finding.finding for finding in rig.findings()] == ["universe_stale", "universe_fresh"]
    assert len(rig.changes()) == 1


def test_headers_that_drip_are_cut_off_too(rig_of, exchange):
    rig = rig_of(http_timeout_s=0.4)
    exchange.respond = drip(body(*SIX), 0.05, headers=True)
    started = time.monotonic()
    rig.turn()
    assert time.monotonic() - started < 3
    assert rig.meta()["error"].startswith("timeout")


def test_gzip_is_unpacked_and_a_bomb_is_not(rig_of, exchange):
    rig = rig_of(max_bytes=200_000)
    exchange.respond = answer(gzip.compress(body(*SIX)), Content_Encoding="gzip")
    rig.turn()
    assert rig.meta()["stale"] == "0"
    bomb = gzip.compress(b"{" + b" " * 50_000_000)
    assert len(bomb) < 200_000
    exchange.respond = answer(bomb, Content_Encoding="gzip")
    rig.turn()
    assert rig.meta()["error"].startswith("too_large")


@pytest.mark.parametrize(
    ("respond", "low", "high"),
    [
        (answer(b"", 429, Retry_After="7"), 7, 7),
        (answer(b"", 429), 120, 120),
        (answer(b"", 418, Retry_After="300"), 300, 300),
        (answer(b"", 403), 600, 600),
        (answer(b"", 451), 600, 600),
        (answer(b"", 503), 2, 2),
    ],
)
def test_back_off_is_what_the_exchange_asks_for(rig, exchange, respond, low, high):
    exchange.respond = respond
    assert low <= rig.turn() <= high


def test_ban_until_a_moment_is_honoured(rig, exchange):
    until = int((time.time() + 500) * 1000)
    text = f'{{"code":-1003,"msg":"Way too many requests; IP banned until {until}."}}'
    exchange.respond = answer(text.encode(), 418)
    assert 480 < rig.turn() <= 500


def test_first_fetch_that_fails_publishes_nothing_and_says_why(rig, exchange):
    exchange.respond = answer(b"", 503)
    rig.turn()
    assert rig.db.get(streams.UNIVERSE_ACTIVE) is None
    assert load_universe(rig.db, now_s=time.time()).status == "missing"
    assert rig.meta()["error"].startswith("http_5xx")


def test_boot_serves_last_ok_as_stale_until_the_first_success(rig, exchange):
    rig.turn()
    rig.db.delete(streams.UNIVERSE_ACTIVE)
    exchange.respond = answer(b"", 503)
    rig.producer._leading = False
    rig.turn()
    assert rig.active()["symbols"] == SIX
    assert load_universe(rig.db, now_s=time.time()).status == "stale"
    # And the turn of the flag is on record once, though the fetch failed as well
    assert [finding.finding for finding in rig.findings()] == ["universe_stale"]
    assert rig.findings()[0].detail.startswith("bootstrap")


def test_boot_of_one_that_lost_its_lease_changes_nothing(rig):
    rig.turn()
    rig.db.delete(streams.UNIVERSE_ACTIVE, streams.UNIVERSE_LEASE)
    before = rig.meta()
    assert rig.store.bootstrap() is False
    assert rig.db.get(streams.UNIVERSE_ACTIVE) is None
    assert (rig.meta(), rig.findings()) == (before, [])


def test_symbol_that_leaves_trading_is_close_only_before_it_vanishes(rig, exchange):
    rig.turn()
    exchange.respond = answer(body(*SIX[:-1], row("ETHUSDT", status="SETTLING")))
    rig.turn()
    event = rig.changes()[-1]
    assert (event.removed, event.close_only) == (("ETHUSDT",), ("ETHUSDT",))
    assert rig.rows()["ETHUSDT"]["state"] == "close_only"
    exchange.respond = answer(body(*SIX[:-1]))
    rig.turn()
    assert "ETHUSDT" not in rig.rows()


def test_symbol_with_a_delivery_date_near_is_told_while_it_still_trades(rig, exchange):
    rig.turn()
    soon = int((time.time() + 3600) * 1000)
    exchange.respond = answer(body(*SIX[:-1], row("ETHUSDT", deliveryDate=soon)))
    rig.turn()
    event = rig.changes()[-1]
    assert (event.removed, event.close_only) == ((), ("ETHUSDT",))
    assert "ETHUSDT" in rig.active()["symbols"]
    universe = load_universe(rig.db, now_s=time.time(), attributes=True)
    assert universe.close_only == {"ETHUSDT"}


def test_unknown_kinds_of_rows_never_fail_the_snapshot(rig, exchange):
    strange = [
        row("TSLAUSDT", contractType="TRADIFI_PERPETUAL"),
        row("HALTUSDT", status="TRADING_HALT"),
        row("BTCUSDT_250926", contractType="CURRENT_QUARTER DELIVERING"),
        row("龙虾USDT"),
        row("XUSDT"),
        row("NOFILTERUSDT", filters=[]),
        {"symbol": "ROWUSDT", "status": 7, "contractType": "PERPETUAL"},
        "not a row", None, [1],
    ]  # fmt: skip
    made = [one if isinstance(one, (dict, list, type(None))) else 5 for one in strange]
    exchange.respond = answer(body(*SIX, *made))
    rig.turn()
    assert rig.active()["symbols"] == SIX
    [event] = rig.changes()
    assert {"龙虾USDT", "XUSDT", "NOFILTERUSDT", "ROWUSDT"} <= event.quarantined.keys()
    assert int(rig.meta()["quarantined"]) == len(event.quarantined)


def guarded(rig_of, **settings) -> Rig:
    return rig_of(max_removed=1, max_removed_pct=20, confirmations=3, **settings)


def test_mass_removal_is_held_as_stale_until_it_was_seen_often_enough(rig_of, exchange):
    rig = guarded(rig_of)
    rig.turn()
    # When half of the symbols vanish and one is new
    exchange.respond = answer(body("BTCUSDT", "ETHUSDT", "NEWUSDT"))
    rig.turn()
    # Then removals wait, additions flow, and gates are told that it is stale
    assert rig.active()["symbols"] == sorted([*SIX, "NEWUSDT"])
    assert rig.meta()["stale"] == "1"
    assert rig.meta()["error"].startswith("churn guard: 4 of 6")
    assert rig.changes()[-1].added == ("NEWUSDT",)
    assert json.loads(rig.db.get(streams.UNIVERSE_LAST_OK))["symbols"] == SIX
    # And a different set in between starts the count anew
    rig.turn()
    exchange.respond = answer(body("BTCUSDT", "ETHUSDT"))
    rig.turn()
    exchange.respond = answer(body("BTCUSDT", "ETHUSDT", "NEWUSDT"))
    rig.turn()
    rig.turn()
    assert rig.meta()["stale"] == "1"
    rig.turn()
    assert rig.active()["symbols"] == ["BTCUSDT", "ETHUSDT", "NEWUSDT"]
    assert rig.meta()["stale"] == "0"
    assert rig.db.exists(streams.UNIVERSE_HELD) == 0


def test_operator_accepts_the_set_that_was_held_and_no_other(rig_of, exchange):
    rig = guarded(rig_of)
    rig.turn()
    exchange.respond = answer(body("BTCUSDT", "ETHUSDT"))
    rig.turn()
    held = json.loads(rig.db.get(streams.UNIVERSE_HELD))
    rig.db.set(streams.UNIVERSE_ACCEPT, held[0])
    # When the exchange shows yet another set, the approval is not for that one
    exchange.respond = answer(body("BTCUSDT"))
    rig.turn()
    assert rig.meta()["stale"] == "1"
    exchange.respond = answer(body("BTCUSDT", "ETHUSDT"))
    rig.turn()
    assert rig.active()["symbols"] == ["BTCUSDT", "ETHUSDT"]
    # And it is used up
    assert rig.db.exists(streams.UNIVERSE_ACCEPT) == 0


def test_hold_survives_a_restart(rig_of, exchange):
    first = guarded(rig_of)
    first.turn()
    exchange.respond = answer(body("BTCUSDT", "ETHUSDT"))
    first.turn()
    first.turn()
    first.store.lease.release()
    second = guarded(rig_of)
    second.turn()
    assert second.active()["symbols"] == ["BTCUSDT", "ETHUSDT"]


def test_change_of_network_is_no_churn(rig_of, exchange):
    rig = guarded(rig_of)
    rig.turn()
    rig.store.lease.release()
    exchange.respond = answer(body("MAINUSDT", weight=2400))
    other = guarded(rig_of, mode="mainnet")
    other.turn()
    assert (other.active()["symbols"], other.active()["mode"]) == (["MAINUSDT"], "mainnet")


def test_one_publishes_the_other_stands_by_and_takes_over(rig_of):
    first, second = rig_of(), rig_of()
    first.turn()
    assert second.turn() <= 1.0
    assert len(first.changes()) == 1
    first.store.lease.release()
    second.turn()
    assert second.meta()["fence"] == "2"
    assert len(second.changes()) == 1


def test_producer_that_lost_its_lease_while_fetching_changes_nothing(rig_of, exchange):
    first, second = rig_of(), rig_of()
    first.turn()
    # Given a leader that sleeps in its fetch while its lease runs out and another takes over
    exchange.respond = answer(body(*SIX, "LATEUSDT"))
    published = first.store.read()
    first.db.delete(streams.UNIVERSE_LEASE)
    second.turn()
    before = first.meta()
    # When it wakes up and commits
    from producers.cycle import after_refusal

    with pytest.raises(LostLeaseError):
        first.store.commit(published, after_refusal(published, "late", time.time()))
    assert first.meta() == before
    assert len(first.changes()) == 2


def test_lost_reply_of_a_commit_makes_no_second_event(rig):
    # Given a commit that happened and whose reply was lost: the producer starts its turn anew
    rig.turn()
    rig.producer._leading = False
    rig.turn()
    assert len(rig.changes()) == 1


def test_damaged_keys_are_repaired_without_an_event(rig):
    rig.turn()
    rig.db.hset(streams.UNIVERSE_SYMBOLS, "BTCUSDT", "{}")
    rig.turn()
    assert rig.rows()["BTCUSDT"]["tick_size"] == "0.10"
    assert len(rig.changes()) == 1


def test_lost_meta_does_not_turn_the_epoch_back(rig, exchange):
    rig.turn()
    exchange.respond = answer(body(*SIX, "NEWUSDT"))
    rig.turn()
    rig.db.delete(streams.UNIVERSE_META)
    rig.turn()
    assert rig.meta()["epoch"] == "3"
    assert [event.epoch for event in rig.changes()] == [1, 2, 3]


@pytest.mark.parametrize("key", [streams.UNIVERSE_META, streams.UNIVERSE_SYMBOLS,
                                 streams.UNIVERSE_ACTIVE])  # fmt: skip
def test_key_of_a_wrong_type_reads_as_stale_and_is_healed(key, rig):
    rig.turn()
    rig.db.delete(key)
    rig.db.sadd(key, "nonsense")
    assert load_universe(rig.db, now_s=time.time(), attributes=True).status == "stale"
    # What run() does on WRONGTYPE, done by hand
    assert rig.store.heal() == [key]
    rig.turn()
    assert load_universe(rig.db, now_s=time.time()).status == "fresh"
