"""Every Finding of permit_audit from a story, each told once, whatever is killed or repeated."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from quantum_ops import streams
from quantum_ops.audit.case import FINDINGS
from quantum_ops.audit.sight import GOVERNOR, P26, P33, key
from quantum_ops.permits import new_key
from tests.audit_rig import AuditRig
from tests.p33_rig import P33Rig, hold, publish_universe, send
from tests.p33_stories import plan
from tests.waiting import wait_until

A = "a" * 16


@pytest.fixture
def rig(server):
    return AuditRig(server)


def test_plan_with_all_three_permits_is_complete_and_its_case_is_closed_after_the_window(rig):
    rig.plan(A)
    rig.permits(A)
    rig.settle()
    assert rig.told() == [f"permits_complete {A}"]
    [finding] = rig.findings()
    assert (finding.auditor, finding.severity) == ("permit_audit", "info")
    assert "governor seen with 60 s to live" in finding.detail
    assert rig.open_cases() == 1
    rig.execute(A)
    rig.pass_s(30).pass_s(31)
    assert rig.told() == [f"permits_complete {A}"]
    assert rig.open_cases() == 0
    assert 0 < rig.db.ttl(streams.audited_case(A)) <= 86_400


def test_permits_may_come_one_after_the_other_within_the_window(rig):
    rig.plan(A)
    rig.settle()
    for gate, seconds in ((GOVERNOR, 10), (P26, 20), (P33, 20)):
        rig.permits(A, gate)
        rig.pass_s(seconds)
        rig.db.delete(key(gate, A))  # consumed
    assert rig.told() == [f"permits_complete {A}"]


def test_permit_that_never_came_is_told_when_the_window_is_over(rig):
    rig.plan(A)
    rig.permits(A, P33)
    rig.settle().pass_s(58)
    assert rig.told() == []
    rig.pass_s(3)
    assert rig.told() == [f"permit_missing {A}"]
    [finding] = rig.findings()
    assert finding.severity == "warning"
    assert finding.detail.startswith("governor, p26 not within 60 s; p33 seen with 60 s to live")
    assert rig.open_cases() == 0


@pytest.mark.parametrize("decision", ["SKIP", "BLOCKED"])
def test_plans_that_ask_for_nothing_have_no_case(rig, decision):
    rig.plan(A, decision=decision)
    rig.settle().pass_s(100)
    assert (rig.told(), rig.open_cases()) == ([], 0)


def test_denial_by_event_and_by_key(rig):
    rig.plan(A)
    rig.decide(A, allow=False, reason="no_position")
    rig.permits(A, GOVERNOR, granted=False)
    rig.settle()
    assert rig.told() == [f"permit_denied {A}", f"permit_denied {A}"]
    assert sorted(one.detail for one in rig.findings()) == ["governor: denied", "p33: no_position"]


def test_execution_with_all_permits_is_nothing_to_tell(rig):
    rig.plan(A)
    rig.permits(A, GOVERNOR, P26)
    rig.decide(A)
    rig.settle()
    rig.execute(A)
    rig.settle().pass_s(5).pass_s(60)
    assert rig.told() == [f"permits_complete {A}"]


@pytest.mark.parametrize("executed", ["true", "True"])
@pytest.mark.parametrize("missing", [GOVERNOR, P26, P33])
def test_execution_without_a_permit_is_critical(rig, executed, missing):
    rig.plan(A)
    rig.permits(A, *({GOVERNOR, P26, P33} - {missing}))
    entry = rig.execute(A, executed=executed)
    rig.settle()
    assert rig.told() == []  # its permits may still be heard of
    rig.pass_s(3)
    [finding] = rig.findings()
    assert (finding.finding, finding.severity) == ("executed_without_permits", "critical")
    assert finding.detail == f"BTCUSDT executed in {entry}: {missing} never appeared"
    assert entry in finding.evidence


def test_execution_that_a_gate_had_denied_is_critical(rig):
    rig.plan(A)
    rig.permits(A, GOVERNOR, P26)
    rig.decide(A, allow=False, reason="symbol_not_allowed")
    rig.execute(A)
    rig.settle().pass_s(3)
    assert f"executed_without_permits {A}" in rig.told()
    [finding] = [one for one in rig.findings() if one.severity == "critical"]
    assert finding.detail.endswith("p33 denied (symbol_not_allowed)")


def test_denial_after_the_execution_does_not_make_it_wrong(rig):
    rig.plan(A)
    rig.permits(A, GOVERNOR, P26)
    rig.decide(A)
    rig.execute(A)
    rig.settle()
    rig.next_ms()
    rig.decide(A, allow=False, reason="plan_id_conflict")
    rig.settle().pass_s(3)
    assert f"executed_without_permits {A}" not in rig.told()


def test_permit_decided_after_the_execution_came_too_late(rig):
    rig.plan(A)
    rig.permits(A, GOVERNOR, P26)
    rig.execute(A)
    rig.next_ms()
    rig.decide(A)
    rig.settle().pass_s(3)
    [finding] = [one for one in rig.findings() if one.severity == "critical"]
    assert finding.detail.endswith("p33 decided only after the execution")


def test_execution_of_a_plan_that_nobody_sent_is_critical(rig):
    rig.execute(A)
    rig.settle().pass_s(3)
    assert rig.told() == [f"executed_without_permits {A}"]
    assert "governor never appeared" in rig.findings()[0].detail


def test_execution_long_after_the_window_opens_the_case_again(rig):
    rig.plan(A)
    rig.settle().pass_s(61)
    assert rig.open_cases() == 0
    rig.execute(A)
    rig.settle().pass_s(3)
    assert rig.told() == [f"executed_without_permits {A}", f"permit_missing {A}"]


def test_reconcile_close_needs_the_permit_of_p33_only(rig):
    rig.plan(A, decision="RECONCILE_CLOSE")
    rig.decide(A)
    rig.execute(A)
    rig.settle().pass_s(70)
    assert rig.told() == [f"permits_complete {A}"]


def test_results_that_executed_nothing_have_no_case(rig):
    rig.execute(A, executed="false")
    rig.settle().pass_s(70)
    assert rig.told() == []


MALFORMED = [
    (P33, lambda db, k: db.hset(k, mapping={"allow": "true"}), "is of another type than STRING"),
    (P33, lambda db, k: db.set(k, "{", ex=60), "is no permit: b'{'"),
    (P33, lambda db, k: db.set(k, '{"allow":"true","symbol":"BTCUSDT"}', ex=60), "neither true"),
    (P33, lambda db, k: db.set(k, '{"allow":true,"symbol":"ETHUSDT"}', ex=60), "for 'ETHUSDT'"),
    (P33, lambda db, k: db.set(k, '{"allow":true,"symbol":"BTCUSDT"}'), "never expires"),
    (P33, lambda db, k: db.set(k, '{"allow":true,"symbol":"BTCUSDT"}', ex=86_400), "at most 60"),
    (P26, lambda db, k: db.set(k, "yes", ex=60), "not 1"),
    (P26, lambda db, k: db.lpush(k, "1"), "is of another type than STRING"),
    (GOVERNOR, lambda db, k: db.set(k, b"\xff\x1b[2J\n", ex=60), "is no permit"),
    (GOVERNOR, lambda db, k: db.set(k, "[" * 50_000, ex=60), "is no permit"),
    (GOVERNOR, lambda db, k: db.set(k, "[]", ex=60), "is no permit"),
    (GOVERNOR, lambda db, k: db.set(k, '{"granted":true,"symbol":["x"]}', ex=60), "for \"['x']\""),
]


@pytest.mark.parametrize(("gate", "spoil", "text"), MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_permit_is_told(rig, gate, spoil, text):
    rig.plan(A)
    spoil(rig.db, key(gate, A))
    rig.settle()
    [finding] = rig.findings()
    assert (finding.finding, finding.severity) == ("permit_malformed", "critical")
    assert finding.detail.startswith(f"{gate}: ")
    assert text in finding.detail


def test_order_on_a_forged_permit_is_told_as_one_without(rig):
    rig.plan(A)
    rig.permits(A, GOVERNOR, P26)
    rig.db.hset(key(P33, A), mapping={"allow": "true"})  # as a bridge of today does (notes: G1)
    rig.execute(A)
    rig.settle().pass_s(3)
    assert rig.told() == [f"executed_without_permits {A}", f"permit_malformed {A}"]


def test_signature_of_p33_is_checked_if_keys_are_named(server, tmp_path):
    new_key(tmp_path / "k.pem")
    new_key(tmp_path / "other.pem")
    db = server.connect()
    publish_universe(db, "BTCUSDT")
    hold(db, "1")
    gate = P33Rig(server, signing_key=str(tmp_path / "k.pem"))
    trusting = AuditRig(server, trusted=str(tmp_path / "k.pem.pub"))
    gate.decide(plan(plan_id=A))
    trusting.settle()
    assert trusting.told() == []
    forging = P33Rig(server, "two", signing_key=str(tmp_path / "other.pem"))
    forging.decide(plan(plan_id="b" * 16))
    trusting.settle()
    assert trusting.told() == ["permit_signature_invalid " + "b" * 16]
    assert trusting.findings()[0].detail == "p33: unknown_key"


def test_every_finding_has_a_story():
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}' in source or f"{name} " in source for name in FINDINGS)


def test_permit_that_nobody_could_read_in_time_is_heard_of_where_the_server_tells(server):
    server.connect().config_set("notify-keyspace-events", "K$")
    try:
        rig = AuditRig(server)
        rig.look()  # listens from here on
        rig.plan(A)
        rig.permits(A)
        for gate in (GOVERNOR, P26, P33):
            rig.db.delete(key(gate, A))  # consumed before any look
        rig.execute(A)
        rig.settle().settle().pass_s(3)
        assert rig.told() == [f"permits_complete {A}"]
        # And the case remembers it, should this process die
        facts = rig.db.hgetall(streams.audited_case(A))
        assert {b"governor_appeared_ms", b"p26_appeared_ms", b"p33_appeared_ms"} <= set(facts)
    finally:
        server.connect().config_set("notify-keyspace-events", "")


def test_server_that_tells_nothing_leaves_what_the_looks_see(rig):
    rig.look()
    rig.plan(A)
    rig.permits(A)
    rig.settle()
    assert rig.told() == [f"permits_complete {A}"]


def test_state_survives_the_process(rig, server):
    rig.plan(A)
    rig.permits(A, GOVERNOR, P26)
    rig.settle()
    rig.db.delete(key(GOVERNOR, A), key(P26, A))
    # Given that the process is gone, and another one takes its place
    heir = AuditRig(server)
    heir.decide(A)
    heir.execute(A)
    heir.settle().pass_s(3)
    assert heir.told() == [f"permits_complete {A}"]


def test_two_processes_tell_each_thing_once(rig, server):
    other = AuditRig(server, "two")
    for number in range(30):
        rig.plan(f"{number:016x}")
        if number % 3:
            rig.permits(f"{number:016x}", GOVERNOR, P26)
            rig.decide(f"{number:016x}")
        if number % 2:
            rig.execute(f"{number:016x}")
        (rig if number % 4 else other).settle()
    for one in (rig, other, rig, other):
        one.pass_s(35)
    told = rig.told()
    assert len(told) == len(set(told))
    assert sum(one.startswith("permits_complete") for one in told) == 20
    assert sum(one.startswith("executed_without_permits") for one in told) == 5
    assert sum(one.startswith("permit_missing") for one in told) == 10
    rig.pass_s(0)
    assert rig.told() == told


def test_published_again_tells_nothing_again(rig):
    for _ in range(2):
        rig.plan(A)
        rig.execute(A)
        rig.settle().pass_s(70)
    assert rig.told() == [f"executed_without_permits {A}", f"permit_missing {A}"]


def test_auditor_that_comes_back_waits_for_the_decisions_that_it_has_not_read(rig):
    # Given results that are read long before the decisions on their plans
    for number in range(120):
        rig.decide(f"other{number}")
    rig.decide(A)
    rig.next_ms()
    rig.permits(A, GOVERNOR, P26)
    rig.plan(A)
    rig.execute(A)
    rig.clock.shift_s += 30
    rig.runner.step(wait=False)
    rig.look()
    assert rig.db.hget(streams.audited_case(A), "executed")
    assert "executed_without_permits" not in str(rig.told())
    # When it has read them all
    rig.settle()
    assert rig.pass_s(60).told() == [f"permits_complete {A}"]


def test_decision_in_the_hands_of_a_frozen_process_is_waited_for(rig):
    # Given another process that has read P3.3's decision and says nothing more
    rig.decide(A)
    rig.db.xreadgroup("permit_audit", "frozen", {streams.PERMIT_DECIDED.key: ">"})
    rig.next_ms()
    rig.plan(A)
    rig.permits(A, GOVERNOR, P26)
    rig.execute(A)
    rig.settle()
    assert rig.pass_s(10).told() == []
    # When its entry is claimed
    rig.clock.shift_s += 30
    wait_until(lambda: rig.settle().told(), 10, "claimed")
    assert rig.told() == [f"permits_complete {A}"]
    assert rig.pass_s(60).told() == [f"permits_complete {A}"]


def test_execution_while_nobody_looked_is_told_as_that(rig):
    # Given auditors that were away for an hour in which a plan was executed
    rig.plan(A)
    rig.decide(A)
    rig.next_ms()
    rig.execute(A)
    rig.clock.shift_s += 3600
    began = time.strftime("%Y-%m-%d %H", time.gmtime())
    rig.settle()
    rig.pass_s(3)
    [finding] = [one for one in rig.findings() if one.severity == "critical"]
    assert "governor never appeared, p26 never appeared, nobody looked from" in finding.detail
    assert f"nobody looked from {began}" in finding.detail


def test_very_first_auditor_says_that_nobody_looked_before(server):
    db = server.connect()
    send(db, plan(plan_id=A))
    result = {"plan_id": A, "symbol": "BTCUSDT", "executed": "true", "order_id": "1"}
    db.xadd(streams.APPLY_RESULT.key, result)
    rig = AuditRig(server).settle()
    rig.pass_s(3)
    assert "nobody looked before 2" in rig.findings()[0].detail


def test_note_of_the_last_look_may_be_anything(rig):
    for spoil in (
        lambda db: db.set(streams.PERMIT_AUDIT_LOOKED, "x"),
        lambda db: db.hset(streams.PERMIT_AUDIT_LOOKED, mapping={"at_ms": "9" * 40, "to_ms": "x"}),
        lambda db: db.delete(streams.PERMIT_AUDIT_LOOKED),
    ):
        rig.db.delete(streams.PERMIT_AUDIT_LOOKED)
        spoil(rig.db)
        rig.pass_s(10)
        assert rig.db.hget(streams.PERMIT_AUDIT_LOOKED, "at_ms").isdigit()


def test_case_that_somebody_spoilt_does_not_hold_up_the_others(rig):
    rig.plan(A)
    rig.plan("b" * 16)
    rig.permits("b" * 16)
    rig.backend.settle(rig.runner)
    rig.db.delete(streams.audited_case(A))
    rig.db.set(streams.audited_case(A), "odd")
    rig.settle()
    assert rig.told() == ["permits_complete " + "b" * 16]
    assert rig.open_cases() == 1


@pytest.mark.parametrize("plan_id", ["p26:x", "a\nb", "\x1b[2J", "x" * 256, "ü" * 100, "{a}"])
def test_any_plan_id_has_its_case(rig, plan_id):
    rig.plan(plan_id)
    rig.execute(plan_id)
    rig.settle().pass_s(3)
    assert [one.subject for one in rig.findings()] == [plan_id]
