"""The only place of the settings of the status page."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.knobs import decimal, knob, whole


@dataclass(frozen=True, slots=True)
class StatusPageSettings:
    """The status page."""

    port: int = knob(
        "QUANTUM_STATUS_PAGE_PORT",
        whole(0, 65535),
        9791,
        "Port on 127.0.0.1 where the program status_page serves the page; 0 serves none.",
    )
    every_s: float = knob(
        "QUANTUM_STATUS_PAGE_SEC",
        decimal(0.2, 60, "s"),
        2.0,
        "Seconds between two looks at the system. One look serves everybody who has the page open.",
    )
    behind_s: float = knob(
        "QUANTUM_STATUS_PAGE_BEHIND_SEC",
        decimal(0.1, 86_400, "s"),
        30.0,
        "Seconds that a consumer of ours may be behind before the verdict asks for attention.",
    )
