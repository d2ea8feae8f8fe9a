"""How second fetches are judged: what is believed, what is told, and how often."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from producers.comparison import MAX_NAMED, compared, failed
from producers.cycle import Published, after_body
from producers.exchange_info import read
from quantum_ops import codec
from quantum_ops.audit import exchange_check
from quantum_ops.audit.exchange_check import Memory, judge, overdue, published
from quantum_ops.events import UniverseChecked
from quantum_ops.settings import UniverseSettings
from tests.exchange import body, row

SETTINGS = UniverseSettings()
NOW = 1_795_000_000.0
NOW_MS = int(NOW * 1000)
PERIOD_MS = 300_000


def keys(*rows, **meta: str):
    """What the producer writes for these rows, as Redis gives it back."""
    write = after_body(Published(), read(body(*rows), SETTINGS, NOW), SETTINGS, NOW)
    fields = {**write.meta, **meta}
    return [
        write.active.encode(),
        {name.encode(): value.encode() for name, value in fields.items()},
        {symbol.encode(): text.encode() for symbol, text in write.attributes.items()},
    ]


def compare(rows, published_keys, began_ms=NOW_MS):
    snapshot = read(body(*rows), SETTINGS, NOW)
    return compared(snapshot, published_keys, began_ms, NOW, "testnet")


class TestComparing:
    def test_the_same_rows_do_not_differ(self):
        rows = ["BTCUSDT", "ETHUSDT", row("OLDUSDT", status="SETTLING")]
        event = compare(rows, keys(*rows))
        assert (event.fresh, event.differing, event.count, event.epoch) == (True, 0, 2, 1)
        assert event.checked_s == int(NOW)
        assert len(event.symbols_sha256) == 64

    def test_each_kind_of_difference_is_named_once(self):
        # Given a symbol too few, one too many, another step size and a delisting not published
        wider = row("BTCUSDT")
        wider["filters"][0]["stepSize"] = "0.01"
        there = [wider, "NEWUSDT", "SAMEUSDT", row("ENDUSDT", deliveryDate=NOW_MS + 1000)]
        event = compare(there, keys("BTCUSDT", "GONEUSDT", "SAMEUSDT", "ENDUSDT"))
        assert event.missing == ("NEWUSDT",)
        assert event.extra == ("GONEUSDT",)
        assert event.changed == ("BTCUSDT", "ENDUSDT")
        assert event.differing == 4

    def test_symbol_that_may_only_be_closed_is_no_tradeable_one(self):
        event = compare(["BTCUSDT", row("OUTUSDT", status="SETTLING")], keys("BTCUSDT", "OUTUSDT"))
        assert (event.missing, event.extra, event.changed) == ((), ("OUTUSDT",), ())

    def test_quarantined_rows_are_on_neither_side(self):
        odd = ["测试USDT", row("XYZUSDT", filters=[]), {"symbol": 5}]
        event = compare(["BTCUSDT", *odd], keys("BTCUSDT"))
        assert event.differing == 0

    def test_universe_that_gates_do_not_use_is_not_compared(self):
        for meta in ({"stale": "1", "error": "churn guard: 3 held"}, {"count": "9"},
                     {"checked_epoch": "5"}):  # fmt: skip
            event = compare(["NEWUSDT"], keys("BTCUSDT", **meta))
            assert (event.fresh, event.differing) == (False, 0)
            assert event.reason
        assert not compare(["NEWUSDT"], [None, {}, {}]).fresh

    def test_no_difference_is_too_large_for_an_entry(self):
        many = UniverseSettings(max_symbols=5000)
        rows = [f"{'N' * 15}{number:05d}USDT" for number in range(5000)]
        snapshot = read(body(*rows), many, NOW)
        event = compared(snapshot, keys("BTCUSDT"), NOW_MS, NOW, "testnet")
        assert event.differing == 5001
        assert len(event.missing) == MAX_NAMED
        assert codec.decoder(UniverseChecked)(codec.encode(event)) == event


def seen(began_ms=0, *, checked_s=None, fresh=True, **fields) -> UniverseChecked:
    """A check that began then, long after the last refresh unless told otherwise."""
    known = {"epoch": 3, "refresh_s": 60.0, "count": 6, **fields}
    known["differing"] = sum(len(known.get(kind, ())) for kind in ("missing", "extra", "changed"))
    checked_s = began_ms // 1000 if checked_s is None else checked_s
    return UniverseChecked(
        outcome="compared", began_ms=began_ms, checked_s=checked_s, fresh=fresh, **known
    )


def story(*steps, memory: Memory | None = None):
    """Names of Findings after each step, and the memory. A step is an event or a set of symbols
    that were published about."""
    memory = memory or Memory()
    told = []
    for number, step in enumerate(steps, 1):
        if isinstance(step, UniverseChecked):
            found, memory = judge(step, f"{step.began_ms}-{number}", memory)
            told.append([one.name.removeprefix("universe_") for one in found])
        else:
            memory = published(memory, step)
    return told, memory


ONE, TWO, THREE, FOUR = (NOW_MS + number * PERIOD_MS for number in range(4))
DIFFERS, AGREES, FAILED = "differs_from_exchange", "agrees_with_exchange", "check_failed"


class TestBelieving:
    def test_difference_that_stays_is_told_once_with_both_fetches(self):
        odd = {"missing": ("NEWUSDT",), "extra": ("GONEUSDT",), "changed": ("BTCUSDT",)}
        told, memory = story(seen(ONE, **odd), seen(TWO, **odd), seen(THREE, **odd))
        assert told == [[], [DIFFERS], []]
        [found], _ = judge(seen(TWO, **odd), f"{TWO}-9", story(seen(ONE, **odd))[1])
        assert found.detail == (
            "not published: NEWUSDT; not tradeable: GONEUSDT; other attributes: BTCUSDT"
        )
        assert found.evidence == (f"{ONE}-1",)
        assert "NEWUSDT" in exchange_check.hindrance(memory)

    def test_difference_that_a_refresh_cures_is_nothing(self):
        told, _ = story(seen(ONE, missing=("NEWUSDT",)), seen(TWO, epoch=4))
        assert told == [[], [AGREES]]

    def test_without_a_refresh_in_between_nothing_is_believed(self):
        # Given checks that come quicker than the producer's own fetches
        late = {"missing": ("NEWUSDT",), "checked_s": ONE // 1000}
        told, memory = story(
            seen(ONE, **late), seen(ONE + 1000, **late), seen(ONE + 59_000, **late)
        )
        assert told == [[], [], []]
        # A fetch that ended later may have begun before ours; only the one after it counts
        almost = {"missing": ("NEWUSDT",), "checked_s": ONE // 1000 + 71}
        surely = {"missing": ("NEWUSDT",), "checked_s": ONE // 1000 + 72}
        told, _ = story(seen(ONE + 80_000, **almost), seen(ONE + 81_000, **surely), memory=memory)
        assert told == [[], [DIFFERS]]

    def test_the_other_way_round_is_another_difference(self):
        told, _ = story(seen(ONE, missing=("XUSDT",)), seen(TWO, extra=("XUSDT",)),
                        seen(THREE, extra=("XUSDT",)))  # fmt: skip
        assert told == [[], [], [DIFFERS]]

    def test_symbol_that_was_published_about_is_suspected_anew(self):
        # Given a symbol that comes, goes and comes again between two fetches
        odd = {"missing": ("XUSDT", "YUSDT")}
        told, memory = story(seen(ONE, **odd), {"XUSDT"}, seen(TWO, **odd), seen(THREE, **odd))
        assert told == [[], [DIFFERS], [DIFFERS]]
        assert memory.suspects["XUSDT"].since_ms == TWO

    def test_one_more_symbol_is_told_alone(self):
        first, more = {"missing": ("AUSDT",)}, {"missing": ("AUSDT", "BUSDT")}
        told, memory = story(seen(ONE, **first), seen(TWO, **first), seen(THREE, **more))
        found, _ = judge(seen(FOUR, **more), f"{FOUR}-1", memory)
        assert told == [[], [DIFFERS], []]
        assert [one.detail for one in found] == ["not published: BUSDT (2 differ in all)"]

    def test_stale_universe_clears_suspicion_and_keeps_what_was_told(self):
        odd = {"missing": ("AUSDT",)}
        told, _ = story(seen(ONE, **odd), seen(TWO, fresh=False), seen(THREE, **odd))
        assert told == [[], [], []]
        told, _ = story(
            seen(ONE, **odd), seen(TWO, **odd), seen(THREE, fresh=False), seen(FOUR, **odd)
        )
        assert told == [[], [DIFFERS], [], []]

    def test_entry_that_was_judged_is_not_judged_again(self):
        event = seen(ONE, missing=("AUSDT",))
        _, memory = judge(event, "5-1", Memory())
        assert judge(event, "5-1", memory) == ([], memory)
        assert judge(event, "4-9", memory) == ([], memory)
        assert judge(event, "10-0", memory) != ([], memory)


class TestAgreeing:
    def test_agreement_is_told_first_then_hourly_and_for_each_epoch(self):
        hour = 3_600_000
        told, _ = story(seen(ONE), seen(TWO), seen(ONE + hour - 1), seen(ONE + hour),
                        seen(ONE + hour + 1), seen(ONE + hour + 2, epoch=4))  # fmt: skip
        assert told == [[AGREES], [], [], [AGREES], [], [AGREES]]

    def test_agreement_after_a_difference_is_news(self):
        odd = {"missing": ("AUSDT",)}
        told, memory = story(seen(ONE), seen(TWO, **odd), seen(THREE, **odd), seen(FOUR))
        assert told == [[AGREES], [], [DIFFERS], [AGREES]]
        assert exchange_check.hindrance(memory) == ""

    def test_passing_difference_makes_no_news(self):
        told, _ = story(seen(ONE), seen(TWO, missing=("AUSDT",)), seen(THREE))
        assert told == [[AGREES], [], []]


class TestFailing:
    def test_single_failure_is_nothing(self):
        told, memory = story(seen(ONE), failed("timeout: no answer", TWO), seen(THREE))
        assert told == [[AGREES], [], []]
        assert (exchange_check.hindrance(memory), memory.failures) == ("", 0)

    def test_two_failures_in_a_row_are_told_once_until_it_works_again(self):
        no = [failed("timeout: no answer", TWO + number * PERIOD_MS) for number in range(3)]
        told, memory = story(seen(ONE), *no)
        assert told == [[AGREES], [], [FAILED], []]
        assert "timeout" in exchange_check.hindrance(memory)
        more = [failed("x", FOUR + number * PERIOD_MS) for number in range(2, 4)]
        told, _ = story(seen(FOUR + PERIOD_MS), *more, memory=memory)
        assert told == [[AGREES], [], [FAILED]]

    def test_failures_in_between_keep_suspicion(self):
        odd = {"missing": ("AUSDT",)}
        no = [failed("x", TWO), failed("x", THREE)]
        told, _ = story(seen(ONE, **odd), *no, seen(FOUR, **odd))
        assert told == [[], [], [FAILED], [DIFFERS]]

    def test_check_that_is_silent_is_a_failure(self):
        _, memory = overdue(Memory(), NOW_MS, 300.0)
        assert overdue(memory, NOW_MS + 960_000, 300.0) == ([], memory)
        [found], memory = overdue(memory, NOW_MS + 960_001, 300.0)
        assert found.name == "universe_check_failed"
        assert "is universe_check running?" in found.detail
        assert overdue(memory, NOW_MS + 9_000_000, 300.0) == ([], memory)
        told, _ = story(seen(NOW_MS + 9_000_001), memory=memory)
        assert told == [[AGREES]]


def test_damaged_memory_is_forgotten():
    for reply in (None, b"", b"{", b"[]", b'{"last":"x"}', b'{"suspects":{"A":1}}', TypeError("x")):
        assert exchange_check.read(reply) == Memory()


names = st.sets(st.sampled_from(["AUSDT", "BUSDT", "CUSDT"]))


@given(st.lists(st.one_of(st.tuples(names, names, names, st.booleans()), names), max_size=12))
def test_nothing_is_believed_that_did_not_stay(steps):
    # Whatever comes: each symbol that is told differed the same way in the event before it is told,
    # and nothing was published about it in between
    memory, at_ms = Memory(), ONE
    suspected: dict[str, str] = {}
    for number, step in enumerate(steps, 1):
        if isinstance(step, set):
            memory = published(memory, step)
            suspected = {s: kind for s, kind in suspected.items() if s not in step}
            continue
        at_ms += PERIOD_MS
        missing, extra, changed, fresh = step
        extra, changed = extra - missing, changed - missing - extra
        kinds = {"missing": missing, "extra": extra, "changed": changed}
        event = seen(at_ms, fresh=fresh, **{
            kind: tuple(sorted(found)) if fresh else () for kind, found in kinds.items()
        })  # fmt: skip
        before = {symbol for symbol, one in memory.suspects.items() if one.told}
        told, memory = judge(event, f"{at_ms}-{number}", memory)
        now = {s: kind for kind, found in kinds.items() for s in found} if fresh else {}
        fresh_news = {s for s, one in memory.suspects.items() if one.told} - before
        assert all(suspected.get(symbol) == now[symbol] for symbol in fresh_news)
        assert (DIFFERS in [one.name[9:] for one in told]) >= bool(fresh_news)
        if "agrees_with_exchange" in [one.name[9:] for one in told]:
            assert not now
        suspected = now
