"""Measure this runtime against hand-written loops and peers; needs what ./test installs."""

from __future__ import annotations

import argparse

EPILOG = """\
Starts servers of its own on free ports and ends them; the running system is not touched. Takes
some minutes. Prints the page to stdout, progress to stderr; exits 1 if a case failed. The page has
two parts that are measured and written apart: the first, and with --peers the table of peers.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of the benchmark."""
    parser.epilog = EPILOG
    parser.add_argument("--entries", metavar="N", help="entries of a run (default 100000)")
    parser.add_argument("--pairs", metavar="N", help="runs of each case (default 5)")
    parser.add_argument("--quick", action="store_true", help="a few entries once: does it work?")
    parser.add_argument("--peers", action="store_true", help="compare with peers, in one table")
    parser.add_argument("--only", metavar="NAME", action="append", help="this case; repeatable")
    parser.add_argument("--server", metavar="PATH", help="second server (default redis-server)")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")


def run(args: argparse.Namespace) -> int:
    """Run it in a process of its own; gives its exit code (0, 1 a case failed, 2 usage)."""
    import subprocess
    import sys

    from ops.paths import ROOT

    if not (ROOT / "tests" / "bench" / "__main__.py").is_file():
        print("bench: needs a checkout with its tests/ folder", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "tests.bench"]
    for name, value in (
        ("--entries", args.entries),
        ("--pairs", args.pairs),
        ("--server", args.server),
        *(("--only", case) for case in args.only or ()),
    ):
        command += [name, value] if value else []
    for name in ("quick", "peers", "write"):
        command += [f"--{name}"] * getattr(args, name)
    # A process and not an import: the layers forbid this package to know the tests.
    return subprocess.call(command, cwd=ROOT)
