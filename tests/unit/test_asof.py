"""What was true at a moment: stories on an archive in files, answered with and without lookups."""

from __future__ import annotations

import subprocess
import sys

import pytest

from quantum_ops import streams
from quantum_ops.asof import changes, ledger, orders, permits, universe
from quantum_ops.audit import sight
from quantum_ops.events import ApplyPlan, ApplyResult, UniverseChecked
from quantum_ops.history.reader import Archive
from quantum_ops.history.search import Search
from quantum_ops.history.terms import PLAN, Term
from quantum_ops.p33 import decision
from quantum_ops.p33.reasons import REASONS
from tests.asof_rig import Past, changed, decided, deployed, finding, own, recorded, until
from tests.contract import reference


@pytest.fixture
def past(tmp_path):
    return Past(tmp_path)


def plan(plan_id: str, **more) -> ApplyPlan:
    return ApplyPlan(plan_id=plan_id, **{"decision": "EXECUTE", "symbol": "BTCUSDT", **more})


def checked(at_s: int, **more) -> UniverseChecked:
    fields = {"outcome": "compared", "began_ms": 1, "fresh": True, "event_id": f"c{at_s}"}
    return own(UniverseChecked, **{**fields, **more})


def test_the_universe_that_gates_saw_and_whether_they_believed_it(past):
    first = past.tell(0, changed(1, "A B", added="A B"))
    stale = past.tell(100, finding("universe", "universe_stale", detail="http_429"))
    gate = past.tell(150, decided("p", "symbol_not_allowed", epoch=1))
    fresh = past.tell(200, finding("universe", "universe_fresh"))
    second = past.tell(300, changed(2, "A C", added="C", removed="B", quarantined={"Ä": "odd"}))
    silent = past.tell(400, checked(400, fresh=False, reason="checked 99 s ago"))
    past.tell(410, checked(410, outcome="failed", reason="timeout", fresh=False))
    search = past.archive(seal=True)
    assert universe.at(search, until(-1)) is None
    told = {at: universe.at(search, until(at)) for at in (0, 99, 100, 150, 200, 300, 400, 999)}
    assert [(one.epoch, one.status) for one in told.values()] == [
        (1, "fresh"), (1, "fresh"), (1, "stale"), (1, "stale"), (1, "fresh"), (2, "fresh"),
        (2, "stale"), (2, "stale"),
    ]  # fmt: skip
    assert told[100].reason == "http_429"
    assert told[100].told == stale
    assert told[400].reason == "checked 99 s ago"
    assert told[300].symbols == ("A", "C")
    assert told[300].quarantined == {"Ä": "odd"}
    assert (told[99].gate_epoch, told[150].gate_epoch, told[150].gate) == (None, 1, gate)
    assert [id_ for _, id_ in told[0].rests_on] == [first]
    assert {id_ for _, id_ in told[200].rests_on} == {first, gate, fresh}
    assert {id_ for _, id_ in told[400].rests_on} == {second, gate, silent}
    assert not search.scanned


def test_held_removals_make_a_universe_stale_and_a_loss_leaves_a_doubt(past):
    past.tell(0, changed(1, "A B", added="A B", held="2 of 2 would go"))
    gap = past.tell(50, finding("archive", "archive_gap", streams.UNIVERSE_CHANGED.key, "3 gone"))
    past.tell(51, finding("archive", "archive_gap", streams.APPLY_PLAN.key, "9 gone"))
    restored = past.tell(60, finding("operator", "redis_restored", "archive 9"))
    past.tell(70, finding("universe", "universe_fresh"))
    search = past.archive()
    then = universe.at(search, until(65))
    assert (then.status, then.reason) == ("stale", "2 of 2 would go")
    assert [one.partition(" ")[0] for one in then.doubts] == [gap, restored]
    assert universe.at(search, until(70)).doubts == ()


def test_what_may_only_be_closed_is_put_together_from_all_that_was_told(past):
    past.tell(0, changed(1, "A B C", added="A B C"))
    past.tell(1, changed(2, "A B C", close_only="A B"))
    past.archive(seal=True)
    past.tell(10, changed(3, "A C", removed="B", close_only="B"))
    past.archive(seal=True, index=False)
    past.tell(20, changed(4, "A C", changed={"A": {"state": ("close_only", "trading")}}))
    past.tell(30, changed(5, "A B C", added="B"))
    search = past.archive()
    told = {at: universe.at(search, until(at)).close_only for at in (0, 1, 10, 20, 30)}
    assert told == {0: (), 1: ("A", "B"), 10: ("A", "B"), 20: ("B",), 30: ()}


def test_of_two_words_of_one_instant_the_one_counts_that_denies(past):
    past.tell(100, changed(1, "A", added="A"))
    past.tell(100, finding("universe", "universe_stale", detail="timeout"))
    assert universe.at(past.archive(), until(100)).status == "stale"


def test_what_is_archived_late_is_no_newer_for_it(past):
    past.tell(20, changed(2, "A", close_only="A"))
    past.archive(seal=True)
    past.tell(10, changed(1, "A", added="A"))
    search = past.archive(seal=True)
    assert universe.at(search, until(30)).close_only == ("A",)
    assert (universe.at(search, until(30)).epoch, universe.at(search, until(10)).epoch) == (2, 1)


def test_why_a_plan_was_permitted_or_denied(past):
    past.tell(0, changed(1, "BTCUSDT ETHUSDT", added="BTCUSDT ETHUSDT"))
    asked = past.tell(10, plan("p1", qty="2"))
    said = past.tell(11, decided("p1", "sanity_checks_passed", allow=True, safe_qty="2"))
    seen = "governor seen with 60 s to live, p26 heard of, p33 seen with 60 s to live"
    proof = past.tell(20, finding("permit_audit", "permits_complete", "p1", seen))
    past.tell(30, changed(2, "ETHUSDT", removed="BTCUSDT"))
    done = past.tell(40, ApplyResult(plan_id="p1", executed=True, order_id="77"))
    search = past.archive(seal=True)
    # By T nothing is known, then the plan, then the decision, then the audit and the result
    assert permits.at(search, "p1", until(9)) is None
    assert permits.at(search, "p1", until(10)).verdict == "undecided"
    then = permits.at(search, "p1", until(11))
    assert (then.verdict, then.why) == ("permitted", "sanity_checks_passed: every check passed")
    assert {gate: one.state for gate, one in then.permits.items()} == {
        "governor": "unknown", "p26": "unknown", "p33": "granted",
    }  # fmt: skip
    late = permits.at(search, "p1", until(99))
    assert {one.state for one in late.permits.values()} == {"granted"}
    assert (late.results[0].order_id, late.results[0].executed) == ("77", True)
    # And the universe is the one that it was decided on, not today's
    assert (late.symbol.allowed, late.symbol.listed, late.symbol.epoch) == (True, True, 1)
    assert {asked, said, proof, done} < {id_ for _, id_ in late.rests_on}


@pytest.mark.parametrize(
    ("reason", "allowed"),
    [
        ("symbol_not_allowed", False),
        ("symbol_close_only", False),
        ("no_position", True),
        ("malformed_plan", None),
        ("of_a_later_version", None),
    ],
)
def test_whether_the_symbol_was_allowed_follows_from_the_reason(past, reason, allowed):
    past.tell(0, changed(1, "ETHUSDT", added="ETHUSDT"))
    past.tell(10, plan("p"))
    past.tell(11, decided("p", reason))
    then = permits.at(past.archive(), "p", until(20))
    assert (then.verdict, then.symbol.allowed, then.symbol.listed) == ("denied", allowed, False)


def test_a_denial_while_the_universe_was_stale_names_the_list_in_force(past):
    past.tell(0, changed(1, "BTCUSDT", added="BTCUSDT"))
    past.tell(5, finding("universe", "universe_stale", detail="timeout"))
    past.tell(10, plan("p"))
    past.tell(11, decided("p", "symbol_not_allowed"))
    then = permits.at(past.archive(), "p", until(20))
    assert (then.symbol.listed, then.symbol.status) == (True, "stale")
    assert "P33_ALLOWLIST was in force" in then.why


def test_permits_of_other_gates_are_what_the_auditor_found(past):
    past.tell(10, plan("p"))
    past.tell(
        20, finding("permit_audit", "permit_missing", "p", "governor, p26 not within 10 s; x")
    )
    odd = "permit_audit/p/permit_malformed:p26"
    past.tell(30, finding("permit_audit", "permit_malformed", "p", "p26: TTL", event_id=odd))
    search = past.archive(seal=True)
    states = [
        {gate: one.state for gate, one in permits.at(search, "p", until(at)).permits.items()}
        for at in (20, 30)
    ]
    assert states == [
        {"governor": "missing", "p26": "missing", "p33": "unknown"},
        {"governor": "missing", "p26": "malformed", "p33": "unknown"},
    ]


def test_a_plan_that_asks_for_nothing_and_one_that_nobody_could_read(past):
    past.tell(0, plan("idle", decision="SKIP"))
    past.raw(1, streams.APPLY_PLAN.key, [b"plan_id", b"odd", b"symbol", b"X\xff"])
    past.raw(2, streams.DEAD_LETTER.key, [b"original.plan_id", b"odd"])
    search = past.archive(seal=True)
    assert permits.at(search, "idle", until(9)).verdict == "not asked"
    odd = permits.at(search, "odd", until(9))
    assert (odd.plans[0].readable, len(odd.dead_letters)) == (False, 1)


def test_where_an_order_came_from(past):
    past.tell(10, plan("p1"))
    past.tell(11, decided("p1", "sanity_checks_passed", allow=True))
    nested = '{"order_id": "\\u0037\\u0037"}'
    result = past.tell(
        20, ApplyResult(plan_id="p1", executed=True, symbol="BTCUSDT", details=nested)
    )
    past.tell(21, finding("order_proof", "execution_proven", "p1", "BTCUSDT order 77"))
    past.tell(22, finding("permit_audit", "permits_complete", "p1"))
    past.tell(30, ApplyResult(plan_id="p2", executed=True, symbol="ETHUSDT", order_id="77"))
    for sealed in (False, True):  # a value that stands there escaped is found in either
        search = past.archive(seal=sealed)
        first = orders.at(search, "77", until(25)).executions
        assert [(one.id, one.plan_id, one.where) for one in first] == [(result, "p1", "details")]
        assert [one.finding for one in first[0].findings] == ["execution_proven"]
        assert [one.plan_id for one in orders.at(search, "77", until(30)).executions] == [
            "p1",
            "p2",
        ]
        assert orders.at(search, "77", until(19)) is None


def test_the_ledger_as_recorded_and_with_later_rollbacks(past):
    deploy = past.tell(0, deployed("one", event_id="e1"))
    past.tell(1, recorded(1, source=streams.DEPLOY_COMPLETED.key, source_id="e1"))
    past.tell(2, recorded(2))
    undo = past.tell(10, deployed("undo", outcome="ROLLBACK", rollback_of="OPS-2026-01-27-001"))
    back = past.tell(11, recorded(3, source=streams.DEPLOY_COMPLETED.key, source_id=undo))
    # And a restore after which all of it is told of again
    past.tell(20, recorded(1, source=streams.DEPLOY_COMPLETED.key, source_id="e1"))
    search = past.archive(seal=True)
    contents = ledger.FromArchive(search)
    assert ledger.at(search, until(0), contents) is None
    then = ledger.at(search, until(5), contents)
    assert (then.records, then.tree_size, then.root_sha256) == (2, 2, "r2")
    assert [(one.seq, one.operation, one.rolled_back_by) for one in then.entries] == [
        (2, "", []), (1, "one", []),
    ]  # fmt: skip
    effective = ledger.at(search, until(5), contents, effective=True)
    assert [one.seq for one in effective.entries] == [2, 1]
    assert [(one.seq, one.id) for one in effective.entries[1].rolled_back_by] == [(3, back)]
    assert (streams.LEDGER_RECORDED.key, back) in effective.rests_on
    # Told of again, it is the record of then, and nothing was lost by it
    now = ledger.at(search, until(99), contents)
    assert (now.records, [one.seq for one in now.entries]) == (3, [3, 2, 1])
    assert now.entries[2].id.endswith("001-0")
    assert now.entries[0].rollback_of == "OPS-2026-01-27-001"
    assert [one.seq for one in ledger.at(search, until(99), contents, count=1).entries] == [3]
    assert deploy


def test_what_changed_between_two_moments(past):
    past.tell(0, changed(1, "A B C", added="A B C", quarantined={"Q": "odd"}))
    past.tell(10, changed(2, "A B D", added="D", removed="C", changed={"A": {"tick": ("1", "2")}}))
    past.tell(20, changed(3, "A B D", changed={"A": {"tick": ("2", "3")}, "B": {"x": ("1", "2")}}))
    past.tell(30, changed(4, "A B D", changed={"B": {"x": ("2", "1")}}, close_only="D"))
    search = past.archive(seal=True)
    made = changes.between(search, until(0), until(99))
    assert (made.added, made.removed, made.changes) == (("D",), ("C",), 3)
    assert made.changed == {"A": {"tick": ("1", "3")}}
    assert (made.close_only, made.released) == (("D",), ("Q",))
    before = changes.between(search, until(-9), until(5))
    assert (before.before.epoch, before.added) == (None, ("A", "B", "C"))
    same = changes.between(search, until(30), until(31))
    assert (same.added, same.removed, same.changed, same.changes) == ((), (), {}, 0)


def test_the_history_of_a_symbol(past):
    past.tell(0, changed(1, "A B", added="A B", quarantined={"Q": "odd"}))
    past.tell(10, changed(2, "A B", close_only="A", quarantined={"Q": "odd"}))
    past.archive(seal=True)
    past.tell(20, changed(3, "B", removed="A"))
    past.tell(30, changed(4, "A B", added="A"))
    search = past.archive(seal=True)
    seen = changes.of_symbol(search, "A")
    assert [(one.epoch, one.what) for one in seen.steps] == [
        (1, "entered"), (2, "close_only"), (3, "left"), (4, "entered"),
    ]  # fmt: skip
    assert seen.listed
    assert [one.what for one in changes.of_symbol(search, "Q").steps] == ["quarantined", "released"]
    assert changes.of_symbol(search, "Q").steps[1].epoch == 3
    assert changes.of_symbol(search, "nobody").steps == []


def test_entries_that_were_archived_late_count_for_their_own_time(past):
    past.tell(100, plan("p"))
    past.archive(seal=True)
    past.tell(50, plan("p", qty="1"))
    search = past.archive()
    assert [one.id[-5:] for one in permits.at(search, "p", until(60)).plans] == ["050-0"]
    assert len(permits.at(search, "p", until(200)).plans) == 2
    assert len(list(Search(Archive(search.archive.folder)).find(Term(PLAN, "p")))) == 2


def test_what_is_said_again_is_the_same():
    assert permits.GATES == sight.GATES
    assert permits.EVALUATED == decision.EVALUATED
    assert REASONS.keys() >= permits._UNCHECKED


def test_asking_about_then_imports_no_redis():
    # It would be half of the time that an answer takes.
    code = """
import sys
import ops.asking, ops.asof_view, quantum_ops.asof.changes, quantum_ops.asof.journal
print(sorted({"redis", "walrus", "cryptography", "requests"} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=reference.ROOT,
    )
    assert done.stdout == "[]\n", done.stderr
