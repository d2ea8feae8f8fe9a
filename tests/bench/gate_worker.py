"""One run of a gate in a process of its own: ``python -m tests.bench.gate_worker CASE URL COUNT``.

Says ``ready`` when connected, starts at the line that comes back, ends with one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import redis

from consumers.order_proof import order_proof
from consumers.p33 import p33
from consumers.permit_audit import permit_audit
from quantum_ops import logs, program, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import Consumer
from quantum_ops.context import Context
from quantum_ops.events import ApplyPlan, ApplyResult, AuditFinding, PermitDecided
from quantum_ops.measures import Registry
from quantum_ops.metrics import MetricsObserver
from quantum_ops.p33.decision import EVALUATED
from quantum_ops.settings import RedisSettings, RuntimeSettings

ME = "bench-1"
KEEP_S = 30 * 86_400


def _empty(stream: streams.Stream) -> Consumer:
    return Consumer("bench_empty", (stream,), lambda _event, _context: None, "empty")


def _writes(plan: ApplyPlan, context: Context) -> None:
    """What P3.3 writes for each plan that asks, of the same size, without reading or judging."""
    if plan.decision not in EVALUATED:
        return
    context.first(streams.decided("bench", plan.plan_id), "a" * 64, ttl_s=86_400)
    context.set(streams.permit("bench", plan.plan_id), "x" * 380, ttl_s=60)
    context.publish(
        PermitDecided(
            event_id=context.entry_id,
            gate="bench",
            plan_id=plan.plan_id,
            symbol=plan.symbol,
            allow=True,
            reason="sanity_checks_passed",
        )
    )


def _proof_writes(event: ApplyPlan | ApplyResult, context: Context) -> None:
    """What order_proof writes for a plan and for its result, without reading or judging."""
    if isinstance(event, ApplyPlan):
        context.set(streams.planned(event.plan_id), context.entry_id, ttl_s=86_400)
        return
    id_ = context.entry_id
    context.first(streams.proof_of_order(event.symbol, id_), event.plan_id, ttl_s=KEEP_S)
    plan = streams.proof_of_plan(event.plan_id)
    fields = {"entry_id": id_, "symbol": event.symbol, "order_id": id_, "executed_at": ""}
    context.hset(plan, fields)
    context.expire(plan, KEEP_S)
    context.zadd(streams.proofs_of_symbol(event.symbol), event.plan_id, 1.0)
    context.publish(
        AuditFinding(
            event_id=f"bench/{id_}/execution_proven",
            auditor="bench",
            finding="execution_proven",
            severity="info",
            subject=event.plan_id,
            detail=f"{event.symbol} order {id_}",
            evidence=(id_,),
        )
    )


def cases() -> dict[str, Consumer]:
    """Name -> the consumer that it runs."""
    return {
        "empty": _empty(streams.APPLY_PLAN),
        "empty_results": _empty(streams.APPLY_RESULT),
        "writes": Consumer("bench_writes", (streams.APPLY_PLAN,), _writes, "writes"),
        "proof_writes": Consumer(
            "bench_writes", (streams.APPLY_PLAN, streams.APPLY_RESULT), _proof_writes, "writes"
        ),
        "p33": p33,
        "p33_signed": p33,
        "permit_audit": permit_audit,
        "order_proof": order_proof,
    }


def ours(name: str, url: str, count: int) -> Callable[[], None]:
    """Our runner, built as ``python -m consumers NAME`` builds it, over ``count`` entries."""
    logs.configure("bench", "warning", sys.stderr)
    metrics = MetricsObserver(Registry())
    runner, _ = program.build(
        cases()[name], RedisSettings(url=url), RuntimeSettings(), Clock(), metrics
    )

    def run() -> None:
        runner.open()
        read = 0
        while read < count:
            read += runner.step()
        runner.flush()

    return run


def bare(url: str, count: int) -> Callable[[], None]:
    """By hand, for latency: read, a SET and an XADD for each plan, XACK; nothing is judged."""
    db: Any = redis.Redis.from_url(url)
    db.xgroup_create(streams.APPLY_PLAN.key, "bench_bare", id="0", mkstream=True)

    def run() -> None:
        read = 0
        while read < count:
            reply = db.xreadgroup(
                "bench_bare", ME, {streams.APPLY_PLAN.key: ">"}, count=500, block=1000
            )
            for _, entries in reply:
                pipe = db.pipeline(transaction=True)
                for _, fields in entries:
                    plan_id = fields[b"plan_id"].decode()
                    pipe.set(streams.permit("bare", plan_id), b"1", ex=60)
                    pipe.xadd(streams.PERMIT_DECIDED.key, {"plan_id": plan_id})
                pipe.xack(streams.APPLY_PLAN.key, "bench_bare", *[id_ for id_, _ in entries])
                pipe.execute()
                read += len(entries)

    return run


def main(name: str, url: str, count: int) -> None:
    """See the module."""
    reply_fd = os.dup(1)
    os.dup2(2, 1)
    run = bare(url, count) if name == "bare" else ours(name, url, count)
    os.write(reply_fd, b"ready\n")
    sys.stdin.readline()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    run()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    with os.fdopen(reply_fd, "wb") as reply:
        reply.write(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s}).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
