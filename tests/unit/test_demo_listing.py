"""The pretend exchange's listings: always an honest body, never a mass removal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.demo import recording
from ops.demo.listing import Listing
from producers.exchange_info import read
from quantum_ops.settings import UniverseSettings

SETTINGS = UniverseSettings()


@given(st.integers(0, 1000), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_every_body_is_believed_and_changes_by_one_symbol_at_most(seed, steps):
    listing = Listing(seed)
    before = set(read(listing.body(1), SETTINGS, 1.0).symbols)
    for _ in range(steps):
        listing.advance()
        after = set(read(listing.body(1), SETTINGS, 1.0).symbols)
        assert len(before ^ after) <= 1
        before = after


def test_same_seed_same_course():
    first, second = Listing(7), Listing(7)
    assert [first.advance() for _ in range(50)] == [second.advance() for _ in range(50)]
    assert first.body(5) == second.body(5)


def test_every_kind_of_change_happens_and_majors_stay():
    listing = Listing(1)
    told = " ".join(listing.advance() for _ in range(20))
    assert all(word in told for word in ("listed", "left trading", "vanished", "tick size"))
    symbols = read(listing.body(1), SETTINGS, 1.0).symbols
    assert {"BTCUSDT", "ETHUSDT"} <= set(symbols)


def test_oddities_are_quarantined_not_published():
    snapshot = read(Listing(1).body(1), SETTINGS, 1.0)
    assert {"AIUSDT", "测试测试USDT", "BTCUSDC"} <= snapshot.quarantined.keys()
    assert "TSLAUSDT" not in snapshot.symbols
    assert '"close_only"' in snapshot.attributes["HALTUSDT"]


@pytest.mark.parametrize(
    ("document", "mode"),
    [
        ({"rateLimits": [{"rateLimitType": "ORDERS", "limit": 2400}]}, "testnet"),
        ({"rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "limit": 2400}]}, "mainnet"),
        ({"rateLimits": [{"rateLimitType": "REQUEST_WEIGHT", "limit": 6000}]}, "testnet"),
        ({"rateLimits": ["?", None]}, "testnet"),
        ({"rateLimits": 7}, "testnet"),
        ([], "testnet"),
    ],
)
def test_network_of_a_recorded_body_is_told_by_its_weight_limit(document, mode):
    assert recording.mode_of(json.dumps(document).encode()) == mode
