"""Programs of steps that hypothesis makes, on each server; see tests/stateful_machine.py."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.servers import FLAVOURS, Server
from tests.simulation.protocols import Naive, Unfenced
from tests.stateful_machine import Line, machine, settings


@pytest.fixture(scope="module", params=FLAVOURS)
def durable(request) -> Iterator[Server]:
    """A server that a program may kill."""
    server = Server(request.param, "--appendonly", "yes", "--appendfsync", "no")
    yield server
    server.close()


def test_no_program_loses_or_doubles_anything(durable):
    made = machine(durable)
    run_state_machine_as_test(made, settings=settings(programs=12, steps=40))
    assert made.programs >= 12
    assert made.steps > 12


class NaiveLine(Line, Naive):
    """Effects first, then the acknowledgement."""


class UnfencedLine(Line, Unfenced):
    """The product's script without its fence."""


@pytest.mark.parametrize("durable", ["valkey"], indirect=True)
@pytest.mark.parametrize("bad", [NaiveLine, UnfencedLine])
def test_a_bad_protocol_is_caught(durable, bad):
    quick = hypothesis.settings(
        settings(programs=200, steps=40), phases=[hypothesis.Phase.generate]
    )
    with pytest.raises(AssertionError, match=r"more than once|endings"):
        run_state_machine_as_test(machine(durable, bad), settings=quick)
