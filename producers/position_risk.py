"""The only place that turns a positionRisk body into positions. Pure.

Each row is judged alone, and a row that does not fit never spoils the others; but a symbol is
believed only if all its rows are: with one of them unreadable, its net position is anybody's guess.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import msgspec

SOURCE = "binance_position_risk"
MAX_NAME = 40
"""Characters of an odd symbol that are repeated: rows are anybody's text."""
_DECIMAL = re.compile(r"-?\d{1,20}(\.\d{1,20})?", re.ASCII)
"""What the exchange writes. No exponents, no NaN: readers of these keys parse as they please."""


class Refusal(Exception):  # noqa: N818 - a verdict on a body, not a fault of the program
    """The body as a whole is not believed. ``code`` is from a closed set."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Positions:
    """One body, judged.

    ``rows`` is symbol -> fields of its hash, all but ``ts_epoch``. ``hedged`` are symbols that
    have no net position to tell (an account in hedge mode), sorted. ``skipped`` is symbol (or
    ``row[N]``) -> reason; ``foreign`` counts symbols that UNIVERSE_SYMBOL_REGEX leaves out.
    """

    rows: dict[str, dict[str, str]]
    hedged: tuple[str, ...]
    skipped: dict[str, str]
    foreign: int


class _Row(msgspec.Struct):
    symbol: str
    amount: str = msgspec.field(name="positionAmt")
    entry_price: str = msgspec.field(name="entryPrice")
    mark_price: str = msgspec.field(name="markPrice")
    profit: str = msgspec.field(name="unRealizedProfit")
    leverage: str
    side: str = msgspec.field(name="positionSide", default="BOTH")


class _Named(msgspec.Struct):
    symbol: str = ""


_body = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(_Row)
_named = msgspec.json.Decoder(_Named)


def read(body: bytes, shape: re.Pattern[str]) -> Positions:
    """The positions in ``body`` of symbols that match ``shape``.

    Raises :class:`Refusal` for no JSON list, and for a list without one usable row: the exchange
    lists every symbol, flat ones included, so an empty answer is no account without positions.
    """
    try:
        raws = _body.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Refusal("not_position_risk", str(error)[:200]) from None
    skipped: dict[str, str] = {}
    foreign: set[str] = set()
    by_symbol: dict[str, list[_Row]] = {}
    for row in _readable(raws, skipped):
        if shape.fullmatch(row.symbol):
            by_symbol.setdefault(row.symbol, []).append(row)
        else:
            foreign.add(row.symbol)
    rows, hedged = {}, []
    for symbol, group in by_symbol.items():
        problem = skipped.get(symbol) or next(filter(None, map(_problem, group)), "")
        sides = Counter(row.side for row in group)
        if problem or max(sides.values()) > 1:
            skipped[symbol] = problem or "stands more than once"
        elif not sides["BOTH"] or any(row.side != "BOTH" and _sign(row.amount) for row in group):
            hedged.append(symbol)
        else:
            rows[symbol] = _fields(next(row for row in group if row.side == "BOTH"))
    if not rows and not hedged:
        raise Refusal("empty", f"none of {len(raws)} rows tells a position")
    return Positions(rows, tuple(sorted(hedged)), skipped, len(foreign))


def _readable(raws: list[msgspec.Raw], skipped: dict[str, str]) -> list[_Row]:
    """Rows that fit the schema; the rest goes to ``skipped``."""
    rows = []
    for index, raw in enumerate(raws):
        try:
            rows.append(_row.decode(raw))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            skipped[_name_of(raw, index)] = str(error)[:120]
    return rows


def _name_of(raw: msgspec.Raw, index: int) -> str:
    # The whole name, or a bad row of a long-named symbol would not be held against it.
    try:
        return _named.decode(raw).symbol or f"row[{index}]"
    except (msgspec.DecodeError, ValueError, RecursionError):
        return f"row[{index}]"


def _problem(row: _Row) -> str:
    if row.side not in ("BOTH", "LONG", "SHORT"):
        return f"positionSide {row.side[:MAX_NAME]!r} is unknown"
    for name, value in (
        ("positionAmt", row.amount),
        ("entryPrice", row.entry_price),
        ("markPrice", row.mark_price),
        ("unRealizedProfit", row.profit),
        ("leverage", row.leverage),
    ):
        if not _DECIMAL.fullmatch(value):
            return f"{name} {value[:MAX_NAME]!r} is no plain number"
    return ""


def _sign(amount: str) -> int:
    if not amount.strip("-0."):
        return 0
    return -1 if amount.startswith("-") else 1


def _fields(row: _Row) -> dict[str, str]:
    """The hash as existing readers know it; amounts stay digit by digit as they were sent."""
    return {
        "symbol": row.symbol,
        "position_amt": row.amount,
        "side": ("FLAT", "LONG", "SHORT")[_sign(row.amount)],
        "quantity": row.amount.removeprefix("-"),
        "entry_price": row.entry_price,
        "mark_price": row.mark_price,
        "current_price": row.mark_price,
        "unrealized_pnl": row.profit,
        "leverage": row.leverage,
        "source": SOURCE,
    }
