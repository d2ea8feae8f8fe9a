"""Deploy a program: restart it on the checked-out commit, prove it, record it; or take it back."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The program, what to check, and the words of the ledger's command line tool."""
    from ops.deploy.order import CHECKS

    parser.add_argument(
        "program", nargs="?", default=None, help="as ./run status shows it; none: list"
    )
    parser.add_argument(
        "--finish", action="store_true", help="only bring an interrupted deploy of it to its end"
    )
    texts = {
        "operation": 'default "Deploy PROGRAM COMMIT"',
        "objective": 'default "Run the program from commit COMMIT"',
        "blast_radius": 'what can break; default "PROGRAM only"',
        "changes_summary": "1-line summary; default: the commits since its last deploy",
        "notes": "additional context",
    }
    for name, told in texts.items():
        parser.add_argument(f"--{name}", default="", help=told)
    parser.add_argument(
        "--risk_class",
        choices=("READ_ONLY", "LOW_RISK_CONFIG", "SERVICE_RESTART", "FILESYSTEM_WRITE"),
        default="SERVICE_RESTART",
        help="default: SERVICE_RESTART",
    )
    lists = {
        "allowed_paths": "default: the files that the commits changed",
        "allowed_services": "further services affected",
        "metrics_urls": "metrics pages that must answer",
        "metrics_grep": "patterns that must match a line of them",
        "redis_cmds": 'reading commands that must give something, e.g. "HGETALL key"',
    }
    for name, told in lists.items():
        parser.add_argument(
            f"--{name}", nargs="+", action="extend", default=[], help=f"{told} (repeatable)"
        )
    parser.add_argument(
        "--skip_check", choices=CHECKS, action="append", default=[], help="leave this one out"
    )
    _patience(parser)


def _patience(parser: argparse.ArgumentParser) -> None:
    from ops.verbs.start import seconds

    for name, told in (("requested_by", "who asked for it"), ("approved_by", "who approved it")):
        parser.add_argument(f"--{name}", default="", help=f"{told} (default: SELF)")
    parser.add_argument(
        "--strict", action="store_true", help="as STRICT_LEDGER=true: fail if it is not recorded"
    )
    for name, default, told in (
        ("wait", 30.0, "for each process to be ready, and for it to catch up"),
        ("settle", 5.0, "that it must stay ready"),
        ("ledger_wait", 15.0, "for the ledger's entry"),
    ):
        parser.add_argument(
            f"--{name}", type=seconds, default=default, metavar="SECONDS",
            help=f"{told} (default {default:g})",
        )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 deployed, 1 refused, 3 not proven and taken back, 5 nothing works.

    1: nothing was changed; with STRICT_LEDGER also: deployed, but not recorded. 2: usage. 4: no
    such program. 5: what ran before does not work either, or is not known. 69: Redis is
    unreachable. 75: another deploy of it is under way. 78: settings.
    """
    from ops.deploy import commands

    if args.program is None:
        return commands.show()
    return commands.deploy(args)
