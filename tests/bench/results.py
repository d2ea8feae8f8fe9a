"""The only place that turns single runs into the numbers that are reported."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Run:
    """One run: events a second, processor microseconds an event of client and server.

    ``rss_mib`` is the memory that the client held at its end.
    """

    rate: float
    client_us: float
    server_us: float
    rss_mib: float = 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A run of a case and the run of the baseline right before it."""

    base: Run
    run: Run

    @property
    def ratio(self) -> float:
        """Rate of the case in rates of the baseline."""
        return self.run.rate / self.base.rate


@dataclass(slots=True)
class CaseResult:
    """All pairs of one case, or the reason why there are none."""

    name: str
    pairs: list[Pair] = field(default_factory=list)
    failure: str = ""

    @property
    def ratios(self) -> list[float]:
        """The ratio of each pair."""
        return [pair.ratio for pair in self.pairs]

    def median(self, what: str) -> float:
        """Median of ``rate``, ``client_us`` or ``server_us`` over the runs."""
        return float(statistics.median(getattr(pair.run, what) for pair in self.pairs))


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and the greatest value behind it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """The spread of ``values`` (at least one)."""
        return cls(statistics.median(values), min(values), max(values))


def rate_ratio(case: CaseResult, against: CaseResult) -> Spread | None:
    """How many times faster ``case`` is than ``against``; None if one of them has no numbers.

    Both were measured against the baseline in the same rounds, so it is taken round by round.
    """
    rounds = list(zip(case.ratios, against.ratios, strict=False))
    if not rounds:
        return None
    return Spread.of([mine / theirs for mine, theirs in rounds])


@dataclass(slots=True)
class LatencyResult:
    """Latencies of one case, a list of nanoseconds for each round, or why there are none."""

    name: str
    rounds: list[list[int]] = field(default_factory=list)
    failure: str = ""

    def percentile_us(self, percent: float) -> float:
        """A percentile over all rounds, in microseconds."""
        values = sorted(value for values in self.rounds for value in values)
        return _percentile(values, percent) / 1000

    def by_round_us(self, percent: float) -> list[float]:
        """A percentile of each round, in microseconds."""
        return [_percentile(sorted(values), percent) / 1000 for values in self.rounds]


def latency_ratio(
    case: LatencyResult, against: LatencyResult, percent: float = 50
) -> Spread | None:
    """Ratio of a percentile of ``case`` to that of ``against``, round by round.

    None without numbers.
    """
    mine, theirs = case.by_round_us(percent), against.by_round_us(percent)
    rounds = list(zip(mine, theirs, strict=False))
    if not rounds:
        return None
    return Spread.of([mine / theirs for mine, theirs in rounds])


def _percentile(ordered: list[int], percent: float) -> float:
    """Nearest rank."""
    rank = max(1, -(-len(ordered) * percent // 100))
    return float(ordered[int(rank) - 1])


@dataclass(frozen=True, slots=True)
class Profile:
    """Where one case spends its time: samples of each stage, and microseconds an event in all."""

    name: str
    wall_us: float
    stages: dict[str, int]


@dataclass(slots=True)
class ServerResult:
    """Everything measured on one server."""

    title: str
    cases: dict[str, CaseResult] = field(default_factory=dict)
    latencies: dict[str, LatencyResult] = field(default_factory=dict)
    profiles: list[Profile] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """One line for each case without numbers."""
        everything: list[CaseResult | LatencyResult] = [
            *self.cases.values(),
            *self.latencies.values(),
        ]
        return [f"{result.name}: {result.failure}" for result in everything if result.failure]


@dataclass(slots=True)
class Report:
    """One whole run of the benchmark."""

    command: str
    facts: dict[str, str]
    entries: int
    short_entries: int
    entry_bytes: int
    servers: list[ServerResult] = field(default_factory=list)
