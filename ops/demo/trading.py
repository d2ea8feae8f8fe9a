"""The only code here that writes trading streams: the demo's stand-in for the trading side.

No program of quantum ops may do this; program ``demo_trading`` plays somebody else: it sends plans,
writes the permits of the other gates, and executes what P3.3 permits, as an executor would. Twice
it does what must never happen, so that ``./run audit`` has something to find.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import walrus

from ops.demo.options import DemoSettings
from ops.demo.plans import TRADED, Plans, Wish
from quantum_ops import client, knobs, lifeline, permits, streams
from quantum_ops.clock import Clock
from quantum_ops.errors import ConfigurationError, RefusedError

EVERY_S = 0.5
DEPLOY_EVERY = 24
PERMIT_TTL_S = 60
PATIENCE_S = 3.0
"""Seconds that the executor waits for a permit; a plan that gets none by then is dropped."""
MAX_GONE = 20
UNPROVEN_AT = 24
"""Turn from which on one execution is reported without its order id."""
RISKS = ("LOW_RISK_CONFIG", "SERVICE_RESTART", "READ_ONLY", "FILESYSTEM_WRITE")


class TradingSide:
    """One pretend trading side; ``turn`` does what half a second of it looks like."""

    def __init__(self, db: walrus.Database, seed: int, reconcile_key: str = "") -> None:
        self._db = db
        self._random = random.Random(seed)  # noqa: S311 - a reproducible show, no secret
        self._plans = Plans(seed, reconcile_key)
        self._turns = 0
        self._orders = 0
        # An exchange gives no id twice; nor does this one when it is started again on old data.
        self._first_order = int(time.time()) * 1000
        self._planted = False
        self._amounts = dict.fromkeys(TRADED, 0.0)
        self._waiting: list[tuple[float, Wish]] = []
        self._gone: list[str] = []
        self._news = "0-0"

    def turn(self, now_s: float) -> None:
        """Positions, one plan, what was permitted meanwhile, now and then a deployment."""
        self._turns += 1
        self._hear()
        self._execute(now_s)
        wish = self._plans.next(now_s, self._amounts, self._gone)
        with self._db.pipeline(transaction=False) as pipe:
            self._positions(pipe, now_s)
            if wish.fields["decision"] in ("EXECUTE", "RECONCILE_CLOSE"):
                self._permits(pipe, wish.fields, now_s)
                if wish.kind not in ("malformed", "conflict"):
                    self._waiting.append((now_s, wish))
            pipe.xadd(streams.APPLY_PLAN.key, wish.fields)
            if self._turns % DEPLOY_EVERY == 1:
                pipe.xadd(streams.DEPLOY_COMPLETED.key, self._deployment())
            pipe.execute()

    def _hear(self) -> None:
        """What was delisted lately: somebody will want to trade it all the same."""
        for id_, fields in self._db.xrange(streams.UNIVERSE_CHANGED.key, f"({self._news}", "+"):
            self._news = id_.decode()
            self._gone += json.loads(fields.get(b"removed", b"[]"))
            listed = set(json.loads(fields.get(b"symbols", b"[]")))
            self._gone = [one for one in self._gone if one not in listed][-MAX_GONE:]

    def _execute(self, now_s: float) -> None:
        waiting, self._waiting = self._waiting, []
        for since_s, wish in waiting:
            plan = {name: value for name, value in wish.fields.items() if value}
            if wish.kind == "unpermitted":
                # Planted: nobody asked whether it may.
                self._result(plan, float(plan["qty"]), now_s)
                continue
            verdict = permits.verify(
                self._db, plan, trusted={}, require_signature=False, now_s=None
            )
            if verdict.allow and verdict.permit is not None:
                safe = verdict.permit.safe_qty
                quantity = float(plan["qty"])
                if isinstance(safe, Decimal) and safe:
                    quantity = min(quantity, float(safe))
                # Planted: the first execution after that turn, whenever one is permitted.
                proven = self._planted or self._turns < UNPROVEN_AT
                self._planted = self._planted or not proven
                self._result(plan, quantity, now_s, proven=proven)
            elif verdict.reason == "missing" and now_s - since_s < PATIENCE_S:
                self._waiting.append((since_s, wish))

    def _permits(self, pipe: Any, plan: Mapping[str, str], now_s: float) -> None:
        granted = {
            "granted": True, "symbol": plan["symbol"], "decision": "EXECUTE",
            "computed_qty": 0.0, "created_at": now_s, "consumed": False,
        }  # fmt: skip
        plan_id = plan["plan_id"]
        pipe.set(streams.governor_permit(plan_id), json.dumps(granted), ex=PERMIT_TTL_S)
        pipe.set(streams.permit("p26", plan_id), "1", ex=PERMIT_TTL_S)

    def _result(
        self, plan: Mapping[str, str], quantity: float, now_s: float, *, proven: bool = True
    ) -> None:
        symbol = plan["symbol"]
        self._orders += 1
        order = str(self._first_order + self._orders)
        result = {
            "plan_id": plan["plan_id"],
            "symbol": symbol,
            "executed": self._random.choice(("true", "True")),
            "source": "intent_executor",
            "timestamp": str(int(now_s)),
        }
        # The three places in which an order id really stands.
        places = {
            "order_id": order,
            "details": json.dumps({"order_id": order, "order_status": "FILLED"}),
            "steps_results": json.dumps([{"step": "leverage"}, {"order_id": order}]),
        }
        place = tuple(places)[self._orders % 3]
        if proven:
            result[place] = places[place]
        signed = quantity * (1 if plan["side"] == "BUY" else -1)
        # "+ 0.0": round() can give -0.0, which would be printed as "-0.000".
        amount = round(self._amounts.get(symbol, 0.0) + signed, 3) + 0.0
        with self._db.pipeline(transaction=True) as pipe:
            pipe.xadd(streams.APPLY_RESULT.key, result)
            if symbol in self._amounts:
                self._amounts[symbol] = amount
                fields = {"last_known_amt": f"{amount:.3f}", "updated_at": str(int(now_s))}
                pipe.hset(streams.position_ledger(symbol), mapping=fields)
                pipe.set(streams.cooldown(symbol), int(now_s * 1000), ex=3600)
                self._position(pipe, symbol, now_s)
            pipe.execute()

    def _positions(self, pipe: Any, now_s: float) -> None:
        for symbol in self._amounts:
            self._position(pipe, symbol, now_s)

    def _position(self, pipe: Any, symbol: str, now_s: float) -> None:
        amount = self._amounts[symbol]
        side = "LONG" if amount > 0 else "SHORT" if amount < 0 else "FLAT"
        fields = {
            "symbol": symbol, "position_amt": f"{amount:.3f}", "side": side,
            "entry_price": "100.0", "mark_price": "101.0", "ts_epoch": str(int(now_s)),
            "source": "demo",
        }  # fmt: skip
        pipe.hset(streams.position(symbol), mapping=fields)

    def _deployment(self) -> dict[str, str]:
        number = self._turns // DEPLOY_EVERY + 1
        return {
            "operation": f"Demo deploy {number} — risk limits",
            "objective": "Show how a deployment reaches the audit trail",
            "requested_by": "anna" if number % 2 else "ben",
            "risk_class": RISKS[number % len(RISKS)],
            "blast_radius": "None: this is the demo",
            "changes_summary": f'limits #{number}: "raised" by 1 %',
            "allowed_services": "demo_exchange\ndemo_trading",
        }


def main() -> int:
    """Trade until SIGTERM, or for ``DEMO_MAX_SECONDS`` and then idle; 78 for bad settings."""
    lifeline.die_with_parent()
    try:
        options = knobs.load(DemoSettings)
        db = client.connect(name="demo_trading", user="demo_trading")
        side = TradingSide(db, options.seed, options.reconcile_key)
    except (ConfigurationError, RefusedError) as error:
        return lifeline.refuse(f"demo_trading: {error}")
    clock = Clock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    # Monotonic: a clock that is set back must not make the show endless.
    until_s = clock.monotonic_s() + options.max_s
    while not clock.stopping():
        if clock.monotonic_s() < until_s:
            try:
                side.turn(clock.now_s())
            except (*client.TRANSPORT_ERRORS, *client.SERVER_ERRORS) as error:
                print(f"this turn is lost: {error}", flush=True)
        clock.wait(EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
