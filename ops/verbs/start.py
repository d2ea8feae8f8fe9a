"""Start the whole system and wait until it works (what ./run alone does), or the named programs."""

from __future__ import annotations

import argparse

WAIT_S = 60.0
"""Sixteen programs start in 3 s on an idle machine, and in 30 s on one that has other work."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Foreground, profile and patience; names of programs."""
    from ops import telling

    parser.add_argument("name", nargs="*", help="program, process, or: consumers, producers")
    parser.add_argument(
        "-f", "--foreground", action="store_true", help="stay, show all logs; ^C drains and stops"
    )
    parser.add_argument("--profile", choices=("live", "demo"), default="live", help="default: live")
    parser.add_argument(
        "--wait",
        type=seconds,
        default=WAIT_S,
        metavar="SECONDS",
        help=f"for readiness (default {WAIT_S:.0f})",
    )
    telling.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 ready or running already, 1 not started, 3 not ready yet, 78 settings.

    With names also 2 for what only the whole system takes, 3 not running, 4 no such program.
    """
    import sys

    from ops import reader
    from ops.daemon import HungError, RefusedByDaemonError
    from ops.start import StartError
    from quantum_ops.errors import RefusedError

    if getattr(args, "name", None):
        return _named(args)
    try:
        return _start(args)
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 78
    except (StartError, HungError, RefusedByDaemonError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        reader.raise_if_left(error)
        # Disk full, read-only home: no traceback helps with these.
        print(f"cannot start: {error}", file=sys.stderr)
        return 1


def _named(args: argparse.Namespace) -> int:
    import sys

    from ops import single
    from ops.telling import Teller

    if args.foreground or args.profile != "live":
        print("-f and --profile are for the whole system; leave out the names", file=sys.stderr)
        return 2
    tell = Teller(args.format)
    return single.guarded(lambda: single.start_named(args.name, args.wait, tell), tell)


def _start(args: argparse.Namespace) -> int:
    import sys
    import time

    from ops import banner, foreground, scaling, start, status_view, system
    from ops.log_tail import Follower
    from ops.warden import holds

    def note(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    began = time.monotonic()
    paths, wanted = start.check(args.profile)
    with foreground.Asked().listening() as asked:
        with start.alone(paths):
            current = start.already(paths, wanted)
            if current is not None:
                scaling.start_wanted(paths)
                sight = system.look(paths, current)
                print(
                    banner.already(sight, wanted) if _is_text(args) else status_view.as_json(sight)
                )
                for line in start.complaint(sight):
                    note(line)
                return 0
            follower = Follower(paths.log)
            holds.started(paths)
            child = start.spawn(paths, wanted, foreground=args.foreground, note=note)
            scaling.start_wanted(paths)
            sight = start.wait_ready(paths, wanted, args.wait, lambda: asked.to_stop)
        if sight.is_ready:
            if _is_text(args):
                print(banner.started(sight, time.monotonic() - began), flush=True)
        else:
            for line in start.complaint(sight):
                note(line)
            note(banner.unready(sight))
        if not _is_text(args):
            print(status_view.as_json(sight), flush=True)
        if args.foreground:
            return foreground.stay(paths, child, asked, follower, note)
    return 0 if sight.is_ready else 3


def _is_text(args: argparse.Namespace) -> bool:
    form = getattr(args, "format", None)
    return form is None or form.is_text


def seconds(text: str) -> float:
    """A patience of 0 to 3600 seconds, for argparse; :class:`ValueError` otherwise."""
    value = float(text)
    if not 0 <= value <= 3600:  # noqa: PLR2004 - an hour
        raise ValueError
    return value
