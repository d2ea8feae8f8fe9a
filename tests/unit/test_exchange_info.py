"""From a body to a snapshot: nothing in a body can raise, or publish what does not fit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers import backoff
from producers.binance import Failure, host, shown
from producers.churn_guard import Held, hold
from producers.exchange_info import Refusal, Snapshot, read
from quantum_ops.settings import UniverseSettings
from tests.exchange import body, row

SETTINGS = UniverseSettings()
NOW = 1_769_494_530.0


def code(content: bytes, **settings) -> str:
    with pytest.raises(Refusal) as caught:
        read(content, UniverseSettings(**settings), NOW)
    return caught.value.code


def test_whole_bodies_are_refused_with_a_code():
    assert code(b"") == "not_exchange_info"
    assert code(b"{}") == "not_exchange_info"
    assert code(b"[" * 100_000) == "not_exchange_info"
    assert code(body()) == "empty"
    assert code(body("BTCUSDT", weight=2400)) == "wrong_network"
    assert code(body("AAAUSDT", "BBBUSDT"), max_symbols=1) == "too_many"
    missing = json.loads(body("BTCUSDT"))
    del missing["rateLimits"]
    assert code(json.dumps(missing).encode()) == "wrong_network"


def test_weight_limit_can_be_told():
    settings = UniverseSettings(weight_limit=2400)
    assert read(body("BTCUSDT", weight=2400), settings, NOW).symbols == ("BTCUSDT",)


def test_filters_are_found_by_type_not_by_place():
    turned = row("BTCUSDT")
    turned["filters"].reverse()
    one = read(body("BTCUSDT"), SETTINGS, NOW)
    other = read(body(turned), SETTINGS, NOW)
    assert one.sha256 == other.sha256
    assert json.loads(one.attributes["BTCUSDT"])["tick_size"] == "0.10"


@pytest.mark.parametrize("size", ["0", "0.000", "-1", "1e-3", "NaN", "", "0x1"])
def test_row_without_a_usable_step_is_quarantined(size):
    bad = row("BTCUSDT")
    bad["filters"][0]["stepSize"] = size
    snapshot = read(body(bad, "ETHUSDT"), SETTINGS, NOW)
    assert snapshot.symbols == ("ETHUSDT",)
    assert "step size" in snapshot.quarantined["BTCUSDT"]


def test_doubled_symbol_is_believed_in_neither_row():
    snapshot = read(body("BTCUSDT", row("BTCUSDT", pricePrecision=9), "ETHUSDT"), SETTINGS, NOW)
    assert snapshot.symbols == ("ETHUSDT",)
    assert snapshot.quarantined == {"BTCUSDT": "stands more than once"}


def test_listing_order_and_server_time_do_not_count():
    one = read(body("BTCUSDT", "ETHUSDT", server_time=1), SETTINGS, NOW)
    other = read(body("ETHUSDT", "BTCUSDT", server_time=99), SETTINGS, NOW)
    assert one.sha256 == other.sha256


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
rows = st.fixed_dictionaries(
    {},
    optional={
        "symbol": st.sampled_from(["BTCUSDT", "A\nUSDT", "x", "龙虾USDT"]) | json_values,
        "status": st.sampled_from(["TRADING", "SETTLING"]) | json_values,
        "contractType": st.just("PERPETUAL") | json_values,
        "deliveryDate": st.integers() | json_values,
        "filters": st.just(row("x")["filters"]) | json_values,
    },
)


@given(st.lists(rows | json_values, max_size=6))
def test_no_row_raises_and_nothing_off_the_pattern_is_published(made):
    content = json.loads(body("ETHUSDT"))
    content["symbols"] += made
    snapshot = read(json.dumps(content).encode(), SETTINGS, NOW)
    assert all(SETTINGS.symbol_regex.fullmatch(symbol) for symbol in snapshot.symbols)
    assert list(snapshot.symbols) == sorted(set(snapshot.symbols))
    assert not set(snapshot.symbols) & snapshot.quarantined.keys()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_refusal(content):
    with pytest.raises(Refusal):
        read(content, SETTINGS, NOW)


def snapshot_of(*symbols: str) -> Snapshot:
    return Snapshot(tuple(sorted(symbols)), {}, {})


names = st.sets(st.sampled_from([f"S{number:02d}USDT" for number in range(40)]), min_size=1)


@given(names, names, st.integers(0, 10), st.floats(0, 100))
def test_guard_holds_exactly_what_exceeds_both_bounds(published, shows, count, percent):
    settings = UniverseSettings(max_removed=count, max_removed_pct=percent)
    held = hold(published, snapshot_of(*shows), settings, None, "")
    removed = published - shows
    exceeded = len(removed) > count and len(removed) > len(published) * percent / 100
    assert (held is not None) == exceeded
    if held:
        assert set(held.removed) == removed


def test_guard_counts_only_the_same_set_and_obeys_an_approval_for_it():
    settings = UniverseSettings(max_removed=0, max_removed_pct=0, confirmations=3)
    shows = snapshot_of("AUSDT")
    first = hold(["AUSDT", "BUSDT"], shows, settings, None, "")
    assert first == Held(first.sha256, ("BUSDT",), 1)
    second = hold(["AUSDT", "BUSDT"], shows, settings, first, "")
    assert second.seen == 2
    assert hold(["AUSDT", "BUSDT"], shows, settings, second, "") is None
    other = Held("another set", ("BUSDT",), 2)
    assert hold(["AUSDT", "BUSDT"], shows, settings, other, "").seen == 1
    assert hold(["AUSDT", "BUSDT"], shows, settings, None, "another set") is not None
    assert hold(["AUSDT", "BUSDT"], shows, settings, None, first.sha256) is None


def test_waits_grow_and_are_capped():
    def waits(kind):
        return [backoff.wait_s(Failure(kind, ""), number, 60) for number in range(1, 9)]

    assert waits("http_429") == [120, 240, 480, 960, 1800, 1800, 1800, 1800]
    assert waits("timeout") == [2, 4, 8, 16, 32, 60, 60, 60]
    assert waits("http_403") == [600] * 8
    assert backoff.wait_s(Failure("http_418", "", 333.0), 1, 60) == 333


def test_address_is_shown_without_login_and_query():
    assert shown("https://u:p@h:1/a/b?key=secret") == "https://h:1/a/b"
    assert "http" not in shown("http://u:p@[::1/a")


def test_host_of_an_address_that_can_be_used():
    assert host("https://u:p@H:1/a/b?c") == "h:1"
    assert host("http://[::1]/x") == "::1"
    for bad in ("ftp://h/x", "https:///x", "http://[::1", "http://h:port/", "h/x", ""):
        assert host(bad) == ""
