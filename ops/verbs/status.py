"""Say what is up and whether it is doing its work; exit 3 if anything is not ready."""

from __future__ import annotations

import argparse

from ops import output, repeating

LETTERS = {"n": "name", "s": "state", "r": "ready", "p": "pid", "d": "detail"}


def configure(parser: argparse.ArgumentParser) -> None:
    """See ops.__main__."""
    repeating.add_watch(parser)
    output.add_format(parser, LETTERS)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 all ready, 3 not running or not ready, 1 supervisord does not answer."""
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
