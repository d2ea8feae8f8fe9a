"""The only place where tests run an auditor of permits by hand, and play gates and executors."""

from __future__ import annotations

import json
from typing import Any

from consumers.permit_audit import permit_audit
from quantum_ops import streams
from quantum_ops.audit.sight import GOVERNOR, P26, P33, key
from quantum_ops.events import AuditFinding, PermitDecided
from quantum_ops.publisher import Publisher
from quantum_ops.settings import PermitAuditSettings
from tests.backends import RedisBackend
from tests.p33_rig import ShiftedClock, send
from tests.p33_stories import plan


class AuditRig:
    """One auditor of permits; ``pass_s`` lets time pass for it."""

    def __init__(self, server, name: str = "one", **settings: Any) -> None:
        self.server = server
        self.db = server.connect()
        self.backend = RedisBackend(server.connect)
        self.clock = ShiftedClock()
        self.runner, self.observer = self.backend.runner(
            permit_audit, name, settings=PermitAuditSettings(**settings), clock=self.clock
        )
        # It was at work when the story begins.
        self.look()

    def plan(self, plan_id: str, **fields: Any) -> str:
        return send(self.db, plan(plan_id=plan_id, **fields))

    def permits(self, plan_id: str, *gates: str, ttl_s: int = 60, **fields: Any) -> None:
        """Permits of these gates (all three), as they are written today."""
        documents = {
            GOVERNOR: json.dumps({"granted": True, "symbol": "BTCUSDT", **fields}),
            P26: "1",
            P33: json.dumps({"allow": True, "symbol": "BTCUSDT", "safe_qty": 1, **fields}),
        }
        for gate in gates or (GOVERNOR, P26, P33):
            self.db.set(key(gate, plan_id), documents[gate], ex=ttl_s)

    def decide(self, plan_id: str, *, allow: bool = True, reason: str = "x") -> None:
        """P3.3's event."""
        event = PermitDecided(
            gate=P33, plan_id=plan_id, symbol="BTCUSDT", allow=allow, reason=reason
        )
        Publisher(self.db).publish(event)

    def execute(self, plan_id: str, **fields: str) -> str:
        result = {"plan_id": plan_id, "symbol": "BTCUSDT", "executed": "true", "order_id": "1"}
        return self.db.xadd(streams.APPLY_RESULT.key, {**result, **fields}).decode()

    def next_ms(self) -> None:
        """Until the server's clock has moved on: what follows has a later entry id."""
        before = self.db.time()
        while self.db.time()[1] // 1000 == before[1] // 1000:
            pass

    def settle(self) -> AuditRig:
        """Read all there is, and look."""
        self.backend.settle(self.runner)
        return self.look()

    def look(self) -> AuditRig:
        """The look that is due each second."""
        self.runner._tick_due = 0.0
        self.runner.step(wait=False)
        self.runner.flush()
        return self

    def pass_s(self, seconds: float) -> AuditRig:
        """Time passes, then it looks."""
        self.clock.shift_s += seconds
        return self.settle()

    def findings(self) -> list[AuditFinding]:
        return self.backend.events(AuditFinding)

    def told(self) -> list[str]:
        """Finding and plan id of each, sorted."""
        return sorted(f"{one.finding} {one.subject}" for one in self.findings())

    def open_cases(self) -> int:
        return self.db.zcard(streams.PERMIT_AUDIT_OPEN)
