"""Find the proof that an order was executed, by plan, symbol or the last results."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from ops.terminal import safe

ERROR = 1
MOST, LONGEST_S = 100_000_000, 86_400


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("--count", type=_up_to(MOST), default=50, metavar="N", help="last results")
    parser.add_argument("--symbol", default="", metavar="S", help="only executions in this symbol")
    parser.add_argument(
        "--plan_id", "--plan-id", default="", metavar="ID", help="only this plan, however old"
    )
    parser.add_argument("--follow", action="store_true", help="wait for a proof to come")
    parser.add_argument(
        "--timeout", type=_up_to(LONGEST_S), default=60, metavar="S", help="seconds to wait"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 proof found; 3 no proof; 1 an error."""
    import redis

    try:
        return _search(args)
    except redis.RedisError as error:
        print(f"proof: Redis: {safe(str(error))}", file=sys.stderr)
        return ERROR


def _search(args: argparse.Namespace) -> int:
    from ops import proof_view
    from ops.target import open_db
    from quantum_ops.audit import proof_search

    db = open_db()
    wanted = proof_search.Wanted(os.fsencode(args.symbol), os.fsencode(args.plan_id))
    entries, newest = proof_search.extent(db)
    search = proof_search.Search(wanted)
    if wanted.plan_id:
        search = proof_search.by_index(db, wanted)
    count = min(args.count, entries)
    if not args.json:
        print(proof_view.heading(count, by_index=search.proof is not None), flush=True)
    if search.proof:
        search.searched = search.executed = search.without = 0
    else:
        search = proof_search.by_stream(db, wanted, count)
    if args.follow:
        proof_search.follow(db, search, newest, args.timeout)
    print(proof_view.as_json(search) if args.json else proof_view.as_text(search))
    return proof_view.exit_code(search)


def _up_to(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 0 < int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r}: write a whole number from 1 to {most}")
        return int(text)

    return number
