"""The only place of the gates' benchmark data: plans, state, and what must come of them."""

from __future__ import annotations

import collections
import hashlib
import json
import random
import time
from typing import Any

import redis

from quantum_ops import streams
from quantum_ops.events import ApplyPlan
from quantum_ops.p33 import snapshot
from quantum_ops.p33.allowlist import Allowlist, Steps
from quantum_ops.p33.decision import EVALUATED, decide
from quantum_ops.settings import P33Settings
from quantum_ops.universe import content_sha256, symbols_sha256

SETTINGS = {
    # Positions are written once before each run and must stay fresh for all of it; a cooldown that
    # outlasts the run makes its outcome the same each time.
    "P33_STALE_THRESHOLD_SEC": "3600",
    "P33_COOLDOWN_SEC": "3600",
    "UNIVERSE_CACHE_SECONDS": "60",
}
ROW = {"state": "trading", "step_size": "0.001", "market_step_size": "0.001"}
POSITIONS = ("0", "1.5", "-2.25", "0")
CLOSES = ("FULL_CLOSE_PROPOSED", "PARTIAL_75", "PARTIAL_50", "PARTIAL_25")
PAGE = 1000


def symbols(count: int) -> list[str]:
    """The symbols of a universe of this size."""
    return [f"S{number:04d}USDT" for number in range(count)]


def plans(count: int, traded: int) -> list[dict[str, str]]:
    """The mix: a quarter asks for nothing, a quarter opens, half closes; 2 % are of strangers."""
    source = random.Random(20261124)
    named = symbols(traded)
    made = []
    for number in range(count):
        plan = {
            "plan_id": hashlib.sha256(str(number).encode()).hexdigest()[:16],
            "symbol": "GONEUSDT" if source.random() < 0.02 else source.choice(named),
            "source": "intent_bridge",
            "timestamp": "1790000000",
            "type": "MARKET",
        }
        kind = source.random()
        if kind < 0.25:
            plan |= {"decision": source.choice(("SKIP", "BLOCKED")), "side": "BUY", "qty": "0.000",
                     "reduceOnly": "false", "action": "HOLD"}  # fmt: skip
        elif kind < 0.5:
            plan |= {"decision": "EXECUTE", "side": "BUY", "qty": "0.010", "reduceOnly": "false",
                     "action": "ENTRY_PROPOSED"}  # fmt: skip
        else:
            plan |= {"decision": "EXECUTE", "side": "CLOSE", "qty": "0.5", "reduceOnly": "true",
                     "action": source.choice(CLOSES)}  # fmt: skip
        made.append(plan)
    return made


def fill(db: redis.Redis, stream: streams.Stream, entries: list[dict[str, str]]) -> None:
    """Put the entries into the empty stream."""
    db.delete(stream.key)
    for start in range(0, len(entries), PAGE):
        pipe = db.pipeline(transaction=False)
        for entry in entries[start : start + PAGE]:
            pipe.xadd(stream.key, entry)  # type: ignore[arg-type]  # a dict of str is one of EncodableT
        pipe.execute()


def results(count: int) -> list[dict[str, str]]:
    """Executed results, each with its own order id, and in all three places by turns."""
    made = []
    for number in range(count):
        order = str(4_000_000_000 + number)
        places = (
            {"order_id": order},
            {"details": json.dumps({"order_id": order})},
            {"steps_results": json.dumps([{"step": "leverage"}, {"order_id": order}])},
        )
        plan_id = hashlib.sha256(str(number).encode()).hexdigest()[:16]
        made.append(
            {"plan_id": plan_id, "symbol": "S0001USDT", "executed": "true", **places[number % 3]}
        )
    return made


def set_universe(db: redis.Redis, size: int, epoch: int = 1, without: str = "") -> None:
    """The keys as the producer commits them, event included."""
    listed = [one for one in symbols(size) if one != without]
    rows = {symbol: json.dumps(ROW) for symbol in listed}
    at = str(int(time.time()))
    meta = {
        "asof_epoch": at, "checked_epoch": at, "count": str(len(listed)), "epoch": str(epoch),
        "sha256": content_sha256(listed, rows), "symbols_sha256": symbols_sha256(listed),
        "stale": "0", "error": "", "refresh_sec": "3600", "mode": "testnet",
    }  # fmt: skip
    event = {"epoch": str(epoch), "added": "[]", "removed": json.dumps([without] * bool(without))}
    pipe = db.pipeline(transaction=True)
    active = {"asof_epoch": int(at), "mode": "testnet", "symbols": listed}
    pipe.set(streams.UNIVERSE_ACTIVE, json.dumps(active))
    pipe.delete(streams.UNIVERSE_SYMBOLS)
    pipe.hset(streams.UNIVERSE_SYMBOLS, mapping=rows)  # type: ignore[arg-type]  # see fill
    pipe.hset(streams.UNIVERSE_META, mapping=meta)  # type: ignore[arg-type]  # see fill
    pipe.xadd(streams.UNIVERSE_CHANGED.key, event)  # type: ignore[arg-type]  # see fill
    pipe.execute()


def set_state(db: redis.Redis, traded: int) -> None:
    """Fresh positions of all, a ledger for half of the held ones, a cooldown for a tenth."""
    now_s = time.time()
    pipe = db.pipeline(transaction=False)
    for number, symbol in enumerate(symbols(traded)):
        for name, value in _state(number, now_s).items():
            key = getattr(streams, name)(symbol)
            if isinstance(value, dict):
                pipe.hset(key, mapping=value)
            else:
                pipe.set(key, value)
    pipe.execute()


def _state(number: int, now_s: float) -> dict[str, Any]:
    amount = POSITIONS[number % len(POSITIONS)]
    state: dict[str, Any] = {"position": {"position_amt": amount, "ts_epoch": str(int(now_s))}}
    if amount != "0" and number % 8 < len(POSITIONS):
        state["position_ledger"] = {"last_known_amt": amount}
    if number % 10 == 0:
        state["cooldown"] = str(int(now_s * 1000))
    return state


def forget(db: redis.Redis) -> None:
    """Everything that a run of ours leaves behind: permits, decisions, marks, cases, Findings."""
    for pattern in ("quantum:permit:*", "quantum:ops:*"):
        page = []
        for key in db.scan_iter(match=pattern, count=5000):
            page.append(key)
            if len(page) == PAGE:
                db.delete(*page)
                page = []
        if page:
            db.delete(*page)
    db.delete(streams.PERMIT_DECIDED.key, streams.AUDIT_FINDING.key, streams.DEAD_LETTER.key)


def expected(made: list[dict[str, str]], size: int, traded: int) -> dict[str, int]:
    """Reason -> how often, by the pure decision on the same plans and the same state."""
    now_s = time.time()
    listed = symbols(size)
    allowlist = Allowlist(
        "universe", "fresh", "", frozenset(listed), frozenset(),
        Steps(dict.fromkeys(listed, ROW)), 1, 0.0, "testnet",
    )  # fmt: skip
    rules = P33Settings(stale_s=3600.0, cooldown_s=3600.0)
    known: dict[str, snapshot.Snapshot] = {}
    for number, symbol in enumerate(symbols(traded)):
        state = _state(number, now_s)
        position, ledger = state["position"], state.get("position_ledger", {})
        known[symbol] = snapshot.read(
            [
                [position["position_amt"].encode(), position["ts_epoch"].encode()],
                [ledger["last_known_amt"].encode() if ledger else None, None],
                state["cooldown"].encode() if "cooldown" in state else None,
                0,
            ]
        )
    counted: collections.Counter[str] = collections.Counter()
    for plan in made:
        event = ApplyPlan(
            plan_id=plan["plan_id"], decision=plan["decision"], symbol=plan["symbol"],
            side=plan["side"], qty=plan["qty"], action=plan["action"],
            reduce_only=plan["reduceOnly"] == "true",
        )  # fmt: skip
        if event.decision in EVALUATED:
            found = known.get(event.symbol, snapshot.Snapshot())
            counted[decide(event, found, allowlist, rules, now_s=now_s).reason] += 1
    return dict(counted)
