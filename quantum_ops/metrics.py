"""The only place where metrics of a consumer process are declared and fed.

The runner knows nothing of Prometheus; it tells an observer, and this is one. Counts are taken a
batch at a time: a client-library histogram costs a microsecond for each event, a third of the
whole budget.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, start_http_server
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

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


class VitalGauges(Collector):
    """The gauges of ``VITALS``, read from what the process keeps there when somebody asks."""

    def __init__(self) -> None:
        self._watched: dict[str, Mapping[str, str | int]] = {}

    def watch(self, consumer: str, vitals: Mapping[str, str | int]) -> None:
        """Tell of ``vitals`` from now on; the consumer goes on changing them."""
        self._watched[consumer] = vitals

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector. Watching nothing, it tells what there could be."""
        wanted = VITALS.keys() & self._watched.keys() if self._watched else VITALS.keys()
        for consumer in sorted(wanted):
            vitals = self._watched.get(consumer, {})
            for one in VITALS[consumer]:
                family = GaugeMetricFamily(one.metric, one.doc)
                value = vitals.get(one.name)
                if isinstance(value, int):
                    family.add_metric([], value * one.scale)
                yield family


class BatchHistogram(Collector):
    """A histogram by consumer group that takes many observations at once."""

    def __init__(self, name: str, doc: str, buckets: Sequence[float]) -> None:
        self._name = name
        self._doc = doc
        self._bounds = list(buckets)
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, group: str, values: list[float]) -> None:
        """Count ``values`` (seconds); sorts the list in place."""
        values.sort()
        counts = self._counts.setdefault(group, [0] * (len(self._bounds) + 1))
        for index, bound in enumerate(self._bounds):
            counts[index] += bisect.bisect_right(values, bound)
        counts[-1] += len(values)
        self._sums[group] = self._sums.get(group, 0.0) + sum(values)

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector."""
        family = HistogramMetricFamily(self._name, self._doc, labels=["group"])
        # Copies: the exposition runs in another thread than the runner.
        for group, counts in list(self._counts.items()):
            names = [*map(str, self._bounds), "+Inf"]
            rows = list(zip(names, counts, strict=True))
            family.add_metric([group], rows, self._sums[group])
        yield family


class MetricsObserver:
    """Feeds the metrics of one process from what its runner tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._reasons: set[str] = set()
        self._handled = Counter(
            "quantum_handled",
            "Entries whose delivery ended, by outcome.",
            ["group", "outcome"],
            registry=registry,
        )
        self._retries = Counter(
            "quantum_retries", "Deliveries put off.", ["group", "reason"], registry=registry
        )
        self._dead = Counter(
            "quantum_dead_lettered",
            "Entries buried, by reason.",
            ["group", "reason"],
            registry=registry,
        )
        self._lost = Counter(
            "quantum_lost_entries",
            "Entries deleted or trimmed before they were handled.",
            ["group"],
            registry=registry,
        )
        self._away = Counter(
            "quantum_redis_away", "Sessions ended by a server fault.", ["group"], registry=registry
        )
        self._recreated = Counter(
            "quantum_groups_recreated",
            "Consumer groups that had vanished.",
            ["group"],
            registry=registry,
        )
        self._held = Counter(
            "quantum_held_up",
            "Times that a consumer could take nothing, for a reason of its own.",
            ["group"],
            registry=registry,
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
        registry.register(self._durations)
        registry.register(self._ages)
        self.vitals = VitalGauges()
        registry.register(self.vitals)

    def expect(self, group: str) -> None:
        """Begin what can happen to ``group`` at 0: the first of its kind is an increase, then."""
        for outcome in OUTCOMES:
            self._handled.labels(group, outcome)
        for reason in LETTER_REASONS:
            self._dead.labels(group, reason)
        self._retries.labels(group, "asked")
        for counter in (self._lost, self._away, self._recreated, self._held):
            counter.labels(group)

    def settled(self, report: BatchReport) -> None:
        """See :class:`~quantum_ops.observe.Observer`."""
        group = report.group
        self._handled.labels(group, "ack").inc(report.acked)
        if report.fenced:
            self._handled.labels(group, "fenced").inc(report.fenced)
        if report.skipped:
            self._handled.labels(group, "skipped").inc(report.skipped)
        self._durations.observe(group, report.durations_s)
        self._ages.observe(group, report.ages_s)

    def trouble(self, trouble: Trouble) -> None:
        """See :class:`~quantum_ops.observe.Observer`."""
        group, reason = trouble.group, self._bounded(trouble.reason)
        if trouble.kind == "retry":
            self._retries.labels(group, reason).inc()
        elif trouble.kind == "dead_letter":
            self._dead.labels(group, reason).inc()
            self._handled.labels(group, "dead_letter").inc()
        elif trouble.kind == "lost":
            self._lost.labels(group).inc()
            self._handled.labels(group, "lost").inc()
        elif trouble.kind == "redis_away":
            self._away.labels(group).inc()
        elif trouble.kind == "group_recreated":
            self._recreated.labels(group).inc()
        elif trouble.kind == "held_up":
            self._held.labels(group).inc()

    def serve(self, port: int) -> None:
        """Serve the registry on 127.0.0.1:``port``; 0 serves nothing."""
        if port:
            start_http_server(port, addr="127.0.0.1", registry=self.registry)

    def _bounded(self, reason: str) -> str:
        if reason not in self._reasons and len(self._reasons) >= MAX_REASONS:
            return "other"
        self._reasons.add(reason)
        return reason
