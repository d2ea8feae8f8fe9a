"""The only place that knows what an operation's id looks like: ``OPS-YYYY-MM-DD-NNN``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple

from quantum_ops.ledger.errors import InvalidEntryError

FORMAT = "OPS-YYYY-MM-DD-NNN"
MAX_NUMBER = 999_999
"""The number grows past three digits, but not without end: one id pasted wrongly, with a huge
number, would make every later id of that day as long."""

NEAR = timedelta(days=1)
"""An id may be of the day before or after its execution (UTC): deploys pass midnight, and whoever
writes an id by hand goes by the clock on the wall."""

_ID = re.compile(r"OPS-([0-9]{4})-([0-9]{2})-([0-9]{2})-([0-9]{3}|[1-9][0-9]{3,5})")


class OperationId(NamedTuple):
    """An id in its parts."""

    day: date
    number: int

    def __str__(self) -> str:
        return f"OPS-{self.day.isoformat()}-{self.number:03d}"


def parse(text: str) -> OperationId:
    """The parts of an id. Three digits at least; more only without leading zeros, so none is twice.

    Raises:
        InvalidEntryError: if it is none, or its day is not in the calendar.
    """
    found = _ID.fullmatch(text)
    if found:
        try:
            return OperationId(date(*map(int, found.groups()[:3])), int(found[4]))
        except ValueError:
            pass
    raise InvalidEntryError(f"'{text}' does not match expected format {FORMAT}")


def is_valid(text: str) -> bool:
    """Whether ``text`` is an id."""
    try:
        parse(text)
    except InvalidEntryError:
        return False
    return True


def after(day: date, last: int) -> OperationId:
    """The id that follows number ``last`` of ``day`` (0 if there is none).

    Raises:
        InvalidEntryError: if the day's numbers are used up. None is given out twice.
    """
    if last >= MAX_NUMBER:
        raise InvalidEntryError(
            f"operation_id: OPS-{day.isoformat()}-{last} is the last number of its day; "
            "give one that is free with --operation_id"
        )
    return OperationId(day, last + 1)


def free(day: date, last: int, is_taken: Callable[[str], bool]) -> OperationId:
    """The id that the next operation of ``day`` gets; ``last`` is the highest number so far.

    If somebody gave the day's last number by hand, that must not end the day for everybody else:
    then it is the lowest one that is free.

    Raises:
        InvalidEntryError: if none is.
    """
    if last >= MAX_NUMBER:
        for number in range(1, MAX_NUMBER):
            found = OperationId(day, number)
            if not is_taken(str(found)):
                return found
    return after(day, last)
