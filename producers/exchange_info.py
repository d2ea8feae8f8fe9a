"""The only place that turns an exchangeInfo body into a snapshot of the universe. Pure.

What real bodies taught (notes of 2026-11, seven recorded responses): enums are open-ended, official
symbols may be non-ASCII, rows come in listing order, precisions are no step sizes, serverTime runs
backwards. So each row is judged alone, and a row that does not fit never spoils the others.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated

import msgspec

from quantum_ops.settings import UniverseSettings
from quantum_ops.universe import content_sha256

WEIGHT_LIMITS = {"mainnet": 2400, "testnet": 6000}
"""Request weight per minute that each network announces: a cheap proof of the right one."""
_Moment = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Milliseconds since 1970; JSON numbers have no bound of their own and ours must fit a float."""
_DECIMAL = re.compile(r"\d{1,20}(\.\d{1,20})?")
_NEVER_TRADED = ("PENDING_TRADING",)


class Refusal(Exception):  # noqa: N818 - a verdict on a body, not a fault of the program
    """The body as a whole is not believed. ``code`` is from a closed set."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One body, judged.

    ``symbols`` are sorted and tradeable now. ``attributes`` is symbol -> canonical JSON of its
    sizes, dates and ``state`` (``trading`` or ``close_only``); it also holds symbols that left
    trading but are still listed. ``quarantined`` is symbol (or ``row[N]``) -> reason.
    """

    symbols: tuple[str, ...]
    attributes: dict[str, str]
    quarantined: dict[str, str]

    @property
    def sha256(self) -> str:
        """Content hash; times take no part in it."""
        return content_sha256(self.symbols, self.attributes)


class _RateLimit(msgspec.Struct):
    rate_limit_type: str = msgspec.field(name="rateLimitType", default="")
    interval: str = ""
    interval_num: int = msgspec.field(name="intervalNum", default=0)
    limit: int = 0


class _Body(msgspec.Struct):
    symbols: list[msgspec.Raw]
    rate_limits: list[_RateLimit] = msgspec.field(name="rateLimits", default_factory=list)


class _Filter(msgspec.Struct):
    filter_type: str = msgspec.field(name="filterType", default="")
    tick_size: str = msgspec.field(name="tickSize", default="")
    step_size: str = msgspec.field(name="stepSize", default="")
    min_qty: str = msgspec.field(name="minQty", default="")
    notional: str = ""


class _Row(msgspec.Struct):
    symbol: str
    status: str
    contract_type: str = msgspec.field(name="contractType")
    delivery_date: _Moment = msgspec.field(name="deliveryDate", default=0)
    onboard_date: _Moment = msgspec.field(name="onboardDate", default=0)
    filters: list[_Filter] = msgspec.field(default_factory=list)


class _Named(msgspec.Struct):
    symbol: str = ""


_body = msgspec.json.Decoder(_Body)
_row = msgspec.json.Decoder(_Row)
_named = msgspec.json.Decoder(_Named)


def read(body: bytes, settings: UniverseSettings, now_s: float) -> Snapshot:
    """The snapshot in ``body``; raises :class:`Refusal` if the body as a whole is not believed."""
    try:
        parsed = _body.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Refusal("not_exchange_info", str(error)[:200]) from None
    _check_network(parsed, settings)
    quarantined: dict[str, str] = {}
    rows = _readable(parsed.symbols, quarantined)
    symbols: list[str] = []
    attributes: dict[str, str] = {}
    for row in rows:
        if row.contract_type != "PERPETUAL" or row.status in _NEVER_TRADED:
            continue
        trading = row.status == "TRADING"
        problem = _problem(row, settings)
        if problem:
            if trading:
                quarantined[row.symbol] = problem
            continue
        attributes[row.symbol] = _attributes(row, _state(row, settings, now_s))
        if trading:
            symbols.append(row.symbol)
    if not symbols:
        raise Refusal("empty", f"none of {len(parsed.symbols)} rows is tradeable")
    if len(symbols) > settings.max_symbols:
        raise Refusal(
            "too_many",
            f"{len(symbols)} symbols, more than UNIVERSE_MAX={settings.max_symbols}; nothing is "
            "cut, because the newest would go: raise UNIVERSE_MAX if the exchange has really grown",
        )
    return Snapshot(tuple(sorted(symbols)), attributes, quarantined)


def _check_network(body: _Body, settings: UniverseSettings) -> None:
    expected = settings.weight_limit or WEIGHT_LIMITS[settings.mode]
    found = [
        limit.limit
        for limit in body.rate_limits
        if limit.rate_limit_type == "REQUEST_WEIGHT" and limit.interval == "MINUTE"
    ]
    if expected not in found:
        shown = found[0] if found else "none"
        raise Refusal(
            "wrong_network",
            f"request-weight limit is {shown}, {settings.mode} has {expected}; check UNIVERSE_MODE "
            "and UNIVERSE_URL, or set UNIVERSE_WEIGHT_LIMIT if the exchange changed it",
        )


def _readable(raws: list[msgspec.Raw], quarantined: dict[str, str]) -> list[_Row]:
    """Rows that fit the schema, doubled symbols left out; the rest goes to ``quarantined``."""
    rows = []
    for index, raw in enumerate(raws):
        try:
            rows.append(_row.decode(raw))
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            quarantined[_name_of(raw, index)] = str(error)[:120]
    # Two rows of one symbol may disagree on its step size: neither is believed.
    doubled = {symbol for symbol, times in Counter(row.symbol for row in rows).items() if times > 1}
    quarantined.update(dict.fromkeys(doubled, "stands more than once"))
    return [row for row in rows if row.symbol not in quarantined]


def _name_of(raw: msgspec.Raw, index: int) -> str:
    try:
        return _named.decode(raw).symbol[:60] or f"row[{index}]"
    except (msgspec.DecodeError, ValueError, RecursionError):
        return f"row[{index}]"


def _problem(row: _Row, settings: UniverseSettings) -> str:
    if not settings.symbol_regex.fullmatch(row.symbol):
        return "does not match UNIVERSE_SYMBOL_REGEX"
    for name, value in (("tick size", _size(row, "PRICE_FILTER", "tick_size")),
                        ("step size", _size(row, "LOT_SIZE", "step_size"))):  # fmt: skip
        if not _DECIMAL.fullmatch(value) or not value.strip("0."):
            return f"{name} {value!r} is no positive number"
    return ""


def _size(row: _Row, filter_type: str, name: str) -> str:
    # By type, never by position: the order of filters is not promised.
    return next((getattr(one, name) for one in row.filters if one.filter_type == filter_type), "")


def _state(row: _Row, settings: UniverseSettings, now_s: float) -> str:
    if row.status != "TRADING":
        return "close_only"
    # A finite delivery date is how a delisting shows while the symbol still trades.
    near = 0 < row.delivery_date / 1000 <= now_s + settings.close_only_s
    return "close_only" if near else "trading"


def _attributes(row: _Row, state: str) -> str:
    return json.dumps(
        {
            "contract_type": row.contract_type,
            "delivery_date": str(row.delivery_date),
            "market_step_size": _size(row, "MARKET_LOT_SIZE", "step_size"),
            "min_notional": _size(row, "MIN_NOTIONAL", "notional"),
            "min_qty": _size(row, "LOT_SIZE", "min_qty"),
            "onboard_date": str(row.onboard_date),
            "state": state,
            "status": row.status,
            "step_size": _size(row, "LOT_SIZE", "step_size"),
            "tick_size": _size(row, "PRICE_FILTER", "tick_size"),
        },
        sort_keys=True,
        separators=(",", ":"),
    )
