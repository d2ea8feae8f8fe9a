"""The benchmark of as-of: ``python -m tests.bench.asof [--entries N] [--write]``.

An archive of N entries is written by the archive's own writer, then each question is asked by the
command that an operator types, in a process of its own: with the archive's files thrown out of the
page cache (cold), and again (warm). Each answer is compared with what was written before its time
counts. The same in an archive of a hundredth shows whether memory stays flat.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from quantum_ops.history.folder import Folder
from tests.bench import asof_past as past
from tests.bench import machine, page

TARGET_S = 1.0
MOMENTS = 5
QUICK = 5_000
BYTES_EACH = 60
"""Disk that an entry takes in the end; the open segment comes on top."""
OPEN_BYTES = 300_000_000
Answer = dict[str, Any]


class Form(NamedTuple):
    """One way to ask: the words behind ``./run`` at plan ``number``, and what must be answered."""

    name: str
    words: Callable[[int], list[str]]
    right: Callable[[int, Answer], bool]
    code: int = 0


class Asked(NamedTuple):
    """Seconds of one process, on the wall and of the processor, and its peak memory in bytes."""

    seconds: float
    worked: float
    rss: int


def forms(plans: int) -> list[Form]:
    """Every form, about a past of so many plans."""

    def at(number: int, *words: str) -> list[str]:
        return ["as-of", f"{past.ms(number)}-9", *words]

    def permits(number: int, one: Answer) -> bool:
        verdict = "denied" if past.denied(number) else "permitted"
        told = (len(one["plans"]), len(one["findings"]), len(one["results"]))
        return (one["verdict"], one["symbol"]["epoch"], told) == (
            verdict, past.epoch(number), (1, 2, 1),
        )  # fmt: skip

    def ledger(number: int, one: Answer) -> bool:
        return bool(one["records"] == (number - 3) // past.DEPLOY_EVERY + 1)

    def order(number: int, one: Answer) -> bool:
        return [each["plan_id"] for each in one["executions"]] == [past.plan_id(number)]

    return [
        Form("universe", lambda n: at(n, "universe"), lambda n, one: one["epoch"] == past.epoch(n)),
        Form("permits PLAN", lambda n: at(n, "permits", past.plan_id(n)), permits),
        Form(
            "permits of no plan", lambda n: at(n, "permits", f"none{n}"), lambda _n, _one: True, 4
        ),
        Form("order ORDER", lambda n: at(n - n % 3 + 1, "order", past.order_id(n - n % 3 + 1)),
             lambda n, one: order(n - n % 3 + 1, one)),
        Form("ledger", lambda n: at(n, "ledger"), ledger),
        Form("ledger --effective", lambda n: at(n, "ledger", "--effective"), ledger),
        Form(
            "universe diff, ten changes",
            lambda n: ["universe", "diff", f"{past.ms(n - 10 * past.UNIVERSE_EVERY)}-9",
                       f"{past.ms(n)}-9"],
            lambda n, one: one["changes"] == past.epoch(n) - past.epoch_before(n),
        ),
        Form(
            "universe history SYMBOL", lambda n: ["universe", "history", past.SYMBOLS[n % 600]],
            lambda n, one: sum(step["what"] == "left" for step in one["steps"])
            == sum(past.SYMBOLS[e % 600] == past.SYMBOLS[n % 600]
                   for e in range(2, past.epoch(plans - 1) + 1)),
        ),
    ]  # fmt: skip


def ask(folder: Folder, form: Form, number: int) -> Asked:
    """One question in a process of its own."""
    words = [*form.words(number), "--archive", str(folder.base), "--json"]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops", *words], stdout=out, stderr=subprocess.PIPE,
            cwd=machine.ROOT, env={**os.environ, "LEDGER_DIR": str(folder.base / "no-ledger")},
        )  # fmt: skip
        assert process.stderr is not None
        told = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stderr.close()
        out.seek(0)
        content = out.read()
    if process.returncode != form.code:
        raise page.WrongError(f"{' '.join(words)}: exit code {process.returncode}: {told}")
    if not form.right(number, json.loads(content) if content else {}):
        raise page.WrongError(f"{' '.join(words)}: {content[:300]!r}")
    return Asked(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def forget(folder: Folder) -> None:
    """Throw the archive's files out of the page cache."""
    for path in folder.base.iterdir():
        if path.is_file():
            number = os.open(path, os.O_RDONLY)
            os.fsync(number)
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(number)


def measured(folder: Folder, form: Form, numbers: Sequence[int]) -> tuple[list[Asked], list[Asked]]:
    """Cold and warm."""
    cold, warm = [], []
    for number in numbers:
        forget(folder)
        cold.append(ask(folder, form, number))
        warm.append(ask(folder, form, number))
    return cold, warm


def row(form: Form, small: Folder, full: Folder, plans: int) -> tuple[str, float]:
    """One line of the table, and the longest answer in seconds of the processor."""
    low = min(10 * past.UNIVERSE_EVERY + 10, plans // 2)
    chosen = random.Random(form.name)
    numbers = [chosen.randrange(low, plans) for _ in range(MOMENTS)]
    little = plans // 100
    few = [number % max(1, little // 2) + little // 2 for number in numbers[:1]]
    before = form if form.name[:8] != "universe" or " " not in form.name else None
    rss = [one.rss for one in measured(small, before, few)[1]] if before else []
    cold, warm = measured(full, form, numbers)
    cells = [
        form.name,
        f"{1000 * statistics.median(one.worked for one in cold):.0f}",
        f"{1000 * max(one.worked for one in cold):.0f}",
        f"{1000 * statistics.median(one.seconds for one in cold):.0f}",
        f"{1000 * statistics.median(one.seconds for one in warm):.0f}",
        f"{max(rss) / 1e6:.0f}" if rss else "-",
        f"{max(one.rss for one in [*cold, *warm]) / 1e6:.0f}",
    ]
    return " | ".join(cells), max(one.worked for one in cold)


def scanning(folder: Folder, plans: int) -> str:
    """How long a plan takes where there is no lookup file."""
    form = forms(plans)[1]
    kept = {path: path.with_suffix(".kept") for path in folder.base.glob("*.lookup")}
    for path, aside in kept.items():
        path.rename(aside)
    try:
        without = ask(folder, form, plans - 2)
    finally:
        for path, aside in kept.items():
            aside.rename(path)
    return (f"Without any lookup file, every segment read as a whole, `permits PLAN` takes "
            f"{without.worked:.1f} s of the processor and {without.rss / 1e6:.0f} MB.")  # fmt: skip


def measured_page(base: Path, entries: int) -> str:
    """What the page says below its head."""
    plans = entries // past.EACH
    small, full = Folder(base / "small"), Folder(base / "full")
    past.build(small, max(plans // 100, 10))
    started = time.perf_counter()
    count = past.build(full, plans)
    _say(f"{count:,} entries written in {time.perf_counter() - started:.0f} s")
    sealed = sum(not full.raw(one).exists() for one in full.names())
    size = sum(path.stat().st_size for path in full.base.iterdir())
    lookups = sum(path.stat().st_size for path in full.base.glob("*.lookup"))
    rows, longest = [], []
    for form in forms(plans):
        cells, slowest = row(form, small, full, plans)
        _say(cells)
        rows.append(cells)
        longest.append(slowest)
    slow = scanning(full, plans)
    met = "met" if max(longest) < TARGET_S else "MISSED"
    table = "\n".join(f"| {one} |" for one in rows)
    return (
        f"{count:,} entries in {sealed} sealed segments and the open one, "
        f"{size / 1e6:.0f} MB, {lookups / 1e6:.0f} of them lookup files. Asked: under "
        f"{TARGET_S:g} s: {met} (longest {max(longest):.2f} s, cold).\n\n"
        f"{_TABLE.format(little=plans // 100 * past.EACH)}\n{table}\n\n{slow}\n"
    )


def main(argv: Sequence[str]) -> int:
    """Run it; 0, or 1 if an answer was wrong or there is no room."""
    parser = page.parser("asof", __doc__, "entries")
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--dir", default="/var/tmp", help="where there is room")  # noqa: S108 - large, and removed after
    args = parser.parse_args(argv)
    entries = QUICK if args.quick else args.entries
    room = os.statvfs(args.dir)
    if room.f_bavail * room.f_frsize < 2 * (BYTES_EACH * entries + OPEN_BYTES):
        print(f"{args.dir}: too little room; name another with --dir", file=sys.stderr)
        return 1
    tempfile.tempdir = args.dir
    return page.make(
        "asof", _HEAD.rstrip() + "\n", lambda base: measured_page(base, entries), write=args.write
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_HEAD = """# Performance of as-of

Generated by `python -m tests.bench.asof --write`; edits are lost. What is measured and how:

- Each question is the command that an operator types (`./run as-of ...`), in a process of its own;
  a quarter of a second of it is Python's start and its imports.
- Cold: the archive's files were thrown out of the page cache before. Warm: asked once more.
- Judged is processor time, the whole process from start to end: the wall's depends on what else
  the machine does (see its load).
- Moments and plans are anywhere in the past. An answer that is not what was written ends the bench.
- Memory is the process's peak (resident), in an archive of a hundredth and in all of it.
"""
_TABLE = """\
| asked | cold, ms, median of 5 | longest, ms | cold on the wall, ms | warm on the wall, ms | MB at {little:,} entries | MB |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |"""  # noqa: E501 - a row of a table

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
