"""Show what stands in streams, newest last, merged by time; -f goes on showing what comes."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from ops import output, reader

if TYPE_CHECKING:
    import walrus

    from ops.following import Told
    from ops.tailing import Wanted

intermixed = True
dashed = ("--since", "--until", "-o")
USAGE = 2
DEFAULT = 10
LETTERS = {"i": "id", "s": "stream", "t": "ts", "y": "type", "m": "summary", "d": "data"}
EPILOG = """\
OFFSET is start, end, an id (1769494530123-0), -10, -1h (or 1h) or @2026-01-27T06:15Z.
FILTER is symbol=BTCUSDT or outcome!=ok; all of them must hold.

  ./run tail -f
  ./run tail apply.plan permit.decided -n 50 symbol=BTCUSDT
  ./run tail audit.finding --since 1h -F json | jq .data.finding
  ./run tail apply.plan -f -F '%t %{data.symbol} %m'

Exit code: 0, 2 usage, 4 no such stream, 69 Redis is unreachable, 130 ended by ^C.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("words", nargs="*", metavar="STREAM|FILTER", help="default: all streams")
    more = parser.add_mutually_exclusive_group()
    more.add_argument("-f", "--follow", action="store_true", help="go on as entries come")
    more.add_argument("-e", "--exit", action="store_true", help="end at the end (the default)")
    parser.add_argument(
        "-n", type=output.whole, metavar="N", help=f"the newest N that pass (default {DEFAULT})"
    )
    parser.add_argument(
        "-c", type=output.whole, default=-1, metavar="N", help="end after N entries"
    )
    parser.add_argument("--since", "-o", default="", metavar="OFFSET", help="from there on, all")
    parser.add_argument("--until", default="", metavar="OFFSET", help="the last that counts")
    output.add_format(parser, LETTERS)


def run(args: argparse.Namespace) -> int:
    """See ``EPILOG``."""
    from ops import tailing
    from ops.target import open_db

    names = [word for word in args.words if "=" not in word]
    db = open_db()
    try:
        wanted = _wanted(args, names)
    except ValueError as error:
        output.note(str(error))
        return USAGE
    strangers = tailing.unknown(db, names)
    if strangers:
        from quantum_ops import streams

        known = ", ".join(stream.name for stream in streams.CATALOGUE)
        output.note(f"{strangers[0]}: no such stream; there are {known}")
        return output.NOT_FOUND
    _show(db, wanted, args)
    return 0


def _wanted(args: argparse.Namespace, names: list[str]) -> Wanted:
    from ops import tailing
    from quantum_ops import streams
    from quantum_ops.history.blocks import LAST
    from quantum_ops.replay import filters, offsets

    now_ms = int(time.time() * 1000)
    if args.since and args.n is not None:
        raise ValueError("-n counts from the end, --since says where to begin: write one of them")
    count = DEFAULT if args.n is None else args.n
    since = offsets.Offset("last", entries=count)
    if args.since:
        since = offsets.parse(_ago(args.since), now_ms)
    until = offsets.parse(_ago(args.until), now_ms) if args.until else offsets.Offset("end")
    if until.kind == "last":
        raise ValueError(f"--until {args.until}: counts no entries; " + offsets.WRITE)
    keys = [tailing.key_of(name) for name in names] or [one.key for one in streams.CATALOGUE]
    return tailing.Wanted(
        list(dict.fromkeys(keys)), since, offsets.last(until) if args.until else LAST,
        [filters.parse(word) for word in args.words if "=" in word], args.follow, args.c,
    )  # fmt: skip


def _ago(text: str) -> str:
    """``1h`` is meant as ``-1h``: nobody can ask for entries of the future."""
    return f"-{text}" if text[:1].isdigit() and text[-1:] in "smhdw" else text


def _show(db: walrus.Database, wanted: Wanted, args: argparse.Namespace) -> None:
    from ops import tail_view, tailing

    paint = output.painter(args.color, sys.stdout)
    view = tail_view.View(args.format, paint, is_screen=sys.stdout.isatty())
    out: Any = sys.stdout.buffer

    def emit(one: Told) -> None:
        out.write(view.line(one))
        if args.follow:
            out.flush()

    def note(text: str) -> None:
        output.note(f"tail: {text}")

    tailing.run(db, wanted, emit, note, lambda: reader.has_left(1))
    out.flush()
    if reader.has_left(1):
        raise BrokenPipeError
