"""What was true at a moment: the universe, a plan's permits, the ledger, an order's origin."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantum_ops.asof.ledger import Ledger
    from quantum_ops.history.blocks import Key
    from quantum_ops.history.search import Search

raw = True
"""A moment may begin with a dash (-1h), which argparse takes for an option."""
USAGE = 2
EPILOG = """\
T is 2026-01-27T06:15:30Z (UTC without a zone), -1h (ago), an id (1769494530123-0) or now. An entry
belongs to the time of its own id, the server's clock when it was added; T is taken in whole.

  ./run as-of 2026-01-27T06:15:30Z universe
  ./run as-of -10m permits 84c95a8537d51c1d
  ./run as-of now order 4611686018427387
  ./run as-of 2026-01-27T06:15:30Z ledger --effective
  ./run as-of -1h universe --prove universe.proof && ./run verify universe.proof

Exit code: 0 answered, 1 the archive cannot be read, 2 usage, 4 no archive or no such plan or order,
75 nothing was recorded of it by then.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments, as --help shows them."""
    from ops import asking

    made = argparse.ArgumentParser(
        prog="./run as-of", description=(__doc__ or "").partition("\n")[0], epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("moment", metavar="T", help="when")
    made.add_argument("what", choices=("universe", "permits", "ledger", "order"), help="what")
    made.add_argument("id", nargs="?", default="", help="the plan id, or the order id")
    made.add_argument(
        "--effective", action="store_true", help="ledger: later rollbacks applied, too"
    )
    made.add_argument(
        "-n", type=_count, default=20, metavar="N", help="ledger: the newest N (default 20)"
    )
    made.add_argument("--all", action="store_true", help="ledger: all of them")
    asking.configure(made)
    return made


def run_raw(argv: list[str]) -> int:
    """See ops.__main__."""
    import sys

    from ops import asking, dashed

    made = parser()
    args = made.parse_intermixed_args(dashed.mark(argv))
    args.id = dashed.unmark(args.id)
    if bool(args.id) != (args.what in ("permits", "order")):
        made.error("name a plan: permits PLAN_ID" if args.what == "permits" else
                   "name an order: order ORDER_ID" if args.what == "order" else
                   f"{args.what} takes no id")  # fmt: skip
    if args.what != "ledger" and (args.effective or args.all):
        made.error("--effective and --all are for the ledger")
    try:
        until = asking.moment(dashed.unmark(args.moment))
    except ValueError as error:
        print(f"as-of: {error}", file=sys.stderr)
        return USAGE
    return asking.answered("as-of", lambda: _run(args, until))


def _run(args: argparse.Namespace, until: Key) -> int:
    from ops import asking, asof_view

    search = asking.opened(args.archive)
    answer: Any = _ASK[args.what](search, args, until)
    asking.note(search, "as-of", until)
    if answer is None:
        raise _none(search, args, until)
    show: Any = getattr(asof_view, args.what)
    told = {"as_of": asking.whole(until), "what": args.what}
    return asking.tell(search, args, answer, told, lambda: show(answer))


def _universe(search: Search, _args: argparse.Namespace, until: Key) -> object:
    from quantum_ops.asof import universe

    return universe.at(search, until)


def _permits(search: Search, args: argparse.Namespace, until: Key) -> object:
    from quantum_ops.asof import permits

    return permits.at(search, args.id, until)


def _order(search: Search, args: argparse.Namespace, until: Key) -> object:
    from quantum_ops.asof import orders

    return orders.at(search, args.id, until)


def _ledger(search: Search, args: argparse.Namespace, until: Key) -> Ledger | None:
    from ops import ledger_place
    from ops.paths import ROOT
    from quantum_ops.asof import journal, ledger
    from quantum_ops.ledger.folder import Folder
    from quantum_ops.ledger.lookup import Lookup

    folder = Folder.find(ledger_place.environ(), ROOT)
    count = ledger.ALL if args.all else args.n
    with Lookup(folder) as lookup:
        contents = journal.FromJournal(folder, lookup, ledger.FromArchive(search))
        return ledger.at(search, until, contents, count=count, effective=args.effective)


def _none(search: Search, args: argparse.Namespace, until: Key) -> Exception:
    """Why there is no answer: no such thing at all, or not by then."""
    from ops import asking
    from quantum_ops.history.terms import ORDER, PLAN, Term

    if args.what in ("universe", "ledger"):
        told = {"universe": "no universe was told of", "ledger": "nothing was recorded"}[args.what]
        return asking.Unanswered(asking.NOT_YET, f"{told} by {asking.whole(until)}")
    kind, noun = (PLAN, "plan") if args.what == "permits" else (ORDER, "order")
    later = search.first(Term(kind, args.id))
    if later is None:
        return asking.Unanswered(asking.NO_SUCH, f"no {noun} {args.id} is in the archive")
    at = f"{asking.when(later.entry.key)} ({later.entry.stream} {later.entry.id})"
    return asking.Unanswered(
        asking.NOT_YET,
        f"nothing was known of {noun} {args.id} by {asking.whole(until)}; first told of at {at}",
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text[:9]):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of records; write 20")
    return int(text[:9])


_ASK: dict[str, Any] = {
    "universe": _universe, "permits": _permits, "ledger": _ledger, "order": _order,
}  # fmt: skip
