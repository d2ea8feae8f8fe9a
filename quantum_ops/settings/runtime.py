"""The only place of the settings of how consumers run."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.knobs import decimal, knob, one_of, whole


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How consumers run and what they say."""

    log_level: str = knob(
        "QUANTUM_LOG_LEVEL",
        one_of("debug", "info", "warning", "error"),
        "info",
        "Least severe log line that is written.",
    )
    batch: int = knob(
        "QUANTUM_BATCH",
        whole(1, 5000, "entries"),
        500,
        "Most entries taken in one read. A read never waits for a batch to fill.",
    )
    block_ms: int = knob(
        "QUANTUM_BLOCK_MS",
        whole(10, 10_000, "ms"),
        1000,
        "Milliseconds a read waits for news; the longest a graceful stop waits for it, too.",
    )
    claim_after_s: float = knob(
        "QUANTUM_CLAIM_AFTER_SEC",
        decimal(0.05, 86_400, "s"),
        60.0,
        "Seconds an entry lies untouched with one process before another may claim it; "
        "longer than the slowest handler, or healthy work is done twice.",
    )
    max_deliveries: int = knob(
        "QUANTUM_MAX_DELIVERIES",
        whole(1, 1000, "deliveries"),
        5,
        "Deliveries of one entry before it goes to the dead letter unhandled.",
    )
    retry_base_s: float = knob(
        "QUANTUM_RETRY_BASE_SEC",
        decimal(0.001, 3600, "s"),
        0.5,
        "Seconds before the first retry of a failed entry; doubled each time.",
    )
    retry_cap_s: float = knob(
        "QUANTUM_RETRY_CAP_SEC",
        decimal(0.001, 3600, "s"),
        30.0,
        "Longest wait between retries; must stay below QUANTUM_CLAIM_AFTER_SEC.",
    )
    metrics_port: int = knob(
        "QUANTUM_METRICS_PORT",
        whole(0, 65535),
        0,
        "Port on 127.0.0.1 where this process serves Prometheus metrics; 0 serves none.",
    )
