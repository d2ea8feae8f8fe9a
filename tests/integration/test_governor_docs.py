"""The governor's pages: what they say runs, and what they point to is there."""

from __future__ import annotations

import re

import pytest

from quantum_ops.ledger import entry
from quantum_ops.ledger.folder import Folder
from quantum_ops.ledger.journal import Journal
from tests.checkout import Checkout
from tests.contract.reference import ROOT

GOVERNOR = (ROOT / "docs" / "OPS_GOVERNOR.md").read_text(encoding="utf-8")
RUNBOOK = (ROOT / "docs" / "OPS_RUNBOOK_TEMPLATE.md").read_text(encoding="utf-8")


def anchors(page):
    """The anchors that a forge gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings]


def test_the_sections_that_the_specification_points_to_are_there():
    assert "p5-change-approval--signoff-ledger-optional" in anchors(GOVERNOR)
    after = GOVERNOR.split("## P5: Change Approval & Signoff Ledger (Optional)")[1]
    for part in ("When", "Format", "Storage", "Enforcement", "Rollback"):
        assert f"\n### {part}\n" in after


@pytest.mark.parametrize("page", ["OPS_GOVERNOR.md", "OPS_RUNBOOK_TEMPLATE.md"])
def test_links_into_pages_lead_to_a_heading(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(r"\]\(([\w.-]*\.md)?#([\w-]+)\)", text)
    assert found
    for target, anchor in found:
        there = (ROOT / "docs" / (target or page)).read_text(encoding="utf-8")
        assert anchor in anchors(there), f"{target}#{anchor}"


def test_every_risk_class_and_outcome_is_explained():
    for name in (*entry.RISK_CLASSES, *entry.OUTCOMES):
        assert re.search(rf"^\| {name} \|", GOVERNOR, re.MULTILINE)


@pytest.fixture
def checkout(tmp_path):
    made = Checkout(tmp_path)
    made.commit_all()
    return made


def test_the_commands_of_the_page_run_as_they_stand(checkout):
    """Given a fresh clone, when a reader types every command, then each does what is said."""
    folder = Folder.find({}, checkout.root)
    recorded = [0]
    for block in re.findall(r"^```sh\n(.*?)^```", GOVERNOR, re.MULTILINE | re.DOTALL):
        ran = checkout.ran("sh", "-euc", block)
        assert ran.returncode == 0, f"{block}\n{ran.stderr}"
        assert "rollback_of" not in ran.stderr
        recorded.append(len(list(Journal(folder).lines())))
    # the first records, after it adopted the page; the hook and the scratch ledger do not; one
    # rolls back; the last takes all of it back
    assert recorded == [0, 2, 2, 3, 3, 0]
    assert checkout.git("status", "--porcelain") == ""
    assert checkout.ran("git", "config", "core.hooksPath").stdout == ""


def test_a_ledger_that_was_taken_back_goes_on(checkout):
    """Given entries that were committed, when later ones are taken back, the next one follows."""
    blocks = re.findall(r"^```sh\n(.*?)^```", GOVERNOR, re.MULTILINE | re.DOTALL)
    checkout.ran("sh", "-euc", blocks[0])
    checkout.commit_all()
    checkout.ran("sh", "-euc", blocks[2])
    ran = checkout.ran("sh", "-euc", blocks[-1])
    assert ran.returncode == 0, ran.stderr
    assert checkout.git("status", "--porcelain") == ""
    ran = checkout.ran("sh", "-euc", blocks[2])
    assert "Ledger entry recorded" in ran.stdout, ran.stderr
    assert len(list(Journal(Folder.find({}, checkout.root)).lines())) == 3


def test_the_runbook_is_filled_by_the_tool(checkout):
    given = {
        "operation": "Raise a limit", "objective": "so that it fits", "risk_class": "READ_ONLY",
        "blast_radius": "nothing", "rollback_strategy": "lower it", "allowed_paths": "docs/p33.md",
        "allowed_services": "none",
    }  # fmt: skip
    arguments = [part for name, one in given.items() for part in (f"--{name}", one)]
    template = ("--template", "docs/OPS_RUNBOOK_TEMPLATE.md")
    ran = checkout.ran("python3", "-I", "-S", "ops/ops_prompt_fill.py", *template, *arguments)
    assert ran.returncode == 0, ran.stderr
    assert re.findall(r"<[A-Z_]+>", ran.stdout) == []
    for text in given.values():
        assert text in ran.stdout


def test_the_runbook_has_its_seven_sections():
    found = re.findall(r"^## (\d)\. (\w+)", RUNBOOK, re.MULTILINE)
    assert [number for number, _ in found] == list("0123456")
    assert found[6][1] == "Signoff"
