"""The only place that finds out where a case spends its time.

A timer interrupts the process every ``EVERY_S`` of wall time and the innermost Python frame is
counted. Wall time, because a loop that waits for the server spends time too. The interpreter runs
the handler right after the C call that was interrupted, still in the calling frame, so time inside
hiredis or msgspec counts for the function that called it.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

EVERY_S = 0.0005

STAGES = (
    ("hiredis.py:read_from_socket", "wait for the server, receive"),
    ("hiredis.py:read_response", "parse the reply (hiredis)"),
    ("helpers.py", "shape the reply (redis-py)"),
    ("connection.py", "pack and send"),
    ("codec.py", "decode and check types"),
    ("<string>:build", "decode and check types"),
    ("effects.py", "declare effects"),
    ("line.py:reply", "parse the reply (hiredis)"),
    ("line.py", "pack and send"),
    ("redis_inbox.py", "plan the settlement"),
    ("runner.py", "dispatch"),
    ("handling.py", "dispatch"),
    ("lease.py", "dispatch"),
    ("metrics.py", "metrics"),
    ("measures.py", "metrics"),
    ("observe.py", "metrics"),
    # The first call after a step: a batch that was freed between two bytecodes lands here.
    ("clock.py", "free the entries"),
    ("job.py", "handler"),
    ("runtime.py", "handler"),
    ("loops.py", "loop and handler"),
)
REST = "everything else"


class Sampler:
    """Counts ``file:function`` of the running frame between start and stop."""

    def __init__(self) -> None:
        self._codes: Counter[CodeType] = Counter()
        self._running = False

    def start(self) -> None:
        """Begin; costs about 1 percent of the time that it divides."""
        signal.signal(signal.SIGALRM, self._hit)
        signal.setitimer(signal.ITIMER_REAL, EVERY_S, EVERY_S)
        self._running = True

    def stop(self) -> None:
        """End; without a start this does nothing."""
        if self._running:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._running = False

    @property
    def counts(self) -> dict[str, int]:
        """Samples by ``file:function``."""
        counts: Counter[str] = Counter()
        for code, count in self._codes.items():
            counts[f"{Path(code.co_filename).name}:{code.co_name}"] += count
        return dict(counts)

    def _hit(self, _number: int, frame: FrameType | None) -> None:
        # Names are made up later: what runs here is charged to the case.
        if frame is not None:
            self._codes[frame.f_code] += 1


def by_stage(samples: dict[str, int]) -> dict[str, int]:
    """Samples of each stage, largest first."""
    stages: Counter[str] = Counter()
    for where, count in samples.items():
        stages[_stage(where)] += count
    return dict(stages.most_common())


def _stage(where: str) -> str:
    for prefix, stage in STAGES:
        if where.startswith(prefix):
            return stage
    return REST
