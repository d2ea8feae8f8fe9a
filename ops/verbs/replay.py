"""Read history again: print it, run a consumer on it, rebuild a projection, redeliver it."""

from __future__ import annotations

import argparse
import re
import sys
import time
from typing import TYPE_CHECKING

from ops import output

if TYPE_CHECKING:
    from ops.paths import Paths
    from ops.replaying import Range
    from quantum_ops.history.reader import Archive

raw = True
"""Its offsets begin with a dash (-10, -1h), which argparse takes for options."""
REFUSED, USAGE, NO_ARCHIVE = 1, 2, 4
_DASHED = re.compile(r"-[0-9]+[smhdw]?")
_MARK = "\0"
LETTERS = {"i": "id", "s": "stream", "t": "ts", "y": "type", "m": "summary", "d": "data"}
"""As in ./run tail."""
EPILOG = """\
OFFSET is start, end, an id, -10 (the last ten of each stream), -1h, or @2026-01-27T06:15Z.
FILTER is symbol=BTCUSDT or outcome!=ok; all of them must hold.
Without an offset: the last ten entries, and with --consumer or --rebuild everything.

  ./run replay -10 --stream apply.plan symbol=BTCUSDT
  ./run replay @2026-01-27T06:15Z --until @2026-01-27T06:20Z --from archive --json
  ./run replay -1h --consumer order_proof --compare
  ./run replay --rebuild order-proof
  ./run replay -1h --redeliver order_proof

Exit code: 0 done, 1 refused, 2 usage, 3 a difference, 4 no archive.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments, as --help shows them."""
    made = argparse.ArgumentParser(
        prog="./run replay", description=(__doc__ or "").partition("\n")[0], epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("words", nargs="*", metavar="OFFSET|FILTER", help="where from, and of what")
    made.add_argument("--until", default="", metavar="OFFSET", help="the last that counts")
    made.add_argument(
        "--stream", action="append", default=[], metavar="NAME", help="only this one (repeatable)"
    )
    made.add_argument(
        "--from", dest="source", choices=("redis", "archive"), default="",
        help="read the server, or the archive (the default where there is one)",
    )  # fmt: skip
    made.add_argument("--archive", default="", metavar="DIR", help="another archive's folder")
    made.add_argument(
        "--profile", choices=("live", "demo"), default="live", help="of a system that is down"
    )
    output.add_format(made, LETTERS)
    modes = made.add_mutually_exclusive_group()
    modes.add_argument("--consumer", default="", metavar="NAME", help="run it in a sandbox")
    modes.add_argument(
        "--rebuild", choices=("order-proof", "permits", "ledger"),
        help="make it again and compare it with the live one",
    )  # fmt: skip
    modes.add_argument(
        "--redeliver", default="", metavar="GROUP", help="set the live group back (needs --yes)"
    )
    made.add_argument("--compare", action="store_true", help="with --consumer: its Findings, too")
    made.add_argument(
        "--speed", type=_speed, default=0.0, metavar="N",
        help="with --consumer: 1 as it was then, 10 ten times that; default: at once",
    )  # fmt: skip
    made.add_argument(
        "--settle", type=_speed, default=90.0, metavar="SECONDS",
        help="with --consumer: virtual time after the last entry (default 90)",
    )  # fmt: skip
    made.add_argument("--yes", action="store_true", help="with --redeliver: do it")
    return made


def run_raw(argv: list[str]) -> int:
    """See ops.__main__."""
    from ops.scratch import ScratchError
    from quantum_ops.history.errors import ArchiveError
    from quantum_ops.ledger.errors import LedgerError
    from quantum_ops.recovery.errors import RestoreError
    from quantum_ops.replay.redeliver import RedeliverError
    from quantum_ops.replay.sandbox import SandboxError

    # Marked for argparse, which would look for an option; taken off again below.
    marked = [f"{_MARK}{word}" if _DASHED.fullmatch(word) else word for word in argv]
    args = parser().parse_intermixed_args(marked)
    args.words = [word.removeprefix(_MARK) for word in args.words]
    args.until = args.until.removeprefix(_MARK)
    try:
        return _run(args)
    except ValueError as error:
        print(error, file=sys.stderr)
        return USAGE
    except (
        SandboxError, ScratchError, RedeliverError, RestoreError, ArchiveError, LedgerError,
    ) as error:  # fmt: skip
        print(error, file=sys.stderr)
        return REFUSED


def _run(args: argparse.Namespace) -> int:
    from ops import replaying, restoring
    from ops.target import open_db
    from ops.verbs.universe import operator
    from quantum_ops import consumer
    from quantum_ops.replay import sources

    wanted = _range(args)
    paths, _, _ = restoring.find(args.profile)
    archive = _archive(args, paths)
    if archive is None and (args.rebuild or args.compare or args.source == "archive"):
        print("there is no archive; name its folder with --archive", file=sys.stderr)
        return NO_ARCHIVE
    if args.rebuild:
        assert archive is not None  # noqa: S101 - checked above, for the type checker
        as_lines = args.format.kind == "json"
        return replaying.rebuild(args.rebuild, archive, open_db(), show_lines=as_lines)
    if args.redeliver:
        db = open_db()
        # The group is on the server: so are the entries that it can be handed over.
        return replaying.redeliveries(
            db, consumer.find("consumers", args.redeliver), sources.FromServer(db), wanted,
            wanted.streams if args.stream else [], yes=args.yes, by=operator(),
        )  # fmt: skip
    source: sources.Source = (
        sources.FromServer(open_db())
        if archive is None or args.source == "redis"
        else sources.FromArchive(archive)
    )
    if args.consumer:
        found = consumer.find("consumers", args.consumer)
        return replaying.into_consumer(
            found, archive, source, wanted,
            speed=args.speed, settle_s=args.settle, compare=args.compare,
        )  # fmt: skip
    return replaying.show(source, wanted, args.format, args.color)


def _range(args: argparse.Namespace) -> Range:
    """What is to be replayed; raises ``ValueError`` for words that are neither."""
    from ops.replaying import Range
    from quantum_ops import streams
    from quantum_ops.replay import filters, offsets

    now_ms = int(time.time() * 1000)
    given = [word for word in args.words if offsets.is_one(word)]
    if len(given) > 1:
        raise ValueError(f"{given[1]!r}: one offset says where to begin; write --until for the end")
    if args.redeliver and not given:
        raise ValueError("--redeliver: say from where on, such as -1h; " + offsets.WRITE)
    chosen = [filters.parse(word) for word in args.words if word not in given]
    if args.redeliver and (chosen or args.until):
        raise ValueError("--redeliver hands over everything from the offset on: no filter, no end")
    default = "start" if args.consumer or args.rebuild else "-10"
    until = offsets.parse(args.until, now_ms) if args.until else offsets.Offset("end")
    if until.kind == "last":
        raise ValueError(f"--until {args.until}: counts no entries; " + offsets.WRITE)
    try:
        keys = [streams.find(name).key for name in args.stream]
    except KeyError as error:
        raise ValueError(f"--stream: {error.args[0]}") from None
    return Range(
        keys or [stream.key for stream in streams.CATALOGUE],
        offsets.parse(given[0] if given else default, now_ms),
        offsets.last(until),
        chosen,
    )


def _archive(args: argparse.Namespace, paths: Paths) -> Archive | None:
    from ops import archive_place
    from quantum_ops.history.reader import Archive

    folder = archive_place.find(args.archive, paths)
    return Archive(folder) if folder.names() else None


def _speed(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86_400:  # noqa: PLR2004 - a day
        raise ValueError
    return value
