"""What is made of positionRisk bodies, honest and hostile."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.position_risk import Refusal, read
from quantum_ops.settings.universe import SYMBOL_REGEX


def row(symbol: str = "BTCUSDT", amount: str = "0.000", **fields) -> dict:
    return {
        "symbol": symbol, "positionAmt": amount, "entryPrice": "0.0", "breakEvenPrice": "0.0",
        "markPrice": "91234.50000000", "unRealizedProfit": "0.00000000", "liquidationPrice": "0",
        "leverage": "20", "maxNotionalValue": "5000000", "marginType": "cross",
        "isolatedMargin": "0.00000000", "isAutoAddMargin": "false", "positionSide": "BOTH",
        "notional": "0", "isolatedWallet": "0", "updateTime": 0, **fields,
    }  # fmt: skip


def body(*rows) -> bytes:
    return json.dumps(list(rows)).encode()


def judged(*rows):
    return read(body(*rows), SYMBOL_REGEX)


def test_fields_are_as_existing_readers_know_them():
    found = judged(row(amount="-1.500", entryPrice="9.1", unRealizedProfit="-3.2"))
    assert found.rows["BTCUSDT"] == {
        "symbol": "BTCUSDT", "position_amt": "-1.500", "side": "SHORT", "quantity": "1.500",
        "entry_price": "9.1", "mark_price": "91234.50000000", "current_price": "91234.50000000",
        "unrealized_pnl": "-3.2", "leverage": "20", "source": "binance_position_risk",
    }  # fmt: skip
    assert (found.hedged, found.skipped, found.foreign) == ((), {}, 0)


@pytest.mark.parametrize(
    ("amount", "side", "quantity"),
    [("0.001", "LONG", "0.001"), ("-5", "SHORT", "5"), ("0", "FLAT", "0"), ("-0.0", "FLAT", "0.0")],
)
def test_side_follows_the_sign(amount, side, quantity):
    fields = judged(row(amount=amount)).rows["BTCUSDT"]
    assert (fields["side"], fields["quantity"]) == (side, quantity)


@pytest.mark.parametrize(
    "bad",
    [
        {"positionAmt": "NaN"}, {"positionAmt": "1e400"}, {"positionAmt": "Infinity"},
        {"positionAmt": ""}, {"positionAmt": 1.5}, {"positionAmt": None}, {"positionAmt": "+1"},
        {"positionAmt": "1" * 50}, {"positionAmt": "\u0661"}, {"positionAmt": "1\n"},
        {"markPrice": "nan"}, {"leverage": 20}, {"entryPrice": []},
        {"positionSide": "SIDEWAYS"}, {"positionSide": 1},
    ],
)  # fmt: skip
def test_bad_row_is_skipped_by_name_and_spoils_no_other(bad):
    found = judged(row("BTCUSDT", **bad), row("ETHUSDT", "1"))
    assert list(found.rows) == ["ETHUSDT"]
    assert list(found.skipped) == ["BTCUSDT"]


def test_row_without_a_field_or_a_name_is_skipped():
    short = row()
    del short["positionAmt"]
    found = judged(short, {"symbol": 7}, 5, None, [], row("ETHUSDT"))
    assert list(found.rows) == ["ETHUSDT"]
    assert list(found.skipped) == ["BTCUSDT", "row[1]", "row[2]", "row[3]", "row[4]"]


def test_symbol_with_one_bad_row_or_two_equal_ones_is_not_believed():
    bad = row(positionSide="LONG", positionAmt="NaN")
    broken = row(positionSide="LONG", positionAmt=7)
    assert "BTCUSDT" in judged(row(), bad, row("ETHUSDT")).skipped
    assert "BTCUSDT" in judged(broken, row(), row("ETHUSDT")).skipped
    assert "BTCUSDT" in judged(row(), row(amount="1"), row("ETHUSDT")).skipped


def test_hedge_mode_has_no_net_position_to_tell():
    both, long, short = (row(positionSide=side) for side in ("BOTH", "LONG", "SHORT"))
    # Given sides that are flat beside a net row: the net row counts
    assert list(judged(both, long, short).rows) == ["BTCUSDT"]
    # Given an amount on a side, or no net row at all: nobody can say
    held = row(amount="1", positionSide="LONG")
    for group in ([both, held, short], [long, short], [held]):
        found = judged(*group, row("ETHUSDT"))
        assert (list(found.rows), found.hedged) == (["ETHUSDT"], ("BTCUSDT",))


def test_symbols_off_the_pattern_are_counted_and_never_become_keys():
    found = judged(row("BTCUSDC"), row("B\x1b[2JUSDT"), row("A:BUSDT"), row("ETHUSDT"))
    assert (list(found.rows), found.foreign) == (["ETHUSDT"], 3)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"[]", "empty"), (body(row(positionAmt="x")), "empty"), (body(row("BTCUSDC")), "empty"),
        (b'{"code":-1}', "not_position_risk"), (b"[", "not_position_risk"),
        (b"[" * 100_000, "not_position_risk"), (b"[\xff]", "not_position_risk"),
        (b"[{}] x", "not_position_risk"),
    ],
    ids=range(8),
)  # fmt: skip
def test_body_that_tells_no_position_is_refused(content, code):
    with pytest.raises(Refusal) as refused:
        read(content, SYMBOL_REGEX)
    assert refused.value.code == code


VALUES = st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(
    ["0", "-1.5", "NaN", "1e9", "BOTH", "LONG", "SHORT", "BTCUSDT", "ETHUSDT"]
)  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("symbol", "positionAmt", "positionSide", "leverage"), VALUES),
    ).map(lambda odd: {**row(), **odd}),
    max_size=6,
)


@given(ROWS)
def test_what_is_believed_is_a_plain_number_under_a_clean_key(rows):
    try:
        found = read(msgspec.json.encode(rows), SYMBOL_REGEX)
    except Refusal:
        return
    for symbol, fields in found.rows.items():
        assert SYMBOL_REGEX.fullmatch(symbol)
        assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", fields["position_amt"])
        nets = [r for r in rows if r["symbol"] == symbol and r["positionSide"] == "BOTH"]
        assert [r["positionAmt"] for r in nets] == [fields["position_amt"]]


@given(st.binary(max_size=60))
def test_no_body_raises_anything_else(content):
    with pytest.raises(Refusal):
        read(content, SYMBOL_REGEX)
