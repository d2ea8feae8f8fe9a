"""P3.3 on a clock that jumps: what it allows always has an age within bounds by that clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from freezegun import freeze_time
from hypothesis import given, settings
from hypothesis import strategies as st

from quantum_ops import streams
from quantum_ops.p33.decision import MAX_AGE_S, decide
from quantum_ops.p33.watch import Watch
from quantum_ops.settings import P33Settings
from tests.p33_keys import Keys
from tests.p33_rig import P33Rig, hold, publish_universe
from tests.p33_stories import NOW, opening, snapshot
from tests.programs import FULL

DAY_S = 86_400
START = int(NOW)
EDGES = [1, 2, 3, 9, 10, 11, 59, 60, 61, 179, 180, 181, 3600, DAY_S]

steps = st.tuples(
    # Our clock is set; time passes and producers work; time passes and producers are silent.
    st.sampled_from(["jump", "pass", "silence"]),
    st.sampled_from(EDGES) | st.integers(1, DAY_S),
    st.sampled_from([1, -1]),
)


def moment(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


@settings(max_examples=2_000 if FULL else 40, deadline=None)
@given(st.lists(steps, min_size=1, max_size=8), st.sampled_from([10.0, 3600.0]))
def test_nothing_is_allowed_on_what_is_too_old_or_of_the_future_by_the_clock_in_force(
    story, stale_s
):
    rules = P33Settings(stale_s=stale_s)
    with freeze_time(moment(START)) as frozen:
        keys, watch = Keys("BTCUSDT", at_s=START), Watch(rules)
        context = keys.context(rules)
        true_s, wrong_s, told_s = START, 0, START
        for kind, seconds, sign in story:
            # When our clock jumps, or time passes
            if kind == "jump":
                wrong_s += sign * seconds
            else:
                true_s += seconds
                if kind == "pass":
                    told_s = true_s
                    keys.check(told_s)
            frozen.move_to(moment(true_s + wrong_s))
            listed = watch.judge(context, keys.replies())
            known = snapshot("0", seen_s=float(told_s))
            made = decide(opening(), known, listed, rules, now_s=context.clock.now_s())
            # Then the age by our clock alone decides, and no jump is remembered
            age_s = true_s + wrong_s - told_s
            believed = -60 <= age_s <= 180
            assert listed.source == ("universe" if believed else "fallback")
            assert listed.code == (
                "fresh" if believed else "too_old" if age_s > 0 else "wrong_clock"
            )
            assert made.allow == (believed and -2 <= age_s <= stale_s)
            assert context.vitals["allowlist_source"] == listed.source


@pytest.mark.parametrize("jump_s", [sign * edge for edge in EDGES for sign in (1, -1)])
def test_cooldown_of_the_future_denies_and_no_jump_back_ends_it(jump_s):
    keys, watch = Keys("BTCUSDT", at_s=START), Watch(P33Settings())
    context = keys.context(P33Settings())
    with freeze_time(moment(START)) as frozen:
        frozen.move_to(moment(START + jump_s))
        # Given state that is fresh by our clock, and an execution at the true time
        keys.check(START + jump_s)
        listed = watch.judge(context, keys.replies())
        known = snapshot("0", seen_s=float(START + jump_s), executed_s=float(START))
        made = decide(opening(), known, listed, P33Settings(), now_s=context.clock.now_s())
    assert (made.allow, made.reason) == (
        (True, "sanity_checks_passed") if jump_s >= 15 else (False, "cooldown_in_flight")
    )


def test_cache_period_survives_a_monotonic_clock_that_is_put_back():
    # Given a list that is kept, and the machine's own clock put back (as a restored machine does)
    with freeze_time(moment(START)) as frozen:
        keys, watch = Keys("BTCUSDT", at_s=START), Watch(P33Settings(cache_s=60.0))
        context = keys.context()
        watch.judge(context, keys.replies())
        assert keys.read == 1
        frozen.move_to(moment(START - 30))
        watch.judge(context, keys.replies())
        # Then the list is read anew instead of kept for the time that was lost
        assert keys.read == 2
        frozen.move_to(moment(START + 29))
        watch.judge(context, keys.replies())
        assert keys.read == 2
        frozen.move_to(moment(START + 30))
        watch.judge(context, keys.replies())
        assert keys.read == 3


@pytest.mark.parametrize("shift_s", [0, 1, -1, 60, -60, 3600, -3600, DAY_S - 60, -DAY_S])
def test_permit_lives_by_the_clock_in_force_and_its_key_by_the_servers(valkey, shift_s):
    # Given a process whose clock is wrong, and state that is fresh by that clock
    db = valkey.connect()
    rig = P33Rig(valkey)
    rig.clock.shift_s = shift_s
    publish_universe(db, "BTCUSDT", age_s=-shift_s)
    hold(db, "0", age_s=1 - shift_s)
    [made] = rig.decide(opening())
    assert made.reason == "sanity_checks_passed"
    permit = rig.permit()
    assert permit["expires_at"] == pytest.approx(permit["created_at"] + 60, abs=0.001)
    assert permit["created_at"] == pytest.approx(rig.clock.now_s(), abs=5)
    assert made.occurred_at.timestamp() == pytest.approx(permit["created_at"], abs=0.002)
    assert 50 < db.ttl(streams.permit("p33", opening().plan_id)) <= 60


def test_plan_that_a_jump_makes_too_old_to_remember_is_denied(valkey):
    db = valkey.connect()
    rig = P33Rig(valkey)
    rig.clock.shift_s = MAX_AGE_S + 60
    publish_universe(db, "BTCUSDT", age_s=-rig.clock.shift_s)
    hold(db, "0", age_s=1 - rig.clock.shift_s)
    assert [made.reason for made in rig.decide(opening())] == ["plan_too_old"]
