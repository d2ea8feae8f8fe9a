"""How P3.3 decides: a story for each reason, their order, and what may never happen."""

from __future__ import annotations

import os
import re
import string
import subprocess
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_ops.events import ApplyPlan
from quantum_ops.p33.decision import EVALUATED, FRACTIONS, MAX_AGE_S, decide, reconcile_hmac
from quantum_ops.p33.reasons import REASONS
from quantum_ops.p33.snapshot import Snapshot
from quantum_ops.settings import P33Settings
from tests.p33_stories import (
    KEY,
    LEAVING,
    NOW,
    ROW,
    allowlist,
    decided,
    opening,
    plan,
    reconcile,
    snapshot,
)
from tests.programs import FULL

D = Decimal
LEAVES = allowlist(close_only=frozenset({"BTCUSDT"}), rows={"BTCUSDT": LEAVING})
NO_STEPS = allowlist(rows={})

DENIALS = [
    ("not_execute_decision", plan(decision="SKIP"), {}),
    ("not_execute_decision", plan(decision="execute"), {}),
    ("not_execute_decision", plan(decision="BLOCKED", qty="NaN", symbol=""), {}),
    ("malformed_plan", plan(symbol=""), {}),
    ("malformed_plan", plan(qty="NaN"), {}),
    ("malformed_plan", plan(qty="1e400"), {}),
    ("malformed_plan", plan(qty="Infinity"), {}),
    ("malformed_plan", plan(qty="1_000"), {}),
    ("malformed_plan", plan(qty=" 1"), {}),
    ("malformed_plan", plan(qty="\u0661"), {}),
    ("malformed_plan", plan(qty="-1"), {}),
    ("malformed_plan", plan(qty="9" * 10_000_000), {}),
    ("malformed_plan", plan(close_qty="0x10"), {}),
    ("malformed_plan", opening(qty=""), {}),
    ("malformed_plan", opening(qty="0"), {}),
    ("malformed_plan", opening(qty="-0.0"), {}),
    ("malformed_plan", opening(side=""), {}),
    ("malformed_plan", opening(side="buy"), {}),
    ("plan_too_old", plan(), {"age_s": MAX_AGE_S + 1.0}),
    ("symbol_not_allowed", plan(symbol="ETHUSDT"), {}),
    ("symbol_not_allowed", plan(symbol="btcusdt"), {}),
    ("symbol_not_allowed", plan(), {"listed": allowlist(symbols=frozenset())}),
    ("symbol_close_only", opening(), {"known": snapshot("0"), "listed": LEAVES}),
    ("reconcile_unsigned", reconcile(hmac=""), {}),
    ("reconcile_unsigned", reconcile(hmac="ß" * 64), {}),
    ("reconcile_unsigned", reconcile("another secret"), {}),
    ("reconcile_unsigned", reconcile(reduce_only=False), {}),
    ("reconcile_unsigned", reconcile(), {"reconcile_key": ""}),
    ("reconcile_unsigned", reconcile("", qty="1"), {"reconcile_key": ""}),
    ("reconcile_unsigned", reconcile(plan_id="a|b"), {}),
    ("reconcile_hold_active", plan(), {"known": snapshot(hold=True)}),
    ("no_exchange_snapshot", plan(), {"known": snapshot(None)}),
    ("no_exchange_snapshot", opening(), {"known": Snapshot()}),
    ("stale_exchange_state", plan(), {"known": snapshot(seen_s=NOW - 10.1)}),
    ("stale_exchange_state", plan(), {"known": snapshot(seen_s=NOW + 2.1)}),
    ("stale_exchange_state", plan(), {"known": snapshot(seen_s=None)}),
    ("stale_exchange_state", plan(), {"known": snapshot(seen_s=float("nan"))}),
    ("stale_exchange_state", opening(), {"known": snapshot("0", seen_s=0.0)}),
    ("position_already_open", opening(), {}),
    ("position_already_open", opening(side="SELL"), {"allow_add": True}),
    ("position_already_open", plan(reduce_only=False), {}),
    ("no_position", plan(), {"known": snapshot("0")}),
    ("no_position", plan(), {"known": snapshot("-0.0")}),
    ("no_position", plan(reduce_only=False), {"known": snapshot("0")}),
    ("side_not_reducing", plan(side="BUY"), {}),
    ("side_not_reducing", plan(side="SELL"), {"known": snapshot("-1")}),
    ("reconcile_required_side_mismatch", plan(), {"known": snapshot(ledger=D(-1))}),
    ("reconcile_required_side_mismatch", plan(), {"known": snapshot(ledger=D(0))}),
    ("reconcile_required_qty_mismatch", plan(), {"known": snapshot(ledger=D("1.0101"))}),
    ("reconcile_required_qty_mismatch", plan(), {"known": snapshot("0.01", ledger=D("0.0111"))}),
    ("reconcile_required_qty_mismatch", opening(),
     {"known": snapshot(ledger=D(2)), "allow_add": True}),
    ("ledger_missing", plan(), {"require_ledger": True}),
    ("ledger_missing", plan(), {"known": snapshot(ledger_problem="'abc' is no plain number")}),
    ("cooldown_in_flight", plan(), {"known": snapshot(executed_s=NOW - 14.9)}),
    ("cooldown_in_flight", plan(), {"known": snapshot(executed_s=NOW + 5)}),
    ("cooldown_in_flight", plan(), {"known": snapshot(executed_problem="unreadable")}),
    ("cooldown_in_flight", opening(), {"known": snapshot("0", executed_s=NOW - 1)}),
    ("unknown_action", plan(action="PARTIAL_33"), {}),
    ("unknown_action", plan(action=""), {}),
    ("unknown_action", opening(action="HOLD"), {"known": snapshot("0")}),
    ("step_size_unknown", plan(action="PARTIAL_50"), {"listed": NO_STEPS}),
    ("qty_below_step", plan(action="PARTIAL_25"), {"known": snapshot("0.003")}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "of", "given_"), DENIALS, ids=[f"{n}-{row[0]}" for n, row in enumerate(DENIALS)]
)
def test_denied_with_its_reason(reason, of, given_):
    made = decided(of, **given_)
    assert (made.allow, made.reason, made.safe_qty) == (False, reason, 0)


CLOSES = [
    ("1", "FULL_CLOSE_PROPOSED", "1"),
    ("1", "FULL_CLOSE", "1"),
    ("1.0009", "FULL_CLOSE", "1.000"),
    ("1", "PARTIAL_75", "0.75"),
    ("0.003", "PARTIAL_75", "0.002"),
    ("0.005", "PARTIAL_50", "0.002"),
    ("0.007", "PARTIAL_25", "0.001"),
]


@pytest.mark.parametrize(("position", "action", "safe"), CLOSES)
def test_allowed_to_close_a_part_rounded_down_to_whole_steps(position, action, safe):
    made = decided(plan(action=action), snapshot(position))
    assert (made.allow, made.reason) == (True, "sanity_checks_passed")
    assert made.safe_qty == D(safe)


def test_short_positions_are_closed_by_buying():
    made = decided(plan(side="BUY", action="PARTIAL_50"), snapshot("-0.005"))
    assert (made.allow, made.safe_qty) == (True, D("0.002"))


def test_side_close_of_the_harvesting_part_is_taken():
    assert decided(plan(side="CLOSE")).allow


def test_whole_position_needs_no_step():
    made = decided(plan(), snapshot("0.0007"), NO_STEPS)
    assert (made.allow, made.safe_qty) == (True, D("0.0007"))


def test_market_step_counts_where_it_is_the_coarser_one():
    rows = {"BTCUSDT": {**ROW, "market_step_size": "0.01"}}
    made = decided(plan(action="PARTIAL_50"), snapshot("0.05"), allowlist(rows=rows))
    assert made.safe_qty == D("0.02")
    # One that is no multiple of the plain step, or none at all, does not.
    for odd in ("0.0015", "0", "", "NaN"):
        rows = {"BTCUSDT": {**ROW, "market_step_size": odd}}
        made = decided(plan(action="PARTIAL_50"), snapshot("0.05"), allowlist(rows=rows))
        assert made.safe_qty == D("0.025")


def test_flat_symbol_may_be_opened_and_the_quantity_is_left_to_the_plan():
    made = decided(opening(), snapshot("0"))
    assert (made.allow, made.reason, made.safe_qty) == (True, "sanity_checks_passed", 0)


def test_adding_is_allowed_only_when_asked_for_and_on_the_same_side():
    assert decided(opening(), allow_add=True).allow
    assert decided(opening(side="SELL"), snapshot("-1"), allow_add=True).allow


def test_symbol_that_is_leaving_may_be_reduced_even_after_it_left_the_list():
    gone = allowlist("ETHUSDT", close_only=frozenset({"BTCUSDT"}), rows={"BTCUSDT": LEAVING})
    assert decided(plan(), listed=LEAVES).allow
    assert decided(plan(), listed=gone).allow
    assert decided(opening(), snapshot("0"), gone).reason == "symbol_close_only"


def test_reconcile_close_passes_hold_and_drift_up_to_its_own_quantity():
    drifted = snapshot("1", ledger=D(3), hold=True)
    made = decided(reconcile(qty="0.5004"), drifted)
    assert (made.allow, made.reason) == (True, "reconcile_close_verified")
    assert made.safe_qty == D("0.5")
    assert decided(reconcile(qty="7"), drifted).safe_qty == D(1)
    assert decided(reconcile(qty=""), drifted).safe_qty == D(1)


def test_reconcile_close_still_needs_a_fresh_position_and_the_cooldown():
    assert decided(reconcile(), snapshot(None)).reason == "no_exchange_snapshot"
    assert decided(reconcile(), snapshot("0")).reason == "no_position"
    made = decided(reconcile(), snapshot(executed_s=NOW - 1))
    assert made.reason == "cooldown_in_flight"


@pytest.mark.parametrize("field", ["plan_id", "symbol", "side", "qty"])
def test_hmac_binds_what_is_closed(field):
    signed = reconcile()
    changed = {name: getattr(signed, name) for name in signed.__struct_fields__}
    changed[field] = {"side": "BUY", "qty": "0.9"}.get(field, "ETHUSDT")
    assert decided(ApplyPlan(**changed)).reason in ("reconcile_unsigned", "symbol_not_allowed")
    assert reconcile_hmac(ApplyPlan(**changed), KEY) != signed.hmac


def test_recipe_of_the_page_makes_the_hmac():
    page = (Path(__file__).resolve().parents[2] / "docs" / "p33.md").read_text(encoding="utf-8")
    [line] = re.findall(r"^printf '%s' .*openssl.*$", page, re.MULTILINE)
    made = subprocess.run(
        ["sh", "-c", line], env={"P33_RECONCILE_KEY": KEY, "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True,
    ).stdout.split()[0]  # fmt: skip
    signed = reconcile(plan_id="reconclose:BTCUSDT:x:1", qty="0.5")
    assert signed.hmac == made


def test_bounds_are_inclusive_where_the_rule_says_more_than():
    assert decided(plan(), snapshot(seen_s=NOW - 10)).allow
    assert decided(plan(), snapshot(seen_s=NOW + 2)).allow
    assert decided(plan(), snapshot(executed_s=NOW - 15)).allow
    assert decided(plan(), snapshot(ledger=D("1.01"))).allow
    assert decided(plan(), snapshot("0.01", ledger=D("0.011"))).allow


def test_first_reason_in_the_table_is_the_one_that_is_told():
    # Given a plan with everything wrong at once, mended step by step
    wrong = {"listed": allowlist("ETHUSDT"), "require_ledger": True}
    known = {"hold": True, "executed_s": NOW, "ledger_problem": "odd"}
    seen = [
        decided(plan(decision="SKIP", qty="x"), snapshot(None, **known), **wrong).reason,
        decided(plan(qty="x"), snapshot(None, **known), age_s=1e9, **wrong).reason,
        decided(plan(), snapshot(None, **known), age_s=1e9, **wrong).reason,
        decided(plan(), snapshot(None, **known), **wrong).reason,
        decided(reconcile(hmac=""), snapshot(None, **known)).reason,
        decided(plan(), snapshot(None, **known)).reason,
        decided(plan(), snapshot(None, **{**known, "hold": False, "seen_s": 0.0})).reason,
        decided(plan(), snapshot("0", **{**known, "hold": False, "seen_s": 0.0})).reason,
        decided(opening(), snapshot("1", **{**known, "hold": False})).reason,
        decided(plan(), snapshot("0", **{**known, "hold": False})).reason,
        decided(plan(side="BUY"), snapshot("1", executed_s=NOW, ledger=D(-2))).reason,
        decided(plan(), snapshot("1", executed_s=NOW, ledger=D(-2))).reason,
        decided(plan(), snapshot("1", executed_s=NOW, ledger=D(2))).reason,
        decided(plan(action="x"), snapshot("1", executed_s=NOW, ledger_problem="odd")).reason,
        decided(plan(action="x"), snapshot("1", executed_s=NOW)).reason,
        decided(plan(action="x"), snapshot("0.0001"), NO_STEPS).reason,
        decided(plan(action="PARTIAL_25"), snapshot("0.0001"), NO_STEPS).reason,
        decided(plan(action="PARTIAL_25"), snapshot("0.0001")).reason,
    ]
    # Then the reasons come in the order of the table
    places = [list(REASONS).index(reason) for reason in seen]
    assert places == sorted(places)
    assert len(set(seen)) == len(seen)


def test_every_reason_has_a_story():
    told = {row[0] for row in DENIALS} | {"sanity_checks_passed", "reconcile_close_verified"}
    # Given by the process, not by the decision: tests/integration/test_p33.py, test_replicas.py
    assert set(REASONS) - told == {"plan_id_conflict", "gate_failed", "not_replicated"}


amounts = st.decimals(
    allow_nan=False, allow_infinity=False, places=8, min_value=-1e9, max_value=1e9
)
steps = st.sampled_from(["1", "0.1", "0.001", "0.00001", "10", "0.0025", "100", "3", ""])
texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["NaN", "1e400", "-1", "1", "0.5", "", "Infinity", "1e5", "9" * 70]),
)
plans = st.builds(
    ApplyPlan,
    plan_id=st.text(string.hexdigits, min_size=1, max_size=16),
    decision=st.sampled_from(["EXECUTE", "EXECUTE", "RECONCILE_CLOSE", "SKIP"]),
    symbol=st.sampled_from(["BTCUSDT", "ETHUSDT", "GONEUSDT", "", "XXXUSDT"]),
    side=st.sampled_from(["BUY", "SELL", "CLOSE", "", "HOLD"]),
    action=st.sampled_from([*FRACTIONS, "", "ENTRY_PROPOSED", "HOLD", "odd"]),
    qty=texts,
    close_qty=st.sampled_from(["", "", "1", "NaN"]),
    reduce_only=st.booleans(),
    hmac=st.text(max_size=64),
)
known = st.builds(
    Snapshot,
    position=st.none() | amounts,
    position_problem=st.just(""),
    seen_s=st.none() | st.floats(NOW - 20, NOW + 5),
    ledger=st.none() | amounts,
    ledger_problem=st.sampled_from(["", "", "", "odd"]),
    executed_s=st.none() | st.floats(NOW - 30, NOW + 5),
    executed_problem=st.sampled_from(["", "", "", "odd"]),
    hold=st.booleans(),
)


@st.composite
def worlds(draw):
    """An allowlist, rules and a plan; half of the reconciling plans are rightly signed."""
    step, market = draw(steps), draw(steps)
    row = {"step_size": step, "market_step_size": market}
    symbols = frozenset(draw(st.sets(st.sampled_from(["BTCUSDT", "ETHUSDT", "GONEUSDT"]))))
    closing = frozenset(draw(st.sets(st.sampled_from(["ETHUSDT", "GONEUSDT"]))))
    listed = allowlist(symbols=symbols, close_only=closing, rows=dict.fromkeys(symbols, row))
    rules = P33Settings(
        reconcile_key=KEY,
        allow_add=draw(st.booleans()),
        require_ledger=draw(st.booleans()),
        tolerance_pct=draw(st.sampled_from([D(0), D(1), D(100)])),
    )
    of = draw(plans)
    if of.decision == "RECONCILE_CLOSE" and draw(st.booleans()):
        fields = {name: getattr(of, name) for name in of.__struct_fields__}
        of = ApplyPlan(**{**fields, "hmac": reconcile_hmac(of, KEY)})
    # Half of the ledgers agree with the exchange, or hardly a plan would get that far.
    have = draw(known)
    if draw(st.booleans()):
        have = snapshot(str(draw(amounts)))
    return of, have, listed, rules


@settings(max_examples=20_000 if FULL else 300, deadline=None)
@given(worlds())
def test_nothing_is_allowed_that_must_not_be(world):
    of, have, listed, rules = world
    made = decide(of, have, listed, rules, now_s=NOW)
    assert made.reason in REASONS
    if not made.allow:
        assert made.safe_qty == 0
        return
    # Then the symbol is allowed, or it is leaving and only reduced
    assert of.decision in EVALUATED
    assert of.symbol in listed.symbols | listed.close_only
    assert of.reduce_only or of.symbol not in listed.close_only
    # And nothing was missing, stale or unreadable
    assert have.position is not None
    assert have.seen_s is not None
    assert -2 <= NOW - have.seen_s <= rules.stale_s
    assert not have.executed_problem
    assert have.executed_s is None or NOW - have.executed_s >= rules.cooldown_s
    if of.decision == "EXECUTE":
        assert not have.hold
        if have.position:
            assert not have.ledger_problem
            assert have.ledger is not None or not rules.require_ledger
    else:
        assert of.reduce_only
        assert of.hmac == reconcile_hmac(of, KEY)
    # And no more than the position may be closed, in whole steps of the symbol
    assert 0 <= made.safe_qty <= abs(have.position)
    if of.reduce_only:
        assert made.safe_qty > 0
    step = listed.steps.of(of.symbol)
    if step is not None:
        with localcontext(prec=100):
            assert made.safe_qty % step == 0


@settings(max_examples=5_000 if FULL else 100, deadline=None)
@given(st.decimals(min_value="1e-20", max_value="1e19", allow_nan=False), steps)
def test_safe_quantity_of_any_position_is_below_it_and_on_step(position, step):
    rows = {"BTCUSDT": {"step_size": step}}
    for action, fraction in FRACTIONS.items():
        made = decided(plan(action=action), Snapshot(position, "", NOW), allowlist(rows=rows))
        assert made.safe_qty <= position
        if made.allow and step:
            with localcontext(prec=100):
                whole = made.safe_qty / D(step)
                assert whole == whole.to_integral_value()
                # Not one step less than it could be, either.
                assert made.safe_qty + D(step) > position * fraction
