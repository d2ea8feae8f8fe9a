"""The threat model names tests that exist, a threat in each row."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.contract.reference import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
HEAD = "| threat | what stops it | shown by |"
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith((HEAD, "| --- "))
]


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
    assert all(len(row) == 3 and all(row) for row in ROWS)
    threats = [row[0] for row in ROWS]
    assert len(set(threats)) == len(threats), "a threat has one row"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_every_test_that_a_threat_names_exists(row):
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[2])
    assert named
    assert re.sub(r"`tests/[\w/]+\.py::\w+`", "", row[2]).strip() == "", "nothing but tests"
    for path, test in named:
        assert test.startswith("test_")
        assert test in functions_of(path), f"{path} has no {test}"
