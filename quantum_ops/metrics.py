"""The only place where metrics of a consumer process are declared and fed.

The runner knows nothing of Prometheus; it tells an observer, and this is one. Counts are taken a
batch at a time: a client-library histogram costs a microsecond for each event, a third of the
whole budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from quantum_ops.measures import BatchHistogram, Counter, Family, Registry, gauge
from quantum_ops.observe import BatchReport, Trouble

DURATION_BUCKETS_S = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
AGE_BUCKETS_S = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
MAX_REASONS = 50
"""Distinct reasons kept as labels; later ones are ``other``, so that nobody can grow the series."""
OUTCOMES = ("ack", "fenced", "skipped", "dead_letter", "lost")
LETTER_REASONS = (
    "effect_failed", "handler_failed", "rejected", "too_many_deliveries", "undecodable",
)  # fmt: skip


class Vital(NamedTuple):
    """A gauge of what a process tells in its heartbeat, too: ``name`` there, times ``scale``."""

    name: str
    metric: str
    doc: str
    scale: float = 1.0


VITALS = {
    "archive": (
        Vital("archived", "quantum_archive_durable_entries", "Entries durable in the archive."),
        Vital(
            "waiting",
            "quantum_archive_waiting_entries",
            "Entries in streams that are not archived yet; absent while too many to count.",
        ),
        Vital(
            "lost",
            "quantum_archive_gap_entries",
            "Entries seen to be gone before they were archived, since the process began.",
        ),
        Vital(
            "synced_ms",
            "quantum_archive_synced_timestamp_seconds",
            "When entries were last made durable; 0 before the process's first ones.",
            0.001,
        ),
        Vital(
            "segment_bytes", "quantum_archive_open_segment_bytes", "Size of the open segment, raw."
        ),
    )
}
"""Consumer -> what of its vitals is told as metrics."""


class VitalGauges:
    """The gauges of ``VITALS``, read from what the process keeps there when somebody asks."""

    def __init__(self) -> None:
        self._watched: dict[str, Mapping[str, str | int]] = {}

    def watch(self, consumer: str, vitals: Mapping[str, str | int]) -> None:
        """Tell of ``vitals`` from now on; the consumer goes on changing them."""
        self._watched[consumer] = vitals

    def collect(self) -> Iterator[Family]:
        """The gauges. Watching nothing, it tells what there could be."""
        wanted = VITALS.keys() & self._watched.keys() if self._watched else VITALS.keys()
        for consumer in sorted(wanted):
            vitals = self._watched.get(consumer, {})
            for one in VITALS[consumer]:
                value = vitals.get(one.name)
                known = (value * one.scale,) if isinstance(value, int) else ()
                yield gauge(one.metric, one.doc, *known)


class MetricsObserver:
    """Feeds the metrics of one process from what its runner tells."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._reasons: set[str] = set()
        self._handled = Counter(
            "quantum_handled",
            "Entries whose delivery ended, by outcome.",
            ["group", "outcome"],
            registry,
        )
        self._retries = Counter(
            "quantum_retries", "Deliveries put off.", ["group", "reason"], registry
        )
        self._dead = Counter(
            "quantum_dead_lettered",
            "Entries buried, by reason.",
            ["group", "reason"],
            registry,
        )
        self._lost = Counter(
            "quantum_lost_entries",
            "Entries deleted or trimmed before they were handled.",
            ["group"],
            registry,
        )
        self._away = Counter(
            "quantum_redis_away", "Sessions ended by a server fault.", ["group"], registry
        )
        self._recreated = Counter(
            "quantum_groups_recreated",
            "Consumer groups that had vanished.",
            ["group"],
            registry,
        )
        self._held = Counter(
            "quantum_held_up",
            "Times that a consumer could take nothing, for a reason of its own.",
            ["group"],
            registry,
        )
        self._durations = BatchHistogram(
            "quantum_handler_duration_seconds",
            "Time in the handler, per entry.",
            DURATION_BUCKETS_S,
        )
        self._ages = BatchHistogram(
            "quantum_event_age_seconds",
            "Age of a batch's first entry when its handling began.",
            AGE_BUCKETS_S,
        )
        registry.add(self._durations.collect)
        registry.add(self._ages.collect)
        self.vitals = VitalGauges()
        registry.add(self.vitals.collect)

    def expect(self, group: str) -> None:
        """Begin what can happen to ``group`` at 0: the first of its kind is an increase, then."""
        for outcome in OUTCOMES:
            self._handled.inc(group, outcome, by=0)
        for reason in LETTER_REASONS:
            self._dead.inc(group, reason, by=0)
        self._retries.inc(group, "asked", by=0)
        for counter in (self._lost, self._away, self._recreated, self._held):
            counter.inc(group, by=0)

    def settled(self, report: BatchReport) -> None:
        """See :class:`~quantum_ops.observe.Observer`."""
        group = report.group
        self._handled.inc(group, "ack", by=report.acked)
        if report.fenced:
            self._handled.inc(group, "fenced", by=report.fenced)
        if report.skipped:
            self._handled.inc(group, "skipped", by=report.skipped)
        self._durations.observe(group, report.durations_s)
        self._ages.observe(group, report.ages_s)

    def trouble(self, trouble: Trouble) -> None:
        """See :class:`~quantum_ops.observe.Observer`."""
        group, reason = trouble.group, self._bounded(trouble.reason)
        if trouble.kind == "retry":
            self._retries.inc(group, reason)
        elif trouble.kind == "dead_letter":
            self._dead.inc(group, reason)
            self._handled.inc(group, "dead_letter")
        elif trouble.kind == "lost":
            self._lost.inc(group)
            self._handled.inc(group, "lost")
        elif trouble.kind == "redis_away":
            self._away.inc(group)
        elif trouble.kind == "group_recreated":
            self._recreated.inc(group)
        elif trouble.kind == "held_up":
            self._held.inc(group)

    def serve(self, port: int) -> None:
        """Serve the registry on 127.0.0.1:``port``; 0 serves nothing."""
        if port:
            from quantum_ops import metrics_port  # noqa: PLC0415 - two megabytes in each process

            metrics_port.serve(self.registry, port)

    def _bounded(self, reason: str) -> str:
        if reason not in self._reasons and len(self._reasons) >= MAX_REASONS:
            return "other"
        self._reasons.add(reason)
        return reason
