"""Count the permits of all three gates in Redis, show some (what ops/permit_audit.sh asks)."""

from __future__ import annotations

import argparse
import sys

from ops.terminal import safe

ERROR = 1
MOST = 1000


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument(
        "--sample", type=_samples, default=0, metavar="N", help="also show N permits of each kind"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 all three kinds are there; 2 one or more are missing; 1 an error."""
    import redis

    from ops import permits_view
    from ops.target import open_db
    from quantum_ops.audit import census

    try:
        taken = census.take(open_db(), args.sample)
    except redis.RedisError as error:
        print(f"permits: Redis: {safe(str(error))}", file=sys.stderr)
        return ERROR
    print(permits_view.as_json(taken) if args.json else permits_view.as_text(taken))
    return permits_view.exit_code(taken)


def _samples(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"{text!r}: write a whole number from 0 to {MOST}")
    return int(text)
