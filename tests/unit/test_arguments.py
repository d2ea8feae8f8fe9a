"""Commands of the suite refuse to have looked at nothing."""

from __future__ import annotations

import importlib
import sys

import pytest

COMMANDS = [
    "tests.fuzz.__main__ --inputs 0",
    "tests.fuzz.__main__ --jobs 0",
    "tests.simulation.__main__ --seeds 0",
    "tests.simulation.__main__ --seeds many",
    "tests.simulation.__main__ --jobs 0",
    "tests.simulation.__main__ --minutes 0",
    "tests.stateful --programs 0",
    "tests.soak.__main__ --hours 0",
    "tests.soak.__main__ --minutes -1",
    "tests.reliability.__main__ --scale 0",
    "tests.reliability.__main__ --scale nan",
    "tests.reliability.__main__ --scale all",
    "tests.mutation.__main__ --every 0",
    "tests.mutation.__main__ quantum_ops.nothing",
    "tests.bench.__main__ --pairs 0",
    "tests.bench.scaling --rounds 0",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_checked_zero_times(command, monkeypatch, capsys):
    module, *argv = command.split()
    monkeypatch.setattr(sys, "argv", [module, *argv])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(*([] if "reliability" in module else [argv]))
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert f"argument {argv[0]}: " in told or "argument modules: " in told
