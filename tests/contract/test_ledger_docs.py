"""The ledger's pages against its code, and this repository's own ledger against its journal."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import os
import re
import subprocess
import sys

import pytest

from ops import ledger_options
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from quantum_ops.ledger.summary import KINDS, Summary
from quantum_ops.ledger.verify import verify
from tests.contract.reference import ROOT

PAGE = (ROOT / "docs" / "ledger-verbs.md").read_text(encoding="utf-8")
DEFECTS = (ROOT / "docs" / "ledger-defects.md").read_text(encoding="utf-8")
NUMBERS = [
    "1", "1f", "2", "2b", "3", "3c", "3d", "3e", "4", "4c", "4d", "4e", "4f", "4g", "5", "6", "6b",
    "6c", "6d", "7", "8", "9", "10", "11", "12", "13", "14", "14b", "15", "16", "17", "18", "19",
    "time",
]  # fmt: skip
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in DEFECTS.splitlines()
    if line.startswith("| ") and not line.startswith(("| # ", "| --- "))
]


def functions_of(path):
    """The names of the test functions of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_defect_has_its_row():
    assert [row[0] for row in ROWS] == NUMBERS
    assert {len(row) for row in ROWS} == {4}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_test_that_a_defect_names_exists(row):
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[3])
    assert named
    assert re.sub(r"`tests/[\w/]+\.py::\w+`", "", row[3]).strip() == "", "nothing but tests"
    for path, test in named:
        assert test.startswith("test_")
        assert test in functions_of(path), f"{path} has no {test}"


def test_the_fields_of_the_list_are_documented_in_their_order():
    table = PAGE.partition("| field |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").partition(" | ")[0] for line in table.splitlines()[2:]]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert named == [one.name for one in dataclasses.fields(Summary)]
    assert all(f"`{kind}`" in table for kind in KINDS)


def test_every_action_and_option_is_documented():
    (actions,) = (
        one
        for one in ledger_options.parser()._actions
        if isinstance(one, argparse._SubParsersAction)
    )
    for name, parser in actions.choices.items():
        assert re.search(rf"(`|/run ledger ){name}\b", PAGE), name
        for option in (each for one in parser._actions for each in one.option_strings):
            if option not in ("-h", "--help", "-n", "-o", "--output"):
                assert option in PAGE, f"{name} {option}"


def test_exit_codes_are_those_of_the_help():
    table = PAGE.partition("## Exit codes")[2]
    told = re.findall(r"^\| ([0-9]+) \|", table, re.MULTILINE)
    assert told == re.findall(r"(?<![0-9])([0-9]+) [a-z]", ledger_options.CODES)


def test_the_ledger_of_this_repository_is_as_its_journal_renders_it_and_holds():
    folder = Folder.find({}, ROOT)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")}
    command = [sys.executable, "-m", "ops", "ledger"]
    for arguments in (["rebuild", "--check"], ["verify"]):
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert verify(folder).lines == sum(1 for _ in Journal(folder).lines())
