"""The only place of the settings of the exporter, which Prometheus scrapes."""

from __future__ import annotations

from dataclasses import dataclass

from quantum_ops.knobs import decimal, knob, whole


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """What Prometheus scrapes."""

    port: int = knob(
        "QUANTUM_EXPORTER_PORT",
        whole(0, 65535),
        9790,
        "Port on 127.0.0.1 where the program exporter serves the metrics of the whole system; "
        "0 serves none.",
    )
    process_timeout_s: float = knob(
        "QUANTUM_EXPORTER_PROCESS_SEC",
        decimal(0.05, 5, "s"),
        1.0,
        "Seconds that all processes together may take to tell their own metrics; who does not is "
        "left out of that scrape.",
    )
    count: int = knob(
        "QUANTUM_EXPORTER_COUNT",
        whole(100, 1_000_000, "entries"),
        2000,
        "Entries of a group's lag that are counted at most; above, the lag is at least that.",
    )
