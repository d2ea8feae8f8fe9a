"""The only place of the table of peers: who is measured how, and who is ahead by the figures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import latency, pairs, place, recovery, report, workload
from tests.bench.cases import CASES
from tests.bench.recovery import Told
from tests.bench.results import (
    CaseResult,
    LatencyResult,
    ServerResult,
    Spread,
    latency_ratio,
    rate_ratio,
)

HEADING = "## Peers, in one table\n"
OURS = "this runtime"
LATENCY_ROUNDS = 3
LATENCY_SAMPLES = 300
NOISE = 1.05
"""A single figure is level with another one within this factor."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measure: ``cases`` says by which case each contender is measured, "" by none.

    ``kind`` is what is told of a case: ``rate`` (more is better), ``p50``, ``p99`` or ``memory``;
    or it is a scenario of :mod:`tests.bench.recovery`.
    """

    label: str
    kind: str
    cases: tuple[str, ...]


CONTENDERS = (OURS, "walrus", "FastStream", "taskiq-redis")
ROWS = (
    Row(
        "events/s, as its documentation shows", "rate",
        ("typed", "walrus_each", "faststream", "taskiq"),
    ),
    Row("events/s, acknowledged by the batch", "rate", ("typed", "walrus", "faststream_batch", "")),
    Row(
        "events/s with an effect, as documented", "rate",
        ("effects", "walrus_each_effects", "faststream_effects", "taskiq_effects"),
    ),
    Row(
        "events/s with an effect, by the batch", "rate",
        ("effects", "walrus_effects", "faststream_batch_effects", ""),
    ),
    Row("XADD to handler, p50 us", "p50", ("typed", "walrus", "faststream", "taskiq")),
    Row("XADD to handler, p99 us", "p99", ("typed", "walrus", "faststream", "taskiq")),
    Row(
        "memory after {short} events, MiB", "memory",
        ("typed", "walrus_each", "faststream", "taskiq"),
    ),
    Row("kill -9 in mid-batch", "kill -9 in mid-batch", ("ours", "walrus", "faststream", "taskiq")),
    Row(
        "the same, told to take over after 1 s", "kill -9 in mid-batch",
        ("ours", "", "faststream_claiming", "taskiq_claiming"),
    ),
    Row("FLUSHALL", "FLUSHALL", ("ours", "walrus", "faststream", "taskiq")),
    Row("poison", "poison", ("ours", "walrus", "faststream", "taskiq")),
    Row(
        "poison, told to take over after 1 s", "poison",
        ("ours", "", "faststream_claiming", "taskiq_claiming"),
    ),
)  # fmt: skip


@dataclass(slots=True)
class Found:
    """What was measured, by case; ``told`` by worker and scenario."""

    flavour: str
    entries: int
    short: int
    cases: dict[str, CaseResult] = field(default_factory=dict)
    latencies: dict[str, LatencyResult] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    told: dict[str, dict[str, Told]] = field(default_factory=dict)

    @property
    def failures(self) -> list[str]:
        """One line for each case without numbers."""
        return ServerResult("", self.cases, self.latencies).failures


def measure(
    program: Path, entries: int, short: int, rounds: int, note: Callable[[str], None]
) -> Found:
    """Everything, on one server of ``program``; the recovery trials on one each, at once."""
    server = place.Server(program)
    try:
        found = Found(server.flavour, entries, short)
        sizes = {workload.LONG: entries, workload.SHORT: short, workload.TASKS: short}
        for name, size in sizes.items():
            workload.fill(server.db, name, size, latency.spelling(name))
        found.cases = pairs.compare(server, _named("rate"), rounds, sizes, note)
        found.latencies = latency.measure(
            server, _named("p50"), LATENCY_ROUNDS, LATENCY_SAMPLES, note
        )
        for name in _named("memory"):
            note(f"memory: {name}")
            stream = workload.TASKS if CASES[name].stream == workload.TASKS else workload.SHORT
            run, _ = pairs.run_once(server, name, short, stream=stream)
            found.memory[name] = run.rss_mib
    finally:
        server.close()
    with tempfile.TemporaryDirectory() as folder:
        found.told = recovery.all_at_once(program, _named("poison"), Path(folder), note)
    return found


def _named(kind: str) -> list[str]:
    names = [name for row in ROWS if row.kind == kind for name in row.cases if name]
    return list(dict.fromkeys(names))


def render(found: Found, facts: dict[str, str], command: str) -> str:
    """The part of the page, from its heading on."""
    lines = [HEADING, _HEAD.format(entries=found.entries, short=found.short)]
    lines.append("".join(f"- {label}: {text}\n" for label, text in facts.items()))
    lines[-1] += f"- Server: {found.flavour}\n- Command: `{command}`\n"
    table = [("", *CONTENDERS, "by these figures"), ("---",) * (len(CONTENDERS) + 2)]
    table += [_line(row, found) for row in ROWS]
    lines.append("".join(f"| {' | '.join(cells)} |\n" for cells in table))
    lines.append(report.targets(ServerResult("", found.cases)))
    return "\n".join(lines)


def _line(row: Row, found: Found) -> tuple[str, ...]:
    cells = [_cell(row.kind, name, found) for name in row.cases]
    label = row.label.format(short=f"{found.short:,}")
    return (label, *cells, _verdict(row, found))


def _cell(kind: str, name: str, found: Found) -> str:
    if not name:
        return "-"
    if kind == "rate":
        case = found.cases[name]
        return f"FAILED: {case.failure}" if case.failure else f"{case.median('rate'):,.0f}"
    if kind in {"p50", "p99"}:
        timed = found.latencies[name]
        return (
            f"FAILED: {timed.failure}"
            if timed.failure
            else f"{timed.percentile_us(int(kind[1:])):.0f}"
        )
    if kind == "memory":
        return f"{found.memory[name]:.0f}"
    told = found.told[name][kind]
    return told.text if told.good else f"**{told.text}**"


def _verdict(row: Row, found: Found) -> str:
    """Who is ahead. Every round MUST say the same, or it is level."""
    ours, *theirs = row.cases
    behind, level, ratios = [], [], []
    for label, name in zip(CONTENDERS[1:], theirs, strict=True):
        spread = _ours_in_theirs(row.kind, ours, name, found) if name else None
        if spread is None:
            continue
        ratios.append(f"{spread.median:.2f} of {label} ({spread.low:.2f}..{spread.high:.2f})")
        if spread.high < 1:
            behind.append(label)
        elif spread.low <= 1:
            level.append(label)
    said = [f"**behind {', '.join(behind)}**"] * bool(behind)
    said += [f"level with {', '.join(level)}"] * bool(level)
    said = said or ["ahead of all"] * bool(ratios)
    return "; ".join([*said, *(ratios if row.kind not in recovery.SCENARIOS else ())]) or "-"


def _ours_in_theirs(kind: str, ours: str, theirs: str, found: Found) -> Spread | None:
    """How many times better we are, round by round; None without numbers."""
    if kind == "rate":
        return rate_ratio(found.cases[ours], found.cases[theirs])
    if kind in {"p50", "p99"}:
        return latency_ratio(found.latencies[theirs], found.latencies[ours], int(kind[1:]))
    if kind == "memory":
        ratio = found.memory[theirs] / found.memory[ours]
        return Spread(ratio, ratio / NOISE, ratio * NOISE)
    better = 1.0 + found.told[ours][kind].good - found.told[theirs][kind].good
    return Spread(better, better, better)


def replaced(page: str, part: str) -> str:
    """``page`` with its part of the peers replaced by ``part``; it stands last."""
    return f"{page.partition(HEADING)[0].rstrip()}\n\n{part}"


def kept(page: str) -> str:
    """The peers' part of ``page``, empty if it has none."""
    _, heading, rest = page.partition(HEADING)
    return heading + rest


_HEAD = """\
Generated by `./run bench --peers --write`. What is done:

- Every contender is set up as its own documentation shows and handles the same {entries:,} entries
  (those that settle each by itself: {short:,}), each in a process of its own, right after a run of
  the bare loop. What is compared is the ratio to that loop, round by round: `ahead` says that we
  were better in each round, `level` that rounds differ.
- An **effect** is one HSET for each entry. Ours are applied in the step that acknowledges, once,
  and fenced; walrus's stand in one MULTI with the ack, unfenced; the others' handlers make theirs
  before the framework acknowledges, so that a kill in between does them again.
- walrus hands out bytes, FastStream untyped dictionaries; taskiq and this runtime check types.
- **Memory** is what the client process holds after {short:,} events.
- **kill -9 in mid-batch**: three times 300 entries, 2 ms each; the worker is killed on the way, and
  one of the same name is started at once. Handled twice is what was handled and not yet
  acknowledged. Who takes idle entries over only when told to has a row of that, after a second.
  **FLUSHALL** comes under an idle worker, then 20 new entries. **poison**: 20 entries, on one of
  which the handler raises each time. Bold is what did not come about, or is kept nowhere.
- Not here: arq cannot be installed beside this version of redis-py (it wants one below 6). streaq's
  worker takes function calls that its own client (coredis) enqueued, not entries of a stream.
"""
