"""The only place where tests send P3.3 plans of every kind and know what must become of each."""

from __future__ import annotations

import collections
import json

from quantum_ops import codec, streams
from quantum_ops.events import PermitDecided
from tests.p33_rig import hold, publish_universe, send
from tests.p33_stories import opening, plan

PLANS = streams.APPLY_PLAN.key
BURST = 60


class World:
    """Sends plans of every kind and knows what must have become of each."""

    def __init__(self, db) -> None:
        self.db = db
        self.sent = 0
        self.decisions: collections.Counter[tuple[str, str]] = collections.Counter()
        self.letters = 0
        publish_universe(db, "BTCUSDT", "ETHUSDT", refresh_s=3600)
        self.refresh()

    def refresh(self) -> None:
        """P3.3 denies on positions that are older than ten seconds."""
        hold(self.db, "1")
        hold(self.db, "0", "ETHUSDT")

    def burst(self) -> None:
        self.refresh()
        for _ in range(BURST):
            self.sent += 1
            plan_id = f"{self.sent:016x}"
            match self.sent % 6:
                case 0:
                    send(self.db, plan(plan_id=plan_id, decision="SKIP"))
                case 1:
                    send(self.db, plan(plan_id=plan_id, symbol="GONEUSDT"))
                    self.decisions[plan_id, "symbol_not_allowed"] = 1
                case 2:
                    send(self.db, plan(plan_id=plan_id, qty="NaN"))
                    self.decisions[plan_id, "malformed_plan"] = 1
                    self.letters += 1
                case 3:
                    # Published twice, and once more as another plan
                    for quantity in ("1", "1", "2"):
                        send(self.db, plan(plan_id=plan_id, qty=quantity))
                    self.decisions[plan_id, "one"] = self.decisions[plan_id, "conflict"] = 1
                case _:
                    send(self.db, opening(plan_id=plan_id, symbol="ETHUSDT"))
                    self.decisions[plan_id, "sanity_checks_passed"] = 1

    def is_settled(self) -> bool:
        self.refresh()
        groups = [g for g in self.db.xinfo_groups(PLANS) if g["name"] == b"p33"]
        last = self.db.xinfo_stream(PLANS)["last-generated-id"]
        return any(g["pending"] == 0 and g["last-delivered-id"] == last for g in groups)

    def check(self) -> None:
        decode = codec.decoder(PermitDecided)
        rows = self.db.execute_command("XRANGE", streams.PERMIT_DECIDED.key, "-", "+")
        seen: collections.Counter[tuple[str, str]] = collections.Counter()
        twofold = {plan_id for plan_id, kind in self.decisions if kind == "one"}
        for _, fields in rows:
            flat = [part for pair in fields.items() for part in pair]
            event = decode(flat)
            kind = event.reason
            if event.plan_id in twofold:
                # Which of the two plans came first is open where several processes share the work.
                kind = "conflict" if kind == "plan_id_conflict" else "one"
                assert kind == "conflict" or event.reason == "sanity_checks_passed"
            seen[event.plan_id, kind] += 1
        assert seen == self.decisions
        found = [f for _, f in self.db.xrange(streams.AUDIT_FINDING.key)]
        conflicts = [f[b"subject"].decode() for f in found if f[b"finding"] == b"plan_id_conflict"]
        assert sorted(conflicts) == sorted(twofold)
        assert self.db.xlen(streams.DEAD_LETTER.key) == self.letters
        self.check_permits()

    def check_permits(self) -> None:
        """Of the permits that still live none allows what was denied, by any of its decisions."""
        allowed = {id_ for id_, kind in self.decisions if kind == "sanity_checks_passed"}
        seen = {}
        for key in self.db.scan_iter(streams.permit("p33", "*")):
            raw = self.db.get(key)
            if raw is not None:  # it may expire in between
                seen[key.decode().rpartition(":")[2]] = json.loads(raw)["allow"]
        assert seen
        assert seen == {plan_id: plan_id in allowed for plan_id in seen}
