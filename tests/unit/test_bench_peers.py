"""The table of peers: who is ahead is said by the figures, and only where each round says so."""

from __future__ import annotations

import pytest

from tests.bench import comparison
from tests.bench.comparison import HEADING, OURS, ROWS, Found
from tests.bench.recovery import SCENARIOS, Told
from tests.bench.results import CaseResult, LatencyResult, Pair, Run

ROUNDS = 2


def names(*kinds):
    return {name for row in ROWS if row.kind in kinds for name in row.cases if name}


@pytest.fixture
def found():
    """Figures in which this runtime is twice as good as everybody at everything."""
    made = Found("valkey 9.1.2", 100_000, 10_000)
    for name in names("rate"):
        ratio = 1.2 if name in {"typed", "effects"} else 0.6
        pairs = [Pair(Run(50_000, 1, 1), Run(50_000 * ratio, 1, 1)) for _ in range(ROUNDS)]
        made.cases[name] = CaseResult(name, pairs)
    for name in names("p50", "p99"):
        us = 100 if name == "typed" else 200
        made.latencies[name] = LatencyResult(name, [[us * 1000] * 5 for _ in range(ROUNDS)])
    for name in names("memory"):
        made.memory[name] = 30.0 if name == "typed" else 60.0
    for name in names(*SCENARIOS):
        told = Told("all", good=True) if name == "ours" else Told("3 never handled", good=False)
        made.told[name] = dict.fromkeys(SCENARIOS, told)
    return made


def verdicts(found):
    text = comparison.render(found, {}, "./run bench --peers")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row for row in cells}


def test_who_is_better_in_each_round_is_ahead(found):
    table = verdicts(found)
    assert table[""][1] == OURS
    for row in ROWS:
        told = table[row.label.format(short="10,000")]
        assert told[-1].startswith("ahead of all"), told
    assert table["poison"][2] == "**3 never handled**"
    assert table["events/s, acknowledged by the batch"][4] == "-"


def test_who_is_worse_in_each_round_is_behind_and_by_how_much(found):
    found.memory["walrus_each"] = 20.0
    found.cases["faststream_batch"].pairs = [Pair(Run(1000, 1, 1), Run(2400, 1, 1))] * ROUNDS
    table = verdicts(found)
    assert table["memory after 10,000 events, MiB"][-1].startswith("**behind walrus**; 0.67 of")
    batch = table["events/s, acknowledged by the batch"][-1]
    assert batch.startswith(
        "**behind FastStream**; 2.00 of walrus (2.00..2.00); 0.50 of FastStream"
    )


def test_rounds_that_differ_are_level(found):
    # Given one round in which walrus was quicker, and a peer that recovers as we do
    found.latencies["walrus"].rounds[1] = [90_000] * 5
    found.told["taskiq"]["FLUSHALL"] = Told("all 20 after 0.1 s", good=True)
    table = verdicts(found)
    assert table["XADD to handler, p50 us"][-1].startswith("level with walrus; ")
    assert table["FLUSHALL"][-1] == "level with taskiq-redis"


def test_a_case_that_failed_is_told_and_claims_nothing(found):
    found.cases["walrus"] = CaseResult("walrus", failure="left 3 pending")
    found.cases["faststream_batch"] = CaseResult("faststream_batch", failure="its process died")
    row = verdicts(found)["events/s, acknowledged by the batch"]
    assert row[2:] == ["FAILED: left 3 pending", "FAILED: its process died", "-", "-"]
    assert sorted(found.failures) == [
        "faststream_batch: its process died", "walrus: left 3 pending",
    ]  # fmt: skip


def test_the_parts_of_the_page_are_written_apart(found):
    part = comparison.render(found, {"Date": "today"}, "./run bench --peers")
    page = comparison.replaced("# Performance\n\nours\n", part)
    assert page.startswith("# Performance\n\nours\n\n" + HEADING)
    # Writing one of them keeps the other as it is
    assert comparison.kept(page) == part
    assert comparison.replaced(page, part) == page
    assert comparison.kept("# Performance\n") == ""
