"""The command line of the fuzzer: ``python -m tests.fuzz [TARGET...]``; .ci/run calls it.

Each target is a parser that reads what others hand in. It gets mutated inputs, made from a seed,
and may take them or refuse them with the error that its docstring names; anything else is a crash,
is written to a file with the command that shows it again, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

from tests.arguments import at_least
from tests.fuzz import catalogue
from tests.fuzz.target import Crash

INPUTS = 100_000


def main(argv: list[str]) -> int:
    """Run it; gives 0, or 1 for any crash."""
    args = _parser().parse_args(argv)
    if args.again:
        return _again(args.again)
    wanted = catalogue.named(args.targets)
    if not wanted:
        print(f"no such target; there are: {', '.join(catalogue.TARGETS)}", file=sys.stderr)
        return 2
    began = time.perf_counter()
    # A process for each target: one's memory is not another's. Forked: what they import is large.
    jobs = [(name, args.inputs, args.seed) for name in wanted]
    with multiprocessing.get_context("fork").Pool(args.jobs, maxtasksperchild=1) as pool:
        crashes: list[Crash] = []
        inputs = 0
        for tally in pool.imap_unordered(catalogue.work, jobs, chunksize=1):
            print(tally.line(), flush=True)
            crashes += tally.crashes
            inputs += tally.inputs
    for crash in crashes:
        _keep(crash)
    seconds = time.perf_counter() - began
    print(
        f"{inputs} inputs to {len(wanted)} parsers, seed {args.seed}, {seconds:.0f} s: "
        f"{len(crashes)} crashes"
        + ("" if crashes else f" (so with 95 % confidence under {3 / args.inputs:.5%} of each)")
    )
    return 1 if crashes else 0


def _keep(crash: Crash) -> None:
    folder = Path(os.environ.get("QUANTUM_HOME") or "var", "fuzz")
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(crash.input).hexdigest()[:12]
    path = folder / f"{crash.target.replace(' ', '_')}-{digest}"
    path.write_bytes(crash.input)
    print(
        f"\nCRASH in {crash.target}, {len(crash.input)} bytes: {crash.input[:120]!r}",
        file=sys.stderr,
    )
    print(crash.told, file=sys.stderr)
    print(f"again: python -m tests.fuzz --again {path}", file=sys.stderr)


def _again(path: Path) -> int:
    target = catalogue.make(path.name.rpartition("-")[0].replace("_", " "))
    try:
        took = target.run(path.read_bytes())
    except target.refuses as error:
        print(f"refused: {error!r}")
    else:
        print("taken" if took else "refused")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="parts of names; empty: all")
    parser.add_argument("--inputs", type=at_least(1), default=INPUTS, help="for each target")
    parser.add_argument("--seed", default="1", help="the same seed makes the same inputs")
    parser.add_argument("--jobs", type=at_least(1), default=os.cpu_count() or 1)
    parser.add_argument("--again", type=Path, metavar="FILE", help="run one kept input once more")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
