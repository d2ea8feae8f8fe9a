"""What the tool of before got wrong and no other story tells, typed as it was typed then.

docs/ledger-defects.md names the test of each defect; tests/contract/test_ledger_defects.py holds it
to that.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from quantum_ops.ledger import book, moment, reader, spool
from quantum_ops.ledger.verify import verify
from tests.integration.test_ledger_cli import REQUIRED, TOOL, Tool, day
from tests.ledger_story import NOON, Ledger, request

IO = Path("/proc/self/io")
# Each of these made an invalid entry, or another value, when it was pasted into a template.
SCALARS = [
    "a: b", "note:", '"x" y', "'x' y", "*x", "&x", "!x", "@x", "`x`", "% x", "{s} m", "[s] m",
    "- x", "? x", "| x", "> x", "a\x85b", "a\u2028b", "a\tb", "\x1b[31mred", "fix #42 now", "yes",
    "no", "on", "0123", "12:30:45", "null", "~", "1e5", "0x1F", "1_000", "2026-01-27", "=", "a: ",
    " lead",
]  # fmt: skip


@pytest.fixture
def tool(tmp_path):
    return Tool(tmp_path / "ledger")


def blocks(tool):
    """The changelog's entries, newest first, as a strict YAML reader sees them."""
    return [yaml.safe_load(one) for one in reader.fenced(tool.folder.changelog.read_text())]


def test_35_summaries_that_broke_or_changed_are_what_was_typed(tool):
    for text in SCALARS:
        assert tool("--changes_summary", text, without=("changes_summary",)) == 0
    assert [one["changes_summary"] for one in blocks(tool)] == SCALARS[::-1]
    assert {one["outcome"] for one in blocks(tool)} == {"SUCCESS"}


def test_a_fence_in_a_value_does_not_end_the_entry(tool):
    assert tool("--notes", "see\n```\n# HEAD\n```yaml\n---\noutcome: ROLLBACK") == 0
    (one,) = blocks(tool)
    assert one["notes"] == "see\n```\n# HEAD\n```yaml\n---\noutcome: ROLLBACK"
    assert one["outcome"] == "SUCCESS"


@pytest.mark.parametrize(("first", "second"), [("1000", "100"), ("100", "1000")])
def test_an_id_that_another_one_starts_with_is_recorded(tool, first, second):
    tool()
    for number in (first, second):
        assert tool("--operation_id", f"OPS-{day(tool)}-{number}") == 0
        assert "Ledger entry recorded" in tool.out
    assert len(blocks(tool)) == 3


def test_an_id_in_a_text_neither_drops_nor_numbers_an_entry(tool):
    tool()
    today = day(tool)
    tool("--notes", f"operation_id: OPS-{today}-007 came after OPS-{today}-999")
    assert tool("--operation_id", f"OPS-{today}-007") == 0
    assert "Ledger entry recorded" in tool.out
    tool()
    assert f"Auto-generated operation_id: OPS-{today}-008" in tool.out


@pytest.mark.parametrize(
    "given", ["foo bar: baz", "OPS-2025-01-01-001", "OPS-2026-13-45-001", "x\n"]
)
def test_an_id_that_is_none_or_of_another_day_is_told_and_fails_a_strict_deploy(tool, given):
    assert tool("--operation_id", given, "--strict") == 1
    assert "operation_id" in tool.err
    assert tool.records() == []
    assert tool("--operation_id", given) == 0
    assert "WARNING: ERROR: operation_id" in tool.err
    (one,) = blocks(tool)
    assert one["operation_id_given"] == given
    assert one["operation_id"].startswith(f"OPS-{day(tool)}-")


def test_the_same_run_twice_without_an_id_is_told(tool):
    assert tool("--notes", "first") == 0
    first = tool.records()[0]["id"]
    assert tool.err == ""
    assert tool("--notes", "again") == 0
    assert f"WARNING: the same was recorded at {tool.records()[0]['recorded_at']}" in tool.err
    assert f"--operation_id {first}" in tool.err
    # with the id that was told it is a repeat, and with another summary another operation
    assert tool("--operation_id", first, "--notes", "first") == 0
    assert "already recorded" in tool.out
    assert tool("--changes_summary", "other", without=("changes_summary",)) == 0
    assert tool.err == ""


def test_junk_beside_a_success_is_told_and_fails_a_strict_deploy(tool):
    assert tool("--rollback_of", "junk: junk", "--strict") == 1
    assert tool("--rollback_of", "junk: junk") == 0
    assert "rollback_of 'junk: junk' does not match expected format" in tool.err
    assert len(blocks(tool)[0]["validation_problems"]) == 2


@pytest.mark.parametrize(
    "before",
    [
        "# O\n", "# O\n\n### 2026-11\n\ntext\n", "# O\n\n## 2025-01\n\n## 2027-01\n\n## 2026-01\n",
        "# O\n---\n```yaml\n## 2026-11\noperation_id: OPS-2026-01-27-010\n```\n",
    ],
)  # fmt: skip
def test_headings_that_stand_anywhere_or_nowhere_confuse_nobody(tool, before):
    tool.base.mkdir()
    tool.folder.changelog.write_text(before)
    assert tool() == 0
    text = tool.folder.changelog.read_text()
    assert text.startswith("# Operations Changelog")
    assert text.index(f"## {day_of_last(tool)[:7]}") < text.index("operation_id: OPS-")
    assert text.index("operation_name: Self-Test") < text.index("## Before the ledger")
    assert text.endswith(f"bytes -->\n\n{before}")


def day_of_last(tool):
    return tool.records()[-1]["id"][4:14]


def test_a_byte_that_is_no_text_stops_no_later_entry(tool):
    tool.base.mkdir()
    tool.folder.changelog.write_bytes(b"# O\n\xff\n")
    assert tool() == 0
    assert tool("--notes", b"\xff") == 0
    assert tool.folder.changelog.read_bytes().endswith(b"# O\n\xff\n")
    assert [one["type"] for one in tool.records()].count("operation.recorded") == 2
    assert verify(tool.folder).ok


def test_when_it_was_done_and_when_it_was_recorded_are_told_apart(tool):
    # given an entry that waited in the spool / when it is taken in
    spool.put(tool.folder, request(occurred_at=NOON, stream="cli", stream_id="1"))
    later = NOON + timedelta(hours=3)
    book.take_in(tool.folder, lambda: later)
    # then both times stand in the record
    (record,) = tool.records()
    assert record["occurred_at"] == record["data"]["execution_timestamp"] == moment.text(NOON)
    assert record["recorded_at"] == moment.text(later)


def test_32_command_lines_at_once_are_32_entries(tool):
    arguments = [part for name, text in REQUIRED.items() for part in (f"--{name}", text)]
    command = [sys.executable, "-I", "-S", TOOL, *arguments]
    running = [
        subprocess.Popen(
            command, env=tool.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(32)
    ]
    said = [one.communicate(timeout=110)[0] for one in running]
    assert {one.returncode for one in running} == {0}
    told = {line.split()[-1] for out in said for line in out.splitlines() if "Auto-" in line}
    assert len(told) == 32
    assert {one["operation_id"] for one in blocks(tool)} == told


@pytest.mark.skipif(not IO.exists(), reason="only Linux counts the bytes that a process writes")
def test_what_an_append_writes_does_not_grow_with_the_ledger(tool):
    ledger = Ledger(tool.base)

    def written(count):
        """Bytes that five appends write, behind ``count`` more entries."""
        ledger.record(*(request(number, notes="x" * 500) for number in range(count)))
        ledger.one("warm")
        before = int(IO.read_text().split("wchar: ")[1].split()[0])
        for number in range(5):
            ledger.one(f"{count}-{number}")
        return int(IO.read_text().split("wchar: ")[1].split()[0]) - before

    written(120)  # the changelog shows its hundred entries from here on
    short, long = written(20), written(500)
    assert long < 1.5 * short
