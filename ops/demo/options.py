"""The only place that declares the demo's settings; ``./run demo`` exports them to its programs."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.knobs import decimal, knob, text, whole


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What the two stand-ins are told."""

    exchange_port: int = knob(
        "DEMO_EXCHANGE_PORT",
        whole(0, 65535),
        0,
        "Port of the pretend exchange on 127.0.0.1; 0 takes a free one.",
    )
    exchange_body: str = knob(
        "DEMO_EXCHANGE_BODY",
        text,
        "",
        "Recorded exchangeInfo (.json or .json.gz) to serve instead of a generated one.",
    )
    seed: int = knob("DEMO_SEED", whole(0, 2**63 - 1), 1, "The same seed, the same events.")
    reconcile_key: str = knob(
        "P33_RECONCILE_KEY",
        text,
        "",
        "The key that P3.4's RECONCILE_CLOSE is signed with; ./run demo exports a public one.",
        secret=True,
    )
    max_s: float = knob(
        "DEMO_MAX_SECONDS",
        decimal(1, 86400, "s"),
        3600.0,
        "Seconds after which the pretend trading side falls silent: its streams are not trimmed.",
    )
