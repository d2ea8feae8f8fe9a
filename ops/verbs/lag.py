"""How far each consumer group is behind, in entries and seconds; exit 3 above a threshold."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ops import output, repeating

if TYPE_CHECKING:
    import walrus

    from quantum_ops.lag import Lag

LETTERS = {"s": "stream", "g": "group", "l": "lag", "h": "how", "b": "behind_s", "p": "pending"}


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("group", nargs="*", metavar="GROUP", help="only these (default: all)")
    parser.add_argument(
        "--max", type=output.whole, metavar="N", help="exit 3 if one has more than N undelivered"
    )
    parser.add_argument(
        "--max-seconds", type=output.positive, metavar="S",
        help="exit 3 if one is more than S behind: age of the oldest entry that is not done",
    )  # fmt: skip
    repeating.add_watch(parser)
    output.add_format(parser, LETTERS)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0; 3 one is over a threshold, or unknown while there is one; 4 no such group."""
    from ops.target import open_db

    db = open_db()
    paint = output.painter(args.color, sys.stdout)

    def look() -> tuple[list[str], int]:
        found = _found(db)
        missing = [name for name in args.group if name not in {one.group for one in found}]
        if missing:
            there = ", ".join(sorted({one.group for one in found})) or "none"
            output.note(f"{missing[0]}: no such group; there are {there}")
            return [], output.NOT_FOUND
        chosen = [one for one in found if not args.group or one.group in args.group]
        if not chosen:
            output.note("there are no groups: no consumer has run here yet")
        return _lines(chosen, args, paint)

    return repeating.shown(look, args.watch)


def _found(db: walrus.Database) -> list[Lag]:
    from quantum_ops import consumer, knobs, lag_reading
    from quantum_ops.settings import WatchSettings

    # A destroyed group would look like one that was never there.
    expected = lag_reading.remembered(db, consumer.names("consumers"))
    return lag_reading.look(db, limit=knobs.load(WatchSettings).lag_limit, expected=expected)


def _lines(
    found: list[Lag], args: argparse.Namespace, paint: output.Paint
) -> tuple[list[str], int]:
    from ops import lag_view
    from quantum_ops import streams

    for one in found if not args.watch else []:
        if one.delivered is None:
            output.note(
                f"{one.group} has no group in {streams.short(one.stream)} any more; it is made "
                f"again at its checkpoint when {one.group} starts: ./run status"
            )
    over = [one for one in found if one.is_over(args.max, args.max_seconds)]
    for one in over if not args.watch else []:
        output.note(
            f"{one.group} is behind in {streams.short(one.stream)}: "
            f"{lag_view.entries(one)} undelivered, {output.duration(one.behind_s)}"
        )
    code = output.OVER if over else 0
    if not args.format.is_text:
        return [args.format.line(lag_view.lag_object(one)) for one in found], code
    rows = [lag_view.lag_row(one, over=one in over) for one in found]
    return output.table(lag_view.LAG_HEAD, rows, paint) if rows else [], code
