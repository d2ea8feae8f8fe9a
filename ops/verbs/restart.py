"""Restart everything, or only the named programs, one process after the other."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Names of programs, processes, or the roles consumers and producers."""
    parser.add_argument("name", nargs="*", help="program, process, or: consumers, producers")
    parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS", help="per process")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 ready again, 1 not started, 3 not ready, 4 no such program."""
    import sys

    from ops import running
    from ops.daemon import AbsentError, HungError, RefusedByDaemonError
    from ops.paths import Paths

    paths = Paths.find()
    current = running.read(paths.current_env)
    if current is not None and current.profile != "live" and not args.name:
        print("the demo is running; ./run stop, then ./run demo", file=sys.stderr)
        return 1
    try:
        return _some(args) if args.name else _all(args)
    except AbsentError:
        print("not running; ./run starts it", file=sys.stderr)
        return 3
    except (HungError, RefusedByDaemonError) as error:
        print(error, file=sys.stderr)
        return 1


def _all(args: argparse.Namespace) -> int:
    from ops import start
    from ops.verbs import start as start_verb
    from ops.verbs import stop as stop_verb

    # Before anything is stopped: settings that cannot be used must not cost a running system.
    start.check("live")
    code = stop_verb.run(args)
    if code:
        return code
    return start_verb.run(argparse.Namespace(foreground=False, profile="live", wait=args.wait))


def _some(args: argparse.Namespace) -> int:
    import sys

    from ops import system
    from ops.rolling import chosen, restart_one

    paths, current = system.find()
    try:
        processes = chosen(system.daemon(paths).processes(), args.name)
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 4
    for process in processes:
        verdict = restart_one(paths, current, process, args.wait)
        print(f"{process.name}: {verdict.ready} {verdict.detail}".rstrip(), flush=True)
        if not verdict.is_fine:
            # The next one is still doing its work; a broken release must not take them all.
            print("stopped here; the others were left as they are", file=sys.stderr)
            return 3
    return 0
