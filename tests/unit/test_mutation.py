"""What a mutant is, and that one is noticed once it has taken the place of the real code."""

from __future__ import annotations

import ast
import os
import signal
import sys
import types
from pathlib import Path

import pytest

from tests.mutation import page, run
from tests.mutation.operators import mutants
from tests.mutation.swap import swap
from tests.unit import test_waiting as stories

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = '''
"""Text."""
LIMIT = 3

def least(a: int, b: int) -> int:
    """Text."""
    if a < b and not b == LIMIT:
        note("low")
        return a
    raise ValueError(f"{a} is no {'number'}")

LUA = """redis.call('SET', 'a', 1)
if a == 1 and b then return true end -- 1 == 1"""
'''


def test_mutants_are_one_change_each_and_leave_text_and_types_alone():
    # When mutants of a small module are made
    made = [(one.line, one.change) for one in mutants("sample", SAMPLE)]
    # Then each operator has its turn, and docstrings, annotations, text of errors have none
    assert set(made) >= {
        (3, "3 -> 4"), (7, "Lt -> LtE"), (7, "And -> Or"), (7, "condition negated"),
        (7, "not taken away"), (7, "Eq -> NotEq"), (8, "call taken away"), (9, "returns None"),
        (8, "'low' -> 'XXlow'"), (13, "==@5 -> ~="), (13, "and@10 -> or"), (13, "true@28 -> false"),
    }  # fmt: skip
    assert not [change for line, change in made if "Text" in change or "number" in change]
    assert (13, "==@41 -> ~=") not in made
    # And each differs from the original
    original = ast.unparse(ast.parse(SAMPLE))
    assert all(ast.unparse(one.tree) != original for one in mutants("sample", SAMPLE))


def noticed() -> bool:
    """Whether a story of Waiting fails now."""
    for story in (stories.test_nothing_waits_at_first, stories.test_what_is_due_comes_in_order):
        try:
            story()
        except Exception:  # noqa: BLE001 - whatever a mutant breaks
            return True
    return False


def test_each_mutant_of_a_sample_is_noticed_by_the_stories_of_its_module():
    # Given the real module, which passes
    source = (ROOT / "quantum_ops/waiting.py").read_text(encoding="utf-8")
    assert not noticed()
    sample = list(mutants("quantum_ops.waiting", source))
    assert len(sample) >= 15
    for one in sample:
        # When a mutant takes its place in this process
        swap("quantum_ops.waiting", one.tree)
        try:
            found = noticed()
        finally:
            swap("quantum_ops.waiting", ast.parse(source))
        # Then a story fails
        assert found, one.key
    # And with the real one back they pass
    assert not noticed()


def test_what_stands_behind_a_decorator_is_swapped_too(monkeypatch):
    # Given a module with a context manager and a cache
    source = (
        "import contextlib, functools\n@contextlib.contextmanager\ndef held():\n    yield 1\n"
        "@functools.lru_cache\ndef kept():\n    return 1\n"
    )
    real = types.ModuleType("decorated")
    real.__file__ = __file__
    exec(source, real.__dict__)
    monkeypatch.setitem(sys.modules, "decorated", real)
    # When both say something else
    swap("decorated", ast.parse(source.replace(" 1", " 2")))
    # Then they do
    with real.held() as found:
        assert (found, real.kept()) == (2, 2)


@pytest.mark.parametrize("queued_s", [(0.0, 0.0), (0.0, 0.2, 0.2)])
def test_a_test_that_had_to_queue_for_a_processor_is_waited_for_as_much_longer(
    queued_s, monkeypatch
):
    # Given a process that hangs, and how long it had to queue each time it is looked at
    read, write = os.pipe()
    left = list(queued_s)
    monkeypatch.setattr(run, "_queued_s", lambda: os.write(write, b".") and left.pop(0))
    # When its time is over
    pid = os.fork()
    if not pid:
        run.patience(0.01)
        while True:
            signal.pause()
    _, status = os.waitpid(pid, 0)
    os.close(write)
    # Then it ends, after having been looked at once more for each time that it had queued
    assert os.waitstatus_to_exitcode(status) == -signal.SIGALRM
    with os.fdopen(read) as told:
        assert len(told.read()) == len(queued_s)


def test_the_page_is_what_was_kept_of_the_runs_and_each_reason_is_of_a_survivor():
    assert page.PAGE.read_text(encoding="utf-8") == page.made()
    survivors = page.survivors([path.stem for path in page.FOLDER.glob("*.json")])
    stale = [
        reason
        for reason in page.reasons()
        if not any(key == reason or key.startswith(f"{reason} [") for key in survivors)
    ]
    assert stale == []
