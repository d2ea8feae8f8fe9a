"""Mutation testing: does a test notice when the core is changed?

python -m tests.mutation                        all modules; what survived is printed
python -m tests.mutation quantum_ops.pace       one of them
python -m tests.mutation --write                and docs/mutation.md
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.arguments import at_least
from tests.bench import machine
from tests.mutation import page
from tests.mutation.operators import Mutant
from tests.mutation.run import run
from tests.mutation.targets import TARGETS


def _target(text: str) -> str:
    if text not in TARGETS:
        raise argparse.ArgumentTypeError(f"{text!r} is no module that is mutated")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; exit code 1 if less than 90 % were noticed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("modules", nargs="*", type=_target, help=", ".join(TARGETS))
    parser.add_argument("--every", type=at_least(1), default=1, help="each N-th mutant (1: all)")
    parser.add_argument("--suites", nargs="+", help="tests that have to notice, instead of its own")
    parser.add_argument("--jobs", type=at_least(1), default=2, help="mutants at a time (2)")
    parser.add_argument("--again", action="store_true", help="only what survived the last time")
    parser.add_argument("--write", action="store_true", help="write docs/mutation.md")
    asked = parser.parse_args(arguments)
    modules = asked.modules or list(TARGETS)
    facts = machine.facts()
    found = []
    suites_of = {module: tuple(asked.suites or TARGETS[module]) for module in modules}
    for suites in dict.fromkeys(suites_of.values()):
        mine = [module for module in modules if suites_of[module] == suites]
        began = time.monotonic()
        lived = page.survivors(mine) if asked.again else None

        def chosen(number: int, mutant: Mutant, lived: set[str] | None = lived) -> bool:
            return number % asked.every == 0 if lived is None else mutant.key in lived

        loop = run(mine, suites, chosen, asked.jobs)
        if loop.broken:
            print(loop.broken, file=sys.stderr)
            return 2
        found += loop.found
        print(f"{len(mine)} modules, {time.monotonic() - began:.0f} s")
        if asked.write:
            page.keep(loop.found, facts, asked.every, again=asked.again)
    return page.summary(found)


if __name__ == "__main__":
    sys.exit(main())
