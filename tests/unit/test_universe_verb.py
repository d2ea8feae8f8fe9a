"""./run universe: what it makes of its arguments and of what stands in the held key."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.verbs import universe


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    universe.configure(parser)
    return parser


@pytest.mark.parametrize(
    ("argv", "action", "as_json"),
    [
        ([], "show", False),
        (["--json"], "show", True),
        (["show"], "show", False),
        (["show", "--json"], "show", True),
        (["--json", "show"], "show", True),
        (["held"], "held", False),
        (["accept"], "accept", False),
    ],
)
def test_json_may_stand_before_or_behind_the_action(parser, argv, action, as_json):
    args = parser.parse_args(argv)
    assert (args.action, args.json) == (action, as_json)


def test_unknown_action_is_wrong_usage(parser, capsys):
    with pytest.raises(SystemExit) as left:
        parser.parse_args(["refuse"])
    assert left.value.code == 2
    assert "'refuse'" in capsys.readouterr().err


@given(st.text(), st.lists(st.text()), st.integers(0, 10_000))
def test_what_the_producer_wrote_is_read_back(digest, removed, seen):
    raw = json.dumps([digest, removed, seen]).encode()
    assert universe.parse_held(raw) == (digest, removed, seen)


@given(st.one_of(st.none(), st.binary(), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(json.dumps)
    .map(str.encode)))  # fmt: skip
def test_anything_else_is_nothing_held_and_never_an_error(raw):
    held = universe.parse_held(raw)
    assert held is None or isinstance(held[1], list)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"\xff",
        b"[]",
        b'["abc", "BTCUSDT", 1]',
        b'["abc", ["BTCUSDT"], "often"]',
        b'["abc", ["BTCUSDT"], Infinity]',
        b'{"a": 1, "b": 2, "c": 3}',
        b'["\\ud800", ["BTCUSDT"], 1]',
        b"[" * 100_000,
    ],
)
def test_damaged_values_hold_nothing(raw):
    assert universe.parse_held(raw) is None


def test_operator_without_an_account_still_has_a_name(monkeypatch):
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert universe.operator() == f"uid {os.getuid()}@{socket.gethostname()}"
