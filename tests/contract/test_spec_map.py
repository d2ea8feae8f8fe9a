"""The spec map is complete, and what it says is served exists."""

from __future__ import annotations

import re

import pytest

from tests.contract.reference import ROOT

SPEC = ROOT.parent / "shared" / "OPS_TOOLS_SPEC.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "spec-map.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]
NAMED = re.compile(
    r"(?<![\w/])(?:ops|docs|microservices|/etc/quantum)/[\w./{}-]+\.(?:sh|py|env|md|txt|service|example)"
    r"|quantum:[a-z0-9_:.]*[a-z0-9_](?:\{plan_id\})?(?::\{plan_id\})?"
    r"|\b(?:UNIVERSE|REDIS|P33|HTTP|STRICT)_[A-Z_]+\b"
)
# Names in the specification's own examples of deployed services, which are not ours to serve.
FOREIGN = {"quantum:portfolio:cluster_state", "microservices/portfolio_gate/main.py"}


def test_rows_have_three_cells_and_a_known_state():
    assert all(len(row) == 3 and row[2].strip(" |") in ("served", "planned") for row in ROWS)


def test_everything_the_specification_names_has_a_row():
    if not SPEC.exists():
        pytest.skip("the owner's specification is not beside the checkout")
    told = "\n".join(row[0] for row in ROWS)
    named = {match.rstrip(":") for match in NAMED.findall(SPEC.read_text(encoding="utf-8"))}
    assert sorted(one for one in named - FOREIGN if one not in told) == []


@pytest.mark.parametrize("row", [row for row in ROWS if "served" in row[2]], ids=lambda row: row[0])
def test_what_is_served_exists(row):
    for link in re.findall(r"\]\(\.\./([^)]+)\)", row[1]):
        assert (ROOT / link).exists(), link
    name = row[0].strip("`")
    if row[1].startswith(("same", "[same]")) and name.startswith("ops/"):
        assert (ROOT / name).exists()
    if re.fullmatch(r"[A-Z_]+", name):
        assert name in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
