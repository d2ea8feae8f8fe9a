"""The only place that looks at several things at the same time, for so long and no longer.

A look that does not come back (a name server, a disk over the network) is left behind in a daemon
thread, which neither delays the caller nor the end of the process.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from quantum_ops.ledger.evidence.finding import Finding, failed

MOST_LEFT_BEHIND = 64
"""Looks that may be on their way at once in this process; beyond, new ones are not begun."""

_room = threading.BoundedSemaphore(MOST_LEFT_BEHIND)


class Deadline:
    """A moment after which nobody waits any more."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def left(self, most: float = 3600.0) -> float:
        """Seconds that are left, at most ``most`` and never below a hundredth."""
        return max(0.01, min(most, self.at - time.monotonic()))

    @property
    def passed(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self.at


@dataclass(frozen=True)
class Job:
    """One look. ``name`` begins its problems; it gets its deadline, ``seconds`` from its start."""

    name: str
    seconds: float
    look: Callable[[Deadline], Finding]


def run(jobs: Sequence[Job]) -> list[Finding]:
    """What each of ``jobs`` came to, in their order; returns when the last deadline has passed."""
    done: queue.SimpleQueue[tuple[int, Finding]] = queue.SimpleQueue()
    found: dict[int, Finding] = {}
    deadlines: dict[int, Deadline] = {}
    room = _room
    for number, job in enumerate(jobs):
        if not room.acquire(blocking=False):
            found[number] = failed(f"{job.name}: too many earlier looks have not come back")
            continue
        deadlines[number] = Deadline(job.seconds)
        arguments = (number, job, deadlines[number], done, room)
        try:
            threading.Thread(target=_look, args=arguments, daemon=True, name=job.name).start()
        except RuntimeError as error:
            room.release()
            found[number] = failed(f"{job.name}: {error}")
    while missing := [number for number in deadlines if number not in found]:
        latest = max(deadlines[number].at for number in missing)
        try:
            number, finding = done.get(timeout=max(0.0, latest - time.monotonic()) + 0.1)
        except queue.Empty:
            break
        found[number] = finding
    return [
        found.get(number) or failed(f"{job.name}: no answer within {job.seconds:g} s")
        for number, job in enumerate(jobs)
    ]


def _look(
    number: int,
    job: Job,
    deadline: Deadline,
    done: queue.SimpleQueue[tuple[int, Finding]],
    room: threading.BoundedSemaphore,
) -> None:
    try:
        finding = job.look(deadline)
    except Exception as error:  # noqa: BLE001 - whatever a look raises is a problem of the evidence
        finding = failed(f"{job.name}: {error!r}")
    finally:
        room.release()
    done.put((number, finding))
