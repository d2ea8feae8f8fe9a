"""Stateful programs in full, on each server version; see tests/stateful_machine.py.

python -m tests.stateful                   100 programs of 50 steps on each server
python -m tests.stateful --full --write    2,500 on each, and docs/simulation.md
"""

from __future__ import annotations

import argparse
import sys
import time

from hypothesis.stateful import run_state_machine_as_test

from quantum_ops import logs
from tests.arguments import at_least
from tests.bench import machine as place
from tests.servers import FLAVOURS, Server
from tests.simulation import page
from tests.stateful_machine import machine, settings

FULL = 2_500
STEPS = 50


def one(flavour: str, programs: int) -> dict[str, object]:
    """Run ``programs`` on one server; the shortest that fails is printed by hypothesis."""
    server = Server(flavour, "--appendonly", "yes", "--appendfsync", "no")
    made = machine(server)
    failed = 0
    try:
        told = server.connect().info("server")
        name = told.get("server_name", "redis")
        version = told.get(f"{name}_version") or told["redis_version"]
        run_state_machine_as_test(made, settings=settings(programs, STEPS))
    except AssertionError as error:
        failed = 1
        print(f"{flavour}: {error}", *getattr(error, "__notes__", ()), sep="\n")
    finally:
        server.close()
    return {
        "server": f"{name} {version}",
        "programs": made.programs,
        "steps": made.steps,
        "failed": failed,
    }


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; exit code 1 if a program failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.stateful",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--programs", type=at_least(1), default=100, help="on each server (100)")
    parser.add_argument("--full", action="store_true", help=f"{FULL} on each server")
    parser.add_argument("--write", action="store_true", help="write docs/simulation.md")
    asked = parser.parse_args(arguments)
    logs.configure("stateful", "error")
    began = time.monotonic()
    facts = place.facts()
    found = [one(flavour, FULL if asked.full else asked.programs) for flavour in FLAVOURS]
    for row in found:
        print(row)
    if asked.write:
        took_s = round(time.monotonic() - began)
        page.keep("stateful", servers=found, took_s=took_s, machine=facts)
    return int(any(row["failed"] for row in found))


if __name__ == "__main__":
    sys.exit(main())
