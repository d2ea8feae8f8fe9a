"""Take back one recorded deploy, by its id in the ledger, and record that."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Which operation, and why."""
    from ops.verbs.deploy import _patience

    parser.add_argument("operation_id", help="OPS-YYYY-MM-DD-NNN, as the deploy printed it")
    parser.add_argument("--why", default="", help="the reason, kept in the ledger")
    _patience(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 taken back and ready, 1 refused, 4 no such operation, 5 not ready.

    1: nothing was changed; with STRICT_LEDGER also: taken back, but not recorded. 2: usage. 69, 75
    and 78 as those of deploy.
    """
    from ops.deploy import commands

    return commands.rollback(args)
