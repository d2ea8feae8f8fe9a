"""The only place that plays one failover from fault to repair, and counts what it cost.

A publisher and a consumer work on throughout. What was acknowledged is noted beside the servers;
what stands on the new master afterwards says what was lost, and the consumer's effects there say
what was doubled.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Any

from quantum_ops import client, logs, streams
from quantum_ops.clock import Clock
from quantum_ops.consumer import consumer
from quantum_ops.context import Context
from quantum_ops.errors import QuantumError
from quantum_ops.events import AuditFinding
from quantum_ops.publisher import Publisher
from quantum_ops.redis_inbox import RedisInbox
from quantum_ops.runner import Runner
from quantum_ops.settings import RedisSettings, RuntimeSettings
from quantum_ops.testing import Recorder
from tests.sentinel_rig import SERVICE, Rig
from tests.supervised import ROOT
from tests.waiting import wait_until

KEY = streams.AUDIT_FINDING.key
KINDS = ("kill", "host", "stop", "partition", "planned", "bare")
"""``host`` kills the master and a sentinel. ``planned`` is ops/redis/failover.sh, ``bare`` SENTINEL
FAILOVER alone, as a control."""
QUIET_S = 60.0
"""Longest wait for writes to go on after a fault; a round that needs more has failed."""
AWAY_S = 1.0
"""How much longer than the failover a host is away whose return is waited for."""


@consumer(streams.AUDIT_FINDING)
def counting(event: AuditFinding, context: Context) -> None:
    """Counts each event: 2 would be an effect that was made twice."""
    context.hincr("counting", event.subject)


@dataclass(slots=True)
class Outcome:
    """What one round cost; gaps are the longest times without an acknowledgement, an effect.

    ``back_s`` is the time from the return of the old master's host to the next acknowledgement,
    where there could be none before: a guard wanted all replicas. Else 0.
    """

    kind: str
    acked: int = 0
    unknown: int = 0
    lost: int = 0
    doubled: int = 0
    undone: int = 0
    gap_s: float = 0.0
    consumer_gap_s: float = 0.0
    back_s: float = 0.0


class Writer:
    """Publishes one event after the other until told to stop; notes what became of each."""

    def __init__(self, name: str, settings: RedisSettings, patience_s: float) -> None:
        self.acked: list[str] = []
        self.unknown: list[str] = []
        self.times: list[float] = []
        self._name = name
        self._db = client.connect(settings, name=name)
        self._patience_s = patience_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join(QUIET_S)
        self._db.connection_pool.disconnect()

    def _run(self) -> None:
        # Interrupted, it gives up: the event then counts as unknown.
        publisher = Publisher(self._db, patience_s=self._patience_s, sleep=self._done.wait)
        number = 0
        while not self._done.is_set():
            number += 1
            subject = f"{self._name}-{number}"
            event = AuditFinding(auditor="t", finding="f", severity="info", subject=subject)
            try:
                publisher.publish(event)
            except (QuantumError, *client.TRANSPORT_ERRORS, *client.SERVER_ERRORS):
                self.unknown.append(subject)
            else:
                self.acked.append(subject)
                self.times.append(time.monotonic())
            self._done.wait(0.005)


class Worker:
    """A consumer in a thread, as its process would run it."""

    def __init__(self, settings: RedisSettings) -> None:
        runtime = RuntimeSettings(block_ms=200, claim_after_s=2.0, retry_cap_s=1.0)
        self._clock = Clock()
        self.times: list[float] = []
        self._db = client.connect(settings)
        self._blocking = client.connect(settings, block_ms=200)
        context = Context("counting", self._db, logs.get(), self._clock)
        inbox = RedisInbox(self._blocking, (KEY,), "counting", "one")
        self.runner = Runner(
            counting, inbox, context, counting.bound(runtime), Recorder(), clock=self._clock,
            on_idle=self._look,
        )  # fmt: skip
        self._handled = 0
        self._thread = threading.Thread(target=self.runner.run, daemon=True)
        self._thread.start()

    def _look(self, _state: str) -> None:
        if self.runner.handled != self._handled:
            self._handled = self.runner.handled
            self.times.append(time.monotonic())

    def stop(self) -> None:
        self._clock.stop()
        self._thread.join(20)
        for db in (self._db, self._blocking):
            db.connection_pool.disconnect()


def play(
    rig: Rig, kind: str, *, wait: int = 0, min_replicas: int = 0, heal: bool = True
) -> Outcome:
    """One round. ``wait`` replicas are waited for by the publisher, ``min_replicas`` by servers.

    With ``heal`` it ends when all is as it was; without, the rig is good for nothing afterwards.
    """
    for port in rig.servers:
        for name, value in (("min-replicas-to-write", min_replicas), ("min-replicas-max-lag", 2)):
            rig.said(port, "CONFIG", "SET", name, value)
    for key in (KEY, "counting"):
        rig.said(rig.master(), "DEL", key)
    settings = RedisSettings(url=rig.url, timeout_s=2.0, wait_replicas=wait, wait_replicas_ms=500)
    writer = Writer(f"w{time.monotonic_ns()}", settings, QUIET_S)
    worker = Worker(settings)
    pinned = None
    try:
        wait_until(lambda: len(writer.times) > 100 and worker.times, 20, "both are at work")
        old, began = rig.master(), time.monotonic()
        if kind in ("partition", "bare"):
            # Stands for whoever is on the old master's side, and hears of nothing.
            near = RedisSettings(
                url=f"redis://127.0.0.1:{rig.inner[old]}", timeout_s=2.0, wait_replicas=wait,
                wait_replicas_ms=500,
            )  # fmt: skip
            pinned = Writer(f"p{time.monotonic_ns()}", near, 0.0)
        waits = wants_all(rig, kind, wait, min_replicas)
        since = _until_repaired(rig, kind, (writer, worker), waits=waits)
        if pinned is not None:
            pinned.stop()
        if heal:
            rig.heal()
        writer.stop()
        made = _count(rig, kind, [writer, pinned] if pinned else [writer])
        made.gap_s = _longest(writer.times, began)
        made.consumer_gap_s = _longest(worker.times, began)
        if waits:
            made.back_s = next(at for at in writer.times if at > since) - since
        return made
    finally:
        for one in (writer, worker, pinned):
            if one is not None:
                one.stop()


def wants_all(rig: Rig, kind: str, wait: int, min_replicas: int) -> bool:
    """Whether the guard wants more replicas than the fault leaves until the host is back."""
    return kind in ("kill", "stop", "partition") and max(wait, min_replicas) > len(rig.servers) - 2


def _until_repaired(rig: Rig, kind: str, working: tuple[Writer, Worker], *, waits: bool) -> float:
    """From the fault until all work again; gives since when they could."""
    old = rig.master()
    _fault(rig, kind, old)
    wait_until(lambda: rig.master() not in (0, old), QUIET_S, "another master is named")
    since = time.monotonic()
    if waits:
        # Not to wait for something: the host is away, and nothing may be acknowledged.
        time.sleep(AWAY_S)
        assert working[0].times[-1] < since, "acknowledged, though a replica was missing"
        since = time.monotonic()
        _repair(rig, kind, old)
    for one, what in zip(working, ("events are acknowledged", "effects are made"), strict=True):
        wait_until(lambda one=one: one.times[-1] > since, QUIET_S, f"{what} again")
    _repair(rig, kind, old)
    return since


def _fault(rig: Rig, kind: str, old: int) -> None:
    if kind in ("kill", "host"):
        rig.servers[old].kill()
        if kind == "host":
            rig.sentinels[0].kill()  # the first to be asked
    elif kind == "stop":
        rig.servers[old].signal(signal.SIGSTOP)
    elif kind == "partition":
        rig.gates.shut(old)
    elif kind == "bare":
        rig.said(rig.sentinel_ports[0], "SENTINEL", "FAILOVER", SERVICE)
    else:
        done = subprocess.run(
            [ROOT / "ops" / "redis" / "failover.sh"],
            env={**os.environ, "REDIS_URL": rig.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _repair(rig: Rig, kind: str, old: int) -> None:
    """What was cut off comes back as it left, believing that it is the master."""
    node = rig.servers[old]
    if kind == "kill" and node.process is not None and node.process.poll() is not None:
        node.start()
    elif kind == "stop":
        node.signal(signal.SIGCONT)
    elif kind == "partition":
        rig.gates.open(old)


def _count(rig: Rig, kind: str, writers: list[Writer]) -> Outcome:
    acked = [subject for one in writers for subject in one.acked]
    unknown = sum(len(one.unknown) for one in writers)
    master = rig.direct(rig.master())
    try:
        kept = {fields[b"subject"].decode() for _, fields in master.xrange(KEY)}
        entries = master.xlen(KEY)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: master.hlen("counting") >= len(kept), 15, "all effects are made")
        made: dict[Any, Any] = master.hgetall("counting")
    finally:
        master.close()
    doubled = sum(int(count) - 1 for count in made.values()) + entries - len(kept)
    return Outcome(
        kind, len(acked), unknown, len(set(acked) - kept), doubled,
        len(kept - {name.decode() for name in made}),
    )  # fmt: skip


def _longest(times: list[float], since: float) -> float:
    """The longest gap that ended after ``since``."""
    gaps = [b - a for a, b in itertools.pairwise(times) if b >= since]
    return max(gaps, default=QUIET_S)
