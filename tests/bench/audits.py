"""The audit scripts' benchmark: ``python -m tests.bench.audits [--keys N] [--pairs N] [--write]``.

Each run of a script follows a run of what an operator would do by hand (redis-cli and wc, a loop of
redis-py) on the same server; every answer is checked before its time counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ops import server_binary
from quantum_ops import streams
from tests.bench import machine, page
from tests.bench.page import WrongError
from tests.bench.place import CLIENT_CPU, Server, born_on

RESULTS = streams.APPLY_RESULT.key
OLDEST = "plan0"
SHELL_LOOP = 20_000
"""Entries that the old method is timed on; it would take minutes on all of them."""
FILL = 10_000
SAMPLE_S = 0.005
SMALL = 100
"""Share of the keys that memory is measured on before all of them."""
QUICK = 3_000
TARGET = 2.0

_PAGING = """
import redis, sys
db = redis.Redis.from_url(sys.argv[1], protocol=2)
last, read = "+", 0
while True:
    rows = db.xrevrange(sys.argv[2], last, "-", count=1000)
    if not rows: break
    for id_, fields in rows:
        read += 1
        if fields[b"plan_id"] == sys.argv[3].encode():
            print(read, fields[b"order_id"].decode()); sys.exit(0)
    last = b"(" + rows[-1][0]
"""

# As such scripts are written: the text of redis-cli, line by line through a shell.
_SHELL_LOOP = r"""
redis-cli -u "$1" --raw XREVRANGE "$2" + - COUNT "$3" | while IFS= read -r line; do
    case $line in
    [0-9]*-[0-9]*) entry=$line plan= ;;
    plan_id) IFS= read -r plan ;;
    order_id) IFS= read -r order; [ "$plan" = "$4" ] && echo "$entry $order" && break ;;
    esac
done
"""


class Run(NamedTuple):
    """Seconds by the wall, and the most memory that one of its processes held."""

    wall_s: float
    rss_mb: float
    out: str


class Case(NamedTuple):
    """A script against what one would do by hand."""

    name: str
    by_hand: Callable[[], Run]
    ours: Callable[[], Run]


class Bench:
    """One server with permits and results, and the two kinds of box that scripts run on."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.server = Server(program)
        self.keys = 0
        self.folder = folder
        for name in ("checkout", "bare"):
            (folder / name).mkdir(exist_ok=True)
        python = folder / "checkout" / "venv" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        if not python.exists():
            python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            python.chmod(0o755)
            (folder / "checkout" / "venv" / "quantum.stamp").touch()

    def fill(self, keys: int) -> None:
        """So many permits, a third of each gate, and as many results, all of them proofs."""
        db: Any = self.server.db
        for start in range(self.keys, keys, FILL):
            with db.pipeline(transaction=False) as pipe:
                for number in range(start, min(start + FILL, keys)):
                    prefix = ("", "p26:", "p33:")[number % 3]
                    pipe.set(f"quantum:permit:{prefix}plan{number}", "1", ex=86_400)
                    fields = {
                        "plan_id": f"plan{number}", "symbol": "BTCUSDT", "executed": "true",
                        "order_id": str(10**9 + number), "timestamp": "1769527841",
                    }  # fmt: skip
                    pipe.xadd(RESULTS, fields, id=f"1769527841000-{number + 1}")
                pipe.execute()
        self.keys = keys

    def index(self) -> None:
        """What order_proof knows of the oldest plan."""
        fields = {
            "entry_id": "1769527841000-1", "symbol": "BTCUSDT", "order_id": str(10**9),
            "executed_at": "1769527841",
        }  # fmt: skip
        db: Any = self.server.db
        db.hset(streams.proof_of_plan(OLDEST), mapping=fields)

    def script(self, box: str, name: str, *argv: str) -> Run:
        """One of our scripts on one kind of box."""
        environ = {"REDIS_URL": self.server.url, "QUANTUM_HOME": str(self.folder / box)}
        # By pages, so that no call takes long; a client waits as long as it takes here.
        environ["REDIS_TIMEOUT_SEC"] = "60"
        return timed(["/bin/sh", str(machine.ROOT / "ops" / name), *argv], environ)

    def permits(self, box: str) -> Run:
        """The permit audit, checked."""
        run = self.script(box, "permit_audit.sh", "--json")
        total = json.loads(run.out)["total"]
        if total != self.keys:
            raise WrongError(f"{box}: {total} permits, not {self.keys}")
        return run

    def proof(self, box: str, found_by: str) -> Run:
        """The proof of the oldest plan, checked."""
        run = self.script(
            box, "proof_order_id.sh", "--json", "--plan_id", OLDEST, "--count", str(self.keys)
        )
        found = json.loads(run.out)
        if (found["found_by"], found["proof"]["order_id"]) != (found_by, str(10**9)):
            raise WrongError(f"{box}: {run.out}")
        return run

    def scan(self) -> Run:
        """``redis-cli --scan | wc -l``, checked."""
        command = f"redis-cli -u {self.server.url} --scan --pattern 'quantum:permit:*' | wc -l"
        run = timed(["/bin/sh", "-c", command], {})
        if int(run.out) != self.keys:
            raise WrongError(f"wc counted {run.out}")
        return run

    def paging(self) -> Run:
        """A loop of redis-py over the stream, checked."""
        run = timed([sys.executable, "-c", _PAGING, self.server.url, RESULTS, OLDEST], {})
        if run.out.split() != [str(self.keys), str(10**9)]:
            raise WrongError(f"redis-py found {run.out!r}")
        return run

    def shell_loop(self) -> tuple[int, Run]:
        """The old method, on the newest entries only; how many, and the run."""
        count = min(SHELL_LOOP, self.keys)
        plan = f"plan{self.keys - count}"
        run = timed(
            ["/bin/sh", "-c", _SHELL_LOOP, "sh", self.server.url, RESULTS, str(count), plan], {}
        )
        if run.out.split()[-1:] != [str(10**9 + self.keys - count)]:
            raise WrongError(f"the shell loop found {run.out!r}")
        return count, run


def timed(command: Sequence[str], environ: dict[str, str]) -> Run:
    """One run to its end, on the client's processor."""
    with born_on(CLIENT_CPU), tempfile.TemporaryFile() as out:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out,
            env={"PATH": os.environ["PATH"], **environ},
        )  # fmt: skip
        most_kb = 0
        # Not by wait4: it counts what this process held at the fork.
        while process.poll() is None:
            most_kb = max(most_kb, *map(_held_kb, _family(process.pid)))
            time.sleep(SAMPLE_S)
        wall_s = time.perf_counter() - begun
        out.seek(0)
        return Run(wall_s, most_kb / 1024, out.read().decode())


def _family(pid: int) -> list[int]:
    """The process and all that come from it."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return [pid]
    return [pid, *(each for child in text.split() for each in _family(int(child)))]


def _held_kb(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(row.split()[1]) for row in text.splitlines() if row.startswith("VmHWM")), 0)


def measure(program: Path, folder: Path, args: argparse.Namespace) -> list[str]:
    """The page's part for one server."""
    bench = Bench(program, folder)
    try:
        bench.fill(max(1, args.keys // SMALL))
        small_mb = {case.name: case.ours().rss_mb for case in _cases(bench)}
        bench.fill(args.keys)
        lines = [f"## {bench.server.flavour}, {args.keys:,} permits and {args.keys:,} results", ""]
        lines += _against_hand(bench, args, small_mb)
        lines += _index(bench, args)
    finally:
        bench.server.close()
    return lines


def _cases(bench: Bench) -> list[Case]:
    return [
        Case("all permits, set-up checkout", bench.scan, lambda: bench.permits("checkout")),
        Case("all permits, redis-cli alone", bench.scan, lambda: bench.permits("bare")),
        Case("a plan without index, set-up checkout", bench.paging,
             lambda: bench.proof("checkout", "stream")),
        Case("a plan without index, redis-cli alone", bench.paging,
             lambda: bench.proof("bare", "stream")),
    ]  # fmt: skip


def _against_hand(bench: Bench, args: argparse.Namespace, small_mb: dict[str, float]) -> list[str]:
    rows = [
        "| what | by hand s | ours s | ours / by hand | range | asked | memory MB | of 1 % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in _cases(bench):
        pairs = []
        for _ in range(args.pairs):
            pairs.append((case.by_hand(), case.ours()))
            _note(f"{case.name}: {pairs[-1][1].wall_s / pairs[-1][0].wall_s:.2f}")
        ratios = [ours.wall_s / hand.wall_s for hand, ours in pairs]
        median = statistics.median(ratios)
        asked = f"<= {TARGET:.0f} {'met' if median <= TARGET else 'MISSED'}"
        rows.append(
            f"| {case.name} | {statistics.median(hand.wall_s for hand, _ in pairs):.2f} "
            f"| {statistics.median(ours.wall_s for _, ours in pairs):.2f} | {median:.2f} "
            f"| {min(ratios):.2f}..{max(ratios):.2f} | {asked} "
            f"| {max(ours.rss_mb for _, ours in pairs):.0f} | {small_mb[case.name]:.0f} |"
        )
    count, run = bench.shell_loop()
    scaled = run.wall_s * bench.keys / count
    rows.append(
        f"| the old method: text of redis-cli through a shell loop, timed on {count:,} | "
        f"| {scaled:.1f} by that measure | | | | | |"
    )
    return [*rows, ""]


def _index(bench: Bench, args: argparse.Namespace) -> list[str]:
    rows = [
        "The oldest plan by its index, against the newest thousand results alone:",
        "",
        "| results | set-up checkout ms | redis-cli alone ms |",
        "| ---: | ---: | ---: |",
    ]
    bench.index()
    times: dict[str, list[float]] = {"checkout": [], "bare": []}
    for _ in range(args.pairs):
        for box, found in times.items():
            found.append(bench.proof(box, "index").wall_s * 1000)
    told = " | ".join(f"{statistics.median(found):.0f}" for found in times.values())
    rows.append(f"| {bench.keys:,} | {told} |")
    db: Any = bench.server.db
    db.xtrim(RESULTS, minid=f"1769527841000-{max(1, bench.keys - 999)}", approximate=False)
    oldest = db.xrange(RESULTS, count=1)[0][0].decode()
    db.hset(streams.proof_of_plan(OLDEST), "entry_id", oldest)
    plan = db.xrange(RESULTS, count=1)[0][1][b"plan_id"].decode()
    db.rename(streams.proof_of_plan(OLDEST), streams.proof_of_plan(plan))
    short: dict[str, list[float]] = {"checkout": [], "bare": []}
    for _ in range(args.pairs):
        for box, found in short.items():
            run = bench.script(box, "proof_order_id.sh", "--json", "--plan_id", plan)
            # The index names another order: what counts is what the entry says.
            if json.loads(run.out)["found_by"] != "index":
                raise WrongError(run.out)
            found.append(run.wall_s * 1000)
    told = " | ".join(f"{statistics.median(found):.0f}" for found in short.values())
    rows.append(f"| {db.xlen(RESULTS):,} | {told} |")
    return [*rows, ""]


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    """Run it; 0, or 1 if a run came to something else than it had to."""
    parser = page.parser("audits", __doc__, "keys")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    args = parser.parse_args(argv)
    if args.quick:
        args.keys, args.pairs = QUICK, 1
    first = server_binary.find().path
    second = None if args.quick else shutil.which("redis-server")
    programs = [first, *([Path(second)] if second else [])]

    def found(folder: Path) -> str:
        return "\n".join(line for one in programs for line in measure(one, folder, args))

    return page.make("audits", _HEAD.format(pairs=args.pairs), found, write=args.write)


_HEAD = """# Performance of the audit scripts

Generated by `python -m tests.bench.audits --write`; edits are lost. What is measured and how:

- `ops/permit_audit.sh --json` against `redis-cli --scan --pattern 'quantum:permit:*' | wc -l`,
  which only counts keys and does not tell gates or types apart.
- `ops/proof_order_id.sh --plan_id` for the oldest of all results against a loop of redis-py over
  XREVRANGE pages of 1,000, which knows the fields it looks at; and by order_proof's index.
- Each on a box with a set-up checkout and on one with sh and redis-cli alone. Runs alternate with
  what is done by hand; {pairs} pairs, medians. Starting the interpreter counts. Memory is the most
  that one process of the script was seen to hold, beside the same with a hundredth of the keys.
"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
