"""The only place of what a process counts about itself: families of samples, as they travel.

These are plain values that Prometheus's client library has no part in: it costs each process two
megabytes, and only who answers Prometheus (the exporter, :mod:`quantum_ops.metrics_port`) needs it.
One thread counts; others may read at any time.
"""

from __future__ import annotations

import bisect
import os
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One value of a metric, under its full name (``..._total``, ``..._bucket``)."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric of one process; ``kind`` is counter, gauge or histogram."""

    name: str
    kind: str
    doc: str
    samples: list[Sample]


class Registry:
    """The families of one process, from sources that are asked anew each time."""

    def __init__(self) -> None:
        self._sources: list[Callable[[], Iterable[Family]]] = []

    def add(self, source: Callable[[], Iterable[Family]]) -> None:
        """Ask ``source``, too."""
        self._sources.append(source)

    def collect(self) -> list[Family]:
        """What all sources hold now."""
        return [family for source in self._sources for family in source()]


class Counter:
    """A number for each combination of its labels that only grows; served as ``NAME_total``."""

    def __init__(self, name: str, doc: str, labels: Sequence[str], registry: Registry) -> None:
        self._name = name
        self._doc = doc
        self._labels = tuple(labels)
        self._counts: dict[tuple[str, ...], float] = {}
        registry.add(self.collect)

    def inc(self, *values: str, by: float = 1.0) -> None:
        """Count ``by`` more under these values of the labels; 0 lets the number begin."""
        self._counts[values] = self._counts.get(values, 0.0) + by

    def collect(self) -> Iterator[Family]:
        """The one family."""
        name = f"{self._name}_total"
        # A copy: the exposition runs in another thread than the runner. So below.
        samples = [
            Sample(name, dict(zip(self._labels, values, strict=True)), count)
            for values, count in list(self._counts.items())
        ]
        yield Family(self._name, "counter", self._doc, samples)


class BatchHistogram:
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
        counts = self._counts.get(group) or [0] * (len(self._bounds) + 1)
        for index, bound in enumerate(self._bounds):
            counts[index] += bisect.bisect_right(values, bound)
        counts[-1] += len(values)
        self._sums[group] = self._sums.get(group, 0.0) + sum(values)
        self._counts[group] = counts

    def collect(self) -> Iterator[Family]:
        """The one family."""
        samples = []
        for group, counts in list(self._counts.items()):
            labels = {"group": group}
            samples += [
                Sample(f"{self._name}_bucket", {**labels, "le": bound}, count)
                for bound, count in zip([*map(str, self._bounds), "+Inf"], counts, strict=True)
            ]
            samples.append(Sample(f"{self._name}_count", labels, counts[-1]))
            samples.append(Sample(f"{self._name}_sum", labels, self._sums[group]))
        yield Family(self._name, "histogram", self._doc, samples)


def gauge(name: str, doc: str, *values: float) -> Family:
    """A gauge without labels, which holds a value or none."""
    return Family(name, "gauge", doc, [Sample(name, {}, value) for value in values])


def of_process(proc: Path = Path("/proc")) -> Iterator[Family]:
    """What the kernel tells of this process, under Prometheus's usual names.

    Nothing where there is no ``/proc`` (macOS).
    """
    try:
        # The name of the program, in brackets, may hold anything.
        told = (proc / "self/stat").read_text(errors="replace").rpartition(")")[2].split()
        booted = (proc / "stat").read_text().partition("\nbtime ")[2].split()[0]
        files = len(os.listdir(proc / "self/fd"))  # noqa: PTH208 - their number is all we want
    except (OSError, IndexError):
        return
    ticks, page = os.sysconf("SC_CLK_TCK"), resource.getpagesize()
    yield gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", float(told[20]))
    yield gauge(
        "process_resident_memory_bytes", "Resident memory size in bytes.", float(told[21]) * page
    )
    yield gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        float(booted) + float(told[19]) / ticks,
    )
    spent = (float(told[11]) + float(told[12])) / ticks
    yield Family(
        "process_cpu_seconds",
        "counter",
        "Total user and system CPU time spent in seconds.",
        [Sample("process_cpu_seconds_total", {}, spent)],
    )
    yield gauge("process_open_fds", "Number of open file descriptors.", float(files))
    yield gauge(
        "process_max_fds",
        "Maximum number of open file descriptors.",
        float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    )
