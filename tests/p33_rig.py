"""The only place where tests run P3.3 by hand against a server, and play the trading side to it."""

from __future__ import annotations

import json
import time
from typing import Any

from consumers.p33 import p33
from quantum_ops import codec, streams
from quantum_ops.clock import Clock
from quantum_ops.events import ApplyPlan, AuditFinding, DeadLetter, PermitDecided
from quantum_ops.settings import P33Settings
from quantum_ops.universe import content_sha256, symbols_sha256
from tests.backends import RedisBackend

ROW = {"state": "trading", "step_size": "0.001", "market_step_size": "0.001"}


class ShiftedClock(Clock):
    """A clock that can be wrong by ``shift_s``."""

    shift_s = 0.0

    def now_s(self) -> float:
        return super().now_s() + self.shift_s


class P33Rig:
    """One P3.3 process turned by hand; several of them share a server."""

    def __init__(self, server, name: str = "one", **settings: Any) -> None:
        self.server = server
        self.db = server.connect()
        self.backend = RedisBackend(server.connect)
        self.clock = ShiftedClock()
        self.settings = P33Settings(**settings)
        self.runner, self.observer = self.backend.runner(
            p33, name, settings=self.settings, clock=self.clock
        )

    def settle(self) -> P33Rig:
        """Decide whatever stands in the stream."""
        self.backend.settle(self.runner)
        return self

    def send(self, *plans: ApplyPlan) -> list[str]:
        """Plans as the trading side sends them; fields that are empty are left out."""
        return [send(self.db, plan) for plan in plans]

    def decide(self, *plans: ApplyPlan) -> list[PermitDecided]:
        """Send plans, settle, and give the decisions that were added."""
        before = len(self.decided())
        self.send(*plans)
        self.settle()
        return self.decided()[before:]

    def permit(self, plan_id: str = "0123456789abcdef") -> dict[str, Any]:
        """The permit as an executor of today reads it."""
        found = self.db.get(streams.permit("p33", plan_id))
        assert found is not None
        return json.loads(found)

    def decided(self) -> list[PermitDecided]:
        return self.backend.events(PermitDecided)

    def findings(self) -> list[AuditFinding]:
        return self.backend.events(AuditFinding)

    def dead_letters(self) -> list[DeadLetter]:
        return self.backend.events(DeadLetter)

    def pending(self) -> int:
        return self.backend.pending(streams.APPLY_PLAN.key, "p33")


def send(db, plan: ApplyPlan) -> str:
    """XADD of a plan as the trading side does it."""
    flat = codec.encode(plan)
    pairs = [pair for pair in zip(flat[::2], flat[1::2], strict=True) if pair[1]]
    return db.xadd(streams.APPLY_PLAN.key, dict(pairs)).decode()


def hold(db, amount: str, symbol: str = "BTCUSDT", *, age_s: float = 1.0) -> None:
    """The exchange's position, as the producer of positions writes it."""
    at = str(time.time() - age_s)
    db.hset(streams.position(symbol), mapping={"position_amt": amount, "ts_epoch": at})


def book(db, amount: str, symbol: str = "BTCUSDT") -> None:
    """The executor's ledger."""
    db.hset(streams.position_ledger(symbol), mapping={"last_known_amt": amount})


def publish_universe(
    db,
    *symbols: str,
    epoch: int = 1,
    close_only: tuple[str, ...] = (),
    mode: str = "testnet",
    stale: str = "0",
    age_s: float = 0.0,
    refresh_s: float = 60.0,
) -> None:
    """The keys as the universe producer commits them."""
    listed = sorted(symbols)
    rows = {symbol: json.dumps(ROW) for symbol in listed}
    rows |= {symbol: json.dumps({**ROW, "state": "close_only"}) for symbol in close_only}
    at = str(int(time.time() - age_s))
    meta = {
        "asof_epoch": at, "checked_epoch": at, "last_ok_epoch": at, "count": str(len(listed)),
        "epoch": str(epoch), "sha256": content_sha256(listed, rows), "mode": mode,
        "symbols_sha256": symbols_sha256(listed), "stale": stale, "error": "",
        "refresh_sec": f"{refresh_s:g}",
    }  # fmt: skip
    with db.pipeline(transaction=True) as pipe:
        active = {"asof_epoch": int(at), "mode": mode, "symbols": listed}
        pipe.set(streams.UNIVERSE_ACTIVE, json.dumps(active))
        pipe.delete(streams.UNIVERSE_SYMBOLS)
        if rows:
            pipe.hset(streams.UNIVERSE_SYMBOLS, mapping=rows)
        pipe.hset(streams.UNIVERSE_META, mapping=meta)
        pipe.execute()


def mock_universe(db, *symbols: str, stale: str = "0") -> None:
    """Exactly the keys that the trading side's own test sets: no epoch, no heartbeat, no hash."""
    now = int(time.time())
    active = {
        "asof_epoch": now, "source": "test_mock", "mode": "testnet", "symbols": list(symbols),
        "filters": {"contractType": "PERPETUAL", "status": "TRADING"},
    }  # fmt: skip
    db.set(streams.UNIVERSE_ACTIVE, json.dumps(active))
    meta = {
        "asof_epoch": now, "last_ok_epoch": now, "count": len(symbols), "stale": stale, "error": "",
    }  # fmt: skip
    db.hset(streams.UNIVERSE_META, mapping=meta)
