"""Say what is up and whether it is doing its work; exit 3 if anything is not ready."""

from __future__ import annotations

import argparse

from ops import output, repeating

LETTERS = {"n": "name", "s": "state", "r": "ready", "p": "pid", "d": "detail"}


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    parser.add_argument(
        "--all-hosts", action="store_true",
        help="of every host on this server, by what its processes say in Redis",
    )  # fmt: skip
    repeating.add_watch(parser)
    output.add_format(parser, LETTERS)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 all ready, 3 not running or not ready, 1 supervisord does not answer.

    With ``--all-hosts``, 1 says that Redis does not.
    """
    return _all_hosts(args) if args.all_hosts else _this_one(args)


def _this_one(args: argparse.Namespace) -> int:
    import sys

    from ops import status_view, system
    from ops.daemon import HungError, RefusedByDaemonError

    paint = output.painter(args.color, sys.stdout)

    def look() -> tuple[list[str], int]:
        sight = system.look(*system.find())
        code = 0 if sight.is_ready else output.OVER
        if args.format.is_text:
            return status_view.as_lines(sight, paint), code
        if args.format.kind == "json":
            return [status_view.as_json(sight)], code
        return [
            args.format.line(one, list(one.values())[:6]) for one in status_view.rows(sight)
        ], code

    try:
        return repeating.shown(look, args.watch)
    except (HungError, RefusedByDaemonError) as error:
        print(error, file=sys.stderr)
        return 1


def _all_hosts(args: argparse.Namespace) -> int:
    import sys

    from ops import hosts, target
    from ops.paths import ROOT
    from quantum_ops import client

    paint = output.painter(args.color, sys.stdout)
    db, names = target.open_db(), hosts.programs(ROOT)

    def look() -> tuple[list[str], int]:
        found = hosts.look(db, names)
        code = 0 if hosts.is_ready(found) else output.OVER
        if args.format.is_text:
            return hosts.as_lines(found, paint), code
        if args.format.kind == "json":
            return [hosts.as_json(found)], code
        return [args.format.line(one, list(one.values())) for one in hosts.rows(found)], code

    try:
        return repeating.shown(look, args.watch)
    except (*client.TRANSPORT_ERRORS, *client.SERVER_ERRORS) as error:
        print(f"Redis does not answer: {error}", file=sys.stderr)
        return 1
