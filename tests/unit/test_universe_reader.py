"""When a universe may be believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_ops.universe import (
    active_json,
    content_sha256,
    judge,
    renewed,
    symbols_sha256,
)

NOW = 1_769_494_530.0
SYMBOLS = ["BTCUSDT", "ETHUSDT"]


def active(**changes) -> bytes:
    document = json.loads(active_json(SYMBOLS, "testnet", int(NOW) - 10))
    return json.dumps({**document, **changes}).encode()


def meta(**changes) -> dict[bytes, bytes]:
    fields = {
        "asof_epoch": str(int(NOW) - 10), "last_ok_epoch": str(int(NOW) - 10), "count": "2",
        "stale": "0", "error": "", "epoch": "7", "checked_epoch": str(int(NOW) - 10),
        "refresh_sec": "60", "symbols_sha256": symbols_sha256(SYMBOLS), "quarantined": "3",
        **changes,
    }  # fmt: skip
    return {k.encode(): str(v).encode() for k, v in fields.items() if v is not None}


def test_fresh():
    universe = judge(active(), meta(), now_s=NOW, mode="testnet")
    assert (universe.status, universe.reason, universe.mode) == ("fresh", "", "testnet")
    assert universe.symbols == set(SYMBOLS)
    assert (universe.epoch, universe.age_s, universe.quarantined) == (7, 10.0, 3)


def test_keys_as_the_trading_sides_own_test_sets_them():
    # Only active and meta, no epoch, no heartbeat, source "test_mock"
    document = active(source="test_mock")
    plain = {"epoch", "checked_epoch", "refresh_sec", "symbols_sha256", "quarantined"}
    fields = {k: v for k, v in meta().items() if k.decode() not in plain}
    assert judge(document, fields, now_s=NOW).status == "fresh"
    assert judge(document, {**fields, b"stale": b"1"}, now_s=NOW).status == "stale"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"stale": "1", "error": "http_5xx"}, "flagged stale: http_5xx"),
        ({"stale": None}, "flagged stale"),
        ({"stale": ""}, "flagged stale"),
        ({"checked_epoch": int(NOW) - 181}, "checked 181 s ago"),
        ({"checked_epoch": int(NOW) + 61}, "in the future"),
        ({"checked_epoch": "nan"}, "checked"),
        ({"checked_epoch": "soon"}, "unreadable"),
        ({"count": "3"}, "counts 3"),
        ({"symbols_sha256": "0" * 64}, "hash"),
        ({"refresh_sec": "x"}, "unreadable"),
        ({"refresh_sec": "inf", "checked_epoch": int(NOW) - 10_801}, "checked 10801 s ago"),
        ({"refresh_sec": "-60"}, "checked"),
    ],
)
def test_stale_with_its_reason(fields, reason):
    universe = judge(active(), meta(**fields), now_s=NOW)
    assert universe.status == "stale"
    assert reason in universe.reason


def test_age_is_judged_by_the_producers_own_refresh():
    fields = meta(checked_epoch=int(NOW) - 20, refresh_sec="5")
    assert judge(active(), fields, now_s=NOW).status == "stale"
    fields = meta(checked_epoch=int(NOW) - 200, refresh_sec="120")
    assert judge(active(), fields, now_s=NOW).status == "fresh"


@pytest.mark.parametrize(
    ("document", "fields", "rows"),
    [
        (b"no json", meta(), None),
        (b'{"symbols": "BTCUSDT", "mode": "testnet"}', meta(), None),
        (b"\xff", meta(), None),
        (active(), {}, None),
        (ValueError("WRONGTYPE"), meta(), None),
        (active(), ValueError("WRONGTYPE"), None),
        (active(), meta(), ValueError("WRONGTYPE")),
        (active(), {b"stale": b"\xff"}, None),
        (active(), meta(), {b"BTCUSDT": b"no json"}),
        (active(), None, None),
        (active(), b"OK", None),
        (active(), meta(), [b"BTCUSDT"]),
        (b"[" * 100_000, meta(), None),
    ],
)
def test_unreadable_is_stale_and_never_an_exception(document, fields, rows):
    universe = judge(document, fields, rows, now_s=NOW)
    assert (universe.status, universe.symbols) == ("stale", frozenset())
    assert universe.reason.startswith("unreadable")


def test_missing_and_empty_and_wrong_network():
    assert judge(None, {}, now_s=NOW).status == "missing"
    assert "empty" in judge(active(symbols=[]), meta(count=0), now_s=NOW).reason
    wrong = judge(active(), meta(), now_s=NOW, mode="mainnet")
    assert (wrong.status, wrong.reason) == ("stale", "it is of testnet, not of mainnet")


def test_close_only_comes_from_the_attributes():
    rows = {b"BTCUSDT": b'{"state":"close_only"}', b"ETHUSDT": b'{"state":"trading"}'}
    assert judge(active(), meta(), rows, now_s=NOW).close_only == {"BTCUSDT"}


def test_attributes_that_are_missing_or_altered_are_not_read_as_all_may_trade():
    # Given attributes in which one symbol may only be closed, and meta with their hash
    rows = {"BTCUSDT": '{"state":"close_only"}', "ETHUSDT": '{"state":"trading"}'}
    fields = meta(sha256=content_sha256(SYMBOLS, rows))
    raw_rows = {k.encode(): v.encode() for k, v in rows.items()}
    assert judge(active(), fields, raw_rows, now_s=NOW).status == "fresh"
    # When the row is gone, or all are, or it says otherwise
    for damaged in ({}, {b"ETHUSDT": b"{}"}, {**raw_rows, b"BTCUSDT": b'{"state":"trading"}'}):
        universe = judge(active(), fields, damaged, now_s=NOW)
        assert (universe.status, "attributes" in universe.reason) == ("stale", True)
    # Then only a reader that did not ask for them is not told
    assert judge(active(), fields, now_s=NOW).status == "fresh"


def test_hashes_do_not_depend_on_order():
    assert symbols_sha256(["B", "A"]) == symbols_sha256(["A", "B"])
    assert content_sha256(["B", "A"], {"A": "1", "B": "2"}) == content_sha256(
        ["A", "B"], {"B": "2", "A": "1"}
    )
    assert content_sha256(["A"], {"A": "1"}) != content_sha256(["A"], {"A": "2"})


raw = st.none() | st.binary(max_size=50) | st.just(active())


@given(raw, st.dictionaries(st.sampled_from(list(meta())), st.binary(max_size=12)), st.floats())
def test_whatever_stands_there_is_judged_and_fresh_only_with_the_flag_at_zero(
    document, fields, now
):
    universe = judge(document, fields, now_s=now)
    assert universe.status in ("fresh", "stale", "missing")
    if universe.status == "fresh":
        assert fields[b"stale"] == b"0"
        assert universe.symbols


@pytest.mark.parametrize("epoch", [b"-5", b"1_0", "\u0661".encode(), b"9" * 16, b"1.0", b" 1"])
def test_damaged_epoch_is_unreadable(epoch):
    damaged = {**meta(), b"epoch": epoch}
    assert judge(active(), damaged, now_s=NOW).code == "unreadable"


def test_document_without_a_time_in_meta_ages_the_same_on_every_look():
    timeless = {k: v for k, v in meta().items() if k not in (b"checked_epoch", b"asof_epoch")}
    first = judge(active(), timeless, now_s=NOW)
    again = renewed(first, timeless, now_s=NOW)
    assert (again.status, again.age_s) == (first.status, first.age_s)
