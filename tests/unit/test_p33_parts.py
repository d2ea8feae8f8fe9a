"""The parts of P3.3 against hostile values: amounts, snapshots, the kept universe, what is told."""

from __future__ import annotations

import json
import re
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis import ResponseError

from quantum_ops import streams
from quantum_ops.p33 import snapshot
from quantum_ops.p33.amounts import amount, distance, floor_to, is_multiple, times
from quantum_ops.p33.watch import Watch
from quantum_ops.settings import P33Settings
from quantum_ops.universe_cache import NAMED, UniverseCache
from tests.p33_keys import Keys
from tests.p33_stories import NOW
from tests.programs import FULL

WRONG_TYPE = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
PLAIN = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

numbers = st.decimals(
    allow_nan=False, allow_infinity=False, places=8, min_value=-1e9, max_value=1e9
)
texts = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")),
    numbers.map(lambda number: str(number).encode()),
    st.from_regex(PLAIN, fullmatch=True),
    st.sampled_from([
        b"", b"NaN", b"sNaN", b"-Infinity", b"1e400", b"1e-400", b"1_000", b" 1", b"1\n", b"0x10",
        "\u0661".encode(), b"\xff", b"1" * 65, b"0e99", b"1e20", b"1e21", b"+.5", b"5.", b".",
    ]),
)  # fmt: skip


@settings(max_examples=20_000 if FULL else 250, deadline=None)
@given(texts)
@example(b"1e99")
@example(b"1__0")
@example("\uff11".encode())
def test_amount_is_the_exact_number_or_an_error(raw):
    try:
        value = amount(raw)
    except ValueError:
        return
    # Then it was a plain number, and is that very number
    assert PLAIN.fullmatch(raw)
    assert value.is_finite()
    assert Fraction(value) == Fraction(raw.decode())
    assert not value or Fraction(1, 10**20) <= abs(Fraction(value)) < 10**21


@given(numbers.filter(bool))
def test_every_honest_amount_is_read(number):
    assert amount(f"{number:f}") == amount(f"{number:f}".encode()) == number


# As wide as amount() lets anything in: no text of more than 64 characters becomes a number.
wide = st.decimals("1e-20", "1e20", allow_nan=False).filter(lambda one: len(f"{one:f}") <= 64)


@settings(max_examples=10_000 if FULL else 150, deadline=None)
@given(wide, wide)
def test_arithmetic_never_rounds_and_floor_never_rounds_up(one, other):
    # Given a program that has made its decimals narrow, which must not matter
    with localcontext(prec=3):
        product, apart, floor = times(one, other), distance(one, other), floor_to(other, one)
        whole = is_multiple(one, other)
    assert Fraction(product) == Fraction(one) * Fraction(other)
    assert Fraction(apart) == abs(Fraction(one) - Fraction(other))
    steps = Fraction(one) // Fraction(other)
    assert Fraction(floor) == steps * Fraction(other) <= Fraction(one)
    assert whole == (steps * Fraction(other) == Fraction(one))


pairs = st.lists(st.none() | texts, min_size=2, max_size=2) | st.just(WRONG_TYPE)
strings = st.none() | texts | st.just(WRONG_TYPE)
existences = st.sampled_from([0, 1, WRONG_TYPE])


def is_amount(raw: object) -> bool:
    try:
        amount(raw)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return False
    return True


@settings(max_examples=20_000 if FULL else 250, deadline=None)
@given(pairs, pairs, strings, existences)
def test_snapshot_of_any_replies_says_what_is_known_and_what_is_not(held, booked, executed, hold):
    known = snapshot.read([held, booked, executed, hold])
    # Then a position is known only if its amount could be read, and dated only if its time could
    read = not isinstance(held, Exception) and is_amount(held[0])
    assert (known.position is not None) == read
    assert read or known.position_problem
    assert (known.seen_s is not None) == (read and is_amount(held[1]))
    assert known.seen_s is not None or known.position_problem
    # And a ledger that is there and unreadable is a problem, never a missing one
    missing = booked == [None, None]
    first = (
        None if isinstance(booked, Exception) else next((b for b in booked if b is not None), None)
    )
    assert (known.ledger is not None) == is_amount(first)
    assert bool(known.ledger_problem) == (not missing and known.ledger is None)
    # And so is the last execution
    assert (known.executed_s is not None) == is_amount(executed)
    assert bool(known.executed_problem) == (executed is not None and known.executed_s is None)
    # And all but a plain no is a hold
    assert known.hold == (hold != 0)


def test_unreadable_ledger_is_told_by_the_name_of_its_field():
    replies = [[b"1", b"1"], [None, b"abc"], None, 0]
    assert snapshot.read(replies).ledger_problem.startswith("ledger_amt ")
    replies[1] = [b"abc", b"1"]
    assert snapshot.read(replies).ledger_problem.startswith("last_known_amt ")


def test_commands_are_packed_once_for_a_symbol_and_hostile_ones_stay_bounded(monkeypatch):
    monkeypatch.setattr(snapshot, "MAX_CACHED", 10)
    commands = snapshot.Commands()
    kept = commands.packed("BTCUSDT")
    assert commands.packed("BTCUSDT") is kept
    for number in range(100):
        commands.packed(f"NO{number}")
    assert len(commands._packed) <= 10
    assert commands.packed("BTCUSDT") == kept
    # A symbol cannot smuggle in a command of its own
    assert commands.packed("X\r\nFLUSHALL\r\n").count(b"*") == snapshot.COMMANDS


def kept(keys: Keys) -> UniverseCache:
    """A cache that holds the list of ``keys``, read once."""
    cache = UniverseCache("testnet", 3600.0)
    look(cache, keys)
    assert keys.read == 1
    return cache


def look(cache: UniverseCache, keys: Keys, news=(), now_s: float = NOW):
    return cache.current(keys, keys.replies(news), now_s=now_s, monotonic_s=1.0)


HEARTBEAT = {"checked_epoch", "last_ok_epoch", "stale", "error"}
FIELDS = sorted(name.decode() for name in Keys("BTCUSDT").meta)


@pytest.mark.parametrize("field", [*FIELDS, "something_new"])
def test_field_of_meta_that_is_no_heartbeat_makes_it_read_again(field):
    keys = Keys("BTCUSDT")
    cache = kept(keys)
    keys.meta[field.encode()] = b"2"
    look(cache, keys)
    assert keys.read == (1 if field in HEARTBEAT else 2)
    # And so does one that vanishes
    del keys.meta[field.encode()]
    before = keys.read
    look(cache, keys)
    assert keys.read == before + (field not in HEARTBEAT)


def test_list_is_kept_while_nothing_tells_of_another():
    keys = Keys("BTCUSDT")
    cache = kept(keys)
    for second in range(100):
        keys.check(int(NOW) + second)
        assert look(cache, keys, now_s=NOW + second).status == "fresh"
    assert keys.read == 1


@pytest.mark.parametrize("meta", [WRONG_TYPE, {}, {b"epoch": b""}, {b"\xff": b"\xff"}])
def test_meta_that_says_nothing_is_never_taken_for_the_same_list(meta):
    keys = Keys("BTCUSDT")
    cache = kept(keys)
    good, keys.meta = keys.meta, meta
    for reads in (2, 3):
        assert look(cache, keys).status == "stale"
        assert keys.read == reads
    # And the list counts again as soon as it can be believed
    keys.meta = good
    assert look(cache, keys).symbols == {"BTCUSDT"}


@pytest.mark.parametrize("heartbeat", [b"soon", b"\xff", b"nan", b"inf", b"-inf", b"9" * 400])
def test_heartbeat_that_is_no_time_is_stale_and_heals(heartbeat):
    keys = Keys("BTCUSDT")
    cache = kept(keys)
    keys.meta[b"checked_epoch"] = heartbeat
    assert look(cache, keys).status == "stale"
    keys.check(int(NOW))
    healed = look(cache, keys)
    assert (healed.status, healed.symbols) == ("fresh", {"BTCUSDT"})


flats = st.lists(st.binary(max_size=30), max_size=8).map(lambda parts: parts[: len(parts) // 2 * 2])
lists = st.sampled_from([
    b"", b"[", b"{}", b"null", b"[1]", b'["A"', b"[" * 100_000, b'["\xff"]', b'["A"]',
    json.dumps(["X" * 1000] * 1000).encode(),
])  # fmt: skip
entries = flats | st.builds(
    lambda epoch, added, removed: [b"epoch", epoch, b"added", added, b"removed", removed],
    st.binary(max_size=40), lists, lists,
)  # fmt: skip


@settings(max_examples=5_000 if FULL else 80, deadline=None)
@given(st.lists(entries | st.none(), max_size=5) | st.just(WRONG_TYPE) | st.just(None))
def test_hostile_news_change_nothing_and_stay_short(found):
    keys = Keys("BTCUSDT")
    cache = kept(keys)
    news = found
    if isinstance(found, list):
        news = [[b"%d-0" % at, flat] for at, flat in enumerate(found, 1)]
    universe = look(cache, keys, news)
    assert (universe.status, universe.symbols, keys.read) == ("fresh", {"BTCUSDT"}, 1)
    for one in cache.take_news():
        assert len(one.epoch) <= 20
        for names in (one.added, one.removed, one.close_only):
            assert len(names) <= NAMED + 1
            assert all(len(name) <= 64 for name in names)
    assert cache.take_news() == []


def test_news_begin_at_the_newest_and_are_followed_from_there():
    keys = Keys("BTCUSDT")
    cache = UniverseCache("testnet", 3600.0)
    key = streams.UNIVERSE_CHANGED.key.encode()
    assert b"XREVRANGE" in cache.packed()
    look(cache, keys, ([b"5-1", [b"epoch", b"1"]],))
    # Then what came before is no news, and what comes after is
    assert cache.take_news() == []
    assert b"XRANGE" in cache.packed().partition(key)[0]
    assert b"(5-1" in cache.packed()
    look(cache, keys, ([b"6-0", [b"epoch", b"2", b"added", b'["ETHUSDT"]']],))
    assert [(one.epoch, one.added) for one in cache.take_news()] == [("2", ("ETHUSDT",))]


def told(log_lines) -> list[dict]:
    return [json.loads(line) for line in log_lines.getvalue().splitlines()]


def test_watch_tells_on_start_and_of_changes_and_of_nothing_else(log_lines):
    keys, watch = Keys("BTCUSDT"), Watch(P33Settings(allowlist=("ETHUSDT",)))
    context = keys.context()
    context.clock.now_s = lambda: NOW
    news = ([b"7-0", [b"epoch", b"2", b"removed", b'["BTCUSDT"]']],)

    def look(news=()) -> None:
        watch.judge(context, keys.replies(news))

    look()
    # Ages and heartbeats change all the time
    for second in range(10):
        keys.check(int(NOW) - second)
        look()
    keys.publish("BTCUSDT", "SOLUSDT", epoch=2)
    look(news)
    look()
    keys.meta |= {b"stale": b"1", b"error": b"http_5xx"}
    look()
    look()
    keys.meta[b"stale"] = b"0"
    look()
    lines = told(log_lines)
    assert [(one["event"], one["level"], one["reason"], one["epoch"]) for one in lines] == [
        ("Allowlist source=universe", "info", "fresh", 1),
        ("Allowlist source=universe", "info", "fresh", 2),
        ("Allowlist source=fallback", "warning", "stale_flag", 2),
        ("Allowlist source=universe", "info", "fresh", 2),
    ]
    assert [one["news"] for one in lines] == [
        [], [{"epoch": "2", "added": [], "removed": ["BTCUSDT"]}], [], [],
    ]  # fmt: skip
    assert lines[2]["count"] == 1
    assert context.vitals == {
        "allowlist_source": "universe", "allowlist_reason": "fresh", "allowlist_count": 2,
        "universe_epoch": 2,
    }  # fmt: skip


def test_vitals_are_written_with_each_change_only(log_lines):
    keys, watch = Keys("BTCUSDT"), Watch(P33Settings())
    context = keys.context()
    context.clock.now_s = lambda: NOW
    watch.judge(context, keys.replies())
    context.vitals.clear()
    watch.judge(context, keys.replies())
    assert context.vitals == {}
    assert len(told(log_lines)) == 1


def test_half_of_an_exact_amount_stays_exact():
    assert times(Decimal("0.123456789012345678901234567890"), Decimal("0.5")) == Decimal(
        "0.061728394506172839450617283945"
    )
