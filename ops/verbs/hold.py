"""Keep the warden's hands off programs until they are released; without names, list the holds."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Names, and why."""
    from ops import telling

    parser.add_argument("name", nargs="*", help="program, process, or: consumers, producers")
    parser.add_argument("--why", default="", metavar="TEXT", help="kept beside the hold")
    parser.epilog = (
        "A program on hold is not restarted by the warden, whatever it does; it may run or not. "
        "The list outlives every restart."
    )
    telling.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 held or listed, 1 the list cannot be read, 4 no such program."""
    from ops import holding, single
    from ops.telling import Teller

    tell = Teller(args.format)
    return single.guarded(lambda: holding.hold(args.name, args.why, tell), tell)
