"""What P3.3 decided: the newest plans with their reasons, or all of them as they come."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from ops import output
from ops.terminal import safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    import walrus

    from quantum_ops.events import PermitDecided

BLOCK_MS = 1000
PAUSE_S = 0.5
PAGE = 1000
NOT_RUNNING, NOT_FOUND = 3, 4
LETTERS = {
    "i": "id", "t": "occurred_at", "g": "gate", "p": "plan_id", "s": "symbol", "a": "allow",
    "r": "reason", "q": "safe_qty", "e": "universe_epoch",
}  # fmt: skip
HEADER = f"{'WHEN':<12}  {'PLAN':<16}  {'SYMBOL':<14}  {'':<5}  {'REASON':<32}  {'QTY':>10}  EPOCH"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument("-f", "--follow", action="store_true", help="go on as plans are decided")
    parser.add_argument(
        "-n", "--count", type=_count, default=20, metavar="N", help="the newest N (default 20)"
    )
    parser.add_argument("--plan", default="", metavar="ID", help="only this plan_id")
    output.add_format(parser, LETTERS)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0; 3 nothing runs here; 4 nothing was decided on ``--plan``. ^C ends it with 0."""
    from ops.target import open_db
    from quantum_ops import client

    shown = _Shown(args)
    try:
        db = open_db()
        last = _newest(db, args, shown)
        while args.follow:
            last = _follow(db, last, shown)
    except KeyboardInterrupt:
        return 0
    except client.TRANSPORT_ERRORS as error:
        if client.is_refusal(error) or not _is_nowhere():
            raise
        print("not running; ./run starts it", file=sys.stderr)
        return NOT_RUNNING
    if args.plan and args.count and not shown.count:
        print(f"nothing was decided on a plan {safe(args.plan)}", file=sys.stderr)
        return NOT_FOUND
    return 0


def _is_nowhere() -> bool:
    """Whether no server was named and nothing of ours runs that could have one."""
    from ops import running
    from ops.paths import Paths
    from quantum_ops import knobs
    from quantum_ops.settings import RedisSettings

    wanted = knobs.load(RedisSettings)
    return not (wanted.url or wanted.host) and running.read(Paths.find().current_env) is None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of decisions; write 20")
    return int(text[:9])


class _Shown:
    """What is printed, one line each."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._headed = not args.format.is_text
        self._paint = output.painter(args.color, sys.stdout)
        self._away = False
        self.count = 0

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
        self.count += 1
        if self._args.format.is_text:
            print(self._paint(_row(event), "" if event.allow else "warn"), flush=True)
        else:
            print(self._args.format.line(_object(id_, event)), flush=True)

    def away(self, *, away: bool) -> None:
        """Tell, once each, that the server is away and that it is back."""
        if away != self._away:
            told = "Redis is away; waiting for it" if away else "Redis is back"
            print(f"decisions: {told}", file=sys.stderr, flush=True)
        self._away = away


def _newest(db: walrus.Database, args: argparse.Namespace, shown: _Shown) -> bytes:
    """Show the newest ones, oldest first; gives the id to go on from."""
    plan = args.plan.encode("utf-8", "surrogateescape")
    found: list[Any] = []
    newest = b"0-0"
    for rows in _pages(db, PAGE if args.plan else max(1, min(args.count, PAGE))):
        newest = newest if newest != b"0-0" else rows[0][0]
        # One plan is looked for in the whole stream: it may have been decided days ago.
        found += [row for row in rows if not plan or plan in row[1]]
        if len(found) >= args.count:
            break
    for id_, flat in reversed(found[: args.count]):
        shown.line(id_, flat)
    return newest


def _pages(db: walrus.Database, size: int) -> Iterator[list[Any]]:
    """The stream's entries backwards, ``size`` at a time."""
    from quantum_ops import client, streams

    end = b"+"
    while rows := client.raw(db, "XREVRANGE", streams.PERMIT_DECIDED.key, end, "-", "COUNT", size):
        yield rows
        end = b"(" + rows[-1][0]


def _follow(db: walrus.Database, last: bytes, shown: _Shown) -> bytes:
    """Show what came after ``last``; a server that is away is waited for."""
    from quantum_ops import client, streams

    key = streams.PERMIT_DECIDED.key
    try:
        # Its own short block, well below the client's timeout.
        reply = client.raw(db, "XREAD", "COUNT", 500, "BLOCK", BLOCK_MS, "STREAMS", key, last)
    except Exception as error:
        # A wrong password is no lost connection, though redis-py counts it among them.
        if not client.is_passing(error):
            raise
        shown.away(away=True)
        time.sleep(PAUSE_S)
        return last
    shown.away(away=False)
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
