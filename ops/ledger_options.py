"""The only place that reads the arguments of ``./run ledger``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from ops import moments, output
from quantum_ops.ledger import moment, summary
from quantum_ops.ledger.entry import OUTCOMES, RISK_CLASSES

LETTERS = {
    "i": "id", "t": "occurred_at", "k": "kind", "n": "operation", "r": "risk_class",
    "o": "outcome", "b": "requested_by", "c": "changes_summary", "q": "seq",
}  # fmt: skip
ABOUT = "The signoff ledger: what was done to the system, by whom, and the proof of it."
CODES = """\
exit codes: 0 ok; 1 it does not hold, or failed; 2 wrong usage; 3 a rendered file is not what the
journal gives; 4 no such entry; 74 a file cannot be read or written; 75 another process holds the
ledger; 78 a setting is wrong
"""


def parser() -> argparse.ArgumentParser:
    """The parser of everything but ``add``, whose arguments are those of the tool of its own."""
    whole = argparse.ArgumentParser(
        prog="./run ledger",
        description=ABOUT,
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = whole.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, told: str) -> argparse.ArgumentParser:
        return actions.add_parser(
            name,
            help=told,
            description=f"{told[0].upper()}{told[1:]}.",
            epilog=CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    listing = action("list", "entries, newest first")
    listing.add_argument(
        "--since",
        type=_since,
        metavar="WHEN",
        help="done then or later: 7d, -12h, 2026-01-27, 2026-01-27T06:15:30Z",
    )
    listing.add_argument(
        "--until", type=_until, metavar="WHEN", help="done then or earlier; a day counts as a whole"
    )
    listing.add_argument("--service", default="", metavar="NAME", help="a name, or 'quantum-*'")
    listing.add_argument(
        "--risk", default="", choices=RISK_CLASSES, metavar="CLASS", help=" | ".join(RISK_CLASSES)
    )
    listing.add_argument(
        "--outcome", default="", choices=OUTCOMES, metavar="OUTCOME", help=" | ".join(OUTCOMES)
    )
    listing.add_argument(
        "--kind",
        action="append",
        default=[],
        choices=summary.KINDS,
        metavar="KIND",
        help=f"{' | '.join(summary.KINDS)} (repeatable)",
    )
    listing.add_argument("--text", default="", help="stands in any field, in capitals or not")
    listing.add_argument("-n", type=_count, default=20, metavar="N", help="at most N (default 20)")
    listing.add_argument("--all", action="store_true", help="not only the newest N")
    output.add_format(listing, LETTERS)
    show = action("show", "one entry, and where it stands")
    which_one = show.add_mutually_exclusive_group(required=True)
    which_one.add_argument(
        "id", nargs="?", default="", metavar="ID", help="OPS-..., or its record's number"
    )
    which_one.add_argument(
        "--source",
        default="",
        metavar="STREAM/ID",
        help="what was recorded of this entry, such as deploy.completed/1769494530123-0, or of the "
        "event_id that it has",
    )
    show.add_argument(
        "--wait",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="wait up to S seconds until it is there",
    )
    show.add_argument("--json", action="store_true", help="as one JSON object")
    actions.add_parser("add", add_help=False, help="record an operation (ops/ops_ledger_append.py)")
    verify = action("verify", "check the journal, or a proof file alone")
    verify.add_argument(
        "proof",
        nargs="?",
        default="",
        metavar="PROOF_FILE",
        help="a file that `prove` made; the journal is not read then",
    )
    verify.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="FILE",
        help="a checkpoint that was kept elsewhere (repeatable)",
    )
    verify.add_argument("--key", default="", metavar="FILE", help="the log's public key")
    verify.add_argument(
        "--origin",
        default="",
        metavar="NAME",
        help="the log's name, if the key is PEM (default: LEDGER_ORIGIN)",
    )
    verify.add_argument("--json", action="store_true", help="as one JSON object")
    rebuild = action("rebuild", "render everything from the journal again")
    rebuild.add_argument("--check", action="store_true", help="compare only; 3 if anything differs")
    rebuild.add_argument("--json", action="store_true", help="as one JSON object")
    prove = action("prove", "make a file that proves an entry without the journal")
    which = prove.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", default="", metavar="ID", help="OPS-..., or a number")
    which.add_argument(
        "--since",
        default="",
        metavar="FILE",
        help="that the log only grew since the checkpoint in FILE",
    )
    prove.add_argument("-o", "--output", default="", metavar="FILE", help="instead of printing it")
    prove.add_argument("--json", action="store_true", help="as one JSON object, the proof in it")
    tag = action("tag", "annotated git tags of operations; none is ever moved")
    one_or_all = tag.add_mutually_exclusive_group(required=True)
    one_or_all.add_argument("id", nargs="?", default="", metavar="ID", help="OPS-...")
    one_or_all.add_argument("--missing", action="store_true", help="all that have none yet")
    tag.add_argument("--since", type=_since, metavar="WHEN", help="with --missing: done since then")
    tag.add_argument("--json", action="store_true", help="as one JSON object")
    key = action("key", "make a key that signs checkpoints: FILE and FILE.pub")
    key.add_argument("file", metavar="FILE")
    return whole


def joined(argv: Iterable[str]) -> list[str]:
    """``argv`` with ``--since=-7d`` for ``--since -7d``, which argparse takes for an option."""
    found: list[str] = []
    for one in argv:
        if found and found[-1] in ("--since", "--until") and one[:1] == "-" and one[1:2].isdigit():
            found[-1] += f"={one}"
        else:
            found.append(one)
    return found


def _since(text: str) -> Any:
    return _moment(text, "since")


def _until(text: str) -> Any:
    return _moment(text, "before")


def _moment(text: str, which: str) -> Any:
    try:
        return getattr(moments, which)(text, moment.now())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of entries; write 20")
    return int(text[:9])


def _seconds(text: str) -> float:
    try:
        return max(0.0, min(float(text), 3600.0))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; write 10") from None
