"""Worlds by their seeds: the product's runner under simulated faults, in virtual time.

python -m tests.simulation                    1,000 seeds
python -m tests.simulation --full --write     100,000 seeds, the bad protocols, docs/simulation.md
python -m tests.simulation --seed 4711        one world, told step by step
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from quantum_ops.redis_inbox import RedisInbox
from tests.arguments import above_zero, at_least
from tests.bench import machine
from tests.simulation import page
from tests.simulation.protocols import BAD
from tests.simulation.world import simulate

FULL = 100_000
FULL_BAD = 200
CHUNK = 250
SHOWN = 20


@dataclass
class Tally:
    """What many seeds came to. ``failed`` lists (seed, what was wrong)."""

    seeds: int = 0
    events: int = 0
    effects: int = 0
    letters: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[int, list[str]]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count ``other`` in."""
        self.seeds += other.seeds
        self.events += other.events
        self.effects += other.effects
        self.letters += other.letters
        self.counts.update(other.counts)
        self.failed += other.failed


def run(seeds: Iterable[int], protocol: str = "") -> Tally:
    """Simulate each of ``seeds``; ``protocol`` names one of the bad ones."""
    inbox = BAD[protocol] if protocol else RedisInbox
    tally = Tally()
    for seed in seeds:
        outcome = simulate(seed, inbox)
        tally.seeds += 1
        tally.events += outcome.events
        tally.effects += outcome.verdict.effects
        tally.letters += outcome.verdict.letters
        tally.counts.update(outcome.counts)
        if outcome.verdict.wrong:
            tally.failed.append((seed, outcome.verdict.wrong))
    return tally


def show(seed: int, protocol: str) -> int:
    """Tell one world step by step; exit code 1 if it went wrong."""
    outcome = simulate(seed, BAD[protocol] if protocol else RedisInbox, traced=True)
    print(*outcome.trace, sep="\n")
    print(f"seed {seed}: {outcome.counts}")
    for one in outcome.verdict.wrong:
        print(f"WRONG {one}")
    print("" if outcome.verdict.wrong else "right: each event had exactly one ending")
    return bool(outcome.verdict.wrong)


def _chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


def _many(first: int, count: int, protocol: str, jobs: int, until_s: float) -> Tally:
    """Simulate ``count`` seeds, or as many as there is time for."""
    total = Tally()
    with ProcessPoolExecutor(jobs) as pool:
        for tally in pool.map(run, _chunks(first, count), (protocol for _ in range(count))):
            total.add(tally)
            for seed, wrong in tally.failed if not protocol else ():
                print(f"seed {seed}: {wrong[0]}\n  python -m tests.simulation --seed {seed}")
            if not protocol and total.seeds % 5_000 == 0:
                print(f"{total.seeds} seeds, {len(total.failed)} failed", file=sys.stderr)
            if time.monotonic() >= until_s:
                pool.shutdown(cancel_futures=True)
                break
    return total


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; exit code 1 if a seed failed, or a bad protocol was not caught."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="tell this one step by step")
    parser.add_argument("--seeds", type=at_least(1), default=1_000, help="how many (1000)")
    parser.add_argument("--first", type=at_least(0), default=0, help="the first of them (0)")
    parser.add_argument("--protocol", choices=tuple(BAD), default="", help="a bad one instead")
    parser.add_argument("--jobs", type=at_least(1), default=1, help="processes (1)")
    parser.add_argument("--minutes", type=above_zero, default=1e6, help="stop after so many")
    parser.add_argument("--full", action="store_true", help=f"{FULL} seeds, and the bad protocols")
    parser.add_argument("--write", action="store_true", help="write docs/simulation.md")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        return show(asked.seed, asked.protocol)
    began = time.monotonic()
    facts = machine.facts()
    count = FULL if asked.full else asked.seeds
    until_s = began + 60 * asked.minutes
    total = _many(asked.first, count, asked.protocol, asked.jobs, until_s)
    caught = {
        name: len(_many(asked.first, FULL_BAD, name, asked.jobs, float("inf")).failed)
        for name in (BAD if asked.full else ())
    }
    took_s = time.monotonic() - began
    print(
        f"{total.seeds} seeds, {total.events} events, {total.effects} effects, {total.letters} "
        f"dead letters, {took_s:.0f} s; {len(total.failed)} failed; {dict(total.counts)}"
    )
    for name, count in caught.items():
        print(f"{name}: wrong in {count} of {FULL_BAD} seeds")
    if asked.write:
        page.keep(
            "simulation", first=asked.first, seeds=total.seeds, events=total.events,
            effects=total.effects, letters=total.letters, counts=dict(total.counts),
            failed=total.failed[:SHOWN], failures=len(total.failed), caught=caught,
            of=FULL_BAD, took_s=round(took_s), jobs=asked.jobs, machine=facts,
        )  # fmt: skip
    good = not total.failed and all(caught.values())
    return 0 if good or asked.protocol else 1


if __name__ == "__main__":
    sys.exit(main())
