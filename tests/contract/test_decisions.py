"""Each decision has a number of its own, which its heading repeats."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "decisions"


def test_decisions_are_numbered_one_by_one_and_headed_so():
    files = sorted(FOLDER.glob("[0-9]*.md"))
    assert [int(file.name[:4]) for file in files] == [*range(1, len(files) + 1)]
    for file in files:
        assert file.read_text(encoding="utf-8").startswith(f"# {int(file.name[:4])}. "), file.name
