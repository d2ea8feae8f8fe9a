"""What mutation testing found nobody looking at: edges of the decision, what a denial tells."""

from __future__ import annotations

import hashlib
import hmac
from decimal import Decimal

import pytest

from quantum_ops.p33 import decision
from quantum_ops.p33.decision import malformed, reconcile_hmac
from tests.p33_stories import KEY, NOW, decided, opening, plan, reconcile, snapshot


def signed(text: str) -> str:
    """The HMAC by another hand than the product's."""
    return hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest()


def test_the_hmac_is_over_the_five_fields_as_written_down():
    close = reconcile(qty="0.5", side="SELL")
    assert reconcile_hmac(close, KEY) == signed(f"{close.plan_id}|BTCUSDT|SELL|0.5|true")
    opens = plan(qty="0.5", side="SELL", reduce_only=False)
    assert reconcile_hmac(opens, KEY) == signed(f"{opens.plan_id}|BTCUSDT|SELL|0.5|false")


def test_a_value_that_holds_the_bar_cannot_be_signed_even_with_the_right_key():
    # Given a plan whose fields, put together, read like another plan's, and its genuine HMAC
    text = "a|BTCUSDT|SELL|1|BTCUSDT|SELL|0.5|true"
    forged = reconcile(plan_id="a|BTCUSDT|SELL|1", qty="0.5", side="SELL", hmac=signed(text))
    # Then there is no HMAC for it, and it is denied
    assert reconcile_hmac(forged, KEY) == ""
    made = decided(forged)
    assert (made.allow, made.reason) == (False, "reconcile_unsigned")
    assert made.detail == {"problem": "the hmac is not the plan's"}


@pytest.mark.parametrize(
    ("asked", "options", "problem"),
    [
        (reconcile(reduce_only=False), {}, "reduceOnly is not true"),
        (reconcile(), {"reconcile_key": ""}, "P33_RECONCILE_KEY is not set"),
    ],
)
def test_an_unsigned_close_is_told_what_it_lacks(asked, options, problem):
    assert decided(asked, **options).detail == {"problem": problem}


def test_malformed_plans_are_told_the_field_and_the_cure():
    assert malformed(plan(symbol="")) == "symbol is missing; write the symbol to trade"
    assert malformed(plan(qty="-1")).startswith("qty '-1' is negative")
    assert malformed(plan(close_qty="-1")).startswith("close_qty '-1' is negative")
    # And zero is no negative number: of a plan that closes it says nothing wrong
    assert malformed(plan(qty="0", reduce_only=True)) == ""


def test_what_is_right_has_no_problem_at_all():
    assert malformed(plan(reduce_only=True)) == ""
    assert malformed(opening()) == ""


def test_a_plan_is_too_old_only_after_its_age():
    assert decided(plan(), age_s=24 * 3600.0).reason != "plan_too_old"
    assert decided(plan(), age_s=24 * 3600.001).reason == "plan_too_old"


def test_a_position_may_be_of_two_seconds_ahead_and_no_more():
    assert decided(plan(), snapshot("1", seen_s=NOW + 2.0)).reason != "stale_exchange_state"
    assert decided(plan(), snapshot("1", seen_s=NOW + 2.001)).reason == "stale_exchange_state"


def test_a_plan_without_an_action_is_one_that_opens():
    assert "" in decision.ENTRIES
    assert malformed(opening(action="", side="")) != ""


def test_a_decision_stays_as_it_was_made():
    with pytest.raises(AttributeError):
        decided(plan()).allow = True


def test_books_that_differ_are_told_with_both_amounts():
    made = decided(plan(), snapshot("1", ledger=Decimal(-1)))
    assert made.detail == {"position_amt": "1", "ledger_amt": "-1"}
