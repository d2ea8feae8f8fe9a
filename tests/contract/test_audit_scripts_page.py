"""The page of the audit scripts has each field that they give, and the spec map each command."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.contract.reference import ROOT
from tests.contract.test_spec_map import ROWS, SPEC

PAGE = (ROOT / "docs" / "audit-scripts.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"(?<!run )\./ops/(?:permit_audit|proof_order_id)\.sh [^\n`']*[^\s`']")


def documented(golden: str) -> list[str]:
    table = PAGE.partition(f"<!-- fields: {golden} -->")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def paths(found: Any, before: str = "") -> list[str]:
    """Names of all fields, in the order in which they come."""
    if isinstance(found, list):
        return paths(found[0], before) if found and isinstance(found[0], dict) else []
    if not isinstance(found, dict):
        return []
    return [
        path
        for name, value in found.items()
        for path in (f"{before}{name}", *paths(value, f"{before}{name}."))
    ]


@pytest.mark.parametrize("golden", ["permit_audit.json", "proof_order_id.json"])
def test_every_field_stands_on_the_page_in_its_order_and_no_other_does(golden):
    text = (ROOT / "tests" / "golden" / golden).read_text(encoding="utf-8")
    assert documented(golden) == paths(json.loads(text))


def test_every_option_and_variable_stands_on_the_page():
    for script in ("permit_audit.sh", "proof_order_id.sh"):
        source = (ROOT / "ops" / script).read_text(encoding="utf-8")
        options = set(re.findall(r"^    (--[a-z_]+)\)", source, re.MULTILINE))
        assert len(options) >= 5
        assert [one for one in sorted(options) if f"`{one}" not in PAGE] == []
    source = (ROOT / "ops" / "lib" / "remote.sh").read_text(encoding="utf-8")
    variables = set(re.findall(r"PERMIT_AUDIT_[A-Z_]+", source))
    assert [one for one in sorted(variables) if f"`{one}`" not in PAGE] == []


def test_every_command_of_the_specification_is_served():
    if not SPEC.exists():
        pytest.skip("the owner's specification is not beside the checkout")
    commands = set(COMMAND.findall(SPEC.read_text(encoding="utf-8")))
    assert len(commands) >= 9
    served = {row[0].strip("`") for row in ROWS if row[2].strip(" |") == "served"}
    assert sorted(commands - served) == []
