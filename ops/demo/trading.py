"""The only code here that writes trading streams: the demo's stand-in for the trading side.

No program of quantum ops may do this; program ``demo_trading`` plays somebody else. It sends plans
and results as the trading side does (all values text), keeps positions and permits of the other
gates in Redis, and a deploy script reports a deployment every few seconds.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
import sys
from typing import Any

import walrus

from ops.demo.listing import MAJORS
from ops.demo.options import DemoSettings
from quantum_ops import client, knobs, lifeline, streams
from quantum_ops.clock import Clock
from quantum_ops.errors import ConfigurationError, RefusedError

TRADED = tuple(f"{base}USDT" for base in MAJORS)
STRANGERS = ("NOSUCHUSDT", "GONEUSDT")
EVERY_S = 0.5
DEPLOY_EVERY = 24
PERMIT_TTL_S = 60
DECISIONS = (*["EXECUTE"] * 6, "RECONCILE_CLOSE", "SKIP", "BLOCKED")
CLOSES = {"FULL_CLOSE_PROPOSED": 1.0, "PARTIAL_75": 0.75, "PARTIAL_50": 0.5, "PARTIAL_25": 0.25}
"""What each closing action closes, as a share of the position."""
CLOSE_SHARE = 0.5
"""Share of plans for a held symbol that close instead of adding."""
IDLE_ACTIONS = ("HOLD", "UPDATE_SL")
RISKS = ("LOW_RISK_CONFIG", "SERVICE_RESTART", "READ_ONLY", "FILESYSTEM_WRITE")


class TradingSide:
    """One pretend trading side; ``turn`` does what half a second of it looks like."""

    def __init__(self, db: walrus.Database, seed: int) -> None:
        self._db = db
        self._random = random.Random(seed)  # noqa: S311 - a reproducible show, no secret
        self._turns = 0
        self._amounts = dict.fromkeys(TRADED, 0.0)

    def turn(self, now_s: float) -> None:
        """Positions, one plan, sometimes its permits and result, now and then a deployment."""
        self._turns += 1
        with self._db.pipeline(transaction=False) as pipe:
            self._positions(pipe, now_s)
            plan = self._plan(now_s)
            pipe.xadd(streams.APPLY_PLAN.key, plan)
            if plan["decision"] in ("EXECUTE", "RECONCILE_CLOSE") and plan["symbol"] in TRADED:
                self._permits(pipe, plan, now_s)
                self._result(pipe, plan, now_s)
            if self._turns % DEPLOY_EVERY == 1:
                pipe.xadd(streams.DEPLOY_COMPLETED.key, self._deployment())
            pipe.execute()

    def _plan(self, now_s: float) -> dict[str, str]:
        symbol = self._random.choice((*TRADED, *STRANGERS))
        held = self._amounts.get(symbol, 0.0)
        decision = self._random.choice(DECISIONS)
        if decision == "SKIP":
            order = self._order(self._random.choice(("BUY", "SELL")), 0.0)
            order["action"] = self._random.choice(IDLE_ACTIONS)
        elif held and (decision == "RECONCILE_CLOSE" or self._random.random() < CLOSE_SHARE):
            action = self._random.choice(tuple(CLOSES))
            if decision == "RECONCILE_CLOSE":
                action = "FULL_CLOSE_PROPOSED"
            order = self._order("SELL" if held > 0 else "BUY", abs(held) * CLOSES[action])
            order |= {"reduceOnly": "true", "action": action}
        else:
            decision = "EXECUTE" if decision == "RECONCILE_CLOSE" else decision
            side = self._random.choice(("BUY", "SELL"))
            order = self._order(side, self._random.randint(1, 20) / 1000)
        named = f"{self._turns}|{now_s}|{symbol}|{order['side']}|{order['qty']}"
        return {
            "plan_id": hashlib.sha256(named.encode()).hexdigest()[:16],
            "decision": decision,
            "symbol": symbol,
            "type": "MARKET",
            "source": "intent_bridge",
            "timestamp": str(int(now_s)),
            **order,
        }

    @staticmethod
    def _order(side: str, quantity: float) -> dict[str, str]:
        return {
            "side": side,
            "qty": f"{quantity:.3f}",
            "reduceOnly": "false",
            "action": "ENTRY_PROPOSED",
        }

    def _permits(self, pipe: Any, plan: dict[str, str], now_s: float) -> None:
        granted = {
            "granted": True, "symbol": plan["symbol"], "decision": "EXECUTE",
            "computed_qty": float(plan["qty"]), "created_at": now_s, "consumed": False,
        }  # fmt: skip
        pipe.set(f"quantum:permit:{plan['plan_id']}", json.dumps(granted), ex=PERMIT_TTL_S)
        pipe.set(f"quantum:permit:p26:{plan['plan_id']}", "1", ex=PERMIT_TTL_S)

    def _result(self, pipe: Any, plan: dict[str, str], now_s: float) -> None:
        symbol, order = plan["symbol"], str(self._random.randint(10**9, 10**10))
        result = {
            "plan_id": plan["plan_id"],
            "symbol": symbol,
            "executed": self._random.choice(("true", "True")),
            "source": "intent_executor",
            "timestamp": str(int(now_s)),
        }
        # The three places in which an order id really stands.
        place = self._turns % 3
        if place == 0:
            result["order_id"] = order
        elif place == 1:
            result["details"] = json.dumps({"order_id": order, "order_status": "FILLED"})
        else:
            steps = [{"step": "leverage"}, {"step": "order", "order_id": order}]
            result["steps_results"] = json.dumps(steps)
        pipe.xadd(streams.APPLY_RESULT.key, result)
        signed = float(plan["qty"]) * (1 if plan["side"] == "BUY" else -1)
        # "+ 0.0": round() can give -0.0, which would be printed as "-0.000".
        self._amounts[symbol] = round(self._amounts[symbol] + signed, 3) + 0.0
        held = f"{self._amounts[symbol]:.3f}"
        pipe.hset(
            f"quantum:position:ledger:{symbol}",
            mapping={"last_known_amt": held, "last_order_id": order, "updated_at": str(int(now_s))},
        )
        pipe.set(f"quantum:cooldown:last_exec_ts:{symbol}", int(now_s * 1000), ex=3600)

    def _positions(self, pipe: Any, now_s: float) -> None:
        for symbol, amount in self._amounts.items():
            side = "LONG" if amount > 0 else "SHORT" if amount < 0 else "FLAT"
            pipe.hset(
                f"quantum:state:positions:{symbol}",
                mapping={
                    "symbol": symbol, "position_amt": f"{amount:.3f}", "side": side,
                    "entry_price": "100.0", "mark_price": "101.0", "ts_epoch": str(int(now_s)),
                    "source": "demo",
                },
            )  # fmt: skip

    def _deployment(self) -> dict[str, str]:
        number = self._turns // DEPLOY_EVERY + 1
        return {
            "operation": f"Demo deploy {number} — risk limits",
            "objective": "Show how a deployment reaches the audit trail",
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
        side = TradingSide(client.connect(name="demo_trading"), options.seed)
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
