"""Run one producer by name, or list them: ``python -m producers NAME | --list``."""

from __future__ import annotations

import argparse
import importlib
import sys

PRODUCERS = {
    "positions": "writes the account's positions, if it is given credentials",
    "universe": "publishes the tradeable symbols from exchangeInfo",
    "universe_check": "asks the exchange a second time, if UNIVERSE_AUDIT_FETCH says so",
}


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 after a stop, 2 for wrong usage, 78 for wrong settings."""
    parser = argparse.ArgumentParser(prog="python -m producers", description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(PRODUCERS), help="producer to run")
    parser.add_argument("--list", action="store_true", help="list the producers")
    args = parser.parse_args(argv)
    if args.list:
        for name, doc in sorted(PRODUCERS.items()):
            print(f"{name:<18} {doc}")
        return 0
    if not args.name:
        parser.error("name a producer, or --list")
    code: int = importlib.import_module(f"producers.{args.name}").main()
    return code


if __name__ == "__main__":
    sys.exit(main())
