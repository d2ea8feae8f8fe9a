"""Run one consumer by name, or list them: ``python -m consumers NAME | --list``."""

from __future__ import annotations

import argparse
import sys

from quantum_ops import consumer, lifeline, program
from quantum_ops.errors import ConfigurationError


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 after a stop, 2 for wrong usage, 78 for a wrong name or setting."""
    parser = argparse.ArgumentParser(prog="python -m consumers", description=__doc__)
    parser.add_argument("name", nargs="?", help="consumer to run")
    parser.add_argument("--list", action="store_true", help="list the consumers and their streams")
    args = parser.parse_args(argv)
    if args.list:
        for name in consumer.names("consumers"):
            found = consumer.find("consumers", name)
            print(f"{name:<18} {', '.join(s.name for s in found.streams):<34} {found.doc}")
        return 0
    if not args.name:
        parser.error("name a consumer, or --list")
    try:
        found = consumer.find("consumers", args.name)
    except ConfigurationError as error:
        return lifeline.refuse(*error.lines)
    return program.run(found)


if __name__ == "__main__":
    sys.exit(main())
