"""The only place where a consumer becomes a process: settings, signals, exit code."""

from __future__ import annotations

import gc
import signal
from typing import Any

from quantum_ops import client, events, home, host, knobs, lifeline, logs, metrics_socket
from quantum_ops.clock import Clock
from quantum_ops.consumer import Consumer
from quantum_ops.context import Context
from quantum_ops.errors import ConfigurationError, QuantumError, RefusedError
from quantum_ops.heartbeat import Heartbeat, process_num
from quantum_ops.measures import Registry, of_process
from quantum_ops.metrics import MetricsObserver
from quantum_ops.observe import LogObserver, Observers
from quantum_ops.publisher import Publisher
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.runner import Runner
from quantum_ops.settings import RedisSettings, RuntimeSettings


def consumer_name(program: str) -> str:
    """``host:program:process_num``: stable over restarts, so that pending entries are found."""
    return f"{host.name()}:{program}:{process_num()}"


def run(consumer: Consumer) -> int:
    """Run ``consumer`` until SIGTERM or SIGINT; gives the exit code (0, or 78 for settings)."""
    try:
        return _run(consumer)
    except ConfigurationError as error:
        return lifeline.refuse(*(f"{consumer.name}: {line}" for line in error.lines))
    except RefusedError as error:
        return lifeline.refuse(f"{consumer.name}: {error}")


def build(
    consumer: Consumer,
    redis: RedisSettings,
    runtime: RuntimeSettings,
    clock: Clock,
    metrics: MetricsObserver,
) -> tuple[Runner, Heartbeat]:
    """The runner of ``consumer`` with everything a live process has, and its heartbeat."""
    consumer = home.kept(consumer, host.named())
    bounds = consumer.bound(runtime)
    log = logs.get()
    name = consumer_name(consumer.name)
    db = client.connect(redis, name=name, user=consumer.name)
    blocking = client.connect(redis, block_ms=bounds.block_ms, name=name, user=consumer.name)
    heartbeat = Heartbeat(db, consumer.name)
    settings = knobs.load(consumer.settings) if consumer.settings else None
    context = Context(consumer.name, db, log, clock, settings)
    keys = tuple(stream.key for stream in consumer.streams)
    inbox = RedisInbox(blocking, keys, consumer.name, name)
    publisher = Publisher(db, patience_s=1.0, sleep=clock.wait)

    metrics.vitals.watch(consumer.name, context.vitals)
    told: dict[str, str | int] = {}

    def on_idle(state: str) -> None:
        # What changed is told at once; operators watch it to see a gate react.
        changed = context.vitals != told
        beat(heartbeat, state, runner, context.vitals, force=changed)
        if changed:
            told.clear()
            told.update(context.vitals)

    def on_hold(reason: str, lasted_s: float) -> bool:
        return publish(publisher, log, held_up(consumer.name, name, reason, lasted_s))

    runner = Runner(
        consumer, inbox, context, bounds, Observers(LogObserver(log), metrics), clock=clock,
        on_idle=on_idle, on_hold=on_hold,
    )  # fmt: skip
    return runner, heartbeat


def settle_in() -> None:
    """Let the garbage collector leave alone what was made so far: it is there to stay.

    A full look at it takes 25 ms, in which a gate decides nothing; entries by the thousand bring
    one on. MUST be called by live processes only: garbage that is there now is collected first,
    and what is frozen never is.
    """
    gc.collect()
    gc.freeze()


def beat(
    heartbeat: Heartbeat,
    state: str,
    runner: Runner,
    vitals: dict[str, str | int],
    *,
    force: bool = False,
) -> None:
    """Beat, and let a server that is away be the runner's business."""
    try:
        heartbeat.beat(state, force=force, handled=runner.handled, last_id=runner.last_id, **vitals)
    except client.TRANSPORT_ERRORS + client.SERVER_ERRORS as error:
        logs.get().debug("no_heartbeat", error=str(error))


def held_up(group: str, name: str, reason: str, lasted_s: float) -> events.AuditFinding:
    """The Finding that a consumer can take nothing; without a reason, that it goes on."""
    told = f"for {lasted_s:.0f} s"
    return events.AuditFinding(
        auditor="runner",
        finding="consumer_held_up" if reason else "consumer_goes_on",
        severity="critical" if reason else "info",
        subject=group,
        detail=f"{name} takes nothing, {told}: {reason}"[:1000]
        if reason
        else f"{name} had taken nothing {told}",
    )


def publish(publisher: Publisher, log: Any, finding: events.AuditFinding) -> bool:
    """Publish ``finding``; False if that was not possible."""
    try:
        publisher.publish(finding)
    except (QuantumError, *client.SERVER_ERRORS):
        # The line in the log is then the only witness; the runner goes on all the same.
        log.exception("finding_not_published", finding=finding.detail)
        return False
    return True


def _run(consumer: Consumer) -> int:
    lifeline.die_with_parent()
    runtime = knobs.load(RuntimeSettings)
    redis = knobs.load(RedisSettings)
    logs.configure(consumer.name, runtime.log_level)
    log = logs.get()
    clock = Clock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())
    registry = Registry()
    registry.add(of_process)
    metrics = MetricsObserver(registry)
    metrics.expect(consumer.name)
    metrics.serve(runtime.metrics_port)
    served = metrics_socket.serve(registry, consumer.name)
    runner, heartbeat = build(consumer, redis, runtime, clock, metrics)
    log.info(
        "started", consumer=consumer_name(consumer.name), redis=client.shown(client.url_of(redis))
    )
    settle_in()
    runner.run()
    try:
        heartbeat.stop()
    except client.TRANSPORT_ERRORS as error:
        log.debug("no_heartbeat", error=str(error))
    if served is not None:
        served.close()
    log.info("stopped", handled=runner.handled)
    return 0
