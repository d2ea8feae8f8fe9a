"""The only place of the pretend exchange's listings: what it lists, and how that changes. Pure."""

from __future__ import annotations

import json
import random
from typing import Any

SYMBOLS = 120
FAR_MS = 4133404800000
"""The delivery date that perpetual contracts carry while nobody has decided to delist them."""
MAJORS = ("BTC", "ETH", "BNB", "SOL", "XRP", "ADA", "DOGE", "LTC", "LINK", "AVAX", "DOT", "TRX")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Listing:
    """An exchange's listing that changes step by step, the same way for the same seed.

    Each step lists a new symbol, lets one leave trading, removes one that has left, changes a tick
    size, or does nothing. At most one symbol leaves trading at a time.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a reproducible show, no secret
        self._step = 0
        self._rows: dict[str, dict[str, Any]] = {}
        for base in MAJORS:
            self._list(base)
        while len(self._rows) < SYMBOLS:
            self._list(self._new_base())

    def advance(self) -> str:
        """Take one step; tells what happened, empty for nothing."""
        self._step += 1
        kind = ("list", "leave", "tick", "vanish", "nothing")[self._step % 5]
        trading = [s for s, row in self._rows.items() if row["status"] == "TRADING"]
        settling = [s for s, row in self._rows.items() if row["status"] == "SETTLING"]
        # The majors stay, so that the pretend trading side always has something to trade.
        leaving = [s for s in trading if s.removesuffix("USDT") not in MAJORS]
        if kind == "list":
            return f"listed {self._list(self._new_base())}"
        if kind == "leave" and leaving:
            symbol = self._random.choice(leaving)
            self._rows[symbol]["status"] = "SETTLING"
            return f"{symbol} left trading"
        if kind == "vanish" and settling:
            symbol = self._random.choice(settling)
            del self._rows[symbol]
            return f"{symbol} vanished"
        if kind == "tick":
            symbol = self._random.choice(trading)
            price = self._rows[symbol]["filters"][0]
            price["tickSize"] = "0.01" if price["tickSize"] != "0.01" else "0.001"
            return f"tick size of {symbol} is {price['tickSize']}"
        return ""

    def body(self, now_ms: int) -> bytes:
        """A body as the real exchange sends it, oddities included."""
        limit = {
            "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
            "limit": 6000,
        }  # fmt: skip
        odd = [
            symbol_row("AIUSDT"),
            symbol_row("测试测试USDT"),
            symbol_row("BTCUSDC"),
            symbol_row("TSLAUSDT", contractType="TRADIFI_PERPETUAL"),
            symbol_row("HALTUSDT", status="TRADING_HALT"),
            symbol_row("BTCUSDT_260327", contractType="CURRENT_QUARTER DELIVERING"),
            symbol_row("BTCSTUSDT", contractType="", status="PENDING_TRADING"),
        ]
        return json.dumps(
            {
                "timezone": "UTC",
                # It really runs backwards now and then; nobody may take it for a clock.
                "serverTime": now_ms - (self._step % 3) * 60_000,
                "futuresType": "U_MARGINED",
                "rateLimits": [limit],
                "symbols": [*self._rows.values(), *odd],
            },
            ensure_ascii=False,
        ).encode()

    def _list(self, base: str) -> str:
        symbol = f"{base}USDT"
        self._rows[symbol] = symbol_row(symbol)
        return symbol

    def _new_base(self) -> str:
        while True:
            length = self._random.choice((3, 4, 5))
            base = "".join(self._random.choice(_LETTERS) for _ in range(length))
            if f"{base}USDT" not in self._rows:
                return base


def symbol_row(symbol: str, **fields: str) -> dict[str, Any]:
    """One entry of ``symbols`` as the exchange writes it, with ``fields`` put over the usual."""
    return {
        "symbol": symbol,
        "pair": symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": FAR_MS,
        "onboardDate": 1569398400000,
        "status": "TRADING",
        "pricePrecision": 2,
        "quantityPrecision": 3,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10", "minPrice": "0.1"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.001"},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.001", "minQty": "0.001"},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        **fields,
    }
