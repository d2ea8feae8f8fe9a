"""The last number of a day: given out, read back, and then none."""

from __future__ import annotations

from datetime import date

import pytest

from quantum_ops.ledger import ids
from quantum_ops.ledger.errors import InvalidEntryError

DAY = date(2026, 1, 27)


def test_the_last_number_of_a_day_is_given_out_and_is_an_id():
    last = str(ids.after(DAY, 999_998))
    assert last == "OPS-2026-01-27-999999"
    assert ids.is_valid(last) is True
    assert ids.is_valid("OPS-2026-01-27-1000000") is False


def test_after_the_last_number_there_is_none():
    with pytest.raises(InvalidEntryError, match="last number of its day"):
        ids.after(DAY, 999_999)


def test_one_high_number_does_not_end_the_day_for_everybody():
    taken = {"OPS-2026-01-27-001", "OPS-2026-01-27-003", "OPS-2026-01-27-999999"}
    assert str(ids.free(DAY, 3, taken.__contains__)) == "OPS-2026-01-27-004"
    assert str(ids.free(DAY, 999_999, taken.__contains__)) == "OPS-2026-01-27-002"
    with pytest.raises(InvalidEntryError, match="last number of its day"):
        ids.free(DAY, 999_999, lambda _: True)
