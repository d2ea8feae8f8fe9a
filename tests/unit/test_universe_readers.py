"""Which processes of P3.3 are behind, and how much of the list changed in a day."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from quantum_ops.audit import churn, readers
from quantum_ops.audit.readers import follow, lagging
from quantum_ops.events import UniverseChanged
from quantum_ops.universe import Universe

NOW = 1_795_000_000_000
FRESH = Universe("fresh", epoch=7)


def beat(at_ms=NOW, *, epoch="7", source="universe", state="ready", reason="fresh", **more):
    fields = {"updated_ms": at_ms, "universe_epoch": epoch, "allowlist_source": source,
              "state": state, "allowlist_reason": reason, **more}  # fmt: skip
    return {name: str(value) for name, value in fields.items()}


def causes(one, universe=FRESH) -> list[str]:
    return [lag.cause for lag in lagging({"p33-00": one}, universe, NOW).values()]


def test_who_is_behind_and_who_is_not():
    assert causes(beat()) == []
    assert causes(beat(epoch=6)) == ["is at epoch 6"]
    assert causes(beat(epoch="")) == ["is at epoch "]
    assert causes(beat(source="fallback", reason="too_old")) == ["is on its fallback: too_old"]
    # One that was told to do without the universe follows its order
    assert causes(beat(source="fallback", reason="disabled")) == []
    # The dead, the waiting and those that have not looked yet are no readers
    assert causes(beat(NOW - 15_001, epoch=6)) == []
    assert causes(beat(epoch=6, state="waiting")) == []
    assert causes({"state": "ready", "updated_ms": str(NOW)}) == []
    assert causes({"state": "ready", "updated_ms": "soon", "allowlist_source": "x"}) == []
    # And a universe that is not fresh is no measure
    assert causes(beat(epoch=6), Universe("stale", epoch=7)) == []


class Watch:
    """A process that is looked at every five seconds."""

    def __init__(self) -> None:
        self.memory: dict = {}
        self.now = NOW
        self.told: list[tuple[int, str]] = []

    def look(self, epoch="6", *, beat_ms=None, seconds=5, source="universe") -> Watch:
        self.now += seconds * 1000
        at = self.now if beat_ms is None else beat_ms
        found = lagging({"p33-00": beat(at, epoch=epoch, source=source)}, FRESH, self.now)
        self.memory, due = follow(self.memory, found, self.now, 10.0)
        # What survives is what was written down
        self.memory = readers.read(msgspec.json.encode(self.memory))
        self.told += [((self.now - NOW) // 1000, severity) for severity in due.values()]
        return self


def test_reader_that_stays_behind_is_a_warning_then_critical_each_once():
    watch = Watch()
    for _ in range(20):
        watch.look()
    assert watch.told == [(15, "warning"), (65, "critical")]
    assert "p33-00 is at epoch 6" in readers.hindrance(watch.memory)


def test_reader_that_follows_within_the_grace_is_nothing():
    watch = Watch().look().look().look("7")
    assert (watch.told, watch.memory) == ([], {})
    assert readers.hindrance(watch.memory) == ""


def test_reader_whose_epoch_moves_is_following():
    watch = Watch()
    for epoch in range(-20, 7):
        watch.look(str(epoch)).look(str(epoch))
    assert watch.told == []


def test_frozen_reader_says_nothing_more_and_is_not_blamed_for_it():
    # Given one whose last word is of before the change
    watch = Watch()
    for _ in range(2):
        watch.look(beat_ms=NOW)
    assert watch.told == []


def test_clock_of_another_host_changes_nothing():
    for skew_ms in (-14_000, 3_600_000):
        watch = Watch()
        for _ in range(3):
            watch.look(beat_ms=watch.now + 5000 + skew_ms)
        assert watch.told == [(15, "warning")]


def test_auditor_that_was_away_begins_anew():
    # Given one seen behind, then nobody looking for minutes
    watch = Watch().look().look(seconds=600)
    assert watch.told == []
    # But what was told stays told
    watch = Watch().look().look().look().look(seconds=61)
    assert watch.told == [(15, "warning"), (76, "critical")]


def test_same_trouble_after_it_was_cured_is_told_again():
    watch = Watch().look().look().look().look("7").look().look().look()
    assert watch.told == [(15, "warning"), (35, "warning")]


@given(st.one_of(st.none(), st.binary(max_size=60), st.just(TypeError("WRONGTYPE"))))
def test_damaged_memory_is_forgotten(reply):
    assert isinstance(readers.read(reply), dict)


@given(st.dictionaries(st.sampled_from(["updated_ms", "state", "universe_epoch",
       "allowlist_source", "allowlist_reason"]), st.text(max_size=30)))  # fmt: skip
def test_no_heartbeat_is_too_odd(fields):
    for lag in lagging({"p33-03": fields}, FRESH, NOW).values():
        assert len(lag.cause) <= 120


def change(epoch=2, *, symbols=("AUSDT",) * 100, **fields) -> UniverseChanged:
    return UniverseChanged(
        epoch=epoch, prev_epoch=epoch - 1, mode="testnet", asof_epoch=1, count=len(symbols),
        sha256="x", symbols_sha256="x", symbols=symbols, **fields,
    )  # fmt: skip


def test_a_day_in_numbers_and_names():
    day = churn.Day("2026-11-24")
    day.add(change(added=("BUSDT", "CUSDT"), removed=("DUSDT",)))
    day.add(change(removed=("BUSDT",), close_only=("EUSDT",), changed={"FUSDT": {}}))
    # B came and went: twice told, one share of the list
    assert day.pct == 4.0
    assert day.told() == (
        "2 added, 2 removed, 1 close_only, 1 with other attributes, in 2 changes; "
        "4.0 % of 100 symbols; added BUSDT, CUSDT; removed BUSDT, DUSDT; close_only EUSDT"
    )


def test_the_first_universe_of_all_is_no_churn():
    day = churn.Day("2026-11-24")
    day.add(change(1, added=("AUSDT", "BUSDT")))
    assert (day.size, day.events, day.pct) == (100, 0, 0.0)


def test_days_that_are_due():
    day = churn.DAY_MS
    today = 20_000 * day
    assert churn.days_due("", today + 5, 7) == [today - day]
    assert churn.days_due("damage", today, 7) == [today - day]
    assert churn.days_due(churn.date(today - day), today + day - 1, 7) == []
    assert churn.days_due(churn.date(today - 3 * day), today, 7) == [today - 2 * day, today - day]
    assert len(churn.days_due("2001-01-01", today, 7)) == 7
    # A clock that went back reports no day twice
    assert churn.days_due(churn.date(today + day), today, 7) == []
