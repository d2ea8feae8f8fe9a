"""Show the universe, what changed in it, its held removals; accept these."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from ops.terminal import safe

if TYPE_CHECKING:
    import walrus

    from quantum_ops.history.blocks import Key

EXIT = {"fresh": 0, "stale": 3, "missing": 4}
raw = True
"""A moment may begin with a dash (-1h), which argparse takes for an option."""
USAGE = 2
EPILOG = """\
T is 2026-01-27T06:15:30Z (UTC without a zone), -1h (ago), an id (1769494530123-0) or now:

  ./run universe diff -1d now
  ./run universe history BTCUSDT

diff and history are answered by the archive. Exit code: 0; show: 3 stale, 4 missing; accept: 1
nothing to accept; diff, history: 1 the archive cannot be read, 2 usage, 4 no archive or no such
symbol, 75 no universe was told of by then.
"""


def run_raw(argv: list[str]) -> int:
    """See ops.__main__."""
    from ops import dashed
    from ops.__main__ import parser_of

    parser = parser_of("universe")
    assert parser is not None  # noqa: S101 - it is made by configure() below
    return run(parser.parse_args(dashed.mark(argv)))


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of every action."""
    from ops import asking

    parser.add_argument("--json", action="store_true", help="show as one JSON object")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    show = actions.add_parser("show", help="what gates may rely on now (the default)")
    # No default here: it would undo a --json that stands before the action.
    show.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="as one JSON object"
    )
    actions.add_parser("held", help="removals that wait to be believed")
    accept = actions.add_parser("accept", help="believe the held removals at the next fetch")
    accept.add_argument("sha256", nargs="?", default="", help="only if this set is still the one")
    diff = actions.add_parser("diff", help="what came, went and changed from T1 to T2")
    diff.add_argument("first", metavar="T1", help="the earlier moment")
    diff.add_argument("second", metavar="T2", nargs="?", default="now", help="default: now")
    history = actions.add_parser("history", help="when a symbol came, went, changed")
    history.add_argument("symbol", metavar="SYMBOL")
    for one in (diff, history):
        asking.configure(one)
    parser.set_defaults(action="show", prove="", archive="")


def run(args: argparse.Namespace) -> int:
    """Exit code: see EPILOG."""
    from ops.target import open_db

    if args.action in ("diff", "history"):
        return _past(args)

    db = open_db()
    if args.action == "held":
        return _held(db)
    if args.action == "accept":
        return _accept(db, args.sha256)
    return _show(db, as_json=args.json)


def _past(args: argparse.Namespace) -> int:
    """What the archive says of it."""
    from ops import asking, dashed, output

    verb = f"universe {args.action}"
    if args.json:  # it stood before the action
        args.format = output.Format("json", {})
    if args.action == "history":
        return asking.answered(verb, lambda: _history(args, verb))
    try:
        first, second = (asking.moment(dashed.unmark(one)) for one in (args.first, args.second))
        if first > second:
            raise ValueError(f"T1 ({asking.whole(first)}) is later than T2; write it the other way")  # noqa: TRY301 - told as any other below
    except ValueError as error:
        print(f"{verb}: {error}", file=sys.stderr)
        return USAGE
    return asking.answered(verb, lambda: _diff(args, verb, first, second))


def _diff(args: argparse.Namespace, verb: str, first: Key, second: Key) -> int:
    from ops import asking, asof_view
    from quantum_ops.asof import changes

    search = asking.opened(args.archive)
    answer = changes.between(search, first, second)
    asking.note(search, verb, first, second)
    if answer.after.changed is None:
        raise asking.Unanswered(
            asking.NOT_YET, f"no universe was told of by {asking.whole(second)}"
        )
    told = {"from": asking.whole(first), "to": asking.whole(second), "what": "universe diff"}
    return asking.tell(search, args, answer, told, lambda: asof_view.difference(answer))


def _history(args: argparse.Namespace, verb: str) -> int:
    from ops import asking, asof_view
    from quantum_ops.asof import changes

    search = asking.opened(args.archive)
    answer = changes.of_symbol(search, args.symbol)
    asking.note(search, verb)
    if not answer.steps and not answer.listed:
        raise asking.Unanswered(
            asking.NO_SUCH, f"no universe in the archive ever named a symbol {args.symbol}"
        )
    told = {"what": "universe history"}
    return asking.tell(search, args, answer, told, lambda: asof_view.history(answer))


def _show(db: walrus.Database, *, as_json: bool) -> int:
    import time

    from quantum_ops.universe import load_universe

    universe = load_universe(db, now_s=time.time(), attributes=True)
    told: dict[str, Any] = {
        "status": universe.status,
        "reason": universe.reason,
        "mode": universe.mode,
        "count": len(universe.symbols),
        "epoch": universe.epoch,
        "age_s": round(universe.age_s, 1),
        "refresh_s": universe.refresh_s,
        "quarantined": universe.quarantined,
        "close_only": sorted(universe.close_only),
        "held": list((read_held(db) or ("", [], 0))[1]),
    }
    if as_json:
        print(json.dumps({**told, "symbols": sorted(universe.symbols)}))
        return EXIT[universe.status]
    for name, value in told.items():
        shown = f"{len(value)}  {', '.join(value[:20])}" if isinstance(value, list) else str(value)
        print(f"{name:<12} {safe(shown)}".rstrip())
    return EXIT[universe.status]


def read_held(db: walrus.Database) -> tuple[str, list[str], int] | None:
    """The held set: its hash, the symbols that would go, how often it was seen. None if none."""
    from quantum_ops import streams

    return parse_held(db.get(streams.UNIVERSE_HELD))


def parse_held(raw: bytes | None) -> tuple[str, list[str], int] | None:
    """What the bytes of the held key say; None for nothing and for what no producer wrote.

    The producer, too, takes an unreadable value for nothing held.
    """
    try:
        digest, removed, seen = json.loads(raw or b"null")
        if not isinstance(removed, list):
            return None
        held = str(digest), [str(symbol) for symbol in removed], int(seen)
        # JSON can spell half a character, which nothing could send back to Redis.
        "".join([held[0], *held[1]]).encode()
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return held


def operator() -> str:
    """Who is at the keyboard, for the audit history: ``user@host``."""
    import getpass
    import os
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user need not stand in its passwd; an approval still needs a name.
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _held(db: walrus.Database) -> int:
    held = read_held(db)
    if held is None:
        print("nothing is held", file=sys.stderr)
        return 0
    digest, removed, seen = held
    import time

    from quantum_ops.universe import load_universe

    print(f"{len(removed)} symbols would go; the same set was seen {seen} times in a row")
    print(f"why {safe(load_universe(db, now_s=time.time()).reason)}")
    print(f"set {safe(digest)}")
    for symbol in removed:
        print(f"  {safe(symbol)}")
    print(f"to believe it now: ./run universe accept {safe(digest)}", file=sys.stderr)
    return 0


def _accept(db: walrus.Database, wanted: str) -> int:
    from quantum_ops import streams
    from quantum_ops.events import AuditFinding
    from quantum_ops.publisher import Publisher

    held = read_held(db)
    if held is None:
        print("nothing is held: there is nothing to accept", file=sys.stderr)
        return 1
    digest, removed, _ = held
    if wanted and wanted != digest:
        print(
            f"the held set is {safe(digest)} by now, not {safe(wanted)}; "
            "look again: ./run universe held",
            file=sys.stderr,
        )
        return 1
    # Told first: an approval that nobody could trace would be worse than one that came to nothing.
    Publisher(db).publish(
        AuditFinding(
            auditor="operator",
            finding="universe_removal_accepted",
            severity="warning",
            subject=f"set {digest}",
            detail=f"{len(removed)} removals, by {operator()}",
            evidence=tuple(removed[:50]),
        )
    )
    db.set(streams.UNIVERSE_ACCEPT, digest)
    print(f"accepted: {len(removed)} symbols go at the next fetch that shows the same set")
    return 0
