"""The gates' benchmark: ``python -m tests.bench.gates [--plans N] [--pairs N] [--write]``.

P3.3 and the auditors against our own runner with an empty handler, each run in a process of its own
right after a run of that baseline; what came of each run is checked before its time counts.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ops import server_binary
from quantum_ops import entry_id, permits, streams
from tests.bench import gate_world as world
from tests.bench import machine, page
from tests.bench.page import WrongError
from tests.bench.place import CLIENT_CPU, Server, born_on

TRADED = 500
MANY = 5000
RATE_HZ = 50
CHANGES = 20
TARGETS = {"p33": 0.45, "permit_audit": 0.40, "order_proof": 0.40, "flat": 0.90}
QUICK = 2000
BOTH = ("proof_writes", "order_proof")
"""Cases that read plans and results."""


@contextmanager
def worker(name: str, url: str, count: int, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """The process of one run, connected and waiting for its start."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("QUANTUM_", "P33_", "REDIS_"))}
    environ = {**kept, "QUANTUM_ENV_DIR": "/nonexistent", **world.SETTINGS, **settings}
    with born_on(CLIENT_CPU):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.gate_worker", name, url, str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=machine.ROOT,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise WrongError(f"{name}: did not start")
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        process.stdout.close()


def go(process: subprocess.Popen[bytes]) -> None:
    """Start the clock."""
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def said(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What it measured."""
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


class Bench:
    """One server, filled with plans and results; ``rate`` runs a case and checks its outcome."""

    def __init__(self, program: Path, count: int, key: str) -> None:
        self.server = Server(program)
        self.db = self.server.db
        self.count = count
        self.key = key
        self.sizes = (0, 0)

    def arrange(self, size: int, traded: int) -> None:
        """A universe of ``size`` symbols and plans over ``traded`` of them."""
        if self.sizes != (size, traded):
            self.sizes = (size, traded)
            self.plans = world.plans(self.count, traded)
            self.wanted = world.expected(self.plans, size, traded)
            world.fill(self.db, streams.APPLY_PLAN, self.plans)
            world.fill(self.db, streams.APPLY_RESULT, world.results(self.count))
        self.db.delete(streams.UNIVERSE_CHANGED.key)
        world.set_universe(self.db, size)

    def reset(self, name: str) -> None:
        """As if nothing had run yet."""
        world.forget(self.db)
        world.set_state(self.db, self.sizes[1])
        groups = {"empty_results": "bench_empty", "empty": "bench_empty", "writes": "bench_writes",
                  "proof_writes": "bench_writes"}  # fmt: skip
        group = groups.get(name, name)
        for stream in (streams.APPLY_PLAN, streams.APPLY_RESULT, streams.PERMIT_DECIDED):
            if self.db.exists(stream.key):
                self.db.xgroup_destroy(stream.key, group.removesuffix("_signed"))

    def rate(self, name: str) -> tuple[float, float, float]:
        """Entries a second, and processor microseconds an entry of client and server."""
        self.reset(name)
        count = 2 * self.count if name in BOTH else self.count
        if name == "permit_audit":
            self.db.delete(streams.PERMIT_DECIDED.key)
            results = self.db.rename(streams.APPLY_RESULT.key, "bench:results")
        settings = {"P33_SIGNING_KEY": self.key} if name == "p33_signed" else {}
        try:
            with worker(name, self.server.url, count, **settings) as process:
                cpu_s = self.server.cpu_s()
                go(process)
                answer = said(process)
                cpu_s = self.server.cpu_s() - cpu_s
        finally:
            if name == "permit_audit" and results:
                self.db.delete(streams.APPLY_RESULT.key)
                self.db.rename("bench:results", streams.APPLY_RESULT.key)
        self.check(name)
        each = 1e6 / count
        return count / answer["wall_s"], answer["cpu_s"] * each, cpu_s * each

    def check(self, name: str) -> None:
        """Raise :class:`WrongError` unless the outcome is the one that was worked out before."""
        if name.startswith("p33"):
            rows: Any = self.db.xrange(streams.PERMIT_DECIDED.key)
            found = collections.Counter(fields[b"reason"].decode() for _, fields in rows)
            if dict(found) != self.wanted:
                raise WrongError(f"{name}: decided {dict(found)}, not {self.wanted}")
            pending: Any = self.db.xpending(streams.APPLY_PLAN.key, "p33")
            if pending["pending"]:
                raise WrongError(f"{name}: {pending['pending']} are pending")
        if name in BOTH:
            proven = self.db.xlen(streams.AUDIT_FINDING.key)
            if proven != self.count:
                raise WrongError(f"{name}: {proven} proven, not {self.count}")
        if name == "permit_audit":
            followed = sum(plan["decision"] == "EXECUTE" for plan in self.plans)
            opened = self.db.zcard(streams.PERMIT_AUDIT_OPEN)
            if opened != followed:
                raise WrongError(f"{name}: {opened} cases, not {followed}")
        if self.db.xlen(streams.DEAD_LETTER.key):
            raise WrongError(f"{name}: there are dead letters")

    def latency_ms(self, name: str, samples: int) -> list[float]:
        """Milliseconds from XADD to the decision's entry, at ``RATE_HZ`` plans a second."""
        self.reset(name)
        self.db.delete(streams.APPLY_PLAN.key)
        made = [plan for plan in self.plans if plan["decision"] == "EXECUTE"][:samples]
        waits: list[float] = []
        with worker(name, self.server.url, len(made)) as process:
            go(process)
            last: Any = "0-0"
            due = time.perf_counter() + 0.5
            for plan in made:
                due += 1 / RATE_HZ
                time.sleep(max(0.0, due - time.perf_counter()))
                begun = time.perf_counter()
                self.db.xadd(streams.APPLY_PLAN.key, plan)  # type: ignore[arg-type]  # see fill
                reply: Any = self.db.xread({streams.PERMIT_DECIDED.key: last}, block=5000)
                waits.append((time.perf_counter() - begun) * 1000)
                if not reply:
                    raise WrongError(f"{name}: no decision within 5 s")
                last = reply[0][1][-1][0]
            said(process)
        self.sizes = (0, 0)
        return sorted(waits)

    def change_under_load(self, changes: int) -> tuple[float, int]:
        """(longest gap in ms between two decisions, epochs seen) while the universe changes."""
        self.reset("p33")
        with worker("p33", self.server.url, self.count) as process:
            go(process)
            for epoch in range(2, changes + 2):
                world.set_universe(self.db, TRADED, epoch, without=f"S{epoch:04d}USDT")
                time.sleep(0.02)
            said(process)
        rows: Any = self.db.xrange(streams.PERMIT_DECIDED.key)
        at = [entry_id.parse(id_)[0] for id_, _ in rows]
        gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
        epochs = {fields[b"universe_epoch"] for _, fields in rows}
        return float(max(gaps)), len(epochs)


def measure(program: Path, args: argparse.Namespace, key: str) -> list[str]:
    """The page's part for one server."""
    bench = Bench(program, args.plans, key)
    try:
        bench.arrange(TRADED, TRADED)
        lines = [f"## {bench.server.flavour}, nothing written to disk", ""]
        lines += _rates(bench, args)
        lines += _flat(bench, args)
        bench.arrange(TRADED, TRADED)
        quiet, _ = bench.change_under_load(0)
        loud, epochs = bench.change_under_load(CHANGES)
        told = (
            f"Longest gap between two decisions under load: {quiet:.0f} ms without a change, "
            f"{loud:.0f} ms with {CHANGES} changes of the universe ({epochs} epochs were decided "
            "on). A batch is 500 plans."
        )
        lines += [told, ""]
        lines += _latencies(bench, args)
    finally:
        bench.server.close()
    return lines


def _rates(bench: Bench, args: argparse.Namespace) -> list[str]:
    rows = [
        "| case | ratio to the empty handler | range | asked | entries/s | client us | server us |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in ("writes", "p33", "p33_signed", "permit_audit", *BOTH):
        pairs = []
        for _ in range(args.pairs):
            base = bench.rate("empty_results" if name in BOTH else "empty")[0]
            pairs.append((base, bench.rate(name)))
            _note(f"{name}: {pairs[-1][1][0] / base:.3f}")
        ratios = [run[0] / base for base, run in pairs]
        asked = TARGETS.get(name)
        median = statistics.median(ratios)
        verdict = (
            "" if asked is None else f">= {asked:.2f} {'met' if median >= asked else 'MISSED'}"
        )
        told = [statistics.median(run[at] for _, run in pairs) for at in range(3)]
        rows.append(
            f"| {name} | {median:.3f} | {min(ratios):.2f}..{max(ratios):.2f} | {verdict} "
            f"| {told[0]:,.0f} | {told[1]:.1f} | {told[2]:.1f} |"
        )
    return [*rows, ""]


def _flat(bench: Bench, args: argparse.Namespace) -> list[str]:
    rows = [
        "| universe | plans over | plans/s of P3.3 | against 500 over 500 |",
        "| ---: | ---: | ---: | ---: |",
    ]
    rates: dict[tuple[int, int], list[float]] = collections.defaultdict(list)
    sizes = ((TRADED, TRADED), (MANY, TRADED), (MANY, MANY))
    for _ in range(args.pairs):
        for size, traded in sizes:
            bench.arrange(size, traded)
            rates[size, traded].append(bench.rate("p33")[0])
            _note(f"universe of {size}, plans over {traded}: {rates[size, traded][-1]:,.0f}/s")
    for at in sizes:
        pairs = zip(rates[at], rates[sizes[0]], strict=True)
        ratio = statistics.median(mine / base for mine, base in pairs)
        rows.append(f"| {at[0]} | {at[1]} | {statistics.median(rates[at]):,.0f} | {ratio:.2f} |")
    return [*rows, ""]


def _latencies(bench: Bench, args: argparse.Namespace) -> list[str]:
    rows = [
        f"From XADD to the decision, {RATE_HZ} plans a second:",
        "",
        "| case | p50 ms | p99 ms | longest ms |",
        "| --- | ---: | ---: | ---: |",
    ]
    waits: dict[str, list[float]] = {"bare": [], "p33": []}
    for _ in range(args.pairs):
        for name in waits:
            bench.arrange(TRADED, TRADED)
            waits[name] += bench.latency_ms(name, args.samples)
            _note(f"latency: {name}")
    labels = {"bare": "bare loop: read, SET, XADD, XACK; nothing judged", "p33": "P3.3"}
    for name, found in waits.items():
        found.sort()
        p99 = found[min(len(found) - 1, int(len(found) * 0.99))]
        rows.append(
            f"| {labels[name]} | {statistics.median(found):.2f} | {p99:.2f} | {found[-1]:.2f} |"
        )
    return [*rows, ""]


def main(argv: list[str]) -> int:
    """Run it; 0, or 1 if a run came to something else than it had to."""
    parser = page.parser("gates", __doc__, "plans")
    parser.add_argument("--plans", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=250, help="latencies of each round")
    args = parser.parse_args(argv)
    if args.quick:
        args.plans, args.pairs, args.samples = QUICK, 1, 20
    first = server_binary.find().path
    second = None if args.quick else shutil.which("redis-server")
    programs = [first, *([Path(second)] if second else [])]

    def found(folder: Path) -> str:
        key = str(folder / "k.pem")
        permits.new_key(key)
        return "\n".join(line for one in programs for line in measure(one, args, key))

    head = _HEAD.format(plans=args.plans, pairs=args.pairs)
    return page.make("gates", head, found, write=args.write)


_HEAD = """# Performance of the gates

Generated by `python -m tests.bench.gates --write`; edits are lost. What is measured and how:

- {plans:,} plans over 500 symbols: a quarter asks for nothing, a quarter opens, half closes, 2 %
  are of strangers; half of the held symbols have a ledger, a tenth a cooldown. The baseline is our
  own runner with an empty handler on the same stream. Each run of a case follows a run of the
  baseline; {pairs} pairs, medians.
- Each run is a process of its own over loopback TCP, built as `python -m consumers NAME` builds it.
  After it, every decision is compared with what the pure decision function says to the same plans
  and state; nothing may be pending.
- `writes` is P3.3's floor: the same runner writing for each plan what P3.3 writes (mark of its id,
  the permit, the event), without reading or judging anything. `proof_writes` is order_proof's: the
  plan's mark, and for each result its order's claim, its proof with an expiry, its place under the
  symbol, and the Finding.
- permit_audit opens a case for each plan, order_proof proves one result for each (plans and results
  are both counted).
"""


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
