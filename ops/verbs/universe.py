"""Show the universe; list and accept removals that the churn guard holds."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from ops.terminal import safe

if TYPE_CHECKING:
    import walrus

EXIT = {"fresh": 0, "stale": 3, "missing": 4}


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
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
    parser.set_defaults(action="show")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 fresh, 3 stale, 4 missing; 1 if there is nothing to accept."""
    from ops.target import open_db

    db = open_db()
    if args.action == "held":
        return _held(db)
    if args.action == "accept":
        return _accept(db, args.sha256)
    return _show(db, as_json=args.json)


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
