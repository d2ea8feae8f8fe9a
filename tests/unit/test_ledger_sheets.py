"""Putting entries into files while the lines go by gives what holding all of them gives."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_ops.ledger import adopt, pages, render, sheets
from tests import ledger_rig, plain_render
from tests.programs import FULL
from tests.unit.test_ledger_quick import PLAIN, times
from tests.unit.test_ledger_quick import hostile as texts

numbers = st.integers(1, 12)  # few, so that ids come twice and are rolled back
days = st.sampled_from(["2025-11-02", "2025-12-30", "2026-01-27", "2026-02-01"])
operations = st.builds(
    lambda number, day, more: ledger_rig.record(
        "operation.recorded", {**PLAIN, **more, "operation_id": f"OPS-2026-01-27-{number:03d}"}, day
    ),
    numbers, days,
    st.dictionaries(
        st.sampled_from(["operation_name", "notes", "outcome", "services_status"]), texts
    ) | st.fixed_dictionaries({"approval_timestamp": times, "operation_name": texts}),
)  # fmt: skip
rollbacks = st.builds(
    lambda number, undone, day: ledger_rig.record(
        "operation.recorded",
        {**PLAIN, "operation_id": f"OPS-2026-01-27-{number:03d}", "outcome": "ROLLBACK",
         "rollback_of": f"OPS-2026-01-27-{undone:03d}"}, day,
    ), numbers, numbers, days,
)  # fmt: skip
others = st.builds(
    lambda kind, day: ledger_rig.record(kind, {"operation_id": "x", "file": "y"}, day),
    st.sampled_from(["conflict.rejected", "drift.detected"]), days,
)  # fmt: skip
records = st.lists(st.one_of(operations, operations, rollbacks, others), max_size=30)
OURS = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pages, "PART", 3)
        patched.setattr(pages, "SHOWN", 6)
        yield


@settings(max_examples=5_000 if FULL else 150, deadline=None)
@given(
    records, st.sets(st.integers(1, 30), max_size=3), st.sampled_from([1, 2, 5, 50]), st.booleans(),
    st.sampled_from([b"", b"# by hand\n", b"long" * 40_000]),
)  # fmt: skip
def test_any_journal_gives_what_the_plain_way_gives(found, foreign, size, every_page, before):
    # given a journal, some of its lines of another hand: spaces after each name, names escaped
    adopted = [
        ledger_rig.record("legacy.imported", one)
        for name in ("OPS_CHANGELOG.md", "2025-11.yaml")
        for one in adopt.parts(name, before)
    ]
    lines = []
    for seq, one in enumerate([*adopted, *found], 1):
        line = json.dumps({**one, "seq": seq}, **({} if seq in foreign else OURS))
        lines.append(line.replace('"rollback_of": ', '"rollback\\u005fof": ').encode())
    # when it comes in blocks, however it is cut
    cuts = range(0, len(lines), size)
    blocks = [b"".join(line + b"\n" for line in lines[at : at + size]) for at in cuts]
    made = sheets.Sheets(lambda: blocks, every_page=every_page)
    # then every file is as the plain way renders it
    wanted = plain_render.files(lines, every_page=every_page)
    assert dict(made.each()) == wanted
    months = {name: text for name, text in wanted.items() if len(name) == len("2026-01.yaml")}
    assert made.counts == {name[:7]: text.count(b"\n---\n") for name, text in months.items()}


def test_a_month_is_given_as_soon_as_it_is_over_and_a_page_as_soon_as_it_is_full():
    # given entries of three months, and one that is rolled back a month later
    undone = {**PLAIN, "outcome": "ROLLBACK", "rollback_of": PLAIN["operation_id"]}
    months = [
        [ledger_rig.record("operation.recorded", PLAIN, "2025-11-02"),
         *[ledger_rig.record("conflict.rejected", {"file": "x"}, "2025-11-02")] * 6],
        [ledger_rig.record("operation.recorded", undone, "2025-12-02"),
         *[ledger_rig.record("conflict.rejected", {"file": "x"}, "2025-12-02")] * 8],
        [ledger_rig.record("conflict.rejected", {"file": "x"}, "2026-01-02")],
    ]  # fmt: skip
    lines = [[ledger_rig.line({**one, "seq": 1}) + b"\n" for one in month] for month in months]
    read = []

    def blocks():
        for number, month in enumerate(lines):
            read.append(number)
            yield b"".join(month)

    # when the files are given / then each comes before the lines that are nothing to it
    when = {name: read[-1] for name, _ in sheets.Sheets(blocks).each()}
    assert when == {
        "2025-11.yaml": 0, "2025-12.yaml": 1, "2026-01.yaml": 2,
        # the first one waited for what rolls back an operation in it
        "OPS_CHANGELOG/2025-11.md": 1, "OPS_CHANGELOG/2025-11-part-2.md": 1,
        "OPS_CHANGELOG/2025-11-part-3.md": 1, "OPS_CHANGELOG/2025-12.md": 1,
        "OPS_CHANGELOG/2025-12-part-2.md": 2, render.CHANGELOG: 2,
    }  # fmt: skip


@pytest.mark.parametrize("again", [False, True])
def test_a_line_of_another_hand_finds_its_month_and_what_it_rolls_back(again):
    # given a month that is over, and then lines that nobody looked for: spaces after their names
    undone = {**PLAIN, "outcome": "ROLLBACK", "rollback_of": PLAIN["operation_id"]}
    made = [ledger_rig.record("operation.recorded", PLAIN, "2025-11-02")]
    made += [ledger_rig.record("conflict.rejected", {"file": "x"}, "2025-11-02")] * 3
    made += [ledger_rig.record("operation.recorded", undone, "2025-12-02")] * again
    made += [ledger_rig.record("conflict.rejected", {"file": "x"}, "2025-12-02")] * 9
    lines = [ledger_rig.line({**one, "seq": seq}) for seq, one in enumerate(made, 1)]
    late = ledger_rig.record("operation.recorded", undone, "2025-12-02")
    lines.append(
        json.dumps({**late, "seq": 99}).replace("rollback_of", "rollback\\u005fof").encode()
    )
    late = ledger_rig.record("conflict.rejected", {"file": "late"}, "2025-11-02")
    lines.append(json.dumps({**late, "seq": 100}).encode())
    # when they come one at a time / then nothing is left out
    for wanted in (lines[:-1], lines):
        found = sheets.Sheets(lambda wanted=wanted: [line + b"\n" for line in wanted])
        assert dict(found.each()) == plain_render.files(wanted)
