"""Worlds in virtual time: the product's runner and scripts under faults that the seed chooses."""

from __future__ import annotations

import os

import pytest

from quantum_ops.redis_inbox import RedisInbox
from tests.simulation import __main__ as command
from tests.simulation.protocols import BAD
from tests.simulation.world import FAULTS_S, World, simulate

SEEDS = 5_000 if os.environ.get("QUANTUM_FAULTS") == "full" else 100
SEEDS_OF_BAD = 300


def test_whatever_happens_each_event_has_exactly_one_ending():
    # Given worlds with kills, zombies, cut and late replies, restarts, jumping clocks
    tally = command.run(range(SEEDS))
    # Then in none of them an effect was lost or doubled, and nothing is stuck
    told = [f"python -m tests.simulation --seed {seed}: {wrong}" for seed, wrong in tally.failed]
    assert told == []
    # And the faults did happen
    for fault in ("kills", "zombies", "network faults", "server restarts", "fenced"):
        assert tally.counts[fault] > 0, fault
    assert tally.effects > SEEDS
    assert tally.letters > SEEDS


def test_each_group_that_vanishes_is_told_of_once_whatever_becomes_of_who_makes_it_anew():
    # Given worlds in which an operator destroys groups among kills, zombies and lost replies
    vanished = 0
    for seed in range(30):
        world = World(seed, RedisInbox)
        for _ in range(4):
            world.scheduler.at(world.random.uniform(0.5, FAULTS_S[0]), world.destroy)
        # Then as many Findings say so as groups were destroyed
        assert world.run(seed).verdict.wrong == []
        vanished += world.vanished
    assert vanished > 30


@pytest.mark.parametrize("protocol", BAD)
def test_each_bad_protocol_is_caught(protocol):
    caught = (seed for seed in range(SEEDS_OF_BAD) if simulate(seed, BAD[protocol]).verdict.wrong)
    assert next(caught, None) is not None


def test_a_seed_gives_the_same_world_to_the_letter():
    # Given a world that went wrong, under a bad protocol
    seed = next(seed for seed in range(300) if simulate(seed, BAD["unfenced"]).verdict.wrong)
    # When it is made once more, and once more
    first, second = (simulate(seed, BAD["unfenced"], traced=True) for _ in range(2))
    # Then it is the same
    assert first.trace == second.trace
    assert first.verdict == second.verdict


def test_a_failed_seed_is_named_with_the_command_that_shows_it(capsys, monkeypatch):
    # Given that the runner were to use a bad protocol
    monkeypatch.setattr(command, "RedisInbox", BAD["never-drains"])
    # When some seeds are run, and the first failed one is asked for
    tally = command.run(range(5))
    seed, wrong = tally.failed[0]
    code = command.main(["--seed", str(seed)])
    # Then it is told step by step, with what is wrong
    said = capsys.readouterr().out
    assert code == 1
    assert "handles e" in said
    assert f"WRONG {wrong[0]}" in said


@pytest.mark.parametrize("seed", [24404, 26356])
def test_nothing_overtakes_what_a_cut_line_has_lost(seed):
    # In these worlds a command got lost and a later one on the same line was answered, as no stream
    # of bytes does: a reply was taken for that of the command before, and the process ended.
    assert simulate(seed, RedisInbox).verdict.wrong == []
