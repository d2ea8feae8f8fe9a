"""Every parser at the edge, attacked for a moment: .ci/run does it with 100,000 inputs each.

And the fuzzer itself: a planted fault of each kind must be found, or its silence says nothing.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from quantum_ops import client
from quantum_ops.errors import ConfigurationError
from quantum_ops.ledger import checkpoint, consistency, proof, spool
from quantum_ops.ledger.errors import CheckpointError, InvalidEntryError
from quantum_ops.settings import RedisSettings
from tests.fuzz import catalogue, edge_streams
from tests.fuzz.mutate import Mutator
from tests.fuzz.target import Target, attack, honest

INPUTS = 200
PLAN = next(one for one in edge_streams.targets() if one.name == "event apply.plan")


@pytest.mark.parametrize("group", catalogue.GROUPS, ids=lambda group: group.__name__)
def test_only_documented_errors_come_out_of_any_parser_at_the_edge(group):
    # given every parser of one kind; when each gets mutated inputs
    for target in group.targets():
        honest(target)
        tally = attack(target, INPUTS, "unit")
        # then each input is taken, or refused by the error that its docstring names
        assert [one.told for one in tally.crashes] == [], tally.line()
        assert tally.taken + tally.refused == INPUTS


# The fuzzer finds what is there


def planted(run, **more) -> Target:
    return Target("planted", "a fault", run, (ValueError,), PLAN.corpus, PLAN.tokens, **more)


def test_a_planted_crash_is_found_and_its_input_shows_it_again():
    # given a parser that does not expect half a character behind one of twenty names
    def run(given: bytes) -> bool:
        for part in given.split(edge_streams.PART):
            if part.startswith(b"BTC"):
                part.decode("utf-16-le" if b"\xff" in part else "ascii", "replace")
                if b"\xff" in part:
                    raise IndexError(part)
        return True

    # when
    tally = attack(planted(run), 20_000, "1", most_crashes=1)
    # then
    assert [one.told.splitlines()[-1].partition(":")[0] for one in tally.crashes] == ["IndexError"]
    with pytest.raises(IndexError):
        run(tally.crashes[0].input)


def test_a_planted_hang_is_found_even_by_a_parser_that_catches_everything():
    def run(given: bytes) -> bool:
        try:
            while len(given) > 400:
                pass
        except Exception:  # noqa: BLE001 - this is the story
            return False
        return True

    tally = attack(planted(run), 20_000, "1", most_crashes=1, tick_s=0.05)
    assert [one.told for one in tally.crashes] == ["it hangs"]


def test_planted_growth_is_found_also_below_an_earlier_peak():
    held = [b"x" * (400 * 1024 * 1024)]
    held.clear()

    def run(given: bytes) -> bool:
        held.append(b"x" * (64 * 1024))
        return bool(given)

    assert "memory grew" in attack(planted(run), 4000, "1").crashes[-1].told


def test_a_corpus_that_is_refused_as_a_whole_is_no_corpus():
    def run(given: bytes) -> bool:
        raise ValueError(given)

    with pytest.raises(AssertionError, match="no honest input"):
        honest(planted(run))


def test_the_same_seed_makes_the_same_inputs_and_another_seed_others():
    def made(seed: str) -> list[bytes]:
        mutator = Mutator(PLAN.corpus, PLAN.tokens, seed)
        return [mutator.make() for _ in range(200)]

    assert made("1") == made("1") != made("2")
    assert len(set(made("1"))) > 190


# What it found, kept


@pytest.mark.parametrize("url", ["redis://u:canary@[", "redis://u:canary@h:p", "rediss://[]canary"])
def test_a_url_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(
        ConfigurationError, match=r"REDIS_URL=.*is no URL; write redis://"
    ) as caught:
        client.url_of(RedisSettings(url=url))
    assert "u:canary" not in str(caught.value)


@pytest.mark.parametrize("word", ["ca/nary", "ca#nary", "ca?nary", "ca@nary", "ca[nary", "ca:nary"])
def test_a_password_that_should_have_been_quoted_is_not_shown(word):
    for url in (f"redis://u:{word}@h:1/0", f"redis://h/0?db=1&password={word.replace('#', '')}"):
        assert not re.search("nary", client.shown(url)), url


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (checkpoint.parse, "a\udcff/b\n3\nAAAA\n\n"),
        (checkpoint.Verifier.parse, "a\udcff+00000000+AAAA"),
        (checkpoint.parse, "a/b\n" + "9" * 5000 + "\nAAAA\n\n"),
        (proof.parse, f"{proof.HEADER}\nextra AAAA\nindex {'9' * 5000}\n\n"),
        (consistency.parse, f"{consistency.START}{'9' * 5000}\n\n"),
    ],
)
def test_half_characters_and_endless_numbers_are_no_proof(parse, text):
    with pytest.raises(CheckpointError):
        parse(text)


def test_a_spooled_file_nested_without_end_is_put_aside_not_tried_for_ever():
    deep = SimpleNamespace(read_bytes=lambda: b"[" * 100_000)
    with pytest.raises(InvalidEntryError, match="not JSON"):
        spool.read(deep)
