"""Stop the whole system: producers and consumers drain, the server ends last."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """No options: stopping is always graceful, and bounded by each program's stopwaitsecs."""
    parser.epilog = "Stopping what does not run is fine: exit 0."


def run(_args: argparse.Namespace) -> int:
    """Exit code 0 when nothing runs any more, 1 when supervisord does not answer."""
    import sys
    from dataclasses import replace

    from ops import running, start
    from ops.daemon import HungError, RefusedByDaemonError
    from ops.paths import Paths
    from ops.start import StartError
    from ops.stop import stop

    paths = Paths.find()
    current = running.read(paths.current_env)
    if current is not None:
        paths = replace(paths, profile=current.profile)
    try:
        with start.alone(paths):
            done = stop(paths, lambda text: print(text, file=sys.stderr, flush=True))
    except (StartError, HungError, RefusedByDaemonError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(done)
    return 1 if done.startswith("still there") else 0
