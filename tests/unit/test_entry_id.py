"""Arithmetic on entry ids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quantum_ops import entry_id

ids = st.tuples(st.integers(0, entry_id.MAX_SEQUENCE), st.integers(0, entry_id.MAX_SEQUENCE)).map(
    lambda pair: b"%d-%d" % pair
)


def test_ids_compare_as_numbers_not_as_text():
    assert entry_id.parse(b"9-0") < entry_id.parse(b"10-0")
    assert entry_id.parse("5") == (5, 0)


@given(ids)
def test_before_is_the_greatest_id_below(one):
    earlier = entry_id.before(one)
    if one == b"0-0":
        assert earlier == b"0-0"
        return
    ms, seq = entry_id.parse(earlier)
    following = (ms, seq + 1) if seq < entry_id.MAX_SEQUENCE else (ms + 1, 0)
    assert following == entry_id.parse(one)


def test_age_is_never_negative():
    assert entry_id.age_s(b"1000-0", 3.5) == 2.5
    assert entry_id.age_s(b"9000-0", 3.5) == 0.0
