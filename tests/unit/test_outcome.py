"""What a handler raised, and what becomes of its entry."""

from __future__ import annotations

import traceback
from dataclasses import replace

import pytest

from quantum_ops import outcome
from quantum_ops.consumer import Bounds
from quantum_ops.errors import DecodeError, Reject, Retry
from quantum_ops.outcome import LOST, MAX_ERROR_TEXT, Again, Bury, exhausted, judge

BOUNDS = Bounds(
    batch=50, block_ms=10, max_deliveries=3, claim_after_s=60.0, retry_base_s=0.5, retry_cap_s=8.0
)
MANY = replace(BOUNDS, max_deliveries=1 << 20, retry_cap_s=1e12)


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[float, float]]:
    """Between which factors the jitter was drawn; it is 1 here."""
    ranges: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        ranges.append((low, high))
        return 1.0

    monkeypatch.setattr(outcome.random, "uniform", uniform)
    return ranges


def ending(error: Exception, attempt: int = 1, bounds: Bounds = BOUNDS) -> Bury | Again:
    return judge(error, lost=False, attempt=attempt, bounds=bounds)


def test_what_can_never_succeed_is_buried_at_its_first_attempt():
    assert ending(Reject("contradicts itself")) == Bury("rejected", "contradicts itself")
    assert ending(DecodeError("qty", "no number")) == Bury("undecodable", "field 'qty': no number")
    # And what is lost is lost, whatever the handler made of nothing
    assert judge(Retry(1), lost=True, attempt=1, bounds=BOUNDS) == Bury("payload_lost", LOST)


def test_a_handler_that_fails_is_asked_again_until_its_last_delivery(drawn):
    assert ending(ValueError("no"), 2) == Again(1.0, "ValueError", "no")
    last = ending(ValueError("no"), 3)
    assert last.reason == "handler_failed"
    assert last.error.endswith("ValueError: no\n")
    # A wish for one more try is none for more tries than there are
    assert ending(Retry(1, "later"), 3).reason == "handler_failed"


def test_waits_double_up_to_the_cap_with_jitter_below_it(drawn):
    # When an entry fails again and again, then it waits twice as long each time
    waits = [ending(ValueError(), attempt, MANY).after_s for attempt in (1, 2, 3, 4, 5)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0]
    # And no longer than the cap, however often: of a count that no power can follow, too
    assert ending(ValueError(), 6, replace(MANY, retry_cap_s=8.0)).after_s == 8.0
    assert ending(ValueError(), 5_000, MANY).after_s == 0.5 * 2.0**30
    # And the jitter only shortens: no wait may reach the time after which others claim
    assert set(drawn) == {(0.75, 1.0)}


@pytest.mark.parametrize(
    ("asked_s", "after_s"), [(0.25, 0.25), (0.0, 0.0), (-3.0, 0.0), (8.0, 8.0), (9.0, 8.0)]
)
def test_an_asked_wait_is_kept_within_its_bounds_and_without_jitter(asked_s, after_s):
    assert ending(Retry(asked_s, "evidence is missing")) == Again(
        after_s, "asked", "evidence is missing"
    )


def test_long_errors_keep_what_tells_most():
    # The beginning of a message, the end of a traceback
    text = "a" * MAX_ERROR_TEXT + "z"
    assert ending(ValueError(text)).error == "a" * MAX_ERROR_TEXT
    buried = ending(ValueError(text), 3).error
    assert len(buried) == MAX_ERROR_TEXT
    assert buried.endswith("az\n")


def test_a_traceback_stands_as_python_writes_it():
    try:
        int("here")
    except ValueError as error:
        assert ending(error, 3).error == traceback.format_exc()


def test_too_many_deliveries_say_how_many():
    assert exhausted(7).reason == "too_many_deliveries"
    assert exhausted(7).error.startswith("delivered 7 times without an outcome")
