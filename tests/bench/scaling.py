"""The figures of docs/scaling.md: ``python -m tests.bench.scaling [--only PART] [--write]``.

Each part stands between marks of its own in that page, and can be measured alone. Everything else
in the page is words.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Callable

from tests.arguments import at_least
from tests.bench import failover, growth, machine

PAGE = machine.ROOT / "docs" / "scaling.md"


def main(argv: list[str]) -> int:
    """Measure, and print or write what came of it; 0 if that is done."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scaling", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write it into docs/scaling.md")
    parser.add_argument("--only", choices=list(PARTS), help="this part alone")
    parser.add_argument("--sets", type=at_least(1), default=3, help="sets at once (failovers)")
    parser.add_argument("--rounds", type=at_least(1), default=20, help="failovers of each kind")
    parser.add_argument("--entries", type=at_least(1000), default=10_000_000, help="most in it")
    parser.add_argument("--groups", type=at_least(1), default=100, help="most groups on it")
    args = parser.parse_args(argv)
    # Told to stop, whatever a part holds open is closed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in [args.only] if args.only else list(PARTS):
        facts = machine.facts()
        head = "; ".join(
            f"{label.lower()} {facts[label]}" for label in ("Date", "Commit", "Machine")
        )
        text = f"Measured: {head}; load before {facts['System'].rpartition(' ')[2]}.\n\n"
        text += PARTS[name](args)
        if args.write:
            put(name, text)
        else:
            print(text)
    return 0


def put(name: str, text: str) -> None:
    """Write ``text`` between the marks of the part ``name``."""
    marks = re.compile(rf"(<!-- {name}: measured -->).*?(\n<!-- end -->)", re.DOTALL)
    page = PAGE.read_text(encoding="utf-8")
    written, count = marks.subn(lambda found: f"{found[1]}\n{text.rstrip()}{found[2]}", page)
    if count != 1:
        raise SystemExit(f"{PAGE}: has {count} places for {name}, not one")
    PAGE.write_text(written, encoding="utf-8")


PARTS: dict[str, Callable[[argparse.Namespace], str]] = {
    "failover": lambda args: failover.measure(failover.CASES, args.rounds, args.sets),
    "host": lambda args: failover.measure(failover.HOST_CASES, args.rounds, args.sets),
    "cable": lambda args: failover.measure_cuts(args.rounds),
    "growth": lambda args: growth.measure(args.entries, args.groups),
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
