"""P3.3 on real servers: permits and denials, once for each plan, and what is left in Redis."""

from __future__ import annotations

import json

import pytest

from quantum_ops import streams
from quantum_ops.events import AuditFinding
from tests.p33_rig import P33Rig, book, hold, mock_universe, publish_universe, send
from tests.p33_stories import KEY, opening, plan, reconcile

PLANS = streams.APPLY_PLAN.key
PERMIT = streams.permit("p33", "0123456789abcdef")


@pytest.fixture
def rig(server):
    """P3.3 with a fresh universe of two symbols and a long position in BTCUSDT."""
    db = server.connect()
    publish_universe(db, "BTCUSDT", "ETHUSDT")
    hold(db, "1")
    hold(db, "0", "ETHUSDT")
    return P33Rig(server, reconcile_key=KEY)


def test_plan_that_opens_is_permitted_as_executors_read_it_today(rig):
    [event] = rig.decide(opening(symbol="ETHUSDT"))
    permit = rig.permit()
    assert permit["allow"] is True
    assert (permit["safe_qty"], permit["safe_close_qty"]) == (0, 0)
    assert (permit["symbol"], permit["reason"]) == ("ETHUSDT", "sanity_checks_passed")
    assert (permit["exchange_position_amt"], permit["ledger_amt"]) == (0, None)
    assert permit["expires_at"] - permit["created_at"] == 60
    assert permit["universe_epoch"] == 1
    assert 0 < rig.db.ttl(PERMIT) <= 60
    assert (event.gate, event.plan_id, event.allow) == ("p33", permit["plan_id"], True)
    assert (event.reason, event.universe_epoch) == ("sanity_checks_passed", 1)
    assert rig.pending() == 0


def test_plan_that_closes_gets_the_quantity_that_is_safe(rig):
    book(rig.db, "1.0")
    [event] = rig.decide(plan(action="PARTIAL_75"))
    permit = rig.permit()
    assert (permit["safe_qty"], permit["safe_close_qty"]) == (0.75, 0.75)
    assert (permit["exchange_position_amt"], permit["ledger_amt"]) == (1, 1.0)
    assert str(event.safe_qty) == "0.750"


def test_denial_says_what_it_rests_on(rig):
    [event] = rig.decide(plan(symbol="GONEUSDT"))
    permit = rig.permit()
    assert (permit["allow"], permit["reason"]) == (False, "symbol_not_allowed")
    assert permit["context"] == {
        "symbol": "GONEUSDT", "source": "universe", "epoch": "1", "code": "fresh",
    }  # fmt: skip
    assert "safe_qty" not in permit
    assert 0 < rig.db.ttl(PERMIT) <= 60
    assert (event.allow, event.reason) == (False, "symbol_not_allowed")


def test_plan_that_asks_for_nothing_is_acknowledged_in_silence(rig):
    assert rig.decide(plan(decision="SKIP"), plan(decision="BLOCKED", qty="NaN")) == []
    assert rig.db.exists(PERMIT) == 0
    assert rig.pending() == 0
    assert rig.dead_letters() == []


def test_signed_reconcile_close_passes_and_a_forged_one_does_not(rig):
    [forged] = rig.decide(reconcile("not the secret", plan_id="f" * 16))
    [event] = rig.decide(reconcile())
    assert (forged.reason, event.reason) == ("reconcile_unsigned", "reconcile_close_verified")
    assert rig.permit()["safe_qty"] == 0.5


def test_plan_that_comes_twice_is_decided_once(rig):
    rig.decide(plan())
    # Given that the executor has consumed the permit meanwhile
    rig.db.delete(PERMIT)
    # When the same plan is published again, later
    assert rig.decide(plan(timestamp="1790000000")) == []
    # Then nothing is permitted a second time
    assert rig.db.exists(PERMIT) == 0
    assert len(rig.decided()) == 1
    assert rig.findings() == []


def test_another_plan_under_a_decided_id_is_denied_and_told_once(rig):
    assert rig.decide(plan())[0].allow
    other = plan(qty="2")
    # When another plan comes under its id, twice
    [event] = rig.decide(other, other)
    # Then the permit that stood there is a denial now
    permit = rig.permit()
    assert (permit["allow"], permit["reason"]) == (False, "plan_id_conflict")
    assert (event.allow, event.reason) == (False, "plan_id_conflict")
    [finding] = rig.findings()
    assert (finding.auditor, finding.finding, finding.severity) == (
        "p33", "plan_id_conflict", "warning",
    )  # fmt: skip
    assert finding.subject == plan().plan_id
    assert rig.pending() == 0
    # And the first plan, should it come again, does not bring its permit back
    assert rig.decide(plan()) == []
    assert rig.permit()["reason"] == "plan_id_conflict"


def test_two_processes_with_different_plans_of_one_id_permit_one_and_tell_of_the_other(rig, server):
    other = P33Rig(server, "two")
    rig.send(plan())
    rig.runner.step(wait=False)
    send(rig.db, plan(qty="2"))
    other.runner.step(wait=False)
    other.settle()
    rig.settle()
    assert sorted(event.reason for event in rig.decided()) == [
        "plan_id_conflict", "sanity_checks_passed",
    ]  # fmt: skip
    assert len(rig.findings()) == 1


@pytest.mark.parametrize("bad", ["NaN", "1e400", "-1", "1_0", "9" * 100])
def test_quantity_that_is_no_number_is_denied_and_kept(rig, bad):
    [event] = rig.decide(plan(qty=bad))
    assert (event.allow, event.reason) == (False, "malformed_plan")
    assert rig.permit()["context"]["problem"].startswith("qty ")
    [letter] = rig.dead_letters()
    assert letter.error.startswith("malformed_plan: qty ")
    assert rig.pending() == 0


@pytest.mark.parametrize(
    ("flat", "denied"),
    [
        ([b"plan_id", b"x1", b"decision", b"EXECUTE", b"symbol", b"\xff\xfe"], True),
        ([b"plan_id", b"x1", b"decision", b"EXECUTE", b"qty", b"1", b"qty", b"2"], True),
        ([b"plan_id", b"x1", b"symbol", b"BTCUSDT"], True),
        ([b"plan_id", b"x1", b"decision", b"EXECUTE", b"reduceOnly", b"perhaps"], True),
        ([b"plan_id", b"x1", b"decision", b"EXECUTE", b"steps", b"x" * 10_000_000], True),
        ([b"plan_id", b"x1", b"decision", b"EXECUTE", b"plan_id", b"x2"], False),
        ([b"plan_id", b"\xff", b"decision", b"EXECUTE"], False),
        ([b"plan_id", b"", b"decision", b"EXECUTE"], False),
        ([b"plan_id", b"x" * 1000, b"decision", b"EXECUTE"], False),
        ([b"decision", b"EXECUTE"], False),
        ([b"\xff\xff", b"\x00\x1b[2J"], False),
    ],
)
def test_hostile_plan_is_kept_and_denied_if_it_has_an_id(rig, flat, denied):
    rig.backend.add(PLANS, flat)
    [event] = rig.decide(opening(symbol="ETHUSDT"))[-1:]
    # Then its neighbour is decided, and the bad one stands in the dead letter with its bytes
    assert event.allow
    [(_, kept)] = rig.backend.entries(streams.DEAD_LETTER.key)
    assert all(b"original." + name in kept for name in flat[::2])
    assert (rig.db.get(streams.permit("p33", "x1")) is not None) == denied
    assert rig.db.get(streams.permit("p33", "x2")) is None
    assert len(rig.decided()) == 1 + denied
    assert rig.pending() == 0


def test_malformed_copy_of_a_decided_plan_is_a_contradiction(rig):
    assert rig.decide(plan())[0].allow
    rig.backend.add(
        PLANS, [b"plan_id", b"0123456789abcdef", b"decision", b"EXECUTE", b"symbol", b"\xff"]
    )
    rig.settle()
    assert rig.permit()["reason"] == "plan_id_conflict"
    assert len(rig.dead_letters()) == 1
    assert [finding.finding for finding in rig.findings()] == ["plan_id_conflict"]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (streams.position("BTCUSDT"), "no_exchange_snapshot"),
        (streams.position_ledger("BTCUSDT"), "ledger_missing"),
        (streams.cooldown("BTCUSDT"), "cooldown_in_flight"),
        (streams.reconcile_hold("BTCUSDT"), "reconcile_hold_active"),
    ],
)
def test_state_of_another_type_denies(rig, key, reason):
    rig.db.delete(key)
    rig.db.lpush(key, "odd")
    [event] = rig.decide(plan())
    assert (event.allow, event.reason) == (False, reason)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("position_amt", b"\xff", "no_exchange_snapshot"),
        ("position_amt", b"NaN", "no_exchange_snapshot"),
        ("position_amt", b"", "no_exchange_snapshot"),
        ("ts_epoch", b"soon", "stale_exchange_state"),
        ("ts_epoch", b"", "stale_exchange_state"),
        ("ts_epoch", b"1e400", "stale_exchange_state"),
    ],
)
def test_unreadable_position_denies(rig, field, value, reason):
    rig.db.hset(streams.position("BTCUSDT"), field, value)
    assert rig.decide(plan())[0].reason == reason


def test_forged_permit_of_another_type_is_replaced(rig):
    # Given what a bridge of today writes in our place, good for a day (notes: flaw G1)
    rig.db.hset(PERMIT, mapping={"allow": "true", "safe_qty": "0"})
    rig.db.expire(PERMIT, 86_400)
    rig.decide(plan(symbol="GONEUSDT"))
    assert rig.permit()["allow"] is False
    assert rig.db.ttl(PERMIT) <= 60


def test_decided_key_of_another_type_denies(rig):
    rig.db.lpush(streams.decided("p33", plan().plan_id), "odd")
    [event] = rig.decide(plan())
    assert (event.allow, event.reason) == (False, "plan_id_conflict")


def test_zombie_that_wakes_up_after_its_plans_were_taken_over_changes_nothing(rig, server):
    rig.send(plan())
    rig.runner.step(wait=False)  # decided, not settled: stopped here
    other = P33Rig(server, "two")
    rig.db.hset(streams.position("BTCUSDT"), "position_amt", "0")
    rig.db.execute_command(
        "XCLAIM", PLANS, "p33", "two", 0, *[row[0] for row in rig.backend.entries(PLANS)]
    )
    other.runner.open()
    other.settle()
    assert [event.reason for event in other.decided()] == ["no_position"]
    rig.settle()
    assert [event.reason for event in rig.decided()] == ["no_position"]
    assert rig.permit()["reason"] == "no_position"


def test_malformed_plan_that_was_also_delivered_too_often_is_denied_and_holds_nothing_up(rig):
    # Given bytes that no plan can be read from, and processes that died before they said so
    fields = {"plan_id": "a" * 16, "decision": "EXECUTE", "symbol": b"\xff"}
    bad = rig.db.xadd(PLANS, fields)
    rig.db.xreadgroup("p33", "dead", {PLANS: ">"})
    for owner in ["dead"] * 6 + ["one"]:
        rig.db.execute_command("XCLAIM", PLANS, "p33", owner, 0, bad)
    rig.runner.open()
    rig.settle()
    # Then it is denied for what it is, buried, and the next plan is decided
    assert [(event.plan_id, event.reason) for event in rig.decided()] == [
        ("a" * 16, "malformed_plan")
    ]
    assert [letter.reason for letter in rig.dead_letters()] == ["too_many_deliveries"]
    assert rig.pending() == 0
    assert len(rig.decide(plan())) == 1


def test_plan_that_was_delivered_too_often_is_denied_and_kept(rig):
    # Given a plan whose process died on it again and again
    rig.send(plan(), plan(plan_id="b" * 16, decision="SKIP"))
    rows = rig.db.xreadgroup("p33", "dead", {PLANS: ">"})
    ids = [id_ for id_, _ in rows[0][1]]
    for _ in range(6):
        rig.db.execute_command("XCLAIM", PLANS, "p33", "dead", 0, *ids)
    rig.db.execute_command("XCLAIM", PLANS, "p33", "one", 0, *ids)
    rig.runner.open()
    rig.settle()
    # Then it has one decision, a denial, and stands in the dead letter; the other one only there
    assert [event.reason for event in rig.decided()] == ["gate_failed"]
    assert rig.permit()["reason"] == "gate_failed"
    assert {letter.reason for letter in rig.dead_letters()} == {"too_many_deliveries"}
    assert len(rig.dead_letters()) == 2
    # And what was decided before stays decided
    again = plan(plan_id="c" * 16)
    assert rig.decide(again)[0].allow
    rig.send(again)
    rows = rig.db.xreadgroup("p33", "dead", {PLANS: ">"})
    ids = [id_ for id_, _ in rows[0][1]]
    for _ in range(6):
        rig.db.execute_command("XCLAIM", PLANS, "p33", "dead", 0, *ids)
    rig.db.execute_command("XCLAIM", PLANS, "p33", "one", 0, *ids)
    rig.runner.open()
    rig.settle()
    assert rig.permit("c" * 16)["allow"] is True
    assert rig.findings() == []


def test_server_lost_between_decision_and_settlement_loses_and_doubles_nothing(tmp_path):
    from tests.servers import Server

    durable = Server("valkey", "--appendonly", "yes", "--appendfsync", "always")
    try:
        db = durable.connect()
        publish_universe(db, "BTCUSDT")
        hold(db, "1")
        rig = P33Rig(durable)
        plans = [plan(plan_id=f"{number:016x}") for number in range(300)]
        for number, one in enumerate(plans):
            send(db, one)
            if number in (100, 200):
                rig.runner.step(wait=False)
                durable.kill()
                durable.start()
                rig.runner._forget()
                rig.runner.open()
        rig.settle()
        ids = [event.plan_id for event in rig.decided()]
        assert sorted(ids) == [one.plan_id for one in plans]
        assert rig.pending() == 0
        assert rig.dead_letters() == []
    finally:
        durable.close()


def test_batch_of_any_size_is_decided_on_one_round_trip(rig, monkeypatch):
    from quantum_ops import client

    asked = []
    plain = client.ask
    monkeypatch.setattr(
        client, "ask", lambda db, packed, count: asked.append(count) or plain(db, packed, count)
    )
    rig.decide(*(plan(plan_id=f"{number:016x}") for number in range(40)))
    # Then the universe and both symbols came together; idle looks ask for the universe alone
    assert [count for count in asked if count > 2] == [2 + 4]


def test_process_says_that_its_permits_are_unsigned(rig, log_lines):
    assert "permits_unsigned" in log_lines.getvalue()
    assert "signature" not in rig.permit() if rig.decide(plan()) else False


def test_finding_of_a_conflict_is_worth_reading(rig):
    rig.decide(plan(), plan(side="BUY"))
    [finding] = rig.backend.events(AuditFinding)
    assert "different plan" in finding.detail
    assert finding.evidence[1] == streams.decided("p33", plan().plan_id)


def test_against_the_keys_of_the_trading_sides_own_test_it_behaves_as_the_spec_says(server):
    db = server.connect()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        hold(db, "0", symbol)
    rig = P33Rig(server, allowlist=("BTCUSDT",))
    count = iter(range(1000))

    def verdicts() -> list[bool]:
        plans = [opening(plan_id=f"{next(count):016x}", symbol=s) for s in ("BTCUSDT", "ETHUSDT")]
        return [event.allow for event in rig.decide(*plans)]

    # Missing: the fallback; fresh: the universe; stale: the fallback; each from the next plan on
    assert verdicts() == [True, False]
    mock_universe(db, "ETHUSDT", "SOLUSDT")
    assert verdicts() == [False, True]
    mock_universe(db, "ETHUSDT", "SOLUSDT", stale="1")
    assert verdicts() == [True, False]
    mock_universe(db, "SOLUSDT")
    assert verdicts() == [False, False]
    db.delete(streams.UNIVERSE_ACTIVE, streams.UNIVERSE_META)
    assert verdicts() == [True, False]


def test_permit_is_plain_json_with_numbers(rig):
    rig.decide(plan(action="PARTIAL_50"))
    raw = rig.db.get(PERMIT)
    assert b'"safe_qty":0.5' in raw
    assert isinstance(json.loads(raw)["created_at"], float)
