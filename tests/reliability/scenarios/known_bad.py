"""Protocols that are known to be wrong, each struck where it breaks: the checker must see it."""

from __future__ import annotations

import signal

from tests.reliability import protocols
from tests.reliability.result import Result
from tests.reliability.rig import Rig
from tests.waiting import wait_until

TITLE = "known-bad protocols, which the checker must catch"
GOAL = 3
NOT_TESTED = "every other way to be wrong"
EVENTS = 60


def run(rig: Rig, result: Result, goal: int) -> None:
    """One strike for each protocol (whatever ``goal``); then the product's own, as they were."""
    del goal
    for name, (point, by, shows) in protocols.POINTS.items():
        verdict = _struck(rig, name, point, by)
        seen = {key: verdict[key] for key in ("lost", "doubled", "late") if verdict[key]}
        result.figures[f"{name}, {signal.Signals(by).name} at {point}"] = seen
        result.expect(f"{name} was not caught: {seen}", holds=set(seen) == shows)
        result.faults[name] = 1


def _struck(rig: Rig, name: str, point: str, by: int) -> dict[str, int]:
    """The verdict on ``name`` after one strike in the middle of its work."""
    rig.db.flushall()
    story = Rig(rig.server, rig.farm)
    try:
        producer = story.producer("many", limit=EVENTS)
        story.ended(producer, 10)
        victim = story.bad(name, 0, point, by, after=7)
        state = story.ended(victim, 10)
        assert state == ("killed 9" if by == signal.SIGKILL else "stopped 19"), state
        held = story.held("bad0")
        successor = story.bad(name, 1)
        story.settle(20)
        if by == signal.SIGSTOP:
            story.note_sleeper(victim, held)
            story.farm.signal(victim, signal.SIGCONT)
            story.end(victim)
        wait_until(story.settled, 10, "all is settled")
        story.end(successor)
        return story.verdict()
    finally:
        story.close()
