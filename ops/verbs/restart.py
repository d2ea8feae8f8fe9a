"""Restart everything, or only the named programs; --rolling one by one, the server stays up."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Names of programs, processes, or the roles consumers and producers."""
    from ops import telling

    parser.add_argument("name", nargs="*", help="program, process, or: consumers, producers")
    parser.add_argument(
        "--rolling",
        action="store_true",
        help="one process after the other, each ready by its heartbeat before the next; always so "
        "with names, and without any of all producers and consumers",
    )
    parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS", help="per process")
    telling.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 ready again, 1 not started, 3 not ready, 4 no such program."""
    import sys

    from ops import running, single
    from ops.paths import Paths
    from ops.telling import Teller

    tell = Teller(args.format)
    names = args.name or (["producers", "consumers"] if args.rolling else [])
    if names:
        return single.guarded(lambda: single.restart_named(names, args.wait, tell), tell)
    current = running.read(Paths.find().current_env)
    if current is not None and current.profile != "live":
        print("the demo is running; ./run stop, then ./run demo", file=sys.stderr)
        return 1
    return single.guarded(lambda: _all(args), tell)


def _all(args: argparse.Namespace) -> int:
    from ops import start
    from ops.verbs import start as start_verb
    from ops.verbs import stop as stop_verb

    # Before anything is stopped: settings that cannot be used must not cost a running system.
    start.check("live")
    code = stop_verb.run(args)
    if code:
        return code
    return start_verb.run(
        argparse.Namespace(name=[], foreground=False, profile="live", wait=args.wait)
    )
