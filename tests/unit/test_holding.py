"""How long our own trouble is waited for, what is shown of it, and when somebody is called."""

from __future__ import annotations

from typing import Any

import pytest

from quantum_ops.context import Context
from quantum_ops.errors import Hold
from quantum_ops.holding import Holding
from quantum_ops.testing import FrozenClock

FULL = "the disk is full"


class Held:
    """The waits of one process, which began at 1,000 s; ``waits`` are those since."""

    def __init__(self, *, told: bool = True) -> None:
        self.clock = FrozenClock()
        self.clock.wait(1000.0)
        self.shown: list[str] = []
        self.told: list[tuple[str, float]] = []
        self.troubles: list[tuple[str, dict[str, Any]]] = []
        self.context = Context("group", None, None, self.clock)
        self._answer = told
        self.holding = Holding(
            self.context, self.clock, self.shown.append, self._tell,
            lambda kind, **fields: self.troubles.append((kind, fields)),
        )  # fmt: skip

    def _tell(self, reason: str, lasted_s: float) -> bool:
        self.told.append((reason, lasted_s))
        return self._answer

    def wait(self, reason: str = FULL, *, standby: bool = False) -> float:
        """One wait; how long it was."""
        began_s = self.clock.monotonic_s()
        assert self.holding.wait(Hold(reason, standby=standby))
        return round(self.clock.monotonic_s() - began_s, 3)


def test_waits_grow_up_to_five_seconds_and_are_short_again_once_it_passed():
    held = Held()
    assert [held.wait() for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    held.holding.over()
    assert held.wait() == 0.1


def test_whoever_stands_by_looks_four_times_a_second_and_calls_nobody():
    held = Held()
    assert {held.wait("another writes", standby=True) for _ in range(100)} == {0.25}
    assert set(held.shown) == {"standby"}
    assert held.troubles == [("standby", {"reason": "standby", "error": "another writes"})]
    held.holding.over()
    assert held.told == []


def test_somebody_is_called_after_five_seconds_once_and_hears_of_the_end():
    # Given trouble that has lasted for just below five seconds
    held = Held()
    held.wait()
    held.clock.wait(4.8)
    held.wait()
    assert held.told == []
    # When it lasts five, to the second, then somebody is told, and only once
    held = Held()
    held.wait()
    held.clock.wait(4.9)
    held.wait()
    held.wait()
    assert held.told == [(FULL, pytest.approx(5.0))]
    # And told of the end
    held.holding.over()
    assert held.told[1:] == [("", pytest.approx(5.6))]
    held.holding.over()
    assert len(held.told) == 2


def test_a_call_that_nobody_could_take_is_made_again():
    held = Held(told=False)
    held.wait()
    held.clock.wait(9.9)
    held.wait()
    held.wait()
    assert held.told == [(FULL, pytest.approx(10.0)), (FULL, pytest.approx(10.2))]
    # What nobody was told of has no end to be told
    held.holding.over()
    assert len(held.told) == 2


def test_it_is_shown_why_cut_short_and_another_reason_is_trouble_of_its_own():
    held = Held()
    held.wait("x" * 501)
    assert held.context.vitals["detail"] == "x" * 500
    held.wait()
    held.wait()
    assert held.shown == ["waiting"] * 3
    assert [fields["error"] for _, fields in held.troubles] == ["x" * 501, FULL]
    assert held.troubles[1] == ("held_up", {"reason": "held_up", "error": FULL})
    held.holding.over()
    assert held.context.vitals["detail"] == ""
    # And the same one, once it passed, is trouble again
    held.wait()
    assert len(held.troubles) == 3


def test_asked_to_stop_it_says_so():
    held = Held()
    held.clock.stop()
    assert not held.holding.wait(Hold(FULL))
