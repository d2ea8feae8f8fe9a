"""How much is handled before it is settled, and what is read before it is handled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_ops.pace import FIRST, GROWTH, LONGEST_S, MOST, Pace, back_off_s, is_quick


def after(seconds_each: float, slices: int = 6) -> Pace:
    pace = Pace()
    for _ in range(slices):
        pace.took(pace.size, pace.size * seconds_each)
    return pace


def test_quick_handlers_are_settled_by_the_most_there_may_be():
    assert after(1e-6).size == MOST
    assert after(0.0).size == MOST


def test_slices_of_a_quick_handler_grow_by_steps():
    # what a kill may undo of a handler that nothing is known of yet is little, and grows with trust
    assert [after(1e-6, slices).size for slices in range(4)] == [16, 64, 128, 128]


def test_slow_handlers_are_settled_by_time():
    # given handlers of 2 ms, then as many as fit into the time; of a minute, one by one
    assert after(0.002).size == int(LONGEST_S / 0.002)
    assert after(60.0).size == 1


def test_a_handler_that_turns_slow_is_believed_at_once_and_a_quick_one_by_and_by():
    pace = after(1e-6)
    pace.took(MOST, MOST * 0.01)
    assert pace.size == 5
    pace.took(5, 5e-6)
    assert pace.size == 5 * GROWTH


@given(st.lists(st.tuples(st.integers(1, MOST), st.floats(0, 1e6)), max_size=20))
def test_there_is_always_a_next_slice_and_never_too_large_a_one(slices):
    pace = Pace()
    assert pace.size == FIRST
    for count, seconds in slices:
        pace.took(count, seconds)
        assert 1 <= pace.size <= MOST
        if seconds > 0:
            assert pace.size == 1 or pace.size * seconds / count <= LONGEST_S * 1.01


@pytest.mark.parametrize(
    ("batch_s", "claim_after_s", "quick"),
    [
        (0.01, 60.0, True),
        (0.5, 60.0, True),
        (0.25, 1.0, True),  # the very bounds
        (0.251, 1.0, False),
        (0.6, 60.0, False),  # slow work is shared with other processes, and stops soon
        (0.3, 1.0, False),  # what waits behind it would be near its claim
        (float("inf"), 60.0, False),  # nothing is known of this consumer's work yet
    ],
)
def test_only_behind_quick_batches_is_read_ahead(batch_s, claim_after_s, quick):
    assert is_quick(batch_s, claim_after_s) is quick


def test_a_pause_doubles_up_to_two_seconds_and_is_up_to_half_shorter_by_chance():
    for attempt, whole_s in enumerate((0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)):
        drawn_s = [back_off_s(attempt) for _ in range(50)]
        assert whole_s / 2 <= min(drawn_s) < max(drawn_s) <= whole_s
    assert back_off_s(1_000_000) <= 2.0
