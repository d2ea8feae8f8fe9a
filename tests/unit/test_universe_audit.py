"""What the universe auditor finds, each Finding from a story."""

from __future__ import annotations

import json

import fakeredis
import msgspec
import pytest
import walrus

from consumers.universe_audit import CHECKS, universe_audit
from producers import cycle
from producers.exchange_info import read
from quantum_ops import codec, streams
from quantum_ops.events import AuditFinding, UniverseChanged
from quantum_ops.settings import UniverseSettings
from quantum_ops.testing import drive
from tests.exchange import body

SETTINGS = UniverseSettings()
NOW = 1_795_000_000.0


def universe(*names: str, before: UniverseChanged | None = None):
    """The change event to these symbols, and the keys as the producer would write them."""
    published = cycle.Published()
    if before is not None:
        _, rows = universe(*before.symbols)
        published = cycle.Published(
            epoch=before.epoch, sha256=before.sha256, known=True, stale=False, mode="testnet",
            symbols=before.symbols, attributes=rows,
        )  # fmt: skip
    write = cycle.after_body(published, read(body(*names), SETTINGS, NOW), SETTINGS, NOW)
    assert write.event is not None
    return write.event, dict(write.attributes or {})


def keys_of(event: UniverseChanged, rows: dict[str, str]):
    """A Redis that holds what the producer writes with this event."""
    pool = fakeredis.FakeRedis(server=fakeredis.FakeServer(version=(7,)), protocol=2)
    db = walrus.Database(connection_pool=pool.connection_pool)
    db.hset(streams.UNIVERSE_META, mapping={"epoch": event.epoch, "sha256": event.sha256})
    db.set(streams.UNIVERSE_ACTIVE, json.dumps({"symbols": event.symbols}))
    db.hset(streams.UNIVERSE_SYMBOLS, mapping=rows)
    return db


def findings(events, db, server=None):
    driven = drive(universe_audit, events, db=db, server=server)
    assert driven.pending == 0
    return [one.finding for one in driven.published(AuditFinding)], driven


FIRST, ROWS = universe("BTCUSDT", "ETHUSDT")
SECOND, ROWS2 = universe("BTCUSDT", "SOLUSDT", before=FIRST)


def test_consistent_universe_is_told_once_per_event():
    names, driven = findings([FIRST, SECOND], keys_of(SECOND, ROWS2))
    assert names == ["universe_consistent"] * 2
    assert driven.published(AuditFinding)[0].severity == "info"
    assert driven.published(AuditFinding)[1].subject == "epoch 2"


def test_redelivered_event_is_not_judged_twice():
    names, _ = findings([FIRST, FIRST], keys_of(FIRST, ROWS))
    assert names == ["universe_consistent"]


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"count": 3}, "universe_event_wrong"),
        ({"symbols": ("ETHUSDT", "BTCUSDT")}, "universe_event_wrong"),
        ({"symbols_sha256": "0" * 64}, "universe_event_wrong"),
        ({"epoch": 5, "prev_epoch": 1}, "universe_epoch_gap"),
    ],
)
def test_event_that_contradicts_itself(changes, finding):
    event = msgspec.structs.replace(FIRST, **changes)
    names, driven = findings([event], keys_of(event, ROWS))
    assert finding in names
    assert "universe_consistent" not in names
    assert driven.published(AuditFinding)[0].severity == "critical"


def test_missing_event_is_a_gap():
    third, rows = universe("BTCUSDT", before=SECOND)
    names, _ = findings([FIRST, third], keys_of(third, rows))
    assert names == ["universe_consistent", "universe_epoch_gap"]


def test_event_that_follows_another_universe_is_a_gap():
    other, _ = universe("XRPUSDT", "ETHUSDT")
    names, _ = findings([other, SECOND], keys_of(SECOND, ROWS2))
    assert "universe_epoch_gap" in names


def test_difference_that_does_not_lead_there():
    event = msgspec.structs.replace(SECOND, added=())
    names, _ = findings([FIRST, event], keys_of(event, ROWS2))
    assert names == ["universe_consistent", "universe_difference_wrong"]


def test_symbol_off_the_pattern():
    event, rows = universe("BTCUSDT")
    bad = msgspec.structs.replace(event, symbols=("B\x1b[2J", "BTCUSDT"), count=2)
    names, _ = findings([bad], keys_of(bad, rows))
    assert "universe_symbol_invalid" in names


def test_keys_that_say_something_else():
    db = keys_of(FIRST, ROWS)
    db.hset(streams.UNIVERSE_SYMBOLS, "BTCUSDT", '{"tick_size":"9"}')
    assert findings([FIRST], db)[0] == ["universe_keys_differ"]
    db = keys_of(FIRST, ROWS)
    db.set(streams.UNIVERSE_ACTIVE, json.dumps({"symbols": ["BTCUSDT"]}))
    assert findings([FIRST], db)[0] == ["universe_keys_differ"]


def test_keys_that_are_behind_or_gone_or_of_another_type():
    assert findings([FIRST, SECOND], keys_of(FIRST, ROWS))[0] == [
        "universe_consistent",
        "universe_keys_behind",
    ]
    db = keys_of(FIRST, ROWS)
    db.delete(streams.UNIVERSE_META)
    assert findings([FIRST], db)[0] == ["universe_keys_differ"]
    db.set(streams.UNIVERSE_META, "a string")
    assert findings([FIRST], db)[0] == ["universe_keys_differ"]


def test_event_audited_late(monkeypatch):
    from quantum_ops.context import Context

    monkeypatch.setattr(Context, "age_s", property(lambda _self: 1e6))
    assert findings([FIRST], keys_of(FIRST, ROWS))[0] == ["universe_late"]


def test_hostile_entry_is_buried_and_the_next_is_judged():
    flat = codec.encode(FIRST)
    flat[flat.index(b"symbols") + 1] = b'["BTC'
    names, driven = findings([flat, FIRST], keys_of(FIRST, ROWS))
    assert names == ["universe_consistent"]
    assert [letter.reason for letter in driven.dead_letters] == ["undecodable"]


def test_every_finding_has_a_story_here():
    from pathlib import Path

    told = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in CHECKS if f'"{name}"' not in told] == []
