"""What P3.3 decided: the newest plans with their reasons, or all of them as they come."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from ops.terminal import safe

if TYPE_CHECKING:
    import walrus

    from quantum_ops.events import PermitDecided

BLOCK_MS = 1000
PAUSE_S = 0.5
HEADER = f"{'WHEN':<12}  {'PLAN':<16}  {'SYMBOL':<14}  {'':<5}  {'REASON':<32}  {'QTY':>10}  EPOCH"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on as plans are decided")
    parser.add_argument("-n", type=int, default=20, metavar="N", help="the newest N (default 20)")
    parser.add_argument("--plan", default="", metavar="ID", help="only this plan_id")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0; 1 if the server cannot be asked. ^C ends it with 0."""
    import redis

    from ops.target import open_db

    try:
        db = open_db()
        shown = _Shown(args)
        last = _newest(db, args, shown)
        while args.follow:
            last = _follow(db, last, shown)
    except KeyboardInterrupt:
        return 0
    except redis.RedisError as error:
        print(f"decisions: Redis: {safe(str(error))}", file=sys.stderr)
        return 1
    return 0


class _Shown:
    """What is printed, one line each."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._headed = args.json

    def line(self, id_: bytes, flat: list[bytes]) -> None:
        """Print one entry if it is asked for; a stranger's entry is told as such."""
        from quantum_ops import codec
        from quantum_ops.errors import DecodeError
        from quantum_ops.events import PermitDecided

        try:
            event = codec.decoder(PermitDecided)(flat)
        except DecodeError as error:
            print(f"{safe(id_)}: no decision: {safe(str(error))}", file=sys.stderr)
            return
        if self._args.plan not in ("", event.plan_id):
            return
        if not self._headed:
            self._headed = True
            print(HEADER, flush=True)
        print(json.dumps(_object(id_, event)) if self._args.json else _row(event), flush=True)


def _newest(db: walrus.Database, args: argparse.Namespace, shown: _Shown) -> bytes:
    """Show the newest ones, oldest first; gives the id to go on from."""
    from quantum_ops import client, streams

    rows: list[Any] = client.raw(
        db, "XREVRANGE", streams.PERMIT_DECIDED.key, "+", "-", "COUNT", max(1, args.n)
    )
    for id_, flat in reversed(rows):
        if args.n > 0:
            shown.line(id_, flat)
    return rows[0][0] if rows else b"0-0"


def _follow(db: walrus.Database, last: bytes, shown: _Shown) -> bytes:
    """Show what came after ``last``; a server that is away is waited for."""
    from quantum_ops import client, streams

    key = streams.PERMIT_DECIDED.key
    try:
        # Its own short block, well below the client's timeout.
        reply = client.raw(db, "XREAD", "COUNT", 500, "BLOCK", BLOCK_MS, "STREAMS", key, last)
    except client.TRANSPORT_ERRORS:
        time.sleep(PAUSE_S)
        return last
    for _, rows in reply or ():
        for id_, flat in rows:
            shown.line(id_, flat)
            last = id_
    return last


def _row(event: PermitDecided) -> str:
    at = event.occurred_at.strftime("%H:%M:%S.") + f"{event.occurred_at.microsecond // 1000:03d}"
    return (
        f"{at:<12}  {safe(event.plan_id, 16):<16}  {safe(event.symbol, 14):<14}  "
        f"{'ALLOW' if event.allow else 'deny':<5}  {safe(event.reason, 32):<32}  "
        f"{event.safe_qty!s:>10}  {event.universe_epoch}"
    )


def _object(id_: bytes, event: PermitDecided) -> dict[str, Any]:
    from quantum_ops import codec

    return {
        "id": id_.decode(),
        "occurred_at": codec.rfc3339(event.occurred_at),
        "gate": event.gate,
        "plan_id": event.plan_id,
        "symbol": event.symbol,
        "allow": event.allow,
        "reason": event.reason,
        "safe_qty": str(event.safe_qty),
        "universe_epoch": event.universe_epoch,
    }
