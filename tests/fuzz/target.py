"""The only place of what a fuzzed parser promises, and of the loop that tries to break it."""

from __future__ import annotations

import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.mutate import Mutator

TICK_S = 2.0
"""An input that is still at work after one to two of these hangs."""
MOST_GROWTH_KIB = 96 * 1024
"""Memory, at its peak or held, may grow by so much; the longest input has 300 kB."""
WARM = 0.05


@dataclass(frozen=True)
class Target:
    """A parser at the edge. ``run`` gives whether it took the input, and asserts what then holds.

    ``refuses`` are the errors that its docstring names; any other one is a crash.
    """

    name: str
    what: str
    run: Callable[[bytes], bool]
    refuses: tuple[type[BaseException], ...]
    corpus: tuple[bytes, ...]
    tokens: tuple[bytes, ...] = ()


@dataclass
class Crash:
    """An input that brought out what the parser does not promise."""

    target: str
    input: bytes
    told: str


@dataclass
class Tally:
    """What came of one run against a target."""

    target: str
    inputs: int = 0
    taken: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest_ms: float = 0.0
    growth_kib: int = 0
    crashes: list[Crash] = field(default_factory=list)

    def line(self) -> str:
        """For a person."""
        rate = self.inputs / self.seconds if self.seconds else 0
        return (
            f"{self.target:<20} {self.inputs:>8} inputs  {rate:>8.0f}/s  taken {self.taken:>7}  "
            f"refused {self.refused:>7}  slowest {self.slowest_ms:>6.1f} ms  "
            f"memory +{self.growth_kib // 1024} MiB  crashes {len(self.crashes)}"
        )


class HangError(BaseException):
    """An input took too long. No Exception: a parser that catches these must not hide it."""


def honest(target: Target) -> None:
    """Raise AssertionError unless the corpus is judged without a crash, and some of it is taken.

    A corpus that is refused as a whole would only ever try the first lines of a parser.
    """
    taken = 0
    for one in target.corpus:
        try:
            taken += bool(target.run(one))
        except target.refuses:
            continue
    assert taken, f"{target.name}: no honest input is taken"


def attack(
    target: Target, inputs: int, seed: str, *, most_crashes: int = 5, tick_s: float = TICK_S
) -> Tally:
    """Run ``inputs`` mutated inputs; stops after ``most_crashes``. Uses SIGALRM meanwhile."""
    tally = Tally(target.name)
    mutator = Mutator(target.corpus, target.tokens, f"{target.name}/{seed}")
    seen = -1

    def look(*_: object) -> None:
        nonlocal seen
        if seen == tally.inputs:
            raise HangError
        seen = tally.inputs

    before = signal.signal(signal.SIGALRM, look)
    left = signal.setitimer(signal.ITIMER_REAL, tick_s, tick_s)
    began = time.perf_counter()
    warm, held = 0, 0
    try:
        while tally.inputs < inputs and len(tally.crashes) < most_crashes:
            given = mutator.make()
            _one(target, given, tally)
            if not warm and tally.inputs >= inputs * WARM:
                warm, held = _peak_kib(), _held_kib()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *left)  # whoever had an alarm set has it again
    tally.seconds = time.perf_counter() - began
    # What is held as well: an earlier and higher peak of this process would hide what grows now.
    tally.growth_kib = max(_peak_kib() - warm, _held_kib() - held) if warm else 0
    if tally.growth_kib > MOST_GROWTH_KIB:
        told = f"memory grew by {tally.growth_kib} KiB; at most {MOST_GROWTH_KIB}"
        tally.crashes.append(Crash(target.name, b"", told))
    return tally


def _one(target: Target, given: bytes, tally: Tally) -> None:
    began = time.perf_counter()
    tally.inputs += 1
    try:
        if target.run(given):
            tally.taken += 1
        else:
            tally.refused += 1
    except target.refuses:
        tally.refused += 1
    except HangError:
        told = "it hangs"
        tally.crashes.append(Crash(target.name, given, told))
    except Exception:  # noqa: BLE001 - whatever comes out here is what is looked for
        told = traceback.format_exc(limit=-6)
        tally.crashes.append(Crash(target.name, given, told))
    tally.slowest_ms = max(tally.slowest_ms, (time.perf_counter() - began) * 1000)


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _held_kib() -> int:
    """Memory that is held now; 0 where no /proc tells it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize() // 1024
