"""The only code here that writes trading streams: the demo's stand-in for the trading side.

No program of quantum ops may do this; program ``demo_trading`` plays somebody else. It sends plans
and results as the trading side does (all values text), keeps positions and permits of the other
gates in Redis, and a deploy script reports a deployment every few seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from typing import Any

import walrus

from quantum_ops import client, lifeline, streams
from quantum_ops.clock import Clock

TRADED = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT")
STRANGERS = ("NOSUCHUSDT", "GONEUSDT")
EVERY_S = 0.5
DEPLOY_EVERY = 24
PERMIT_TTL_S = 60
DECISIONS = ("EXECUTE", "EXECUTE", "EXECUTE", "EXECUTE", "SKIP", "BLOCKED")
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
            if plan["decision"] == "EXECUTE" and plan["symbol"] in TRADED:
                self._permits(pipe, plan, now_s)
                self._result(pipe, plan, now_s)
            if self._turns % DEPLOY_EVERY == 1:
                pipe.xadd(streams.DEPLOY_COMPLETED.key, self._deployment())
            pipe.execute()

    def _plan(self, now_s: float) -> dict[str, str]:
        symbol = self._random.choice((*TRADED, *TRADED, *STRANGERS))
        side = self._random.choice(("BUY", "SELL"))
        qty = f"{self._random.randint(1, 20) / 1000:.3f}"
        named = f"{self._turns}|{now_s}|{symbol}|{side}|{qty}"
        plan = {
            "plan_id": hashlib.sha256(named.encode()).hexdigest()[:16],
            "decision": self._random.choice(DECISIONS),
            "symbol": symbol,
            "side": side,
            "type": "MARKET",
            "qty": qty,
            "source": "intent_bridge",
            "timestamp": str(int(now_s)),
            "reduceOnly": "false",
            "action": "ENTRY_PROPOSED",
        }
        if self._amounts.get(symbol) and self._random.random() < 0.5:  # noqa: PLR2004 - half of them
            plan |= {"reduceOnly": "true", "action": self._random.choice(
                ("FULL_CLOSE_PROPOSED", "PARTIAL_75", "PARTIAL_50", "PARTIAL_25"))}  # fmt: skip
        return plan

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
        closing = plan["reduceOnly"] == "true"
        self._amounts[symbol] = 0.0 if closing else round(self._amounts[symbol] + signed, 3)
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
    """Trade until SIGTERM, or for ``DEMO_MAX_SECONDS`` and then idle."""
    lifeline.die_with_parent()
    clock = Clock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    side = TradingSide(client.connect(name="demo_trading"), int(os.environ.get("DEMO_SEED") or 1))
    until_s = time.time() + float(os.environ.get("DEMO_MAX_SECONDS") or 3600)
    while not clock.stopping():
        if time.time() < until_s:
            try:
                side.turn(time.time())
            except (*client.TRANSPORT_ERRORS, *client.SERVER_ERRORS) as error:
                print(f"Redis is away: {error}", flush=True)
        clock.wait(EVERY_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
