"""Say what is up and whether it is doing its work; exit 3 if anything is not ready."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Table or JSON."""
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 all ready, 3 not running or not ready, 1 supervisord does not answer."""
    import sys

    from ops import status_view, system
    from ops.daemon import HungError, RefusedByDaemonError

    try:
        sight = system.look(*system.find())
    except (HungError, RefusedByDaemonError) as error:
        print(error, file=sys.stderr)
        return 1
    print(status_view.as_json(sight) if args.json else status_view.as_text(sight))
    return 0 if sight.is_ready else 3
