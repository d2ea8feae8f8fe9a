"""Let the warden look after programs again that were on hold."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Names."""
    from ops import telling

    parser.add_argument("name", nargs="+", help="program, process, or: consumers, producers")
    parser.epilog = (
        "Releasing what is not held is fine: exit 0. What is down stays so until started."
    )
    telling.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 released, 1 the list cannot be read, 4 no such program."""
    from ops import holding, single
    from ops.telling import Teller

    tell = Teller(args.format)
    return single.guarded(lambda: holding.release(args.name, tell), tell)
