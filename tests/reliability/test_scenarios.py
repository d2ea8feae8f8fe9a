"""Every fault of the suite in a bounded form; in full with ./test --faults, and for the page."""

from __future__ import annotations

import os

import pytest

from tests.programs import FULL
from tests.reliability import page, result, run
from tests.reliability.farm import Farm
from tests.reliability.native import NoCompilerError
from tests.servers import FLAVOURS

BOUNDED = {
    "known_bad": 3,
    "kills": 20,
    "zombies": 10,
    "server_kills": 3,
    "power_loss": 6,
    "wire": 80,
    "wipes": 4,
    "gate_struck": 10,
    "full_memory": 1,
    "full_disk": 1,
    "no_descriptors": 2,
    "clocks": 28,
    "hostile": 600,
}
"""Faults in every ./test, such that each kind and each named point comes at least once."""


@pytest.fixture(scope="module")
def farm():
    made = Farm()
    yield made
    made.close()


# What is struck is our side mostly: the second server sees all of it in the full run only.
RUNS = [(name, "valkey") for name in run.NAMES]
RUNS += [
    pytest.param(name, "redis7", marks=pytest.mark.needs_redis7)
    for name in (run.NAMES if FULL else ("kills",))
]


@pytest.mark.parametrize(("name", "flavour"), RUNS)
@pytest.mark.timeout(3600 if FULL else 120)
def test_whatever_is_struck_nothing_is_lost_doubled_or_late(name, flavour, farm):
    # Given a scenario and so many of its faults
    goal = run.module(name).GOAL if FULL else BOUNDED[name]
    # When it is run and judged from outside
    try:
        found = run.one(name, flavour, goal, 20261126, farm)
    except run.CANNOT as error:
        # CI has installed a compiler; whether one may mount is the container's business.
        if os.environ.get("CI") and isinstance(error, NoCompilerError):
            raise
        pytest.skip(str(error))
    # Then nothing that was promised is broken, and the faults were there
    assert found.broken == []
    assert found.trials >= goal


def test_page_is_made_of_the_results_that_are_kept():
    assert page.PATH.read_text(encoding="utf-8") == page.page(), (
        "run: python -m tests.reliability --page"
    )
    for name in run.NAMES:
        for flavour in FLAVOURS:
            kept = result.kept(name, flavour)
            assert kept is None or kept.scenario == name
