"""The only place of the settings of how the system is watched."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.knobs import knob, whole


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How much is looked at to say how the system does."""

    lag_limit: int = knob(
        "QUANTUM_LAG_LIMIT",
        whole(100, 1_000_000, "entries"),
        10_000,
        "Entries counted at most to say how far a group is behind; more are shown as at least that "
        "many. 10,000 take about 0.1 s of one connection.",
    )
