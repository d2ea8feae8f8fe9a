"""Entries delivered and not acknowledged: who holds which, for how long, delivered how often."""

from __future__ import annotations

import argparse
import itertools
import sys
from typing import TYPE_CHECKING

from ops import output, repeating

if TYPE_CHECKING:
    import walrus

    from quantum_ops.lag import Lag

LETTERS = {"s": "stream", "g": "group", "i": "id", "c": "consumer", "h": "held_s",
           "d": "deliveries", "a": "age_s"}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("group", nargs="*", metavar="GROUP", help="only these (default: all)")
    parser.add_argument("--stream", default="", metavar="NAME", help="only of this stream")
    parser.add_argument("--consumer", default="", metavar="NAME", help="only what it holds")
    parser.add_argument(
        "--min-idle", type=output.positive, default=0.0, metavar="S",
        help="only what nobody has touched for so long: 30, 30s, 5m",
    )  # fmt: skip
    parser.add_argument(
        "-n", type=output.whole, default=20, metavar="N", help="the oldest N of each (default 20)"
    )
    repeating.add_watch(parser)
    output.add_format(parser, LETTERS)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0; 4 no such stream or group."""
    from ops.target import open_db
    from quantum_ops import lag_reading, streams

    try:
        keys = [streams.find(args.stream).key] if args.stream else []
    except KeyError as error:
        output.note(error.args[0])
        return output.NOT_FOUND
    db = open_db()
    paint = output.painter(args.color, sys.stdout)

    def look() -> tuple[list[str], int]:
        # Only its groups and how much is pending are wanted, so nothing is counted.
        found = lag_reading.look(db, keys, limit=0)
        missing = [name for name in args.group if name not in {one.group for one in found}]
        if missing:
            there = ", ".join(sorted({one.group for one in found})) or "none"
            output.note(f"{missing[0]}: no such group; there are {there}")
            return [], output.NOT_FOUND
        wanted = [one for one in found if not args.group or one.group in args.group]
        return _lines(db, wanted, args, paint), 0

    return repeating.shown(look, args.watch)


def _lines(
    db: walrus.Database, groups: list[Lag], args: argparse.Namespace, paint: output.Paint
) -> list[str]:
    from ops import lag_view
    from quantum_ops import pending

    rows = []
    for one in groups:
        if not one.pending:
            continue
        held = pending.held(db, one.stream, one.group, consumer=args.consumer, idle_s=args.min_idle)
        rows += list(itertools.islice(held, args.n))
        if next(held, None) is not None:
            output.note(f"{one.group} has {one.pending} pending in all; -n shows more")
    if not args.format.is_text:
        return [args.format.line(lag_view.pending_object(row)) for row in rows]
    if not rows:
        output.note("nothing is pending")
        return []
    return output.table(lag_view.PENDING_HEAD, [lag_view.pending_row(row) for row in rows], paint)
