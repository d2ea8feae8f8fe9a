"""What ./run top makes of two looks."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ops import output, usage
from ops.readiness import Verdict
from ops.usage import Look
from ops.warden.resident import Usage
from tests.unit.test_warden_rules import process

MIB = 1024 * 1024


def verdict(handled="10", at_ms="10000", ready="READY", beat_pid="42", **changes) -> Verdict:
    beat = {"pid": beat_pid, "handled": handled, "updated_ms": at_ms}
    return Verdict(process(**changes), ready, "", beat)


def test_two_looks_tell_how_busy_a_process_is():
    # given a process that took half a second of processor in two, and handled 20 in five
    before = Look(100.0, [verdict()], {42: Usage(50 * MIB, 1.0)})
    now = Look(102.0, [verdict("30", "15000")], {42: Usage(60 * MIB, 1.5)}, {"p33": 3})
    (row,) = usage.rows(before, now)
    assert (row.cpu_percent, row.rss_bytes, row.up_s) == (25.0, 60 * MIB, 60)
    assert (row.restarts, row.handled_per_s) == (3, 4.0)
    line = output.table(usage.HEAD, [usage.cells(row)], output.plain)[1]
    assert line.split() == ["p33-00", "READY", "25.0", "60", "1", "m", "0", "s", "3", "4.0"]


def test_without_a_second_heartbeat_it_is_the_average_since_its_start():
    look = Look(100.0, [verdict("30")], {42: Usage(1, 1.0)})
    (row,) = usage.rows(look, replace(look, at_s=101.0))
    assert row.handled_per_s == 0.5


def test_what_is_not_known_is_no_zero():
    # given a process that has just come, a heartbeat of an earlier life, and no /proc
    before = Look(100.0, [], {})
    now = Look(101.0, [verdict(beat_pid="41")], {42: Usage()})
    (row,) = usage.rows(before, now)
    assert (row.cpu_percent, row.rss_bytes, row.handled_per_s) == (None, None, None)
    assert usage.cells(row)[2:4] == ("?", "?")
    # and spares are not shown
    assert usage.rows(before, replace(now, verdicts=[verdict(ready="SPARE")])) == []


@given(st.text(max_size=8), st.text(max_size=8), st.floats(0, 1e6), st.floats(-10, 10))
def test_whatever_a_heartbeat_says_a_row_is_made(handled, at_ms, cpu_s, passed_s):
    before = Look(100.0, [verdict()], {42: Usage(MIB, 5.0)})
    now = Look(100.0 + passed_s, [verdict(handled, at_ms)], {42: Usage(MIB, cpu_s)})
    (row,) = usage.rows(before, now)
    assert row.cpu_percent is None or row.cpu_percent >= 0
    assert row.handled_per_s is None or row.handled_per_s >= 0
