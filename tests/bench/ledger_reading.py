"""The benchmark of reading: ``python -m tests.bench.ledger_reading [--entries N] [--write]``.

What an operator types, each as a process of its own, on a ledger of 100 entries and on a long one:
seconds and the most memory (Linux). What it prints is checked before its figures count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from quantum_ops.ledger import book
from quantum_ops.ledger.journal import Journal
from tests.bench import machine
from tests.bench.ledger import LONG, QUICK, SHORT, WrongError, fill

PAGE = machine.ROOT / "docs" / "performance-ledger-reading.md"


# What the kernel tells of a child's memory counts that of its parent before the exec, too.
_PROGRAM = """
import sys
from ops.__main__ import entry
entry(sys.argv[1:])
sys.stderr.write(open("/proc/self/status").read())
"""


class Figures(NamedTuple):
    """Medians of some runs: seconds by the clock, of the processor, and the most MB held."""

    seconds: float
    cpu: float
    megabytes: float


def verbs(folder: book.Folder, count: int) -> dict[str, tuple[list[str], str]]:
    """What is typed, by its description, with a text that must stand in what is printed."""
    lines = list(Journal(folder).lines())
    first, last = (json.loads(line)["id"] for line in (lines[0], lines[-1]))
    return {
        "list, the newest 20": (["list"], last),
        "list --all --json": (["list", "--all", "--json"], f'"seq": {count}, '),
        "list --text, in no entry": (["list", "--text", "no such words"], ""),
        "show, the newest by its event": (["show", "--source", f"bench/{count - 1}"], last),
        "show, the oldest by its id": (["show", first], first),
        "show, an event of which nothing was recorded": (["show", "--source", "bench/x"], ""),
        "verify": (["verify"], f"HOLDS: {count} records"),
        "prove, the oldest": (["prove", first], "c2sp.org/tlog-proof@v1"),
        "rebuild --check": (["rebuild", "--check"], "everything is as the journal renders it"),
    }


def run(folder: book.Folder, arguments: Sequence[str], expected: str) -> Figures:
    """One process; raises WrongError if it did not say what it had to."""
    environ = {**os.environ, "LEDGER_DIR": str(folder.base)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as told:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "ledger", *arguments],
            env=environ, stdout=out, stderr=told, cwd=machine.ROOT,
        )  # fmt: skip
        _, _, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = 0
        for file in (out, told):
            file.seek(0)
        said, errors = out.read().decode(), told.read().decode()
    if expected not in said or "Traceback" in errors:
        raise WrongError(f"{' '.join(arguments)}: {said[:300]} {errors[:300]}")
    kilobytes = int(errors.rpartition("VmHWM:")[2].split()[0])
    return Figures(seconds, used.ru_utime + used.ru_stime, kilobytes / 1024)


def main(argv: Sequence[str]) -> int:
    """Run it; 0, or 1 if a run came to something else than it had to."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ledger_reading")
    parser.add_argument("--entries", type=int, default=LONG)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a few entries once: does it work?")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name}")
    args = parser.parse_args(argv)
    if args.quick:
        args.entries, args.runs = QUICK, 1
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folders = {size: book.Folder.at(Path(name, str(size))) for size in (SHORT, args.entries)}
        for size, folder in folders.items():
            fill(folder, 0, size)
        typed = {size: verbs(folder, size) for size, folder in folders.items()}
        try:
            for told in typed[SHORT]:
                found: dict[int, list[Figures]] = {size: [] for size in folders}
                for _ in range(args.runs):  # in turns, so that both see the same machine
                    for size, folder in folders.items():
                        found[size].append(run(folder, *typed[size][told]))
                rows.append(row(told, [median(found[size]) for size in folders]))
        except WrongError as error:
            print(f"FAILED {error}", file=sys.stderr)
            return 1
    facts = "\n".join(f"- {label}: {told}" for label, told in machine.facts().items())
    head = _HEAD.format(runs=args.runs, entries=args.entries, short=SHORT)
    page = f"{head}\n{facts}\n\n{_TABLE.format(entries=args.entries, short=SHORT)}\n"
    page += "".join(rows)
    if args.write:
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page)
    return 0


def median(runs: Sequence[Figures]) -> Figures:
    """The medians of each figure."""
    return Figures(*(statistics.median(one) for one in zip(*runs, strict=True)))


def row(told: str, both: Sequence[Figures]) -> str:
    """One line of the page."""
    cells = [f"{one.seconds:.2f} | {one.cpu:.2f} | {one.megabytes:.0f}" for one in both]
    return f"| {told} | {' | '.join(cells)} |\n"


_HEAD = """# Performance of reading the ledger

Generated by `python -m tests.bench.ledger_reading --write`; edits are lost. Each line is
`./run ledger ...` without the shell around it: a process of its own, its start included (that alone
is what the lines of {short} entries show). Medians of {runs} runs, in turns, on ledgers of {short}
and of {entries:,} entries of 1.4 kB. What was printed is checked.
"""
_TABLE = """\
| what | s, {short} | CPU s | MB | s, {entries:,} | CPU s | MB |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
