"""Show the last log lines of all programs, or of the named ones; -f goes on showing."""

from __future__ import annotations

import argparse

from ops import output

LETTERS = {"n": "name", "l": "line"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Which programs, how many lines, and whether to stay."""
    parser.add_argument("-f", "--follow", action="store_true", help="show what is added, until ^C")
    parser.add_argument(
        "-n", type=output.whole, default=20, metavar="LINES", help="of each (default 20)"
    )
    parser.add_argument("program", nargs="*", help="program or process (default: all)")
    output.add_format(parser, LETTERS)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0, or 4 if a name has no log."""
    import sys
    import time

    from ops.log_tail import Follower, Screen, last_lines
    from ops.paths import Paths

    folder = Paths.find().log
    logs = {path.stem: path for path in sorted(folder.glob("*.log"))}
    chosen = set(logs)
    if args.program:
        chosen = set()
        for name in args.program:
            meant = {stem for stem in logs if stem == name or stem.rpartition("-")[0] == name}
            if not meant:
                known = ", ".join(logs) or "none yet"
                print(f"no log of {name!r} in {folder}; there are: {known}", file=sys.stderr)
                return 4
            chosen |= meant
    # Made before the last lines are read, so that no line falls between the two.
    follower = Follower(folder, frozenset(chosen) if args.program else None)
    screen = Screen(chosen)

    def show(name: str, line: str) -> None:
        if args.format.is_text:
            screen.show(name, line)
        else:
            print(args.format.line({"name": name, "line": line}, [line]), flush=True)

    for name in sorted(chosen):
        for line in last_lines(logs[name], args.n):
            show(name, line)
    while args.follow:
        for name, line in follower.poll():
            show(name, line)
        time.sleep(0.2)
    return 0
