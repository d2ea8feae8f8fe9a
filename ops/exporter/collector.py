"""The only place that puts an answer together from all sources, whatever state each of them is in.

Sources that need the same thing (Redis, supervisord, a disk) are read one after the other, those
that do not beside each other. What does not come in time is left out of this answer and says so:
absent is unknown, and an old value is never served for a new one.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

import quantum_ops
from ops.exporter import catalogue
from quantum_ops import client, logs

ROUND_S = 8.0
"""Seconds after which an answer goes out as it is; ops/prometheus/prometheus.yml waits ten."""
YOUNG_S = 0.2
"""Seconds for which an answer serves another scrape: two Prometheus must not ask twice as much."""


@dataclass(slots=True)
class Source:
    """What is read in one go. ``needs`` names what it hangs on; ``read`` raises if it cannot."""

    name: str
    needs: str
    read: Callable[[], list[Metric]]
    last_s: float = 0.0
    """When it was read last, seconds since 1970."""
    told: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Outcome:
    metrics: list[Metric]
    error: str
    took_s: float


class SystemCollector(Collector):
    """Everything that the exporter serves."""

    def __init__(self, sources: Iterable[Source], *, round_s: float = ROUND_S) -> None:
        self._round_s = round_s
        self._parts: dict[str, list[Source]] = {}
        for source in sources:
            self._parts.setdefault(source.needs, []).append(source)
        self._running: dict[str, concurrent.futures.Future[dict[str, _Outcome]]] = {}
        self._lock = threading.Lock()
        self._answer: list[Metric] = []
        self._made_s = float("-inf")

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's Collector. One round at a time, whoever asks."""
        with self._lock:
            if time.monotonic() - self._made_s > YOUNG_S:
                self._answer = self._round()
                self._made_s = time.monotonic()
            answer = self._answer
        yield from answer

    def _round(self) -> list[Metric]:
        for needs, sources in self._parts.items():
            running = self._running.get(needs)
            # One that still hangs is not asked a second time: the threads would pile up.
            if running is None or running.done():
                self._running[needs] = _begin(self._part, sources)
        done, _ = concurrent.futures.wait(self._running.values(), timeout=self._round_s)
        outcomes: dict[str, _Outcome] = {}
        for needs, future in self._running.items():
            if future in done:
                outcomes |= future.result()
            else:
                late = _Outcome([], f"no answer within {self._round_s:g} s", self._round_s)
                outcomes |= {source.name: late for source in self._parts[needs]}
        return self._told(outcomes)

    def _part(self, sources: list[Source]) -> dict[str, _Outcome]:
        outcomes: dict[str, _Outcome] = {}
        lost = ""
        for source in sources:
            if lost:
                # Each would wait as long for the same server.
                outcomes[source.name] = _Outcome([], lost, 0.0)
                continue
            start = time.monotonic()
            try:
                metrics, error = source.read(), ""
            except Exception as problem:  # noqa: BLE001 - one broken source must not hide the others
                metrics, error = [], f"{type(problem).__name__}: {problem}"
                if isinstance(problem, client.TRANSPORT_ERRORS):
                    lost = error
            outcomes[source.name] = _Outcome(metrics, error, time.monotonic() - start)
        return outcomes

    def _told(self, outcomes: dict[str, _Outcome]) -> list[Metric]:
        up, last = catalogue.SOURCE_UP.family(), catalogue.SOURCE_LAST.family()
        took = catalogue.SOURCE_TIME.family()
        answer = [catalogue.BUILD.of(1, quantum_ops.__version__), up, last, took]
        for source in (one for part in self._parts.values() for one in part):
            outcome = outcomes[source.name]
            if not outcome.error:
                source.last_s = time.time()
                answer += outcome.metrics
            if outcome.error != source.told:
                # Once for each new trouble, not with every scrape.
                source.told = outcome.error
                if outcome.error:
                    logs.get().warning("source_lost", source=source.name, error=outcome.error)
                else:
                    logs.get().info("source_back", source=source.name)
            for family, value in (
                (up, 0.0 if outcome.error else 1.0),
                (last, source.last_s),
                (took, outcome.took_s),
            ):
                family.add_metric([source.name], value)  # type: ignore[attr-defined]  # gauges
        return answer


def _begin(
    read: Callable[[list[Source]], dict[str, _Outcome]], sources: list[Source]
) -> concurrent.futures.Future[dict[str, _Outcome]]:
    """Read in a thread that the process does not wait for at its end, as a pool's would be."""
    future: concurrent.futures.Future[dict[str, _Outcome]] = concurrent.futures.Future()
    threading.Thread(
        target=lambda: future.set_result(read(sources)), name=sources[0].needs, daemon=True
    ).start()
    return future
