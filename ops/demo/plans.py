"""The only place of the pretend trading side's plans: what it wants, wrongly now and then. Pure."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ops.demo.listing import MAJORS
from quantum_ops.events import ApplyPlan
from quantum_ops.p33.decision import reconcile_hmac

TRADED = tuple(f"{base}USDT" for base in MAJORS)
STRANGERS = ("NOSUCHUSDT", "GONEUSDT")
CLOSES = {"FULL_CLOSE_PROPOSED": 1.0, "PARTIAL_75": 0.75, "PARTIAL_50": 0.5, "PARTIAL_25": 0.25}
"""What each closing action closes, as a share of the position."""
KINDS = {
    "open": 6, "close": 5, "idle": 3, "stranger": 1, "delisted": 1, "reconcile": 1, "forged": 1,
    "malformed": 0.5,
}  # fmt: skip
"""Kinds of plans and how often each comes, relative to the others."""
UNPERMITTED_AT = 12
"""Turn of the plan that is executed though nobody permitted it."""
CONFLICT_EVERY = 40
"""Turns between two plans that come under a plan_id of another one."""


class Wish(NamedTuple):
    """One plan on its way. ``kind`` is for the stand-in itself; nothing of it travels."""

    kind: str
    fields: dict[str, str]


class Plans:
    """Makes one plan a turn, the same ones for the same seed and the same world."""

    def __init__(self, seed: int, reconcile_key: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a reproducible show, no secret
        self._key = reconcile_key
        self._turns = 0
        self._last: dict[str, str] = {}

    def next(self, now_s: float, amounts: Mapping[str, float], gone: Sequence[str]) -> Wish:
        """The next plan. ``amounts`` are the positions, ``gone`` symbols that were delisted."""
        self._turns += 1
        if self._turns == UNPERMITTED_AT:
            return Wish("unpermitted", self._opening(now_s, STRANGERS[0]))
        if self._turns % CONFLICT_EVERY == 0 and self._last:
            return Wish("conflict", {**self._last, "qty": "9.999"})
        kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
        fields = self._of(kind, now_s, amounts, gone)
        if kind in ("open", "close"):
            self._last = fields
        return Wish(kind, fields)

    def _of(
        self, kind: str, now_s: float, amounts: Mapping[str, float], gone: Sequence[str]
    ) -> dict[str, str]:
        held = [symbol for symbol in TRADED if amounts.get(symbol)]
        if kind == "idle":
            decision = self._random.choice(("SKIP", "BLOCKED"))
            action = self._random.choice(("HOLD", "UPDATE_SL"))
            plan = self._opening(now_s, self._random.choice(TRADED))
            return {**plan, "decision": decision, "action": action, "qty": "0.000"}
        if kind == "malformed":
            return {**self._opening(now_s, self._random.choice(TRADED)), "qty": "NaN"}
        if kind in ("stranger", "delisted"):
            stranger = self._random.choice(STRANGERS)
            return self._opening(now_s, gone[-1] if gone and kind == "delisted" else stranger)
        if kind == "open" or not held:
            return self._opening(now_s, self._random.choice(TRADED))
        symbol = self._random.choice(held)
        if kind in ("reconcile", "forged"):
            plan = self._closing(now_s, symbol, amounts[symbol], "FULL_CLOSE_PROPOSED")
            return self._reconciling(plan, self._key if kind == "reconcile" else "not the key")
        return self._closing(now_s, symbol, amounts[symbol], self._random.choice(tuple(CLOSES)))

    @staticmethod
    def _reconciling(plan: dict[str, str], key: str) -> dict[str, str]:
        """The plan as P3.4 sends it, signed with ``key``."""
        made = {**plan, "decision": "RECONCILE_CLOSE", "source": "p3.4"}
        unsigned = ApplyPlan(
            plan_id=made["plan_id"], decision=made["decision"], symbol=made["symbol"],
            side=made["side"], qty=made["qty"], reduce_only=True,
        )  # fmt: skip
        return {**made, "hmac": reconcile_hmac(unsigned, key)}

    def _opening(self, now_s: float, symbol: str) -> dict[str, str]:
        side = self._random.choice(("BUY", "SELL"))
        quantity = self._random.randint(4, 40) / 1000
        return self._plan(now_s, symbol, side, quantity, "ENTRY_PROPOSED", reduce_only="false")

    def _closing(self, now_s: float, symbol: str, held: float, action: str) -> dict[str, str]:
        side = "SELL" if held > 0 else "BUY"
        quantity = abs(held) * CLOSES[action]
        return self._plan(now_s, symbol, side, quantity, action, reduce_only="true")

    def _plan(
        self,
        now_s: float,
        symbol: str,
        side: str,
        quantity: float,
        action: str,
        *,
        reduce_only: str,
    ) -> dict[str, str]:
        named = f"{self._turns}|{now_s}|{symbol}|{side}|{quantity}"
        return {
            "plan_id": hashlib.sha256(named.encode()).hexdigest()[:16],
            "decision": "EXECUTE",
            "symbol": symbol,
            "side": side,
            "qty": f"{quantity:.3f}",
            "type": "MARKET",
            "reduceOnly": reduce_only,
            "action": action,
            "source": "intent_bridge",
            "timestamp": str(int(now_s)),
        }
