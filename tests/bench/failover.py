"""The only place that measures failovers: rounds of each kind, what was lost, how long it took.

A part of ``python -m tests.bench.scaling``, which has the options.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass

from tests.failover_rounds import Outcome, play
from tests.sentinel_rig import Rig

DOWN_AFTER_MS = 2000
"""As ops/redis/sentinel.conf has it."""
CONTROL = 4
"""A control is played once for so many rounds of the others."""
WORDS = {
    "kill": "kill -9 of the master",
    "stop": "SIGSTOP of the master, later SIGCONT",
    "partition": "the master cut off, a client on its side",
    "planned": "planned, `ops/redis/failover.sh`",
    "bare": "planned, `SENTINEL FAILOVER` alone, a client that stays",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of fault under one guard."""

    kind: str
    wait: int = 0
    min_replicas: int = 0
    control: bool = False

    @property
    def guard(self) -> str:
        """What keeps writes from being lost."""
        named = [f"WAIT {self.wait}"] * bool(self.wait)
        named += [f"min-replicas {self.min_replicas}"] * bool(self.min_replicas)
        return ", ".join(named) or "none"


CASES = (
    Case("kill", 1, 1),
    Case("stop", 1, 1),
    Case("partition", 1, 1),
    Case("planned", 1, 1),
    Case("planned", 0, 1),
    Case("kill", control=True),
    Case("partition", control=True),
    Case("partition", 0, 1, control=True),
    Case("bare", control=True),
    Case("bare", 1, 1, control=True),
    Case("bare", 2, control=True),
)


def measure(flavour: str, rounds: int) -> str:
    """Play all, and give what came of it as the text of a page."""
    done: list[tuple[Case, list[Outcome]]] = []
    rig = Rig(flavour, down_after_ms=DOWN_AFTER_MS)
    try:
        version = _version(rig)
        for case in CASES:
            found: list[Outcome] = []
            for _ in range(max(1, rounds // CONTROL) if case.control else rounds):
                found.append(play(rig, case.kind, wait=case.wait, min_replicas=case.min_replicas))
                print(case.guard, found[-1], file=sys.stderr, flush=True)
            done.append((case, found))
    finally:
        rig.close()
    return _text(version, done)


def _text(version: str, done: list[tuple[Case, list[Outcome]]]) -> str:
    head = (
        f"{version}, three sentinels (down-after {DOWN_AFTER_MS} ms), two replicas, all on one "
        "machine's loopback. Gaps in seconds: the longest time without an acknowledgement, without "
        "an effect.\n"
    )
    lines = [
        (
            "| fault | guard | rounds | acknowledged | lost | doubled | "
            "publishers: p50 / max gap | consumers: p50 / max gap |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, found in done:
        total = {name: sum(getattr(one, name) for one in found) for name in ("acked", "lost")}
        doubled = sum(one.doubled for one in found)
        lost = f"**{total['lost']:,}**" if total["lost"] else "0"
        lines.append(
            f"| {WORDS[case.kind]} | {case.guard} | {len(found)} | {total['acked']:,} | {lost} | "
            f"{doubled} | {_gaps([one.gap_s for one in found])} | "
            f"{_gaps([one.consumer_gap_s for one in found])} |"
        )
    guarded = [one for case, found in done if not case.control for one in found]
    lost = sum(one.lost for one in guarded)
    gaps = [max(one.gap_s, one.consumer_gap_s) for one in guarded]
    undone = sum(one.undone for one in guarded)
    lines += [
        "",
        f"With a guard: {lost} lost in {len(guarded)} failovers"
        + (f" (95 % bound: {300 / len(guarded):.1f} % of failovers)" if not lost else "")
        + f", {sum(one.doubled for one in guarded)} effects doubled, {undone} never made; the "
        f"longest gap of all was {max(gaps):.1f} s ({'within' if max(gaps) <= 10 else 'ABOVE'} the "
        "10 s that are promised). Nobody had to be started again.",
    ]
    return head + "\n" + "\n".join(lines)


def _gaps(gaps: list[float]) -> str:
    return f"{statistics.median(gaps):.1f} / {max(gaps):.1f}"


def _version(rig: Rig) -> str:
    info = rig.said(rig.master(), "INFO", "server").decode()
    said = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return f"{said.get('server_name', 'redis')} {said.get('valkey_version', said['redis_version'])}"
