"""The only place that turns the trading side's numbers into exact amounts. Pure.

Amounts stay decimal from text to text: binary floats would round a position up now and then.
"""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, Context, Decimal, InvalidOperation
from functools import lru_cache

_NUMBER = re.compile(r"[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][+-]?\d{1,2})?", re.ASCII)
MAX_TEXT = 64
MAX_EXPONENT = 20
"""Beyond 1e20 or below 1e-20 there is no amount of anything that is traded."""
# Wide enough for every product of two such numbers: nothing is ever rounded, except towards zero.
_EXACT = Context(prec=200, rounding=ROUND_DOWN, traps=[InvalidOperation])
ZERO = Decimal(0)


def amount(text: str | bytes) -> Decimal:
    """The exact number in ``text``; raises ``ValueError`` for anything else.

    NaN, infinities, 1e400, underscores, blanks and foreign digits are no numbers here.
    """
    if isinstance(text, bytes):
        text = text.decode()
    if len(text) > MAX_TEXT:
        raise ValueError(f"{text[:40]!r}... has {len(text)} characters")
    return _parsed(text)


# The same few quantities come again and again, and parsing one costs more than deciding on it.
@lru_cache(8192)
def _parsed(text: str) -> Decimal:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no plain number")
    value = Decimal(text)
    if value and not -MAX_EXPONENT <= value.adjusted() <= MAX_EXPONENT:
        raise ValueError(f"{text[:40]!r} is out of range")
    return value


def times(value: Decimal, factor: Decimal) -> Decimal:
    """The exact product."""
    return _EXACT.multiply(value, factor)


def distance(one: Decimal, other: Decimal) -> Decimal:
    """The exact absolute difference."""
    return _EXACT.subtract(one, other).copy_abs()


def floor_to(step: Decimal, value: Decimal) -> Decimal:
    """The largest multiple of ``step`` that is not above ``value``; both are positive."""
    return _EXACT.multiply(_EXACT.divide_int(value, step), step)


def is_multiple(value: Decimal, step: Decimal) -> bool:
    """Whether ``value`` lies on ``step``."""
    return not _EXACT.remainder(value, step)


def side_of(value: Decimal) -> str:
    """LONG, SHORT or FLAT."""
    return "LONG" if value > 0 else "SHORT" if value < 0 else "FLAT"
