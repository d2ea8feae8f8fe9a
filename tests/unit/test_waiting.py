"""Entries that wait for their next attempt come in the order of their times, each once."""

from __future__ import annotations

import math

from quantum_ops.waiting import Waiting


def test_nothing_waits_at_first():
    waiting = Waiting()
    assert not waiting
    assert waiting.next_due() == math.inf
    assert waiting.pop_due(1e9) == []
    assert waiting.holds("s", b"1-1") is False


def test_what_is_due_comes_in_order():
    # Given three entries, added in no order
    waiting = Waiting()
    waiting.add(3.0, "s", b"3-1")
    waiting.add(1.0, "s", b"1-1")
    waiting.add(2.0, "t", b"2-1")
    assert waiting
    assert waiting.next_due() == 1.0
    # When the time of the second has come, to the moment
    due = waiting.pop_due(2.0)
    # Then it and the earlier one are given and forgotten; the later one still waits
    assert due == [("s", b"1-1"), ("t", b"2-1")]
    assert waiting.holds("s", b"1-1") is False
    assert waiting.holds("s", b"3-1") is True
    assert waiting.holds("t", b"3-1") is False
    assert waiting.next_due() == 3.0
    assert waiting.pop_due(2.0) == []
    assert waiting.pop_due(3.0) == [("s", b"3-1")]
    assert not waiting
