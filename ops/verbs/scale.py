"""Run as many processes of a consumer as are asked for, started and drained one by one."""

from __future__ import annotations

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Which program, and how many."""
    from ops import telling

    parser.add_argument("program", help="name of a consumer, as status shows it without its number")
    parser.add_argument("number", type=int, help="processes that shall run; remembered over a stop")
    parser.add_argument("--wait", type=float, default=30.0, metavar="SECONDS", help="per process")
    telling.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Exit code: 0 they run, 1 refused, 3 not running or not ready, 4 no such program."""
    import sys

    from ops import scaling, start, system
    from ops.daemon import AbsentError, HungError, RefusedByDaemonError
    from ops.telling import Teller

    tell = Teller(args.format)
    paths, current = system.find()
    try:
        with start.alone(paths):
            unready = scaling.scale(
                paths,
                current,
                args.program,
                args.number,
                wait_s=args.wait,
                told=tell.row,
            )
            sight = system.look(paths, current)
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 4
    except AbsentError:
        print("not running; ./run starts it", file=sys.stderr)
        return 3
    except (scaling.ScaleError, start.StartError, HungError, RefusedByDaemonError) as error:
        print(error, file=sys.stderr)
        return 1
    if unready is not None:
        print("stopped here; say the same again when its log is mended", file=sys.stderr)
        return 3
    mine = [verdict for verdict in sight.verdicts if verdict.process.program == args.program]
    up = sum(verdict.ready != "SPARE" for verdict in mine)
    tell.line(f"{args.program}: {up} of {len(mine)} declared run")
    return 0 if all(verdict.is_fine for verdict in mine) else 3
