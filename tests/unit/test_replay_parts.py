"""Offsets, filters and virtual time of a replay: what an operator types, and what it means."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import replay_view
from quantum_ops import events
from quantum_ops.history import entry
from quantum_ops.history.blocks import FIRST, LAST
from quantum_ops.replay import filters, offsets
from quantum_ops.replay.virtual import VirtualClock

NOW_MS = 1_769_494_530_000
"""2026-01-27T06:15:30Z"""


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("start", FIRST, FIRST),
        ("end", LAST, LAST),
        ("1769494530123-7", (1_769_494_530_123, 7), (1_769_494_530_123, 7)),
        ("-1h", (NOW_MS - 3_600_000, 0), (NOW_MS - 3_600_000, LAST[1])),
        ("-30s", (NOW_MS - 30_000, 0), (NOW_MS - 30_000, LAST[1])),
        ("@2026-01-27T06:15Z", (NOW_MS - 30_000, 0), (NOW_MS - 30_000, LAST[1])),
        ("@2026-01-27T07:15:30.5+01:00", (NOW_MS + 500, 0), (NOW_MS + 500, LAST[1])),
        ("@2026-01-27", (1_769_472_000_000, 0), (1_769_472_000_000, LAST[1])),
        ("-99999999h", (0, 0), (0, LAST[1])),
    ],
)
def test_offsets_mean_what_they_say(text, first, last):
    offset = offsets.parse(text, NOW_MS)
    assert offsets.is_one(text)
    assert (offsets.first(offset), offsets.last(offset)) == (first, last)


@pytest.mark.parametrize(
    "text",
    ["", "now", "5", "1-", "@", "@yesterday", "-1y", "--1", "99999999999999999999-0", "1-2-3"],
)
def test_what_is_no_offset_says_what_to_write(text):
    with pytest.raises(ValueError, match="write start, end, an id"):
        offsets.parse(text, NOW_MS)


@given(st.text(max_size=30))
def test_any_text_is_an_offset_or_refused(text):
    for parse in (lambda one: offsets.parse(one, NOW_MS), filters.parse):
        try:
            parse(text)
        except ValueError as error:
            assert "write" in str(error)


def of(*parts: bytes) -> entry.Entry:
    return entry.decode(entry.encode("quantum:stream:apply.plan", b"1-1", parts))


def test_filters_pick_by_fields_doubled_and_binary_ones_included():
    one = of(b"symbol", b"BTCUSDT", b"symbol", b"ETHUSDT", b"raw", b"\xff", b"odd")

    def passes(*texts: str) -> bool:
        return filters.passes(one, [filters.parse(text) for text in texts])

    assert passes("symbol=BTCUSDT", "symbol=ETHUSDT", "outcome!=ok")
    assert not passes("symbol!=BTCUSDT")
    assert not passes("outcome=ok")
    assert not passes("raw=/w==")  # its base64 is nobody's value
    assert passes("raw!=x")
    assert filters.parse("a=b!=c") == ("a", "b!=c", True)
    assert filters.parse("a!=b=c") == ("a", "b=c", False)


def test_hostile_text_reaches_no_terminal():
    one = of(b"note\x1b[2J", "a\u202eb\x07\x7f".encode(), b"raw", b"\xff\x9b")
    for lines in (replay_view.as_text([one]), replay_view.as_json([one])):
        [line] = lines
        assert line.isascii()
        assert line.isprintable()
    [line] = replay_view.as_json([one])
    assert entry.decode(line.encode()).flat == one.flat
    assert json.loads(line)["id"] == "1-1"


def test_an_id_beyond_the_calendar_is_shown_all_the_same():
    assert replay_view.when(2**64 - 1).startswith("9999-12-31")


def test_virtual_time_passes_when_somebody_waits_and_at_its_speed():
    slept: list[float] = []
    clock = VirtualClock(2.0, slept.append)
    clock.begin(1000.0)
    clock.wait(3)
    clock.reach(1010.0)
    clock.reach(900.0)
    assert (clock.now_s(), clock.monotonic_s()) == (1010.0, 10.0)
    assert slept == [1.5, 3.5]
    clock.stop()
    clock.wait(5)
    assert clock.now_s() == 1010.0


def test_events_of_a_replay_occur_in_its_time():
    with events.told_by(lambda: NOW_MS / 1000):
        assert events.now().isoformat() == "2026-01-27T06:15:30+00:00"
    assert events.now().year >= 2026
