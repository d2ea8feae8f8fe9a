"""What the universe auditor finds, each Finding from a story."""

from __future__ import annotations

import json
from typing import ClassVar

import fakeredis
import msgspec
import pytest
import walrus

from consumers.universe_audit import CHECKS, look, universe_audit
from producers import cycle
from producers.exchange_info import read
from quantum_ops import codec, logs, streams
from quantum_ops.clock import Clock
from quantum_ops.context import Context
from quantum_ops.events import AuditFinding, UniverseChanged, UniverseChecked
from quantum_ops.memory import MemoryRedis
from quantum_ops.settings import UniverseAuditSettings, UniverseSettings
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


def checked(number: int, **fields) -> UniverseChecked:
    """A check, five minutes after the one before it."""
    began_ms = int(NOW * 1000) + number * 300_000
    known = {"fresh": True, "epoch": 1, "checked_s": began_ms // 1000, "refresh_s": 60.0, **fields}
    return UniverseChecked(
        event_id=f"universe_check/{began_ms}", outcome="compared", began_ms=began_ms, **known
    )


def test_second_fetches_are_judged_by_their_memory():
    # Given checks that come to different processes, one after the other
    db, server = keys_of(FIRST, ROWS), MemoryRedis()
    odd = {"missing": ("NEWUSDT",), "differing": 1}
    events = [checked(0), checked(1, **odd), checked(2, **odd), checked(3, **odd), checked(4)]
    for event in events:
        drive(universe_audit, [event], server=server, db=db)
        db.set(streams.UNIVERSE_AUDIT_CHECKS, server.get(streams.UNIVERSE_AUDIT_CHECKS))
    # Then the difference that stays is told once, and that it is gone
    names, driven = findings([], db, server)
    assert names == [
        "universe_agrees_with_exchange",
        "universe_differs_from_exchange",
        "universe_agrees_with_exchange",
    ]
    told = driven.published(AuditFinding)[1]
    assert (told.severity, told.subject) == ("critical", "epoch 1")
    assert told.detail == "not published: NEWUSDT"
    assert events[2].event_id in told.evidence
    assert len(told.evidence) == 3


def test_change_of_a_symbol_begins_its_suspicion_anew():
    # Given a symbol that differs, is published, and differs again
    db, server = keys_of(SECOND, ROWS2), MemoryRedis()
    odd = {"missing": ("SOLUSDT",), "differing": 1}
    for event in (FIRST, checked(1, **odd), SECOND, checked(2, **odd)):
        names, _ = findings([event], db, server)
        db.set(streams.UNIVERSE_AUDIT_CHECKS, server.get(streams.UNIVERSE_AUDIT_CHECKS) or b"")
        audited = server.get(streams.UNIVERSE_AUDITED)
        db.hset(streams.UNIVERSE_AUDITED, mapping=audited)
    assert "universe_differs_from_exchange" not in names


def test_second_fetch_that_fails_is_told_once():
    no = [
        UniverseChecked(outcome="failed", began_ms=began, reason="http_451: HTTP 451")
        for began in (1, 2)
    ]
    names, driven = findings([*no, checked(0)], keys_of(FIRST, ROWS))
    assert names == ["universe_check_failed", "universe_agrees_with_exchange"]
    assert driven.published(AuditFinding)[0].detail == "http_451: HTTP 451"


class Desk:
    """An auditor that looks at a Redis of its own; time is the test's."""

    def __init__(self, db, **settings) -> None:
        self.db = db
        self.now_s = NOW
        clock = Clock()
        clock.now_s = lambda: self.now_s
        settings = UniverseAuditSettings(**settings)
        self.context = Context("universe_audit", db, logs.get(), clock, settings)

    def look(self, seconds: float = 5.0) -> Desk:
        self.now_s += seconds
        self.beat()
        look(self.context)
        return self

    beating: ClassVar[dict[str, str]] = {}

    def beat(self) -> None:
        if self.beating:
            at = {"updated_ms": int(self.now_s * 1000), "state": "ready"}
            self.db.hset(streams.heartbeat("p33", 2), mapping={**at, **self.beating})
        self.db.hset(streams.UNIVERSE_META, "checked_epoch", int(self.now_s))

    def told(self) -> list[tuple[str, str]]:
        rows = [row for _, row in self.db.xrange(streams.AUDIT_FINDING.key)]
        return [(row[b"finding"].decode(), row[b"severity"].decode()) for row in rows]

    @property
    def hindrance(self) -> str:
        return self.context.vitals["hindrance"]


def desk(**settings) -> Desk:
    db = keys_of(FIRST, ROWS)
    fields = {"stale": 0, "refresh_sec": 60, "count": 2}
    db.hset(streams.UNIVERSE_META, mapping=fields)
    document = {"symbols": FIRST.symbols, "mode": "testnet"}
    db.set(streams.UNIVERSE_ACTIVE, json.dumps(document))
    return Desk(db, **settings)


def test_reader_that_stays_behind_is_told_and_gets_worse():
    one = desk()
    one.beating = {"allowlist_source": "fallback", "allowlist_reason": "too_old"}
    for _ in range(20):
        one.look()
    named = "universe_reader_behind"
    assert one.told() == [(named, "warning"), (named, "critical")]
    assert one.hindrance == "sees a reader behind: p33-02 is on its fallback: too_old"
    [_, (_, row)] = one.db.xrange(streams.AUDIT_FINDING.key)
    assert row[b"subject"] == b"p33-02"
    assert b"the universe is at epoch 1, for 60 s" in row[b"detail"]
    # And when it follows, nothing hinders the proof any more
    one.beating = {"allowlist_source": "universe", "universe_epoch": "1"}
    one.look()
    assert (one.hindrance, len(one.told())) == ("", 2)


def test_second_fetch_that_is_silent_is_told_if_it_is_asked_for():
    one = desk(fetch=True).look().look(961)
    assert one.told() == [("universe_check_failed", "warning")]
    assert "no second fetch for 961 s" in one.hindrance
    assert one.look(5000).told() == one.told()
    assert desk().look().look(5000).hindrance == ""


def test_churn_of_a_day_is_reported_after_it():
    # Given yesterday's changes in the stream
    one = desk(churn_max_pct=60.0)
    midnight_s = NOW - NOW % 86_400
    for number, event in enumerate((FIRST, SECOND)):
        at_ms = int(midnight_s * 1000) - 5000 + number
        one.db.execute_command(
            "XADD", streams.UNIVERSE_CHANGED.key, f"{at_ms}-0", *codec.encode(event)
        )
    one.db.execute_command("XADD", streams.UNIVERSE_CHANGED.key, f"{at_ms}-1", "no", "change")
    # When the day is over, also for a clock that is a little ahead
    one.now_s = midnight_s
    one.look(59)
    assert one.told() == []
    one.look(1).look().look()
    # Then it is told once, as a warning because half of the list came and half went
    assert one.told() == [("universe_churn", "warning")]
    [(_, row)] = one.db.xrange(streams.AUDIT_FINDING.key)
    assert b"1 added, 1 removed" in row[b"detail"]
    assert b"100.0 % of 2 symbols; added SOLUSDT; removed ETHUSDT" in row[b"detail"]
    assert b"1 entries unreadable" in row[b"detail"]
    # And a quiet day is a report, too; days without an auditor are reported later
    one.look(3 * 86_400)
    assert one.told()[1:] == [("universe_churn", "info")] * 3


def test_nobody_is_told_of_days_before_the_first_universe():
    one = desk().look(86_400)
    assert one.told() == []


def test_keys_of_another_type_are_replaced():
    one = desk(fetch=True)
    one.beating = {"allowlist_source": "fallback", "allowlist_reason": "too_old"}
    keys = (
        streams.UNIVERSE_AUDIT_CHECKS, streams.UNIVERSE_AUDIT_CHURN, streams.UNIVERSE_AUDIT_READERS,
    )  # fmt: skip
    for key in keys:
        one.db.hset(key, "somebody", "was here")
    one.look().look().look().look()
    assert one.told() == [("universe_reader_behind", "warning")]
    assert [one.db.type(key) for key in keys] == [b"string"] * 3


def test_two_auditors_tell_each_thing_once():
    one = desk()
    one.beating = {"allowlist_source": "fallback", "allowlist_reason": "too_old"}
    other = Desk(one.db)
    for _ in range(5):
        one.look()
        other.now_s = one.now_s
        look(other.context)
    assert one.told() == [("universe_reader_behind", "warning")]


def test_every_finding_has_a_story_here():
    from pathlib import Path

    told = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in CHECKS if f'"{name}"' not in told] == []
