"""Runs the fault suite in full: ``python -m tests.reliability --write``.

Exit code 0 if every promise held, 1 if one was broken.
"""

from __future__ import annotations

import argparse
import signal
import sys

from quantum_ops import logs
from tests.arguments import above_zero
from tests.reliability import page, result, run
from tests.reliability.farm import Farm
from tests.reliability.rig import each
from tests.servers import FLAVOURS

SEED = 20261126


def main() -> int:
    """Run what was asked for, one scenario after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("--only", action="append", choices=run.NAMES, help="this scenario alone")
    parser.add_argument("--server", action="append", choices=FLAVOURS, help="on this server alone")
    parser.add_argument(
        "--scale", type=above_zero, default=1.0, help="share of the full number of faults"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of everything that comes by chance")
    parser.add_argument("--write", action="store_true", help="keep the results, write the page")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page anew")
    given = parser.parse_args()
    if given.page:
        page.write()
        return 0
    # The gate of a scenario that runs in this process has much to say about its clock.
    logs.configure("reliability", "error")
    # Told to stop, it ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    farm = Farm()
    broken, ran = False, False
    try:
        for name in given.only or run.NAMES:
            goal = max(1, round(run.module(name).GOAL * given.scale))
            for flavour in given.server or FLAVOURS:
                held = _one(name, flavour, goal, given, farm)
                broken, ran = broken or held is False, ran or held is not None
    finally:
        farm.close()
    # What could not be run at all has not held.
    return int(broken or not ran)


def _one(name: str, flavour: str, goal: int, given: argparse.Namespace, farm: Farm) -> bool | None:
    """Run one, tell of it, keep it if wanted; gives whether each promise held, None if not run."""
    print(f"{name} on {flavour}: {goal:,} faults", flush=True)
    try:
        found = run.one(name, flavour, goal, given.seed, farm)
    except run.CANNOT as error:
        print(f"  not run: {error}", flush=True)
        return None
    print(f"  {each(found.faults)}; {found.took_s:,.0f} s; {found.verdict} {found.figures}")
    for what in found.broken:
        print(f"  BROKEN {what}")
    sys.stdout.flush()
    if given.write:
        result.write(found)
        page.write()
    return not found.broken


if __name__ == "__main__":
    sys.exit(main())
