"""Stop the whole system, drained, the server last; or the named programs until they are started."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Names of programs. A stop is always graceful, bounded by each program's stopwaitsecs."""
    from ops import telling

    parser.epilog = "Stopping what does not run is fine: exit 0."
    parser.add_argument("name", nargs="*", help="program, process, or: consumers, producers")
    telling.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code 0 when nothing runs any more, 1 when supervisord does not answer.

    With names also 3 not running, 4 no such program.
    """
    import sys
    from dataclasses import replace

    from ops import reader, running, start
    from ops.daemon import HungError, RefusedByDaemonError
    from ops.paths import Paths
    from ops.start import StartError
    from ops.stop import stop

    if getattr(args, "name", None):
        return _named(args)
    paths = Paths.find()
    current = running.read(paths.current_env)
    if current is not None:
        paths = replace(paths, profile=current.profile)
    try:
        with start.alone(paths):
            done = stop(paths, lambda text: print(text, file=sys.stderr, flush=True))
    except (StartError, HungError, RefusedByDaemonError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        reader.raise_if_left(error)
        print(error, file=sys.stderr)
        return 1
    form = getattr(args, "format", None)
    print(done if form is None or form.is_text else form.line({"name": "system", "did": done}))
    return 1 if done.startswith("still there") else 0


def _named(args: argparse.Namespace) -> int:
    from ops import single
    from ops.telling import Teller

    tell = Teller(args.format)
    return single.guarded(lambda: single.stop_named(args.name, tell), tell)
