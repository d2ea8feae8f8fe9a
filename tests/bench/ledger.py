"""The ledger's benchmark: ``python -m tests.bench.ledger [--entries N] [--pairs N] [--write]``.

Appending against a bare loop of write and fdatasync, recording into a short and a long ledger,
deploy events through the consumer, and making everything again against parsing alone.
Whatever was recorded is verified before its time counts.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from quantum_ops.ledger import book, entry, project
from quantum_ops.ledger.index import Index
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.verify import verify
from tests.bench import ledger_events, machine, page
from tests.bench.page import WrongError

TOOL = machine.ROOT / "ops" / "ops_ledger_append.py"
START = datetime(2025, 1, 1, tzinfo=UTC)
SHORT, LONG = 100, 40_000
FILL = 1_000
A_DAY = 40
"""Operations of a day: more than 25,000 a year, so that the long ledger has years of months."""
QUICK = 400
RUNS = 200
CLI_RUNS = 15
EVENTS = 10_000
EVIDENCE = {
    "git_commit": "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334",
    "git_branch": "main",
    "git_dirty": "false",
    "hostname": "quantumtrader-prod-1",
    "services_status": {"quantum-portfolio-clusters": "active", "quantum-portfolio-gate": "active"},
    "metrics_snapshot": "# http://127.0.0.1:8048/metrics | grep 'p27_corr_ready'\n"
    "p27_corr_ready 1.0\np27_clusters_count 1.0\n",
    "redis_snapshot": "# redis-cli HGETALL quantum:portfolio:cluster_state\ncluster_stress\n"
    "0.788493010732072\nupdated_ts\n1769492127\n",
    "evidence": "complete",
}


class Row(NamedTuple):
    """One line of the page: seconds of the comparison and of ours, what is asked of the ratio."""

    name: str
    compared: list[float]
    ours: list[float]
    asked: float
    faster: bool
    """Whether the ratio is comparison to ours (how much of its speed) or ours to it (cost)."""

    def cells(self) -> str:
        ratios = [
            base / ours if self.faster else ours / base
            for base, ours in zip(self.compared, self.ours, strict=True)
        ]
        ratio = statistics.median(ratios)
        sign = ">=" if self.faster else "<="
        met = ratio >= self.asked if self.faster else ratio <= self.asked
        judged = f"{sign} {self.asked:g} {'met' if met else 'MISSED'}" if self.asked else "-"
        shown = [f"{statistics.median(one) * 1e3:.3g}" for one in (self.compared, self.ours)]
        spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
        return " | ".join(["", self.name, *shown, f"{ratio:.2f}", spread, judged, ""]).strip()


def request(number: int) -> entry.Request:
    """An operation as a deploy records it, about 1.5 kB as a line."""
    return entry.Request(
        operation=f"P2.7 Deploy — Portfolio Clusters {number}",
        objective="Deploy correlation matrix + capital clustering",
        risk_class="SERVICE_RESTART",
        blast_radius="Portfolio gating layer only",
        changes_summary="Deployed P2.7 with warmup observability: fix #42",
        allowed_paths=["microservices/portfolio_clusters/"],
        allowed_services=["quantum-portfolio-clusters", "quantum-portfolio-gate"],
        evidence=EVIDENCE,
        occurred_at=START + timedelta(days=number // A_DAY),
        stream="bench",
        stream_id=str(number),
    )


def unlike(number: int) -> entry.Request:
    """The same, but no text of one operation is that of another."""
    told = hashlib.sha256(str(number).encode()).hexdigest()
    texts = {
        name: f"{getattr(request(number), name)} {told[:8]}"
        for name in ("objective", "blast_radius", "changes_summary")
    }
    evidence = {
        "git_commit": told[:40],
        "hostname": f"host-{told[:6]}",
        "services_status": {f"quantum-{told[:6]}": "active", f"quantum-{told[6:12]}": "active"},
        "metrics_snapshot": EVIDENCE["metrics_snapshot"].replace("1.0", f"{number}.5"),
        "redis_snapshot": EVIDENCE["redis_snapshot"].replace("0.78", f"0.{number}"),
    }
    return replace(request(number), evidence={**EVIDENCE, **evidence}, **texts)


def fill(
    folder: book.Folder,
    start: int,
    count: int,
    made: Callable[[int], entry.Request] = request,
) -> None:
    """Record so many operations, some hundreds at a time, the clock moving with them."""
    for first in range(start, start + count, FILL):
        last = min(first + FILL, start + count)
        when = START + timedelta(days=last // A_DAY)
        batch = [made(number) for number in range(first, last)]
        receipts = book.record_many(folder, batch, lambda when=when: when)  # type: ignore[misc]
        if {one.outcome for one in receipts} != {"recorded"}:
            raise WrongError("not everything was recorded")


def timed(run: Callable[[], Any]) -> float:
    """Seconds that ``run`` took."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def appending(base: Path, pairs: int, runs: int) -> Row:
    """``Tail.append`` of one record each, its line made and synced; the bare loop of such lines."""
    folder = book.Folder.at(base / "append")
    found = entry.data(request(0), "OPS-2025-01-01-001", START)
    record = entry.record(
        "operation.recorded", found, operation_id="OPS-2025-01-01-001",
        source={"stream": "", "stream_id": "", "host": "h"}, occurred_at=START, recorded_at=START,
    )  # fmt: skip
    compared, ours = [], []
    with Journal(folder).locked() as tail:
        ((_, line),) = tail.append([record])
        for _ in range(pairs):
            number = os.open(base / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

            def bare(number: int = number) -> None:
                for _ in range(runs):
                    os.write(number, line + b"\n")
                    os.fdatasync(number)

            compared.append(timed(bare))
            os.close(number)
            ours.append(timed(lambda: [tail.append([record]) for _ in range(runs)]))
    if sum(1 for _ in Journal(folder).lines()) != pairs * runs + 1:
        raise WrongError("not everything was appended")
    return Row(
        f"append and sync {runs} lines of {len(line)} bytes", compared, ours, 0.5, faster=True
    )


def recording(  # noqa: C901 - what is timed stands inside
    base: Path, pairs: int, runs: int, typed: int, long: int
) -> list[Row]:
    """One operation at a time into a short and a long ledger, by function and by command line."""
    short_folder, long_folder = (book.Folder.at(base / name) for name in ("short", "long"))
    sizes = {short_folder: min(SHORT, long), long_folder: long}
    for folder, size in sizes.items():
        fill(folder, 0, size)
    when = START + timedelta(days=long // A_DAY)

    def record(folder: book.Folder) -> None:
        for _ in range(runs):
            book.record_many(folder, [request(sizes[folder])], lambda: when)
            sizes[folder] += 1

    def append(folder: book.Folder) -> None:
        for _ in range(typed):
            subprocess.run(
                [sys.executable, "-I", "-S", TOOL, "--operation", "o", "--objective", "o",
                 "--risk_class", "READ_ONLY", "--blast_radius", "b",
                 # No operation is like another, or it would be told as one that came twice.
                 "--changes_summary", f"c {sizes[folder]}"],
                env={"PATH": os.environ["PATH"], "LEDGER_DIR": str(folder.base)}, check=True,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            sizes[folder] += 1

    rows = []
    for name, run, count in (("record_many", record, runs), ("command line", append, typed)):
        seconds: dict[book.Folder, list[float]] = {short_folder: [], long_folder: []}
        for folder in sizes:
            run(folder)  # the first one fills caches of the system and of the ledger
        for _ in range(pairs):
            for folder, taken in seconds.items():
                taken.append(timed(lambda folder=folder, run=run: run(folder)))  # type: ignore[misc]
        told = f"{count} times one operation at {long:,} entries, compared with {SHORT}: {name}"
        rows.append(Row(told, seconds[short_folder], seconds[long_folder], 1.5, faster=False))
    taken_short, taken_long = ledger_events.single(short_folder, long_folder, pairs, runs, timed)
    told = f"{runs} times one operation at {long:,} entries, compared with {SHORT}: consumer"
    rows.append(Row(told, taken_short, taken_long, 1.5, faster=False))
    for folder in sizes:
        sizes[folder] += (pairs + 1) * runs
    for folder, size in sizes.items():
        report = verify(folder)
        if report.faults or report.lines != size or project.check(folder):
            raise WrongError(f"{folder.base}: {report.faults[:1]} {report.lines} of {size} lines")
    return rows


def consuming(base: Path, pairs: int, count: int) -> Row:
    """Deploy events through the consumer, compared with a bare loop that keeps no promise."""
    compared, ours = ledger_events.many(base, pairs, count, timed)
    rate = count / statistics.median(ours)
    told = (
        f"{count:,} deploy events through the consumer ({rate:,.0f}/s), compared with a bare loop"
    )
    return Row(told, compared, ours, 0.0, faster=True)


def rebuilding(  # noqa: C901 - as above
    base: Path, pairs: int, count: int
) -> list[Row]:
    """Making the index again, verifying and rendering all, each beside parsing alone."""
    folder, other = book.Folder.at(base / "many"), book.Folder.at(base / "unlike")
    fill(folder, 0, count)
    fill(other, 0, count // 5, unlike)
    decode = msgspec.json.decode

    def parse(folder: book.Folder = folder, count: int = count) -> None:
        if sum(1 for line in Journal(folder).lines() if decode(line)["seq"]) != count:
            raise WrongError("lines are missing")

    def index() -> None:
        with Journal(folder).locked() as tail, Index(folder) as made:
            made.rebuild(tail)
            if made.head().size != count:
                raise WrongError("the index is not complete")

    def check() -> None:
        report = verify(folder)
        if report.faults or report.lines != count:
            raise WrongError(str(report.faults[:1]))

    def render(folder: book.Folder = folder) -> None:
        if project.rebuild(folder):
            raise WrongError("drift where nobody edited")

    def whole() -> None:
        if book.rebuild(folder):
            raise WrongError("drift where nobody edited")

    rows = []
    for name, run, asked in (
        ("make the index again (ids, sources, Merkle tree)", index, 0.25),
        ("render every file again", render, 0.25),
        ("all of it, as `./run ledger rebuild` does", whole, 0.25),
        ("verify every line, the tree and all checkpoints", check, 0.0),
    ):
        compared, ours = [], []
        for _ in range(pairs):
            compared.append(timed(parse))
            ours.append(timed(run))
        rows.append(Row(f"{name}, {count:,} entries", compared, ours, asked, faster=True))
    compared, ours = [], []
    for _ in range(pairs):
        compared.append(timed(lambda: parse(other, count // 5)))
        ours.append(timed(lambda: render(other)))
    told = f"render every file again, {count // 5:,} entries of which no two are alike"
    rows.append(Row(told, compared, ours, 0.0, faster=True))
    for one in (folder, other):
        if project.check(one):
            raise WrongError("not what the journal renders")
    return rows


def main(argv: Sequence[str]) -> int:
    """Run it; 0, or 1 if a run came to something else than it had to."""
    parser = page.parser("ledger", __doc__, "entries")
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    args = parser.parse_args(argv)
    runs, typed, long, events = RUNS, CLI_RUNS, LONG, EVENTS
    if args.quick:
        args.entries, args.pairs = QUICK, 1
        runs, typed, long, events = 5, 2, QUICK, QUICK

    def found(base: Path) -> str:
        rows = [
            appending(base, args.pairs, runs),
            *recording(base, args.pairs, runs, typed, long),
            consuming(base, args.pairs, events),
            *rebuilding(base, args.pairs, args.entries),
        ]
        return "\n".join([_TABLE, *(f"| {row.cells().strip('| ')} |" for row in rows)])

    return page.make("ledger", _HEAD.format(pairs=args.pairs), found, write=args.write)


_HEAD = """# Performance of the ledger

Generated by `python -m tests.bench.ledger --write`; edits are lost. What is measured and how:

- Appending against a loop of `write` and `fdatasync` of the same lines; the ratio is how much of
  its speed is left, canonical form and numbering included.
- Recording one operation (lock, repeats, id, append, sync, changelog, month's file, checkpoint)
  into a ledger that is long, compared with a short one; the ratio is how much dearer it is.
- Deploy events through the consumer, on a server of its own, from the stream to entries that are
  rendered, signed off and told of; the bare loop reads, writes, syncs and acknowledges.
- Making everything again, compared with parsing the same lines by msgspec (in C) and nothing else.
- What was rendered of a text is remembered: operations of one system have host, services and
  evidence in common. The last line is what is left where nothing is.
- `./run ledger rebuild` makes the index in one process and renders in another; every other row, and
  parsing, is one process.
- Runs alternate; {pairs} pairs, medians, spread of the ratios. What was recorded is verified.
"""
_TABLE = """\
| what | compared ms | ours ms | ratio | range | asked |
| --- | ---: | ---: | ---: | ---: | ---: |"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
