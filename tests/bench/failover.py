"""The only place that measures failovers: rounds of each kind, what was lost, how long it took.

A part of ``python -m tests.bench.scaling``, which has the options. The rounds mostly wait, so that
some cases are played side by side, each on servers of its own.
"""

from __future__ import annotations

import multiprocessing
import signal
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tests import net_hosts
from tests.failover_rounds import Outcome, play
from tests.sentinel_rig import Rig

DOWN_AFTER_MS = 2000
"""As ops/redis/sentinel.conf has it."""
FEW = 4
"""A control, and what is there to compare versions, is played once for so many rounds of others."""
PROMISED_S = 10
WORDS = {
    "kill": "kill -9 of the master",
    "host": "kill -9 of the master and of the sentinel that programs ask first",
    "stop": "SIGSTOP of the master, later SIGCONT",
    "partition": "the master cut off, a client on its side",
    "planned": "planned, `ops/redis/failover.sh`",
    "bare": "planned, `SENTINEL FAILOVER` alone, a client that stays",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of fault under one guard. ``control``: what is no guard, and may lose."""

    kind: str
    wait: int = 0
    min_replicas: int = 0
    control: bool = False
    flavour: str = "valkey"

    @property
    def guard(self) -> str:
        """What keeps writes from being lost."""
        named = [f"WAIT {self.wait}"] * bool(self.wait)
        named += [f"min-replicas {self.min_replicas}"] * bool(self.min_replicas)
        return ", ".join(named) or "none"

    @property
    def waits_for_host(self) -> bool:
        """Whether nothing can be acknowledged until the old master's host is back."""
        return max(self.wait, self.min_replicas) > 1 and self.kind in ("kill", "stop", "partition")

    def rounds(self, of_each: int) -> int:
        """How often it is played."""
        return max(1, of_each // FEW) if self.control or self.flavour != "valkey" else of_each


CASES = (
    Case("kill", 1, 1),
    Case("stop", 1, 1),
    Case("partition", 1, 1),
    Case("planned", 1, 1),
    Case("planned", 0, 1),
    Case("planned", 2, 2),
    Case("kill", control=True),
    Case("partition", control=True),
    Case("partition", 0, 1, control=True),
    Case("bare", control=True),
    Case("bare", 1, 1, control=True),
    Case("bare", 2, control=True),
    Case("kill", 0, 2),
    Case("stop", 0, 2),
    Case("kill", 2),
    Case("stop", 2),
    Case("partition", 2),
    Case("partition", 0, 2, control=True),
    *(Case(kind, 1, 1, flavour="redis7") for kind in ("kill", "stop", "partition", "planned")),
    Case("planned", 0, 1, flavour="redis7"),
    Case("kill", 2, 2, flavour="redis7"),
    Case("partition", 2, 2, flavour="redis7"),
)
HOST_CASES = (Case("host", 1, 1), Case("host", 1, 1, flavour="redis7"))


@dataclass(frozen=True, slots=True)
class Played:
    """A case, the server's name and version, and what came of its rounds.

    ``broken`` says of each round that came to no end what it waited for in vain.
    """

    case: Case
    version: str
    found: list[Outcome]
    broken: list[str]


def measure(cases: Sequence[Case], rounds: int, side_by_side: int) -> str:
    """Play ``cases``, and give what came of it as the text of a page."""
    # Longest first, so that no long one is left for the end; the page has them in their order.
    order = sorted(cases, key=lambda case: (not case.waits_for_host, -case.rounds(rounds)))
    with multiprocessing.get_context("spawn").Pool(side_by_side, _until_told) as pool:
        done = list(pool.imap(_played, [(case, case.rounds(rounds)) for case in order], 1))
    done.sort(key=lambda one: cases.index(one.case))
    return _text(done, side_by_side)


def measure_cuts(rounds: int) -> str:
    """Pull a host's cable so often, and give what came of it as the text of a page."""
    reason = net_hosts.refusal()
    if reason:
        raise SystemExit(f"no network namespaces here: {reason}")
    found = []
    for _ in range(rounds):
        found.append(net_hosts.played())
        print(found[-1], file=sys.stderr, flush=True)
    acked, lost = (sum(int(one[name]) for one in found) for name in ("acked", "lost"))
    bound = f" (95 % bound: {300 / rounds:.1f} % of cuts)" if not lost else ""
    return (
        "valkey, three hosts, each with a server and a sentinel in a network namespace of its own; "
        "down-after as ops/redis/sentinel.conf has it; a publisher outside, WAIT 1.\n\n"
        f"The master's cable was pulled {rounds} times: {acked:,} "
        f"acknowledged, {lost} lost{bound}. From the cut to the next acknowledgement: "
        f"{_gaps([one['gap_s'] for one in found])} s (p50 / max)."
    )


def _until_told() -> None:
    # The pool ends its processes by SIGTERM; whatever servers they have must end with them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _played(work: tuple[Case, int]) -> Played:
    case, rounds = work
    rig = Rig(case.flavour, down_after_ms=DOWN_AFTER_MS)
    try:
        done = Played(case, _version(rig), [], [])
        for _ in range(rounds):
            try:
                made = play(rig, case.kind, wait=case.wait, min_replicas=case.min_replicas)
            except AssertionError as error:
                done.broken.append(str(error).rstrip().rpartition("\n")[2])
                print(case, "BROKEN", error, file=sys.stderr, flush=True)
                rig.close()
                rig = Rig(case.flavour, down_after_ms=DOWN_AFTER_MS)
            else:
                done.found.append(made)
                print(case.flavour, case.guard, made, file=sys.stderr, flush=True)
    finally:
        rig.close()
    return done


def _text(done: Sequence[Played], side_by_side: int) -> str:
    versions = list(dict.fromkeys(one.version for one in done))
    head = (
        f"{' and '.join(versions)}, three sentinels (down-after {DOWN_AFTER_MS} ms), two "
        f"replicas, all on one machine's loopback, {side_by_side} such sets at once. Gaps in "
        "seconds: the longest time without an acknowledgement, without an effect."
    )
    lines = [head]
    for version in versions:
        lines += ["", f"**{version}**", "", *_rows(_of(done, version, waits=False), waits=False)]
    lines += ["", _verdict([one for one in done if not one.case.control])]
    for version in versions:
        if not _of(done, version, waits=True):
            continue
        told = (
            f"**{version}, all replicas wanted:** nothing is acknowledged until the old master's "
            "host, away for a second longer than the failover takes, is back"
        )
        lines += ["", told, "", *_rows(_of(done, version, waits=True), waits=True)]
    return "\n".join(lines)


def _of(done: Sequence[Played], version: str, *, waits: bool) -> list[Played]:
    return [one for one in done if one.version == version and one.case.waits_for_host == waits]


def _rows(done: Sequence[Played], *, waits: bool) -> list[str]:
    last = "from its return to the next acknowledgement" if waits else "consumers: p50 / max gap"
    heads = ["fault", "guard", "rounds", "acknowledged", "lost", "doubled"]
    heads += ["publishers: p50 / max gap", last]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for each in done:
        case, found = each.case, each.found
        lost = sum(one.lost for one in found)
        lines.append(
            f"| {WORDS[case.kind]} | {case.guard} | {len(found)} | "
            f"{sum(one.acked for one in found):,} | {f'**{lost:,}**' if lost else '0'} | "
            f"{sum(one.doubled for one in found)} | {_gaps([one.gap_s for one in found])} | "
            f"{_gaps([one.back_s if waits else one.consumer_gap_s for one in found])} |"
        )
    return lines


def _verdict(guarded: Sequence[Played]) -> str:
    found = [one for each in guarded for one in each.found]
    broken = [f"{each.case.kind}: {told}" for each in guarded for told in each.broken]
    lost = sum(one.lost for one in found)
    gaps = [
        max(one.gap_s, one.consumer_gap_s)
        for each in guarded
        for one in each.found
        if not each.case.waits_for_host
    ]
    return (
        f"With a guard, in all tables here: {lost} lost in {len(found)} failovers"
        + (f" (95 % bound: {300 / len(found):.1f} % of failovers)" if not lost else "")
        + f", {sum(one.doubled for one in found)} effects doubled, "
        f"{sum(one.undone for one in found)} never made. The longest gap of these {len(gaps)} was "
        f"{max(gaps):.1f} s ({'within' if max(gaps) <= PROMISED_S else 'ABOVE'} the {PROMISED_S} s "
        "that are promised). "
        + (
            f"**{len(broken)} rounds came to no end:** {'; '.join(broken)}."
            if broken
            else "Nobody had to be started again."
        )
    )


def _gaps(gaps: list[float]) -> str:
    return f"{statistics.median(gaps):.1f} / {max(gaps):.1f}" if gaps else "-"


def _version(rig: Rig) -> str:
    info = rig.said(rig.master(), "INFO", "server").decode()
    said = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return f"{said.get('server_name', 'redis')} {said.get('valkey_version', said['redis_version'])}"
