"""python -m ops: the verb table, and how each expected error becomes a line and an exit code."""

from __future__ import annotations

import pytest
import redis

from ops import __main__ as ops_main
from quantum_ops.errors import ConfigurationError, RefusedError


def failing(monkeypatch, error):
    def main(_argv):
        raise error

    monkeypatch.setattr(ops_main, "main", main)


def test_help_lists_every_verb_with_a_sentence_of_its_own(capsys):
    assert ops_main.guarded(["--help"]) == 0
    shown = capsys.readouterr().out
    verbs = ops_main.names()
    assert {"start", "stop", "status", "redis-cli"} <= set(verbs)
    for verb in verbs:
        assert ops_main.summary(verb).endswith(".")
        assert f"  {verb:<15} {ops_main.summary(verb)}" in shown


@pytest.mark.parametrize("verb", ["statsu", "__init__", "../server", "", "redis_cli"])
def test_unknown_verb_is_a_usage_error_with_the_list_on_stderr(verb, capsys):
    assert ops_main.guarded([verb]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{verb}: no such verb" in shown.err
    assert "  status " in shown.err


@pytest.mark.parametrize("argv", [[], ["-f"]])
def test_without_a_verb_the_system_is_started(argv, monkeypatch):
    # Given a start that only notes its arguments
    from ops.verbs import start

    seen = []
    monkeypatch.setattr(start, "run", lambda args: seen.append(args) or 0)
    # When ./run or ./run -f is typed, then it is start that runs
    assert ops_main.guarded(argv) == 0
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("A=1: too low", "B=2: too high"), 78, "A=1: too low\nB=2: too high\n"),
        (RefusedError("Redis refuses us"), 78, "Redis refuses us\n"),
        (redis.ConnectionError("refused"), 69, "Redis is unreachable: refused"),
        (redis.TimeoutError("slow"), 69, "Redis is unreachable: slow"),
        (redis.AuthenticationError("invalid password"), 78, "Redis refuses us"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_expected_errors_are_lines_and_exit_codes(error, code, line, monkeypatch, capsys):
    failing(monkeypatch, error)
    assert ops_main.entry(["status"]) == code
    shown = capsys.readouterr()
    assert shown.err.startswith(line)
    assert shown.out == ""


@pytest.mark.parametrize("error", [FileNotFoundError("x"), ValueError("x"), BrokenPipeError()])
def test_an_error_of_our_own_keeps_its_traceback(error, monkeypatch):
    # A missing file is not an unreachable server, a broken socket no reader that left.
    failing(monkeypatch, error)
    with pytest.raises(type(error)):
        ops_main.entry(["status"])
