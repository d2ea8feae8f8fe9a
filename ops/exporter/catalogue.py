"""The only place that declares the exporter's own metrics; docs/metrics.md shows them.

Base units, and labels from closed sets only: no ids, no symbols, no names of Redis consumers.
``process`` is the name that supervisord gives (``p33-00``), and there are as many as are declared.
"""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric: ``name`` without the ``_total`` of counters, ``doc`` one sentence."""

    name: str
    doc: str
    labels: tuple[str, ...] = ()
    kind: str = "gauge"

    def family(self) -> Metric:
        """An empty family, to be filled with ``add_metric(labels, value)``."""
        made = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        return made(self.name, self.doc, labels=list(self.labels))

    def of(self, value: float, *labels: str) -> Metric:
        """The family with one value."""
        family = self.family()
        family.add_metric(list(labels), value)  # type: ignore[attr-defined]  # of both kinds above
        return family


GROUP = ("stream", "group")
LAG = Measure(
    "quantum_group_lag_entries",
    "Entries not delivered to the group yet; absent if unknown, never a wrong 0.",
    GROUP,
)
LAG_EXACT = Measure(
    "quantum_group_lag_exact",
    "1 if the entries are the number, 0 if they are at least that many or unknown.",
    GROUP,
)
LAG_SECONDS = Measure(
    "quantum_group_lag_seconds", "Age of the oldest entry not delivered yet; 0 without.", GROUP
)
PENDING = Measure("quantum_group_pending_entries", "Entries delivered and not acknowledged.", GROUP)
PENDING_AGE = Measure(
    "quantum_group_oldest_pending_age_seconds",
    "Age of the oldest entry delivered and not acknowledged; 0 without.",
    GROUP,
)
STREAM_LENGTH = Measure("quantum_stream_entries", "Entries that the stream holds.", ("stream",))

UNIVERSE_AGE = Measure(
    "quantum_universe_age_seconds", "Time since the producer last asked the exchange."
)
UNIVERSE_REFRESH = Measure(
    "quantum_universe_refresh_seconds", "Time between two fetches; three of them missed is stale."
)
UNIVERSE_SYMBOLS = Measure("quantum_universe_symbols", "Tradeable symbols that are published.")
UNIVERSE_STALE = Measure(
    "quantum_universe_stale",
    "1 if the universe may not be believed, by its flag, its age or its sum.",
)
UNIVERSE_QUARANTINED = Measure(
    "quantum_universe_quarantined_symbols", "Symbols of the exchange that are not believed."
)
UNIVERSE_EPOCH = Measure("quantum_universe_epoch", "Number of the published universe.")
ALLOWLIST = Measure(
    "quantum_allowlist_source",
    "1 for the source that this gate process takes its symbols from now.",
    ("process", "source"),
)
ALLOWLIST_SYMBOLS = Measure(
    "quantum_allowlist_symbols", "Symbols on the allowlist that this process uses.", ("process",)
)
ALLOWLIST_EPOCH = Measure(
    "quantum_allowlist_epoch", "Number of the universe that this process uses.", ("process",)
)
PERMITS = Measure(
    "quantum_permits",
    "Plans decided, by gate, verdict (allow, deny) and reason code.",
    ("gate", "verdict", "reason"),
    "counter",
)
FINDINGS = Measure(
    "quantum_findings",
    "Findings told, by auditor and severity.",
    ("auditor", "severity"),
    "counter",
)
VIOLATIONS = Measure(
    "quantum_violations_open",
    "Critical Findings that nobody has settled, by auditor; 10000 are counted at most.",
    ("auditor",),
)
LETTERS = Measure(
    "quantum_dead_letters_open",
    "Dead letters neither requeued nor dropped, by reason; 10000 are counted at most.",
    ("group", "reason"),
)
LEDGER_ENTRIES = Measure("quantum_ledger_entries", "Lines in the journal of the signoff ledger.")
LEDGER_HEAD = Measure(
    "quantum_ledger_head_entries", "Lines that the newest checkpoint of the ledger covers."
)
LEDGER_SPOOLED = Measure(
    "quantum_ledger_spooled_entries", "Operations that wait in the spool of the command line tool."
)
ARCHIVE_HEAD = Measure(
    "quantum_archive_head_entries", "Entries that the newest checkpoint of the archive covers."
)
ARCHIVE_UNTOLD = Measure(
    "quantum_archive_untold_findings", "Findings of the archive that could not be published yet."
)
PROCESS_READY = Measure(
    "quantum_process_ready", "1 if the process does its work, by its heartbeat.", ("process",)
)
PROCESS_ANSWERS = Measure(
    "quantum_process_answers", "1 if the process told its own metrics in time.", ("process",)
)
RESTARTS = Measure(
    "quantum_process_restarts",
    "Times that a process of the program came up again after an end that nobody asked for.",
    ("program",),
    "counter",
)
DENIED = Measure(
    "quantum_redis_denied",
    "Commands and logins that the server refused, by what was missing (cmd, key, channel, auth); "
    "absent on redis 7.0, which does not count them.",
    ("reason",),
    "counter",
)
SOURCE_UP = Measure(
    "quantum_collector_up", "1 if the exporter could read this source just now.", ("source",)
)
SOURCE_LAST = Measure(
    "quantum_collector_last_success_timestamp_seconds",
    "When the exporter last read this source; 0 if it never did.",
    ("source",),
)
SOURCE_TIME = Measure(
    "quantum_collector_duration_seconds", "Time that reading this source took.", ("source",)
)
BUILD = Measure("quantum_build_info", "1, for the version that serves this.", ("version",))

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Measure))
