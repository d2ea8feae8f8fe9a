"""What one look at a stream tells of a group, and what it does not."""

from __future__ import annotations

import pytest

from quantum_ops import lag
from quantum_ops.lag import GroupSight, Lag, StreamSight

TEN = StreamSight(
    length=10, newest=(20, 0), removed=10, max_deleted=(0, 0), first=(11, 0), last=(20, 0)
)


def stream(**other):
    fields = ("length", "newest", "removed", "max_deleted", "first", "last")
    return StreamSight(**{**{name: getattr(TEN, name) for name in fields}, **other})


def group(ms, ahead=(), read=None):
    return GroupSight("g", 1, 0, (ms, 0), None, read, tuple((one, 0) for one in ahead))


@pytest.mark.parametrize(
    ("looked", "of", "told"),
    [
        (TEN, group(20), 0),
        (TEN, group(25), 0),
        (TEN, group(5), 10),
        (TEN, group(18, ahead=[19, 20]), 2),
        (TEN, group(13, ahead=[14, 15, 16]), None),  # a full page: there may be more
        (stream(length=0, removed=20, first=None, last=None), group(5), 0),
        (stream(last=(18, 0)), group(18), 0),  # its newest entries were deleted
    ],
)
def test_one_look_tells_the_number_or_that_it_has_to_be_counted(looked, of, told):
    assert lag.seen(looked, of, page=3) == told


@pytest.mark.parametrize(
    ("before", "after", "unharmed"),
    [
        (TEN, stream(length=11, newest=(21, 0)), True),  # more came
        (TEN, stream(length=7, removed=13, first=(14, 0)), True),  # trimmed below the place
        (TEN, stream(length=3, removed=17, first=(18, 0)), False),
        (TEN, stream(length=0, removed=20, first=None, last=None), False),
        (TEN, stream(length=9, removed=11, max_deleted=(12, 0)), True),
        (TEN, stream(length=9, removed=11, max_deleted=(19, 0)), False),
        (stream(max_deleted=(19, 0)), stream(length=9, removed=11, max_deleted=(19, 0)), False),
        (TEN, stream(newest=(3, 0), first=(1, 0), last=(3, 0), removed=0), False),  # made anew
    ],
)
def test_a_count_holds_only_if_nothing_past_the_place_was_removed(before, after, unharmed):
    assert lag.is_unharmed(before, after, (15, 0)) is unharmed


@pytest.mark.parametrize(
    ("looked", "of", "lost"),
    [
        (stream(removed=0), group(5), 0),
        (TEN, group(20), 0),
        (TEN, group(15), 0),
        (stream(max_deleted=(17, 0)), group(15), None),
        (TEN, group(0), 10),
        (TEN, group(5, read=4), 6),
        (TEN, group(5), None),
        (TEN, group(5, read=99), None),  # whoever told that was wrong
    ],
)
def test_what_was_lost_is_told_only_where_it_is_known(looked, of, lost):
    assert lag.lost(looked, of) == lost


def test_the_unknown_is_over_every_threshold_and_nothing_is_over_none():
    unknown, known = Lag("s", "g"), Lag("s", "g", 5, "counted", 2.0, 1, 9.0)
    assert unknown.is_over(10, None)
    assert unknown.is_over(None, 10)
    assert not unknown.is_over(None, None)
    assert known.behind_s == 9.0
    assert [known.is_over(at, None) for at in (4, 5)] == [True, False]
    assert [known.is_over(None, at) for at in (8.9, 9.0)] == [True, False]
