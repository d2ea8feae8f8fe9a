"""The only place that lists the benchmark's cases and the targets that they are held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.bench import workload


@dataclass(frozen=True, slots=True)
class Case:
    """One row: the function that runs it, and which stream it reads.

    ``needs`` is a module that must be installed. Slow cases read the short stream, a tenth of the
    entries: their rate does not depend on how long they run. Effects are ``unordered`` if the case
    handles several entries at once; then the last one of a key is not known.
    """

    label: str
    module: str
    function: str
    stream: str = workload.LONG
    needs: str = ""
    applies: bool = False
    unordered: bool = False


BASELINE = "bare"
CASES = {
    "bare": Case("bare redis-py + hiredis loop (the baseline)", "loops", "bare"),
    "typed": Case("our runner, typed handler", "runtime", "typed"),
    "decimal": Case("our runner, typed handler with decimals", "runtime", "typed_decimal"),
    "prepare": Case("our runner, typed, `prepare` with one MGET a batch", "runtime", "prepared"),
    "effects": Case(
        "our runner, typed, one HSET applied with each XACK", "runtime", "effects", applies=True
    ),
    "effects_wide": Case(
        "our runner, typed, one HSET of three fields with each XACK", "runtime", "effects_wide",
        applies=True,
    ),
    "bare_effects": Case(
        "bare loop, one HSET each in MULTI (untyped, not fenced)", "loops", "bare_effects",
        applies=True,
    ),
    "walrus": Case("walrus ConsumerGroup, one ack a batch", "loops", "walrus_batch"),
    "walrus_each": Case(
        "walrus ConsumerGroup, an ack each (as documented)", "loops", "walrus_each", workload.SHORT
    ),
    "walrus_effects": Case(
        "walrus ConsumerGroup, HSETs and one ack a batch in MULTI", "loops", "walrus_effects",
        applies=True,
    ),
    "walrus_each_effects": Case(
        "walrus ConsumerGroup, HSET and ack each in MULTI", "loops", "walrus_each_effects",
        workload.SHORT, applies=True,
    ),
    "faststream_batch": Case("FastStream, batch=True", "peers", "batch", needs="faststream"),
    "faststream": Case(
        "FastStream, default", "peers", "default", workload.SHORT, needs="faststream"
    ),
    "faststream_batch_effects": Case(
        "FastStream, batch=True, HSETs in MULTI, then the ack", "peers", "batch_effects",
        needs="faststream", applies=True,
    ),
    "faststream_effects": Case(
        "FastStream, default, HSET, then the ack", "peers", "default_effects", workload.SHORT,
        needs="faststream", applies=True,
    ),
    "taskiq": Case("taskiq-redis", "tasks", "task", workload.TASKS, needs="taskiq_redis"),
    "taskiq_effects": Case(
        "taskiq-redis, HSET, then the ack", "tasks", "task_effects", workload.TASKS,
        needs="taskiq_redis", applies=True, unordered=True,
    ),
}  # fmt: skip
OWN_CASES = (
    "bare", "typed", "decimal", "prepare", "effects", "effects_wide", "bare_effects", "walrus",
)  # fmt: skip
"""What is measured on every server; the peers are compared on one."""
DURABLE_CASES = ("bare", "typed", "effects", "bare_effects")
LATENCY_CASES = ("bare", "typed")
PROFILED = ("bare", "typed", "effects")


@dataclass(frozen=True, slots=True)
class Target:
    """A goal: ``case`` against ``against`` reaches ``bound``; a latency stays below it."""

    text: str
    kind: Literal["rate", "latency"]
    case: str
    against: str
    bound: float


TARGETS = (
    Target("typed dispatch against the bare loop", "rate", "typed", "bare", 1.20),
    Target("typed with atomic effects against the bare loop", "rate", "effects", "bare", 0.90),
    Target("typed dispatch against FastStream default", "rate", "typed", "faststream", 25.0),
    Target("typed dispatch against FastStream batch", "rate", "typed", "faststream_batch", 2.0),
    Target("XADD to handler, p50 against the bare loop", "latency", "typed", "bare", 1.15),
)
