"""The threat model names tests that exist, a threat in each row, and tells what came of them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache

import pytest

from tests import threats
from tests.contract.reference import ROOT

TEXT = threats.PAGE.read_text(encoding="utf-8")
ROWS = threats.rows(TEXT)


@cache
def functions_of(path):
    """The names of the test functions of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def test_there_are_rows_and_each_has_a_threat_a_measure_and_proof():
    assert len(ROWS) >= 20
    assert all(row.threat and row.measure and row.tests and row.last for row in ROWS)
    found = [row.threat for row in ROWS]
    assert len(set(found)) == len(found), "a threat has one row"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.threat[:50])
def test_every_test_that_a_threat_names_exists(row):
    assert re.sub(r"`tests/[\w/]+\.py::\w+`", "", row.shown).strip() == "", "nothing but tests"
    for named in row.tests:
        path, _, test = named.partition("::")
        assert test.startswith("test_")
        assert test in functions_of(path), f"{path} has no {test}"
        assert threats.place(named).startswith(path)


def test_no_threat_stands_there_whose_tests_did_not_pass_when_they_were_last_run():
    wrong = [row.threat for row in ROWS if not threats.HELD.fullmatch(row.last)]
    assert wrong == [], "run: python -m tests.threats --write"


REPORT = b"""<testsuites><testsuite>
<testcase classname="tests.unit.test_a" name="test_b[1]"/>
<testcase classname="tests.unit.test_a" name="test_b[2]"><failure/></testcase>
<testcase classname="tests.unit.test_a.TestClass" name="test_c"><skipped/></testcase>
</testsuite></testsuites>"""


def test_what_failed_was_skipped_or_is_not_there_stands_out():
    outcomes = threats.read(REPORT)
    assert outcomes["tests/unit/test_a.py::test_b"] == Counter(passed=1, FAILED=1)
    line = "| a | b | {} | not run yet |\n"
    for test, told in (
        ("test_b", "**1 FAILED**, 1 passed"),
        ("test_c", "1 skipped"),
        ("test_d", "**1 MISSING**"),
    ):
        page = threats.rendered(line.format(f"`tests/unit/test_a.py::{test}`"), outcomes)
        assert threats.rows(page)[0].last == told
        assert threats.HELD.fullmatch(told) is None
