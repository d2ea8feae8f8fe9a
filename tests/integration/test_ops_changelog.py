"""docs/OPS_CHANGELOG.md as it is committed: what a fresh clone starts with."""

from __future__ import annotations

import shutil

import pytest

from quantum_ops.ledger import adopt, project, reader, suggest
from quantum_ops.ledger.errors import LedgerError
from quantum_ops.ledger.folder import Folder
from tests.contract.reference import ROOT
from tests.ledger_story import NOON, Ledger, request
from tests.yaml_readers import READERS

PAGE = ROOT / "docs" / "OPS_CHANGELOG.md"
BEFORE = "OPS-2026-01-27-010"


def test_what_is_committed_is_what_the_journal_says():
    assert project.check(Folder.find({}, ROOT)) == []


@pytest.fixture
def fresh(tmp_path) -> Ledger:
    """A ledger that finds the committed page, and nothing else."""
    if Folder.find({}, ROOT).segments():
        pytest.skip("this checkout has a journal: the page is rendered from it")
    base = tmp_path / "ledger"
    base.mkdir()
    shutil.copy(PAGE, base)
    return Ledger(base)


def test_a_fresh_clone_is_in_order_and_nothing_renders_over_its_page(fresh):
    page = fresh.folder.changelog.read_bytes()
    assert project.check(fresh.folder) == []
    assert project.rebuild(fresh.folder) == []
    assert fresh.folder.changelog.read_bytes() == page
    assert list(fresh.folder.base.glob("*.rendered")) == []


def test_every_reader_reads_the_entries_of_the_page():
    blocks = reader.fenced(PAGE.read_text(encoding="utf-8"))
    assert blocks
    for read in READERS.values():
        assert all(read(block)["operation_id"].startswith("OPS-") for block in blocks)


def test_the_first_entry_adopts_the_page_and_what_it_names_can_be_rolled_back(fresh):
    page = fresh.folder.changelog.read_bytes()
    assert adopt.ids_in(page) == {BEFORE}
    assert suggest.next_id(fresh.folder, NOON) == "OPS-2026-01-27-011"
    receipt = fresh.one(outcome="ROLLBACK", rollback_of=BEFORE)
    assert (receipt.outcome, receipt.problems) == ("recorded", ())
    assert receipt.operation_id == "OPS-2026-01-27-011"
    shown = fresh.folder.changelog.read_bytes()
    assert shown.endswith(page)
    assert b"## Before the ledger" in shown
    assert project.check(fresh.folder) == []


def test_git_checkout_of_the_page_takes_no_entry_back(fresh):
    """Given two entries, when the page is put back, the next one shows all three: no drift."""
    page = fresh.folder.changelog.read_bytes()
    fresh.fill(2)
    fresh.folder.changelog.write_bytes(page)  # git checkout docs/OPS_CHANGELOG.md
    fresh.one(3)
    shown = fresh.folder.changelog.read_text(encoding="utf-8")
    assert shown.count("operation_name: Operation ") == 3
    assert fresh.told == []
    assert project.check(fresh.folder) == []


def test_a_page_of_a_journal_that_is_lost_is_told(fresh):
    """Given a page that was rendered, when the journal is gone, it passes for no new beginning."""
    fresh.fill(2)
    shutil.rmtree(fresh.folder.journal)
    assert project.check(fresh.folder) != []
    with pytest.raises(LedgerError):
        fresh.record(request(3))


def test_months_kept_by_hand_wait_for_the_first_entry_too(fresh):
    month = fresh.folder.base / "2025-12.yaml"
    month.write_text("---\noperation_id: OPS-2025-12-01-001\n")
    assert project.check(fresh.folder) == []
    project.rebuild(fresh.folder)
    assert month.read_text() == "---\noperation_id: OPS-2025-12-01-001\n"
    assert fresh.one(outcome="ROLLBACK", rollback_of="OPS-2025-12-01-001").problems == ()
